"""The fake GCE under Google's own client: disks, snapshots, images, firewalls, lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_gce import FakeGce
from gce_clients import IMAGE, PROJECT, ZONE, Google, google_and_fake, gpu_instance
from gce_state import Settings
from google.api_core import exceptions
from google.cloud import compute_v1

Lab = tuple[Google, FakeGce]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with google_and_fake(tmp_path) as both:
        yield both


def test_a_disk_in_use_cannot_be_deleted(lab: Lab) -> None:
    google, _ = lab
    google.up(gpu_instance())
    with pytest.raises(exceptions.BadRequest, match="already being used"):
        google.disks.delete_unary(project=PROJECT, zone=ZONE, disk="node")


def test_a_machine_comes_back_from_a_snapshot_in_another_zone(lab: Lab) -> None:
    google, fake = lab
    google.up(gpu_instance())
    snapshot = compute_v1.Snapshot(name="kept", labels={"yoyo": "a"})
    google.done(
        google.disks.create_snapshot_unary(
            project=PROJECT, zone=ZONE, disk="node", snapshot_resource=snapshot
        )
    )
    snapshots = google.client(compute_v1.SnapshotsClient)
    kept = snapshots.get(project=PROJECT, snapshot="kept")
    assert (kept.status, kept.disk_size_gb, kept.labels) == ("READY", 100, {"yoyo": "a"})

    elsewhere = "us-east1-b"
    instance = gpu_instance("again", elsewhere)
    instance.disks[0].initialize_params.source_image = ""
    instance.disks[0].initialize_params.source_snapshot = "global/snapshots/kept"
    google.up(instance, elsewhere)
    disk = google.disks.get(project=PROJECT, zone=elsewhere, disk="again")
    assert str(disk.source_snapshot_id) == str(kept.id)

    google.done(snapshots.delete_unary(project=PROJECT, snapshot="kept"))
    assert fake.paths("snapshots") == []


def test_a_disk_of_its_own_is_attached_once(lab: Lab) -> None:
    google, _ = lab
    wanted = compute_v1.Disk(name="data", size_gb=10, source_image="")
    google.done(google.disks.insert_unary(project=PROJECT, zone=ZONE, disk_resource=wanted))
    data = compute_v1.AttachedDisk(source=f"zones/{ZONE}/disks/data", auto_delete=False)
    first, second = gpu_instance("first"), gpu_instance("second")
    first.disks.append(data)
    second.disks.append(data)
    google.up(first)
    with pytest.raises(exceptions.BadRequest, match="already being used"):
        google.insert(second)


def test_a_disk_smaller_than_its_image_is_refused(lab: Lab) -> None:
    instance = gpu_instance()
    instance.disks[0].initialize_params.disk_size_gb = 49
    with pytest.raises(exceptions.BadRequest, match="cannot be smaller"):
        lab[0].insert(instance)


def test_images_by_family_and_of_ones_own(lab: Lab) -> None:
    google, _ = lab
    images = google.client(compute_v1.ImagesClient)
    family = IMAGE.rsplit("/", 1)[-1]
    public = images.get_from_family(project="deeplearning-platform-release", family=family)
    assert (public.family, public.status) == (family, "READY")
    with pytest.raises(exceptions.NotFound):
        images.get_from_family(project="deeplearning-platform-release", family="none")

    google.done(
        google.disks.insert_unary(
            project=PROJECT, zone=ZONE, disk_resource=compute_v1.Disk(name="base", size_gb=20)
        )
    )
    own = compute_v1.Image(name="mine-1", family="mine", source_disk=f"zones/{ZONE}/disks/base")
    google.done(images.insert_unary(project=PROJECT, image_resource=own))
    assert images.get_from_family(project=PROJECT, family="mine").name == "mine-1"
    google.done(images.delete_unary(project=PROJECT, image="mine-1"))
    assert list(images.list(project=PROJECT)) == []


def test_a_project_of_somebody_else_is_forbidden(lab: Lab) -> None:
    with pytest.raises(exceptions.Forbidden):
        lab[0].instances.get(project="other", zone=ZONE, instance="node")


def test_firewalls_are_patched_field_by_field(lab: Lab) -> None:
    google, _ = lab
    firewalls = google.client(compute_v1.FirewallsClient)
    allowed = compute_v1.Allowed(I_p_protocol="tcp", ports=["8443"])
    rule = compute_v1.Firewall(
        name="yoyo", allowed=[allowed], source_ranges=["192.0.2.1/32"], target_tags=["yoyo"]
    )
    google.done(firewalls.insert_unary(project=PROJECT, firewall_resource=rule))
    change = compute_v1.Firewall(name="yoyo", source_ranges=["192.0.2.2/32"])
    where: Any = {"project": PROJECT, "firewall": "yoyo"}
    google.done(firewalls.patch_unary(**where, firewall_resource=change))
    found = firewalls.get(**where)
    assert list(found.source_ranges) == ["192.0.2.2/32"]
    assert list(found.target_tags) == ["yoyo"]
    assert found.direction == "INGRESS"
    google.done(firewalls.delete_unary(**where))
    assert list(firewalls.list(project=PROJECT)) == []


def test_addresses_are_listed_and_released(lab: Lab) -> None:
    google, fake = lab
    fake.add_address("left", "us-east1")
    addresses = google.client(compute_v1.AddressesClient)
    scopes = dict(addresses.aggregated_list(project=PROJECT))
    assert [a.name for a in scopes["regions/us-east1"].addresses] == ["left"]
    addresses.delete_unary(project=PROJECT, region="us-east1", address="left")
    assert list(addresses.list(project=PROJECT, region="us-east1")) == []


def test_what_a_project_has(lab: Lab) -> None:
    google, _ = lab
    google.up(gpu_instance())
    quotas = google.client(compute_v1.ProjectsClient).get(project=PROJECT).quotas
    assert [(q.metric, q.usage) for q in quotas] == [("GPUS_ALL_REGIONS", 1)]
    regions = google.client(compute_v1.RegionsClient)
    region = regions.get(project=PROJECT, region="us-central1")
    assert {q.metric: q.usage for q in region.quotas} == {
        "NVIDIA_L4_GPUS": 1,
        "PREEMPTIBLE_NVIDIA_L4_GPUS": 0,
    }
    assert len(list(regions.list(project=PROJECT))) == 3
    machine = google.client(compute_v1.MachineTypesClient).get(
        project=PROJECT, zone=ZONE, machine_type="g2-standard-4"
    )
    assert machine.accelerators[0].guest_accelerator_type == "nvidia-l4"
    network = google.client(compute_v1.NetworksClient).get(project=PROJECT, network="default")
    assert len(network.subnetworks) == 3
    subnetworks = google.client(compute_v1.SubnetworksClient)
    where: Any = {"project": PROJECT, "region": "us-east1", "subnetwork": "default"}
    assert subnetworks.get(**where).network == network.self_link
    assert google.client(compute_v1.ZonesClient).get(project=PROJECT, zone=ZONE).status == "UP"


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("name=node-a", ["node-a"]),
        ("name:node-*", ["node-a", "node-b"]),
        ("labels.role=main", ["node-a"]),
        ("labels.role:*", ["node-a", "node-b"]),
        ("(labels.role:*) (name != node-a)", ["node-b"]),
        ("labels.role=main AND status=RUNNING", ["node-a"]),
        ("labels.role=main OR name=other", ["node-a", "other"]),
        ("scheduling.automaticRestart = true", ["node-a", "node-b", "other"]),
    ],
)
def test_filters(lab: Lab, expression: str, names: list[str]) -> None:
    google, _ = lab
    operations = [
        google.insert(gpu_instance(name, labels=labels))
        for name, labels in (
            ("node-a", {"role": "main"}),
            ("node-b", {"role": "spare"}),
            ("other", {}),
        )
    ]
    for operation in operations:
        google.done(operation)
    request = compute_v1.ListInstancesRequest(project=PROJECT, zone=ZONE, filter=expression)
    assert [instance.name for instance in google.instances.list(request)] == names


@pytest.mark.parametrize("expression", ["name=", "(name=a", "colour=red", "name ~ a"])
def test_a_filter_that_is_none_is_refused(lab: Lab, expression: str) -> None:
    request = compute_v1.ListInstancesRequest(project=PROJECT, zone=ZONE, filter=expression)
    with pytest.raises(exceptions.BadRequest, match="Invalid list filter expression"):
        lab[0].instances.list(request)


def test_pages_hold_everything_once_in_a_hundred_zones(tmp_path: Path) -> None:
    zones = tuple(f"us-central{n}-{letter}" for n in range(1, 26) for letter in "abcd")
    with google_and_fake(tmp_path, Settings(zones=zones)) as (google, _):
        for zone in zones[::20]:
            google.up(gpu_instance("node", zone), zone)
        request = compute_v1.AggregatedListInstancesRequest(project=PROJECT, max_results=2)
        pages = list(google.instances.aggregated_list(request).pages)
        assert len(pages) == 3
        assert all(len(page.items) == 100 for page in pages)
        found = sorted(
            scope for page in pages for scope, part in page.items.items() for _ in part.instances
        )
        assert found == sorted(f"zones/{zone}" for zone in zones[::20])
        names = [z.name for z in google.client(compute_v1.ZonesClient).list(project=PROJECT)]
        assert names == sorted(zones)
