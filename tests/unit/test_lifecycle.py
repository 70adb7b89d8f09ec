"""Report and cost put the end of a life down to the same one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from export_parts import Made, at, entry, rows_of

from yoyo.core.cost.spells import spells_of
from yoyo.core.lifecycle import ENDS, guard_of
from yoyo.core.report.strips import GUARDS, STOPS, strips_of
from yoyo.model.ledger import CompletionStatus, EventType
from yoyo.ops.monitor import GUARD_OPERATOR

E, C = EventType, CompletionStatus
OCTOBER, NOVEMBER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)


def life(kind: EventType, code: str, status: CompletionStatus, by: str, stopper: str) -> Made:
    made = [(at(0), entry(E.BOOT_REQUEST, "l", C.PENDING)), (at(1), entry(E.BOOT_COMPLETE, "l"))]
    if stopper:
        made.append((at(2), entry(E.TEARDOWN_REQUEST, "l", C.PENDING, operator_id=stopper)))
    made.append((at(3), entry(kind, "l", status, error_code=code, operator_id=by)))
    return made


CASES = [
    # kind, code, status, who booked it, who asked for the stop -> whom it is put down to
    (E.TEARDOWN_COMPLETE, "", C.SUCCESS, "alice", "alice", "operator"),
    (E.TEARDOWN_COMPLETE, "", C.SUCCESS, GUARD_OPERATOR, GUARD_OPERATOR, "monitor"),
    (E.TEARDOWN_COMPLETE, "", C.SUCCESS, "alice", GUARD_OPERATOR, "monitor"),
    (E.TEARDOWN_COMPLETE, "MACHINE_GONE", C.ERROR, "alice", GUARD_OPERATOR, "monitor"),
    (E.TEARDOWN_COMPLETE, "MACHINE_GONE", C.ERROR, "alice", "bob", "operator"),
    (E.PREEMPTION, "MACHINE_GONE", C.ERROR, GUARD_OPERATOR, "", "outside"),
    # Alice's `down` was killed, and the monitor finished it.
    (E.TEARDOWN_COMPLETE, "", C.SUCCESS, GUARD_OPERATOR, "alice", "operator"),
    (E.TEARDOWN_COMPLETE, "MACHINE_GONE", C.ERROR, GUARD_OPERATOR, "alice", "operator"),
    (E.PREEMPTION, "GUARD_DEAD_MAN", C.PREEMPTED, "guard:dead-man", "", "dead-man"),
    (E.PREEMPTION, "GUARD_UNREACHABLE", C.PREEMPTED, "guard:dead-man", "", "dead-man"),
    (E.PREEMPTION, "GUARD_LIFETIME", C.PREEMPTED, "alice", "", "lifetime"),
    (E.PREEMPTION, "GUARD_PLATFORM_CAP", C.PREEMPTED, "alice", "", "platform-cap"),
    (E.PREEMPTION, "GUARD_NEW", C.PREEMPTED, "guard:new", "", "new"),
    (E.PREEMPTION, "SPOT_PREEMPTED", C.PREEMPTED, "alice", "", "platform"),
    (E.PREEMPTION, "HOST_ERROR", C.ERROR, "alice", "", "platform"),
    # The monitor was the first to see it, and had no part in it.
    (E.PREEMPTION, "SPOT_PREEMPTED", C.PREEMPTED, GUARD_OPERATOR, "", "platform"),
    (E.PREEMPTION, "STOPPED_OUTSIDE", C.PREEMPTED, GUARD_OPERATOR, "", "outside"),
    (E.PREEMPTION, "ENGINE_EXITED", C.ERROR, GUARD_OPERATOR, "", "fault"),
    (E.TEARDOWN_COMPLETE, "BOOT_ABANDONED", C.ERROR, GUARD_OPERATOR, "", "fault"),
    (E.TEARDOWN_COMPLETE, "NO_CAPACITY", C.ERROR, "alice", "", "fault"),
    (E.PREEMPTION, "SOMETHING_NEW", C.ERROR, "alice", "", "fault"),
]


@pytest.mark.parametrize(("kind", "code", "status", "by", "stopper", "guard"), CASES)
def test_report_and_cost_name_the_same_culprit(
    kind: EventType, code: str, status: CompletionStatus, by: str, stopper: str, guard: str
) -> None:
    rows = rows_of(life(kind, code, status, by, stopper))
    (strip,) = strips_of(rows, [], OCTOBER, NOVEMBER)

    assert guard_of(rows[-1], stopper) == guard
    assert [spell.guard for spell in spells_of(rows).spells] == [guard]
    assert [GUARDS.get(stop.mark, "new") for stop in strip.stops] == [guard]


def test_every_word_has_a_letter_of_its_own() -> None:
    assert set(ENDS.values()) <= set(GUARDS.values())
    assert len(set(GUARDS.values())) == len(GUARDS)
    assert set(GUARDS) <= set(STOPS)


def test_a_machine_that_was_found_by_chance_is_drawn() -> None:
    rows = rows_of([
        (at(2), entry(E.TEARDOWN_REQUEST, "stray", C.PENDING)),
        (at(3), entry(E.TEARDOWN_COMPLETE, "stray")),
    ])  # fmt: skip
    (strip,) = strips_of(rows, [], OCTOBER, NOVEMBER)

    assert [(each.start, each.end, each.is_boot) for each in strip.spells] == [
        (at(2), at(3), False)
    ]
    assert (strip.boots, len(spells_of(rows).spells)) == (0, 1)
