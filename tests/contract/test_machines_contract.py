"""The machines port's contract. Every driver passes these tests as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from machines_contract import RIGS, Rig

from yoyo.errors import ForeignNode, NodeBusy
from yoyo.model.machine import MachineState, Observation, StopCause

LIFE = "0197f0c0-0000-7000-8000-000000000001"
NEXT_LIFE = "0197f0c0-0000-7000-8000-000000000002"


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path) as made:
        yield made


def up(rig: Rig, request_id: str = LIFE) -> Observation:
    rig.machines().create(rig.node, request_id)
    return rig.until(lambda seen: seen.endpoint is not None)


def down(rig: Rig) -> Observation:
    rig.machines().stop(rig.node)
    return rig.until_state(MachineState.STOPPED)


def files(place: Path) -> list[str]:
    return sorted(str(each) for each in place.rglob("*"))


def test_what_is_not_there_can_be_asked_stopped_renewed_and_deleted(rig: Rig) -> None:
    for _ in range(2):
        assert rig.observe() == Observation(MachineState.ABSENT)
        rig.machines().stop(rig.node)
        rig.machines().renew_lease(rig.node)
        rig.machines().delete(rig.node)
    assert rig.observe() == Observation(MachineState.ABSENT)


def test_plan_changes_nothing_and_lists_something(rig: Rig) -> None:
    before = files(rig.place)
    plan = rig.machines().plan(rig.node)
    assert plan.resources
    if plan.model is not None:
        assert plan.model.weight_bytes <= plan.model.file_bytes
    assert files(rig.place) == before
    assert rig.observe().state is MachineState.ABSENT


def test_a_created_machine_is_found_with_its_label_and_its_guards(rig: Rig) -> None:
    seen = up(rig)
    assert seen.state is MachineState.RUNNING
    assert seen.request_id == LIFE
    assert seen.started_at is not None
    assert seen.stopped_at is None
    assert seen.stop_cause is None
    promised = dict(rig.machines().caps(rig.node))
    assert {guard.name for guard in seen.guards} == set(promised)
    for guard in seen.guards:
        assert guard.armed
        assert guard.fires_at is not None
        # Both are the machine's own clock; creation to arming is not part of the promise.
        late = (guard.fires_at - seen.started_at).total_seconds()
        assert promised[guard.name] - 5 < late < promised[guard.name] + 5


def test_created_twice_is_one_machine(rig: Rig) -> None:
    first = up(rig)
    rig.machines().create(rig.node, LIFE)
    assert rig.observe() == first


def test_created_by_several_at_once_is_one_machine(rig: Rig) -> None:
    # A former life makes it harder: its records must not be taken for the new one's.
    up(rig, "0197f0c0-0000-7000-8000-000000000000")
    down(rig)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(rig.machines().create, rig.node, LIFE) for _ in range(8)]:
            done.result()
    first = rig.until(lambda seen: seen.endpoint is not None)
    assert first.request_id == LIFE
    down(rig)


def test_a_machine_of_another_life_is_not_taken_over(rig: Rig) -> None:
    first = up(rig)
    with pytest.raises(ForeignNode) as refusal:
        rig.machines().create(rig.node, NEXT_LIFE)
    assert refusal.value.fix
    assert rig.observe() == first


def test_stopped_is_stopped_and_says_why_and_when(rig: Rig) -> None:
    started = up(rig).started_at
    seen = down(rig)
    assert seen.request_id == LIFE
    assert seen.stop_cause is StopCause.ORDERED
    assert seen.started_at == started
    assert seen.stopped_at is not None
    assert started is not None
    assert seen.stopped_at >= started
    assert seen.endpoint is None
    rig.machines().stop(rig.node)
    assert rig.observe() == seen


def test_only_the_life_that_is_meant_is_stopped(rig: Rig) -> None:
    first = up(rig)
    with pytest.raises(ForeignNode) as refusal:
        rig.machines().stop(rig.node, NEXT_LIFE)
    assert refusal.value.fix
    assert rig.observe() == first
    rig.machines().stop(rig.node, LIFE)
    rig.until_state(MachineState.STOPPED)
    rig.machines().stop(rig.node, NEXT_LIFE)


def test_a_stop_that_comes_while_it_starts_counts(rig: Rig) -> None:
    rig.machines().create(rig.node, LIFE)
    seen = down(rig)
    assert seen.request_id == LIFE
    assert seen.stop_cause in (StopCause.ORDERED, None)


def test_a_running_machine_is_not_deleted(rig: Rig) -> None:
    first = up(rig)
    with pytest.raises(NodeBusy):
        rig.machines().delete(rig.node)
    assert rig.observe() == first


def test_a_stopped_machine_is_deleted_without_a_trace(rig: Rig) -> None:
    up(rig)
    down(rig)
    for _ in range(2):
        rig.machines().delete(rig.node)
        assert rig.observe() == Observation(MachineState.ABSENT)


def test_a_start_after_a_stop_is_a_life_of_its_own(rig: Rig) -> None:
    former = up(rig)
    end = down(rig)
    seen = up(rig, NEXT_LIFE)
    assert seen.request_id == NEXT_LIFE
    assert seen.stopped_at is None
    assert seen.stop_cause is None
    assert seen.started_at is not None
    assert end.stopped_at is not None
    assert seen.started_at >= end.stopped_at
    assert seen.endpoint is not None
    assert former.endpoint is not None
    assert seen.endpoint.key != former.endpoint.key


def test_renewing_the_lease_moves_the_dead_man_and_nothing_else(rig: Rig) -> None:
    def fires(seen: Observation) -> dict[str, object]:
        return {guard.name: guard.fires_at for guard in seen.guards}

    before = fires(up(rig))
    rig.machines().renew_lease(rig.node)
    after = fires(rig.until(lambda seen: fires(seen)["dead-man"] != before["dead-man"]))
    assert str(after.pop("dead-man")) > str(before.pop("dead-man"))
    assert after == before


def test_a_renewal_does_not_bring_back_what_has_stopped(rig: Rig) -> None:
    up(rig)
    seen = down(rig)
    rig.machines().renew_lease(rig.node)
    assert rig.observe() == seen
