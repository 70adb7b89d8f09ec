"""The GCE driver stops and removes a machine, whatever Google answers on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gce_clients import ZONE
from gce_parts import DELETE, LIFE, NAME, NEXT_LIFE, STOP, Rig, rig

from yoyo.errors import CloudDenied, CloudUnavailable, NodeBusy, YoyoError
from yoyo.model.machine import MachineState, Observation


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def stops(lab: Rig) -> int:
    return sum(each["operationType"] == "stop" for each in lab.fake.operations(NAME))


def add_disk(lab: Rig, name: str, **labels: str) -> None:
    with lab.fake.cloud.changed:
        lab.fake.cloud.put(
            f"projects/lab-project/zones/{ZONE}/disks/{name}",
            {"kind": "compute#disk", "sizeGb": "10", "labels": labels, "status": "READY"},
        )


@pytest.mark.parametrize(
    "effect",
    [
        {"http": 503, "after": True},
        {"http": 503, "times": 3},
        {"reset": "before"},
        {"reset": "after"},
        {"http": 429},
        {"http": 400, "reason": "resourceNotReady", "times": 8},
    ],
)
def test_a_stop_with_an_unclear_answer_is_one_stop(lab: Rig, effect: dict[str, Any]) -> None:
    machines = lab.up()
    lab.fake.faults.add(STOP, **effect)
    machines.stop(lab.node)
    lab.fake.wait_for(NAME, "TERMINATED")
    assert stops(lab) == 1


def test_a_stop_of_what_is_stopping_or_stopped_asks_for_nothing(lab: Rig) -> None:
    lab.fake.settings.stopping_s = 0.05
    machines = lab.up()
    machines.stop(lab.node)
    lab.fake.wait_for(NAME, "STOPPING")
    machines.stop(lab.node)
    lab.fake.wait_for(NAME, "TERMINATED")
    machines.stop(lab.node)
    assert lab.fake.called(STOP) == 1


@pytest.mark.parametrize(
    ("effect", "kind"),
    [({"http": 403, "reason": "forbidden"}, CloudDenied), ({"http": 503}, CloudUnavailable)],
)
def test_a_stop_that_is_not_accepted_is_an_error(
    lab: Rig, effect: dict[str, Any], kind: type[YoyoError]
) -> None:
    machines = lab.up()
    lab.fake.faults.add(STOP, times=0, **effect)
    with pytest.raises(kind) as refusal:
        machines.stop(lab.node)
    assert refusal.value.fix
    assert lab.instance()["status"] == "RUNNING"
    lab.fake.faults.clear()
    machines.stop(lab.node)
    lab.fake.wait_for(NAME, "TERMINATED")


def test_a_stop_does_not_wait_for_ever_for_a_machine_that_is_not_ready(lab: Rig) -> None:
    machines = lab.up()
    lab.fake.faults.add(STOP, times=0, http=400, reason="resourceNotReady")
    with pytest.raises(YoyoError):
        machines.stop(lab.node)
    assert 60 < lab.clock.skipped < 180


def test_a_stop_where_the_machine_cannot_be_looked_for_is_an_error(lab: Rig) -> None:
    machines = lab.up()
    lab.fake.settings.unreachable_zones = {ZONE}
    with pytest.raises(CloudUnavailable):
        machines.stop(lab.node)


def test_a_stop_is_bounded_by_what_google_takes(lab: Rig) -> None:
    assert lab.machines().stop_bound_s(lab.node) >= lab.node.guards.stop_grace_s + 90


def test_a_running_machine_is_not_deleted(lab: Rig) -> None:
    machines = lab.up()
    with pytest.raises(NodeBusy) as refusal:
        machines.delete(lab.node)
    assert "RUNNING" in refusal.value.why
    assert lab.fake.called(DELETE) == 0


def test_deleting_removes_what_carries_the_nodes_label_and_nothing_else(lab: Rig) -> None:
    lab.up()
    machines = lab.down()
    add_disk(lab, "yoyo-l4-old", **{"yoyo-node": "l4"})
    add_disk(lab, "yoyo-other", **{"yoyo-node": "other"})
    add_disk(lab, "photos")
    with lab.fake.cloud.changed:
        lab.fake.cloud.put(
            "projects/lab-project/global/snapshots/yoyo-l4-move",
            {"kind": "compute#snapshot", "labels": {"yoyo-node": "l4"}},
        )
    machines.delete(lab.node)
    assert [path.rsplit("/", 1)[-1] for path in lab.fake.paths("disks")] == ["photos", "yoyo-other"]
    assert lab.fake.paths("snapshots") == lab.fake.paths("instances") == []
    assert lab.fake.paths("firewalls") == []
    assert machines.observe(lab.node) == Observation(MachineState.ABSENT)
    left = {each.name for each in (lab.place / "one" / "nodes").rglob("*") if each.is_file()}
    assert not left & {"key", "ssh_key", "seen.json", "seal-key.json", "sent-key.json"}


@pytest.mark.parametrize(
    "method",
    [
        DELETE,
        "compute.disks.aggregatedList",
        "compute.disks.delete",
        "compute.snapshots.list",
        "compute.addresses.aggregatedList",
        "compute.firewalls.delete",
    ],
)
def test_a_deletion_that_was_cut_short_goes_on(lab: Rig, method: str) -> None:
    lab.up()
    machines = lab.down()
    add_disk(lab, "yoyo-l4-old", **{"yoyo-node": "l4"})
    lab.fake.faults.add(method, http=403, reason="forbidden")
    with pytest.raises(CloudDenied):
        machines.delete(lab.node)
    machines.delete(lab.node)
    for kind in ("instances", "disks", "firewalls"):
        assert lab.fake.paths(kind) == []


@pytest.mark.parametrize("method", [DELETE, "compute.disks.delete", "compute.firewalls.delete"])
def test_what_is_gone_already_is_no_error(lab: Rig, method: str) -> None:
    lab.up()
    machines = lab.down()
    add_disk(lab, "yoyo-l4-old", **{"yoyo-node": "l4"})
    lab.fake.faults.add(method, http=404, after=True)
    machines.delete(lab.node)
    assert lab.fake.paths("instances") == lab.fake.paths("firewalls") == []


def test_an_unreachable_zone_keeps_everything(lab: Rig) -> None:
    lab.up()
    machines = lab.down()
    lab.fake.settings.unreachable_zones = {"europe-west4-a"}
    with pytest.raises(CloudUnavailable):
        machines.delete(lab.node)
    assert lab.zones() == [ZONE]
    assert (lab.place / "one" / "nodes" / "l4" / "key").exists()


def test_a_lease_that_cannot_be_renewed_is_no_error(lab: Rig) -> None:
    machines = lab.up()
    lab.fake.faults.add("compute.instances.setMetadata", http=403, times=0)
    machines.renew_lease(lab.node)
    lab.fake.faults.clear()
    lab.fake.auth.revoked = True
    machines.renew_lease(lab.node)


def test_another_life_can_follow_a_deletion(lab: Rig) -> None:
    lab.up()
    lab.down().delete(lab.node)
    lab.up(NEXT_LIFE)
    assert lab.instance()["labels"]["yoyo-request"] == NEXT_LIFE
    assert lab.machines().observe(lab.node).request_id != LIFE
