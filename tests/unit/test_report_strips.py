"""The strip of a node: boots, hours up, and who ended them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from export_parts import at, entry, rows_of, story
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.report.drawing import node_strip
from yoyo.core.report.strips import STOPS, mark_of, strips_of
from yoyo.model.accounts import JobSums
from yoyo.model.ledger import CompletionStatus, EventType
from yoyo.ops.monitor import GUARD_OPERATOR

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def sums(hour: str, seconds: str, node: str = "l4-a") -> JobSums:
    return JobSums(hour, "acme", node, "", "", 1, 1, 1, 5, 0, Decimal(seconds), Decimal(0))


def test_a_life_that_crosses_the_month_is_cut_at_its_end() -> None:
    (october,) = strips_of(rows_of(story()), [], OCTOBER, NOVEMBER)
    (november,) = strips_of(rows_of(story()), [], NOVEMBER, at(60))

    assert [stop.mark for stop in october.stops] == ["O"]
    assert [stop.mark for stop in november.stops] == ["L", "F"]
    assert october.spells[-1].end == NOVEMBER == november.spells[0].start
    assert (october.boots, november.boots) == (2, 1)
    assert october.boot_seconds == Decimal(720)
    assert october.up_seconds == Decimal(7200) + 3600 * 10 - 360


def test_what_is_still_up_is_drawn_up_to_now() -> None:
    rows = rows_of(story()[:2])
    (strip,) = strips_of(rows, [], OCTOBER, at(5))
    assert strip.spells[-1].end == at(5)


def test_a_life_that_nobody_closed_is_drawn_no_further_than_its_last_row() -> None:
    made = [*story()[:2], *story()[9:11]]
    (strip,) = strips_of(rows_of(made), [], OCTOBER, at(31))

    assert strip.stops[0].mark == "?"
    assert strip.stops[0].at == at(0.1)
    assert strip.up_seconds == Decimal(3600 * 9 // 10)


def test_load_is_a_share_of_the_hour_and_never_more() -> None:
    jobs = [sums("2026-10-30T09", "1800"), sums("2026-10-30T09", "900"),
            sums("2026-10-30T10", "9000"), sums("2026-10-30T10", "1", "store")]  # fmt: skip
    (strip,) = strips_of([], jobs, OCTOBER, NOVEMBER)

    assert strip.load == {"2026-10-30T09": Decimal("0.75"), "2026-10-30T10": Decimal(1)}
    assert strip.jobs == 3


@pytest.mark.parametrize(
    ("code", "operator", "mark"),
    [
        ("", "alice", "O"),
        ("", GUARD_OPERATOR, "M"),
        ("GUARD_DEAD_MAN", "guard:dead-man", "D"),
        ("GUARD_PLATFORM_CAP", "guard:platform-cap", "P"),
        ("SPOT_PREEMPTED", "alice", "S"),
        ("NO_CAPACITY", "alice", "F"),
        ("SOMETHING_NEW", "alice", "F"),
        ("STOPPED_OUTSIDE", "alice", "X"),
        ("GUARD_NEW", "guard:new", "G"),
    ],
)
def test_who_ended_it(code: str, operator: str, mark: str) -> None:
    done = CompletionStatus.ERROR if code else CompletionStatus.SUCCESS
    end = entry(EventType.TEARDOWN_COMPLETE, "l", done, error_code=code, operator_id=operator)
    assert mark_of(rows_of([(at(0), end)])[0]) == mark
    assert mark in STOPS


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 4)), max_size=25))
def test_any_order_of_rows_can_be_drawn(steps: list[tuple[int, int]]) -> None:
    kinds = (
        EventType.BOOT_REQUEST,
        EventType.BOOT_COMPLETE,
        EventType.TEARDOWN_REQUEST,
        EventType.TEARDOWN_COMPLETE,
        EventType.PREEMPTION,
    )
    made = [
        (
            OCTOBER + timedelta(hours=hour),
            entry(kinds[kind], f"l{hour % 3}", CompletionStatus.SUCCESS),
        )
        for hour, kind in steps
    ]
    for strip in strips_of(rows_of(made), [], OCTOBER, NOVEMBER):
        assert all(OCTOBER <= each.start < each.end <= NOVEMBER for each in strip.spells)
        assert str(node_strip(strip, OCTOBER, 31, 0)).count("<svg") == 1
