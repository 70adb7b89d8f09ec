"""Ledger against machine: what is booked for every pair of states."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sample_node import NODE

from yoyo.core.lives import Book, Life, OpenJob
from yoyo.core.settle import closing, settle_jobs, settle_life
from yoyo.core.state import node_state
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.machine import MachineState, Observation, StopCause
from yoyo.model.status import NodeState

T0 = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
REQUESTED = Life("ours", "local", "demo", T0)
BOOTED = Life("ours", "local", "demo", T0, booted_at=T0)
STOPPING = Life("ours", "local", "demo", T0, booted_at=T0, teardown_at=T0 + HOUR)
ABSENT = Observation(MachineState.ABSENT)
RUNNING = Observation(MachineState.RUNNING, "ours", started_at=T0)


def stopped(cause: StopCause, request_id: str = "ours") -> Observation:
    return Observation(
        MachineState.STOPPED,
        request_id,
        started_at=T0,
        stopped_at=T0 + HOUR,
        stop_cause=cause,
    )


def settled(life: Life | None, seen: Observation, healthy: bool = False) -> Entry | None:
    return settle_life(life, seen, healthy=healthy, node=NODE, operator="alice")


@pytest.mark.parametrize(
    ("life", "seen"),
    [
        (None, ABSENT),
        (None, RUNNING),
        (BOOTED, RUNNING),
        (STOPPING, RUNNING),
        (REQUESTED, RUNNING),
        (BOOTED, Observation(MachineState.UNKNOWN)),
        (REQUESTED, Observation(MachineState.UNKNOWN)),
        (REQUESTED, Observation(MachineState.PROVISIONING, "ours")),
    ],
)
def test_nothing_is_booked_while_nothing_is_certain(life: Life | None, seen: Observation) -> None:
    assert settled(life, seen) is None


def test_a_boot_that_was_killed_before_it_was_booked_is_completed() -> None:
    entry = settled(REQUESTED, RUNNING, healthy=True)
    assert entry is not None
    assert entry.event_type is EventType.BOOT_COMPLETE


def test_a_boot_that_never_reached_the_platform_cost_a_known_nothing() -> None:
    for seen in (ABSENT, stopped(StopCause.ORDERED, "an older life")):
        entry = settled(REQUESTED, seen)
        assert entry is not None
        assert (entry.event_type, entry.error_code) == (
            EventType.TEARDOWN_COMPLETE,
            "BOOT_ABANDONED",
        )
        assert (entry.gpu_seconds, entry.cost_usd) == (Decimal("0.000"), Decimal("0.000000"))


def test_an_ordered_stop_is_a_success_with_the_platforms_seconds() -> None:
    entry = settled(STOPPING, stopped(StopCause.ORDERED))
    assert entry is not None
    assert entry.event_type is EventType.TEARDOWN_COMPLETE
    assert entry.completion_status is CompletionStatus.SUCCESS
    assert (entry.gpu_seconds, entry.cost_usd) == (Decimal("3600.000"), Decimal("0.710000"))


@pytest.mark.parametrize(
    ("cause", "code", "operator", "status"),
    [
        (StopCause.LIFETIME, "GUARD_LIFETIME", "guard:lifetime", CompletionStatus.PREEMPTED),
        (StopCause.DEAD_MAN, "GUARD_DEAD_MAN", "guard:dead-man", CompletionStatus.PREEMPTED),
        (StopCause.UNREACHABLE, "GUARD_UNREACHABLE", "guard:dead-man", CompletionStatus.PREEMPTED),
        (StopCause.ORDERED, "STOPPED_OUTSIDE", "alice", CompletionStatus.PREEMPTED),
        (StopCause.ENGINE_EXITED, "ENGINE_EXITED", "alice", CompletionStatus.ERROR),
        (StopCause.SUPERVISOR_LOST, "SUPERVISOR_LOST", "alice", CompletionStatus.ERROR),
        (StopCause.PREEMPTED, "SPOT_PREEMPTED", "alice", CompletionStatus.PREEMPTED),
        (
            StopCause.PLATFORM_CAP,
            "GUARD_PLATFORM_CAP",
            "guard:platform-cap",
            CompletionStatus.PREEMPTED,
        ),
        (StopCause.HOST_ERROR, "HOST_ERROR", "alice", CompletionStatus.ERROR),
        (StopCause.POWERED_OFF, "POWERED_OFF_INSIDE", "alice", CompletionStatus.ERROR),
    ],
)
def test_a_stop_that_nobody_ordered_is_a_preemption_with_its_cause(
    cause: StopCause, code: str, operator: str, status: CompletionStatus
) -> None:
    entry = settled(BOOTED, stopped(cause))
    assert entry is not None
    assert entry.event_type is EventType.PREEMPTION
    assert (entry.error_code, entry.operator_id, entry.completion_status) == (
        code,
        operator,
        status,
    )
    assert entry.cost_usd == Decimal("0.710000")


def test_a_booted_machine_that_vanished_cost_an_unknown_sum() -> None:
    entry = settled(BOOTED, ABSENT)
    assert entry is not None
    assert (entry.event_type, entry.error_code) == (EventType.PREEMPTION, "MACHINE_GONE")
    assert entry.gpu_seconds is None
    assert entry.cost_usd is None


def test_a_failed_boot_keeps_the_reason_of_whoever_gave_up() -> None:
    failure = (CompletionStatus.TIMEOUT, "BOOT_TIMEOUT")
    entry = closing(
        REQUESTED, stopped(StopCause.ORDERED), node=NODE, operator="alice", failure=failure
    )
    assert (entry.event_type, entry.completion_status, entry.error_code) == (
        EventType.TEARDOWN_COMPLETE,
        *failure,
    )


def test_only_jobs_past_their_lease_are_closed() -> None:
    book = Book()
    for name, node, age in (("old", "local", 0), ("new", "local", 500), ("far", "x", 0)):
        book.open_jobs[name] = OpenJob(name, node, "demo", T0 + timedelta(seconds=age), "")
    entries = settle_jobs(book, "local", T0 + timedelta(seconds=901), 900, "alice")
    assert [entry.job_id for entry in entries] == ["old"]
    assert entries[0].completion_status is CompletionStatus.TIMEOUT


@pytest.mark.parametrize(
    ("life", "seen", "healthy", "state"),
    [
        (None, ABSENT, False, NodeState.ABSENT),
        (REQUESTED, ABSENT, False, NodeState.PROVISIONING),
        (REQUESTED, Observation(MachineState.PROVISIONING), False, NodeState.PROVISIONING),
        (REQUESTED, RUNNING, False, NodeState.BOOTING),
        (REQUESTED, RUNNING, True, NodeState.READY),
        (BOOTED, RUNNING, True, NodeState.READY),
        (BOOTED, RUNNING, False, NodeState.UNKNOWN),
        (STOPPING, RUNNING, True, NodeState.STOPPING),
        (BOOTED, Observation(MachineState.STOPPING, "ours"), False, NodeState.STOPPING),
        (BOOTED, Observation(MachineState.UNKNOWN), False, NodeState.UNKNOWN),
        (None, stopped(StopCause.ORDERED), False, NodeState.STOPPED),
    ],
)
def test_state_in_one_word(
    life: Life | None, seen: Observation, healthy: bool, state: NodeState
) -> None:
    assert node_state(life, seen, healthy=healthy)[0] is state


def test_a_life_that_ended_in_error_leaves_the_node_failed() -> None:
    dead = Life("ours", "local", "demo", T0, closed_at=T0 + HOUR, status=CompletionStatus.ERROR)
    assert node_state(dead, stopped(StopCause.ENGINE_EXITED), healthy=False)[0] is NodeState.FAILED
