"""What the fake GCE holds: resources by path, and what belongs to them that the API never shows."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gce_errors import invalid, not_found
from gce_faults import NO_FAULT, Fault, Faults

if TYPE_CHECKING:
    from vm_host import VmHost

JSON = dict[str, Any]

LINK = "https://www.googleapis.com/compute/v1/"
GOOGLE_TIME = timezone(timedelta(hours=-8))  # Google's timestamps are Pacific, with the offset
NO_LABELS = "42WmSpB8rSM="  # Google's fingerprint of nothing
SERIAL_LIMIT = 1 << 20  # Google keeps the last MiB
ZONES = tuple(
    f"{region}-{letter}"
    for region, letters in (("us-central1", "abc"), ("us-east1", "bcd"), ("europe-west4", "abc"))
    for letter in letters
)


@dataclass
class Settings:
    """How the fake behaves; times in seconds. May be changed while it runs."""

    project: str = "lab-project"
    project_number: int = 123456789012
    zones: tuple[str, ...] = ZONES
    zones_without_gpu: tuple[str, ...] = ()
    provisioning_s: float = 0.004
    staging_s: float = 0.004
    stopping_s: float = 0.004
    operation_s: float = 0.002  # of what has no machine in it
    wait_limit_s: float = 0.2  # Google's is 120
    stop_grace_s: float = 90.0  # what Google gives a guest
    min_run_duration_s: int = 30  # Google's lower limit for maxRunDuration
    # What Google's system operation is called when maxRunDuration ends a machine is not
    # documented; a driver must not depend on it.
    cap_operation_type: str = "stop"
    quotas: dict[str, float] = field(default_factory=lambda: {"GPUS_ALL_REGIONS": 16.0})
    region_quotas: dict[str, float] = field(
        default_factory=lambda: {"NVIDIA_L4_GPUS": 8.0, "PREEMPTIBLE_NVIDIA_L4_GPUS": 8.0}
    )
    unreachable_zones: set[str] = field(default_factory=set)
    denied_permissions: tuple[str, ...] = ()
    # False: an aggregated list fails when a zone is unreachable, unless returnPartialSuccess.
    partial_lists: bool = True
    internal_addresses: str = "10.128.0."
    # "" gives a machine's internal address as its external one, for hosts that really run it.
    external_addresses: str = "203.0.113."


@dataclass
class Vm:
    """What belongs to an instance besides its resource."""

    address: str
    host_name: str = ""  # what its host knows it by
    attributes: dict[str, str] = field(default_factory=dict)  # "namespace/key"
    serial: bytes = b""
    serial_start: int = 0  # position of the first byte kept
    cap_at: float | None = None  # when maxRunDuration ends it, seconds since the epoch
    last_operation: threading.Event | None = None  # set when what was asked for before is done


class Closing(Exception):
    """The fake is being closed; whatever is under way gives up."""


class Cloud:
    """All state. `changed` is the lock of everything here and is notified at each change."""

    def __init__(self, settings: Settings, host: VmHost | None, state_file: Path | None) -> None:
        self.settings = settings
        self.host = host
        self.faults = Faults()
        self.changed = threading.Condition(threading.RLock())
        self.closing = threading.Event()
        self.resources: dict[str, JSON] = {}
        self.vms: dict[str, Vm] = {}
        self.requests: dict[str, tuple[str, str]] = {}  # requestId: what was asked, operation
        self.token: Callable[[], JSON] | None = None  # what machines with an identity are given
        self._state_file = state_file
        self._workers: list[threading.Thread] = []

    # resources

    def get(self, path: str) -> JSON:
        """The resource at a path; 404 when there is none."""
        if path not in self.resources:
            raise not_found(path)
        return self.resources[path]

    def put(self, path: str, resource: JSON) -> JSON:
        """Store a resource, with what every resource has."""
        kept = {
            "id": str(secrets.randbits(62) + (1 << 62)),
            "name": path.rsplit("/", 1)[-1],
            "selfLink": LINK + path,
            **resource,
        }
        if place := re.search("/(zone|region)s/([^/]+)/", path):
            kept.setdefault(place[1], LINK + path[: place.end() - 1])
        self.resources[path] = kept
        self.touch()
        return kept

    def drop(self, path: str) -> None:
        """Remove a resource; one that is not there: silent."""
        self.resources.pop(path, None)
        self.vms.pop(path, None)
        self.touch()

    def collection(self, parent: str) -> Iterator[tuple[str, JSON]]:
        """The resources right below a path such as `projects/p/zones/z/instances`."""
        for path, resource in list(self.resources.items()):
            if path.rpartition("/")[0] == parent:
                yield path, resource

    def instances(self) -> Iterator[tuple[str, JSON]]:
        """Every instance of every zone."""
        for path in list(self.vms):
            if path in self.resources:
                yield path, self.resources[path]

    def instance_path(self, name: str) -> str:
        """The path of the instance of that name, in whatever zone it is."""
        for path, resource in self.instances():
            if resource["name"] == name:
                return path
        raise KeyError(name)

    def zone_path(self, zone: str) -> str:
        """A zone's path in the project."""
        return f"projects/{self.settings.project}/zones/{zone}"

    def resolve(self, reference: str, project: str, field_name: str) -> str:
        """The path that a full or partial URL means."""
        path = reference[reference.index("projects/") :] if "projects/" in reference else ""
        if not path and reference.startswith(("zones/", "regions/", "global/")):
            path = f"projects/{project}/{reference}"
        if not path:
            raise invalid(field_name, reference, "The URL is malformed.")
        return path

    # time and threads

    def sleep(self, seconds: float) -> None:
        """Wait; a fake that is being closed waits no longer."""
        if self.closing.wait(seconds):
            raise Closing

    def work(self, job: Callable[[], None]) -> None:
        """Do it in a thread of its own, which `close` waits for."""

        def run() -> None:
            with contextlib.suppress(Closing):
                job()

        thread = threading.Thread(target=run, daemon=True)
        with self.changed:
            self._workers = [worker for worker in self._workers if worker.is_alive()]
            self._workers.append(thread)
            thread.start()

    def close(self) -> None:
        """End every thread; the state file keeps what there was."""
        self.closing.set()
        with self.changed:
            self.changed.notify_all()
            workers = list(self._workers)
        for worker in workers:
            worker.join()

    # the state file

    def touch(self) -> None:
        """Tell everyone who waits that something changed, and keep it. Hold the lock."""
        self.changed.notify_all()
        if self._state_file is None:
            return
        vms = {
            path: {
                "address": vm.address,
                "host_name": vm.host_name,
                "attributes": vm.attributes,
                "serial": base64.b64encode(vm.serial).decode(),
                "serial_start": vm.serial_start,
                "cap_at": vm.cap_at,
            }
            for path, vm in self.vms.items()
        }
        kept = {"resources": self.resources, "vms": vms, "requests": self.requests}
        beside = self._state_file.with_name(self._state_file.name + ".part")
        beside.write_text(json.dumps(kept))
        beside.replace(self._state_file)

    def load(self) -> bool:
        """Take over what an earlier process left in the state file; False when there is none."""
        if self._state_file is None or not self._state_file.exists():
            return False
        kept = json.loads(self._state_file.read_text())
        self.resources |= kept["resources"]
        self.requests = {name: (asked, path) for name, (asked, path) in kept["requests"].items()}
        for path, vm in kept["vms"].items():
            self.vms[path] = Vm(**{**vm, "serial": base64.b64decode(vm["serial"])})
        return True


@dataclass(frozen=True)
class Call:
    """One call of a method, already checked against the discovery document."""

    method: str
    path: dict[str, str]
    query: dict[str, str]
    body: JSON
    user: str = ""
    fault: Fault = NO_FAULT

    @property
    def project(self) -> str:
        """The path of the call's project."""
        return f"projects/{self.path['project']}"

    @property
    def scope(self) -> str:
        """The path of the zone or region, or `projects/p/global`."""
        for kind in ("zone", "region"):
            if kind in self.path:
                return f"{self.project}/{kind}s/{self.path[kind]}"
        return f"{self.project}/global"

    def flag(self, name: str) -> bool:
        """A boolean query parameter."""
        return self.query.get(name, "").lower() == "true"  # gcloud writes True


Handler = Callable[[Cloud, Call], JSON]


def now() -> datetime:
    """The time, as Google's timestamps have it."""
    return datetime.now(UTC).astimezone(GOOGLE_TIME)


def stamp(moment: datetime | None = None) -> str:
    """RFC 3339 with milliseconds and the offset, as Google writes it."""
    return (moment or now()).isoformat(timespec="milliseconds")


def fingerprint() -> str:
    """A new fingerprint; each change has its own, so that one that comes back is stale too."""
    return base64.b64encode(secrets.token_bytes(8)).decode()
