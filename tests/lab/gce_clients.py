"""Google's own client in front of a fake, and the instance that most tests want."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fake_gce import FakeGce
from gce_state import Settings
from google.api_core.client_options import ClientOptions
from google.cloud import compute_v1
from google.oauth2 import service_account

PROJECT = "lab-project"
ZONE = "us-central1-a"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
# Not Google's: with it, google-auth would call out of this machine.
UNIVERSE = "lab.invalid"
IMAGE = (
    "projects/deeplearning-platform-release/global/images/family/"
    "common-cu129-ubuntu-2404-nvidia-580"
)
DONE = compute_v1.Operation.Status.DONE


class Google:
    """The compute clients of one fake, made when they are first asked for."""

    def __init__(self, url: str, credentials: Path) -> None:
        made: Any = service_account.Credentials
        self.credentials: Any = made.from_service_account_file(str(credentials), scopes=SCOPES)
        self._options = ClientOptions(api_endpoint=url, universe_domain=UNIVERSE)

    def client(self, kind: Any) -> Any:
        """A client of a class such as `compute_v1.InstancesClient`."""
        return kind(credentials=self.credentials, client_options=self._options)

    @property
    def instances(self) -> compute_v1.InstancesClient:
        client: compute_v1.InstancesClient = self.client(compute_v1.InstancesClient)
        return client

    @property
    def disks(self) -> compute_v1.DisksClient:
        client: compute_v1.DisksClient = self.client(compute_v1.DisksClient)
        return client

    def get(self, name: str, zone: str = ZONE) -> compute_v1.Instance:
        """An instance as the API shows it."""
        return self.instances.get(project=PROJECT, zone=zone, instance=name)

    def insert(
        self, instance: compute_v1.Instance, zone: str = ZONE, request_id: str | None = None
    ) -> compute_v1.Operation:
        """Insert, without waiting."""
        return self.instances.insert_unary(
            compute_v1.InsertInstanceRequest(
                project=PROJECT, zone=zone, instance_resource=instance, request_id=request_id
            )
        )

    def done(self, operation: compute_v1.Operation) -> compute_v1.Operation:
        """Wait for an operation of whatever scope until it is DONE."""
        while operation.status != DONE:
            if operation.zone:
                zone = operation.zone.rsplit("/", 1)[-1]
                waiter = self.client(compute_v1.ZoneOperationsClient)
                operation = waiter.wait(project=PROJECT, zone=zone, operation=operation.name)
            else:
                waiter = self.client(compute_v1.GlobalOperationsClient)
                operation = waiter.wait(project=PROJECT, operation=operation.name)
        return operation

    def up(self, instance: compute_v1.Instance, zone: str = ZONE) -> compute_v1.Instance:
        """Insert and wait; the instance as it then is."""
        operation = self.done(self.insert(instance, zone))
        assert not operation.error.errors, operation.error
        return self.get(instance.name, zone)


def google_for(fake: FakeGce, tmp_path: Path) -> Google:
    """Google's client for a fake."""
    return Google(fake.url, fake.credentials(tmp_path / "key.json", UNIVERSE))


@contextmanager
def google_and_fake(
    tmp_path: Path, settings: Settings | None = None
) -> Iterator[tuple[Google, FakeGce]]:
    """A fake and Google's client for it; at the end nothing unspecified may have come or gone."""
    with FakeGce(settings) as fake:
        yield google_for(fake, tmp_path), fake
        assert fake.violations == []


def gpu_instance(
    name: str = "node",
    zone: str = ZONE,
    *,
    labels: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    **scheduling: Any,
) -> compute_v1.Instance:
    """A g2 machine as a driver asks for it; `scheduling` adds to what G2 needs."""
    parameters = compute_v1.AttachedDiskInitializeParams(
        disk_size_gb=100, source_image=IMAGE, disk_type=f"zones/{zone}/diskTypes/pd-balanced"
    )
    access = compute_v1.AccessConfig(name="External NAT", type_="ONE_TO_ONE_NAT")
    return compute_v1.Instance(
        name=name,
        machine_type=f"zones/{zone}/machineTypes/g2-standard-4",
        labels=labels or {},
        disks=[compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=parameters)],
        network_interfaces=[
            compute_v1.NetworkInterface(network="global/networks/default", access_configs=[access])
        ],
        metadata=compute_v1.Metadata(
            items=[compute_v1.Items(key=k, value=v) for k, v in (metadata or {}).items()]
        ),
        scheduling=compute_v1.Scheduling(**{"on_host_maintenance": "TERMINATE", **scheduling}),
    )
