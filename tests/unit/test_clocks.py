"""Clocks that differ from the platform's: how that is measured, what is booked and said of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.clocks import clocks_of, skew_entries, skew_notes
from yoyo.core.lives import Life
from yoyo.drivers.gce import guest
from yoyo.drivers.gce.cloud import ahead_s
from yoyo.model.ids import ModuleId, NodeName
from yoyo.model.ledger import CLOCK_SKEW, CLOCK_STEP, LEDGER_NODE, SHARED, EventType
from yoyo.model.machine import Clocks

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIFE = Life("the-life", NodeName("l4"), ModuleId("acme"), NOON)


def operation(at: datetime) -> dict[str, str]:
    # As Google writes it: with milliseconds, and in the time of California.
    there = at.astimezone(datetime.strptime("-0800", "%z").tzinfo)
    return {"insertTime": there.isoformat(timespec="milliseconds")}


@given(
    skew_s=st.integers(-(10**6), 10**6),
    way_ms=st.integers(0, 1500),
    back_ms=st.integers(0, 1500),
)
def test_a_slow_answer_is_no_skew(skew_s: int, way_ms: int, back_ms: int) -> None:
    """Whatever the way there and back takes, the true skew is not exaggerated, and a host whose
    clock is right is never told that it is not."""
    sent = NOON + timedelta(seconds=skew_s)
    dated = NOON + timedelta(milliseconds=way_ms)
    answered = sent + timedelta(milliseconds=way_ms + back_ms)
    found = ahead_s(operation(dated), sent, answered)
    assert found is not None
    assert 0 <= found <= max(skew_s, 0) or min(skew_s, 0) <= found <= 0
    assert abs(skew_s - found) <= (way_ms + back_ms) / 1000 + 1


@pytest.mark.parametrize("skew_s", [-3600, -12, 0, 12, 3600])
def test_a_quick_answer_shows_the_skew(skew_s: int) -> None:
    sent = NOON + timedelta(seconds=skew_s)
    moment = timedelta(milliseconds=80)
    assert ahead_s(operation(NOON + moment), sent, sent + 2 * moment) == skew_s


def test_an_answer_that_took_long_says_nothing() -> None:
    """A host that is 30 s ahead would else be booked as right."""
    sent = NOON + timedelta(seconds=30)
    assert (
        ahead_s(operation(NOON + timedelta(seconds=20)), sent, sent + timedelta(seconds=40)) is None
    )


@pytest.mark.parametrize(
    "fields", [{}, {"insertTime": ""}, {"insertTime": "soon"}, {"insertTime": None}]
)
def test_an_operation_without_a_date_says_nothing(fields: dict[str, str]) -> None:
    assert ahead_s(fields, NOON, NOON) is None


def test_a_time_without_a_zone_says_nothing() -> None:
    assert ahead_s({"insertTime": "2026-11-22T12:00:00"}, NOON, NOON) is None


@pytest.mark.parametrize(
    ("said", "found"),
    [("0", 0), ("-3600", -3600), ("17", 17), ("", None), ("1.5", None), ("9" * 12, None),
     ("0x10", None), ("\u0663", None), ("12 13", None)],
)  # fmt: skip
def test_what_the_node_says_of_its_clock_is_checked(said: str, found: int | None) -> None:
    state = {"namespace": "yoyo", "key": "state", "value": f"clock {said}"}
    assert guest.read([state]).clock_s == found


def test_each_measured_clock_is_a_row_also_where_it_is_right() -> None:
    rows = list(skew_entries(LIFE, Clocks(node_s=0, here_s=-12), "alice"))
    assert [(row.module_id, row.node_id, row.job_id) for row in rows] == [
        ("acme", "l4", "skew/+0"), (SHARED, LEDGER_NODE, "skew/-12"),
    ]  # fmt: skip
    assert {(row.event_type, row.error_code, row.operator_id) for row in rows} == {
        (EventType.CHECKPOINT, CLOCK_SKEW, "alice")
    }
    assert not list(skew_entries(LIFE, Clocks(), "alice"))


def test_the_operator_is_told_of_clocks_that_are_off() -> None:
    assert not list(skew_notes(Clocks(node_s=2, here_s=-2)))
    node, here = skew_notes(Clocks(node_s=3, here_s=-7200))
    assert node.startswith("the node's clock is 3 s ahead of the platform's")
    assert here.startswith("the clock of this host is 7,200 s behind the platform's")


def test_what_was_booked_is_counted() -> None:
    booked = [
        *skew_entries(LIFE, Clocks(node_s=0, here_s=-12), "alice"),
        *skew_entries(LIFE, Clocks(node_s=40), "alice"),
        *skew_entries(LIFE, Clocks(node_s=-3), "alice"),
    ]
    found = clocks_of([*booked, booked[0]._replace(job_id="skew/soon")])
    assert found[:3] == (0, 4, 3)
    assert found.text().endswith(
        "held against the platform's 4 times; 3 were off by more than 2 s, at most by +40 s, "
        "that of node l4."
    )
    assert "that of the host" in clocks_of(booked[:2]).text()
    stepped = booked[0]._replace(error_code=CLOCK_STEP, job_id="clock/+12.345")
    right = clocks_of([stepped, booked[0]])
    assert right[:3] == (1, 1, 0)
    assert right.text().endswith("0 were off by more than 2 s.")
