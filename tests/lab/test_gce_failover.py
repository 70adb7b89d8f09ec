"""The GCE driver looks for capacity: the next zone, the next region, later, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import ZONES
from gce_parts import FULL, INSERT, LIFE, NAME, NEXT_LIFE, SET_METADATA, START, Rig, rig

from yoyo.errors import BootFailed, CloudUnavailable, NoCapacity, QuotaExceeded, YoyoError
from yoyo.model.machine import MachineState

A, B, EAST = ZONES
ZONE_CODES = (
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "RESOURCE_POOL_EXHAUSTED",
    "GPU_STOCKOUT",
    "insufficientCapacity",
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def full(lab: Rig, zone: str = "*", times: int = 0, code: str = FULL, method: str = INSERT) -> None:
    lab.fake.faults.add(method, zone=zone, times=times, operation_error=code)


@pytest.mark.parametrize("code", ZONE_CODES)
def test_a_full_zone_leads_to_the_next_one(lab: Rig, code: str) -> None:
    full(lab, A, code=code)
    machines = lab.up()
    assert lab.tried() == [A, B]
    assert lab.zones() == lab.zones("disks") == [B]
    (note,) = [note for note in machines.plan(lab.node).notes if "no capacity" in note]
    assert note.startswith(A)


def test_a_zone_that_cannot_is_passed_over_but_is_not_called_full(lab: Rig) -> None:
    full(lab, A, code="UNSUPPORTED_OPERATION")
    machines = lab.up()
    assert lab.zones() == [B]
    assert not [note for note in machines.plan(lab.node).notes if "no capacity" in note]


def test_a_full_region_leads_to_the_next_one(lab: Rig) -> None:
    full(lab, A, code="REGION_RESOURCE_POOL_EXHAUSTED")
    lab.up()
    assert lab.tried() == [A, EAST]
    assert lab.zones() == lab.zones("disks") == [EAST]


def test_a_regions_quota_leads_to_the_next_region(lab: Rig) -> None:
    full(lab, "us-central1-*", code="QUOTA_EXCEEDED")
    lab.up()
    assert lab.tried() == [A, EAST]


def test_a_quota_that_the_call_itself_is_refused_for_is_understood_too(lab: Rig) -> None:
    message = "Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 0.0 in region us-central1."
    lab.fake.faults.add(INSERT, zone=A, times=0, http=403, reason="quotaExceeded", message=message)
    lab.up()
    assert lab.tried() == [A, EAST]


def test_no_quota_in_any_region(lab: Rig) -> None:
    lab.fake.settings.region_quotas["NVIDIA_L4_GPUS"] = 0
    with pytest.raises(QuotaExceeded) as refusal:
        lab.machines().create(lab.but(max_wait_s=7200), LIFE)
    assert lab.tried() == [A, EAST]
    assert "quotas" in refusal.value.fix
    assert lab.clock.skipped == 0  # a quota does not grow by waiting
    assert lab.zones() == lab.zones("disks") == []


def test_the_quota_of_all_regions_ends_the_search(lab: Rig) -> None:
    lab.fake.settings.quotas["GPUS_ALL_REGIONS"] = 0
    with pytest.raises(QuotaExceeded) as refusal:
        lab.machines().create(lab.but(max_wait_s=7200), LIFE)
    assert lab.tried() == [A]
    assert "GPUS_ALL_REGIONS" in refusal.value.why
    assert lab.zones() == lab.zones("disks") == []


def test_no_zone_has_any_and_nothing_is_left_behind(lab: Rig) -> None:
    full(lab)
    with pytest.raises(NoCapacity) as refusal:
        lab.up()
    assert lab.tried() == list(ZONES)
    assert "--max-wait" in refusal.value.fix
    assert [line.split(":")[0] for line in refusal.value.details] == list(ZONES)
    assert lab.zones() == lab.zones("disks") == []
    assert lab.machines().observe(lab.node).state is MachineState.ABSENT
    # What is remembered outlives the command, and a later start is not kept from trying.
    notes = lab.machines().plan(lab.node).notes
    assert sum("had no capacity at" in note for note in notes) == len(ZONES)
    lab.fake.faults.clear()
    lab.up(NEXT_LIFE)
    assert lab.zones() == [A]


def test_spot_is_asked_for_everywhere_before_standard(lab: Rig) -> None:
    full(lab, times=3)
    lab.machines().create(lab.but(provisioning="spot-then-standard"), LIFE)
    assert lab.tried() == [*ZONES, A]
    assert lab.instance()["scheduling"]["provisioningModel"] == "STANDARD"


def test_a_spot_machine_stops_and_stays_when_it_is_preempted(lab: Rig) -> None:
    node = lab.but(provisioning="spot-then-standard")
    lab.machines().create(node, LIFE)
    assert lab.tried() == [A]
    scheduling = lab.instance()["scheduling"]
    assert scheduling["provisioningModel"] == "SPOT"
    assert scheduling["instanceTerminationAction"] == "STOP"
    assert scheduling["automaticRestart"] is False


def test_a_spot_quota_does_not_rule_out_standard(lab: Rig) -> None:
    lab.fake.settings.region_quotas["PREEMPTIBLE_NVIDIA_L4_GPUS"] = 0
    lab.machines().create(lab.but(provisioning="spot-then-standard"), LIFE)
    assert lab.tried() == [A, EAST, A]
    assert lab.instance()["scheduling"]["provisioningModel"] == "STANDARD"


def test_waiting_asks_every_zone_again_and_again(lab: Rig) -> None:
    full(lab, times=6)
    lab.machines().create(lab.but(max_wait_s=3600), LIFE)
    assert lab.tried() == [*ZONES, *ZONES, A]
    assert 45 <= lab.clock.skipped <= 60  # 15 s and 30 s, and a quarter more at most
    assert lab.zones() == [A]


def test_waiting_has_an_end(lab: Rig) -> None:
    full(lab)
    with pytest.raises(NoCapacity) as refusal:
        lab.machines().create(lab.but(max_wait_s=100), LIFE)
    assert lab.clock.skipped <= 100
    assert lab.tried() == list(ZONES) * 3
    assert " s." in refusal.value.why


def test_waiting_is_ended_by_a_stop_from_another_command(lab: Rig) -> None:
    full(lab)

    def meanwhile() -> None:
        if lab.clock.skipped > 20:
            lab.clock.on_sleep = lambda: None
            lab.machines().stop(lab.node)
            lab.fake.faults.clear()  # capacity comes back, too late

    lab.clock.on_sleep = meanwhile
    with pytest.raises(BootFailed) as refusal:
        lab.machines().create(lab.but(max_wait_s=7200), LIFE)
    assert "cut off" in refusal.value.what
    assert lab.zones() == lab.zones("disks") == []
    lab.up(NEXT_LIFE)  # the stop was meant for the start before
    assert lab.zones() == [A]


def test_a_stop_during_an_insert_that_then_fails_ends_the_search(lab: Rig) -> None:
    lab.fake.settings.provisioning_s = 0.05
    full(lab, A)
    seen = []

    def meanwhile() -> None:
        # The wait is answered 503 once: the driver pauses while the machine is being made.
        lab.clock.on_sleep = lambda: None
        seen.append(lab.fake.wait_for(NAME, "PROVISIONING")["zone"].rsplit("/", 1)[-1])
        lab.machines().stop(lab.node)

    lab.clock.on_sleep = meanwhile
    lab.fake.faults.add("compute.zoneOperations.wait", http=503)
    with pytest.raises(BootFailed):
        lab.up()
    assert seen == [A]
    assert lab.zones() == []


def test_a_zone_that_gives_no_answer_is_no_full_zone(lab: Rig) -> None:
    lab.fake.faults.add(INSERT, zone=A, http=503, times=0)
    with pytest.raises(CloudUnavailable):
        lab.up()
    assert set(lab.tried()) == {A}  # it may have happened there: trying elsewhere makes two


# A stopped node whose zone is full.


def stopped(lab: Rig) -> None:
    lab.up()
    lab.down()
    full(lab, A, method=START)


def test_a_stopped_node_in_a_full_zone_stays_where_it_is(lab: Rig) -> None:
    stopped(lab)
    with pytest.raises(NoCapacity) as refusal:
        lab.up(NEXT_LIFE)
    assert A in refusal.value.what
    assert "--relocate" in refusal.value.fix
    assert lab.zones() == lab.zones("disks") == [A]
    assert lab.fake.paths("snapshots") == []
    assert any(A in note for note in lab.machines().plan(lab.node).notes if "capacity" in note)
    seen = lab.machines().observe(lab.node)
    assert (seen.state, seen.started_at) == (MachineState.STOPPED, None)


def test_a_node_moves_with_its_data_and_keeps_the_old_place_until_it_is_healthy(lab: Rig) -> None:
    stopped(lab)
    full(lab, B)
    node = lab.but(relocate=True)
    old_disk = lab.fake.cloud.resources[lab.fake.paths("disks")[0]]["id"]
    machines = lab.machines()
    machines.create(node, NEXT_LIFE)
    assert sorted(lab.zones()) == sorted(lab.zones("disks")) == [A, EAST]
    (snapshot,) = lab.fake.paths("snapshots")
    new = lab.fake.cloud.resources[next(p for p in lab.fake.paths("disks") if EAST in p)]
    assert new["sourceSnapshot"].endswith(snapshot)
    assert lab.fake.cloud.resources[snapshot]["sourceDiskId"] == old_disk
    seen = lab.machines().observe(node)
    assert (seen.state, seen.request_id) == (MachineState.RUNNING, NEXT_LIFE)
    assert seen.started_at is not None

    machines.settled_in(node)

    assert lab.zones() == lab.zones("disks") == [EAST]
    assert lab.fake.paths("snapshots") == []
    assert lab.machines().observe(node) == seen


def test_settling_in_where_nothing_moved_removes_nothing(lab: Rig) -> None:
    node = lab.but(relocate=True)
    machines = lab.up()
    machines.settled_in(node)
    assert lab.zones() == lab.zones("disks") == [A]


@pytest.mark.parametrize(
    ("method", "effect"),
    [
        ("compute.disks.createSnapshot", {"operation_error": "INTERNAL_ERROR"}),
        ("compute.disks.createSnapshot", {"http": 403, "reason": "forbidden"}),
        (INSERT, {"operation_error": FULL, "times": 0}),
        (INSERT, {"http": 503, "times": 0}),
    ],
)
def test_a_move_that_fails_can_be_made_again_and_loses_nothing(
    lab: Rig, method: str, effect: dict[str, Any]
) -> None:
    stopped(lab)
    node = lab.but(relocate=True)
    lab.fake.faults.add(method, **effect)
    with pytest.raises(YoyoError):
        lab.machines().create(node, NEXT_LIFE)
    assert lab.zones() == lab.zones("disks") == [A]
    assert lab.machines().observe(node).state is MachineState.STOPPED
    lab.fake.faults.clear()
    full(lab, A, method=START)
    lab.machines().create(node, NEXT_LIFE)
    lab.machines().settled_in(node)
    assert lab.zones() == lab.zones("disks") == [B]
    assert lab.fake.paths("snapshots") == []


def test_a_stop_ends_a_move_under_way(lab: Rig) -> None:
    stopped(lab)
    full(lab, B)

    def meanwhile() -> None:
        lab.clock.on_sleep = lambda: None
        lab.machines().stop(lab.node)

    lab.clock.on_sleep = meanwhile
    lab.fake.faults.add("compute.zoneOperations.wait", http=503, nth=1)
    lab.fake.faults.add("compute.globalOperations.wait", http=503)
    with pytest.raises(BootFailed):
        lab.machines().create(lab.but(relocate=True), NEXT_LIFE)
    assert lab.zones() == [A]


def test_a_stop_ends_a_restart_that_has_not_started_it_yet(lab: Rig) -> None:
    lab.up()
    lab.down()
    before = lab.fake.called(START)

    def meanwhile() -> None:
        lab.clock.on_sleep = lambda: None
        lab.machines().stop(lab.node)

    lab.clock.on_sleep = meanwhile
    lab.fake.faults.add(SET_METADATA, http=412, reason="conditionNotMet")
    with pytest.raises(BootFailed):
        lab.up(NEXT_LIFE)
    assert lab.instance()["status"] == "TERMINATED"
    assert lab.fake.called(START) == before


def test_a_move_that_finds_no_place_leaves_no_snapshot(lab: Rig) -> None:
    stopped(lab)
    full(lab)
    with pytest.raises(NoCapacity):
        lab.machines().create(lab.but(relocate=True), NEXT_LIFE)
    assert lab.fake.called("compute.disks.createSnapshot") == 1
    assert lab.fake.paths("snapshots") == []


def test_a_node_cannot_move_where_there_is_one_zone(lab: Rig) -> None:
    stopped(lab)
    with pytest.raises(NoCapacity) as refusal:
        lab.machines().create(lab.but(relocate=True, zones=(A,)), NEXT_LIFE)
    assert "Add zones" in refusal.value.fix
    assert lab.fake.paths("snapshots") == []
