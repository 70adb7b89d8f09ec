"""A node in the lab's fake cloud, ready for a driver or a command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from fake_gce import FakeGce
from light_host import LightHost
from sample_node import NODE

from yoyo.model.ids import NodeName
from yoyo.model.settings import GceSettings, NodeSettings, WeightsSettings

ZONES = ("us-central1-a", "us-central1-b", "us-east1-b")
IMAGE = (
    "projects/deeplearning-platform-release/global/images/family/"
    "common-cu129-ubuntu-2404-nvidia-580"
)


GCE = GceSettings(
    project="lab-project",
    zones=ZONES,
    machine_type="g2-standard-4",
    image=IMAGE,
    disk_gb=100,
    disk_type="pd-balanced",
    network="default",
    subnetwork=None,
    traffic="tls",
    controller="203.0.113.7",
    address_service="http://127.0.0.1:9/",
    ssh_from="controller",
    provisioning="standard",
    service_account=None,
    max_wait_s=0,
    relocate=False,
    replace_firewall=False,
    api_endpoint=None,
)


@dataclass(frozen=True)
class LabCloud:
    """A running fake and the settings of one node in it."""

    fake: FakeGce
    host: LightHost | None
    node: NodeSettings

    def but(self, **changes: object) -> NodeSettings:
        """The node with other `gce` settings."""
        assert self.node.gce is not None
        return self.node._replace(gce=self.node.gce._replace(**changes))  # type: ignore[arg-type]


def gce_node(fake: FakeGce, name: str = "l4") -> NodeSettings:
    """Settings of a node in that fake."""
    return NODE._replace(
        name=NodeName.parse(name),
        driver="gce",
        engine=NODE.engine._replace(model="https://example.org/m.gguf", extra_flags=()),
        weights=WeightsSettings("ab" * 32),
        gce=GCE._replace(project=fake.settings.project, api_endpoint=fake.url),
    )


@contextmanager
def light_cloud(tmp_path: Path, *, machines: bool = True) -> Iterator[LabCloud]:
    """A fake whose machines live in threads, or, without `machines`, do nothing at all.

    Credentials come by Application Default Credentials, as an operator's do.
    """
    host = LightHost(lease_s=NODE.guards.lease_s) if machines else None
    with FakeGce(host=host) as fake:
        key = fake.credentials(tmp_path / "service-account.json")
        with patch.dict(os.environ, GOOGLE_APPLICATION_CREDENTIALS=str(key)):
            yield LabCloud(fake, host, gce_node(fake))
