"""When a session begins, and when a clock was set."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_lines import CYCLE, ledger

from yoyo.core.ledger_format import decode_row, encode_entry
from yoyo.core.session import (
    HostFacts,
    Marker,
    Stamp,
    clock_step,
    is_open,
    marker_text,
    read_marker,
    session_entry,
    session_record,
    step_entry,
)
from yoyo.model.ledger import CLOCK_STEP, LEDGER_NODE, SESSION, Row

BOOT = "78214a73-8df4-43a0-a5b1-2b0d3ec3e708"
FOUND = decode_row(ledger(CYCLE)[3], 4)
assert isinstance(FOUND, Row)
ROW: Row = FOUND
MARKER = Marker("/ledger.csv", BOOT, Decimal("1000.5"), ROW.seq, ROW.row_hash)
STAMP = Stamp(BOOT, Decimal("1000.5"))
EVENT = "019ab000-0000-7000-8000-000000000000"


def test_the_same_boot_and_ledger_is_one_session() -> None:
    assert is_open(MARKER, STAMP, "/ledger.csv", ROW)


@pytest.mark.parametrize(
    ("marker", "stamp", "ledger_path", "row"),
    [
        (None, STAMP, "/ledger.csv", ROW),
        (MARKER, Stamp("other", None), "/ledger.csv", ROW),
        (MARKER, STAMP, "/other.csv", ROW),
        (MARKER, STAMP, "/ledger.csv", None),
        (MARKER, STAMP, "/ledger.csv", ROW._replace(row_hash="0" * 64)),
    ],
)
def test_another_boot_ledger_or_history_begins_one(
    marker: Marker | None, stamp: Stamp, ledger_path: str, row: Row | None
) -> None:
    assert not is_open(marker, stamp, ledger_path, row)


@pytest.mark.parametrize(
    ("offset", "step"),
    [
        ("1002.5", None),
        ("998.5", None),
        ("1002.501", "2.001"),
        ("998.499", "-2.001"),
        ("4600.5", "3600.0"),
    ],
)
def test_a_clock_that_was_set_by_more_than_two_seconds_shows(offset: str, step: str | None) -> None:
    found = clock_step(MARKER, Stamp(BOOT, Decimal(offset)))
    assert found == (None if step is None else Decimal(step))


def test_small_steps_add_up_until_they_show() -> None:
    # The marker keeps the offset of the session until a step is booked.
    assert clock_step(MARKER, Stamp(BOOT, Decimal("1002"))) is None
    assert clock_step(MARKER, Stamp(BOOT, Decimal("1003.5"))) == Decimal("3.0")


def test_an_unknown_clock_is_no_step() -> None:
    assert clock_step(MARKER, Stamp(BOOT, None)) is None
    assert clock_step(MARKER._replace(offset_s=None), STAMP) is None


def test_the_rows_have_their_form() -> None:
    opened = session_entry(STAMP, "me", "sha256:" + "a" * 64)
    assert (opened.job_id, opened.error_code) == (f"session/{BOOT}", SESSION)
    assert (opened.module_id, opened.node_id) == ("shared", LEDGER_NODE)
    assert session_entry(Stamp("", None), "me", "").job_id == "session/unknown"
    stepped = step_entry(Decimal("12.3454"), "me")
    assert (stepped.job_id, stepped.error_code) == ("clock/+12.345", CLOCK_STEP)
    assert step_entry(Decimal("-2.0015"), "me").job_id == "clock/-2.002"


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_step_of_any_size_has_a_row(step: Decimal) -> None:
    encode_entry(step_entry(step, "me"), EVENT)


def test_unknown_stays_unknown_in_the_record() -> None:
    record = json.loads(session_record(Stamp("", None), HostFacts("", "", "", None), "0.6"))
    assert {record[name] for name in ("boot_id", "clock_source", "host", "kernel")} == {"unknown"}
    assert (record["synchronised"], record["wall_minus_boottime_s"]) == ("unknown", "unknown")


def test_a_marker_is_read_back() -> None:
    for marker in (MARKER, MARKER._replace(offset_s=None)):
        assert read_marker(marker_text(marker)) == marker


@given(st.binary(max_size=300))
def test_any_bytes_are_a_marker_or_none(text: bytes) -> None:
    read_marker(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.sampled_from(["version", "ledger", "boot_id", "offset_s", "seq", "row_hash"]), JSON)
def test_a_damaged_marker_is_none_or_one_that_can_be_used(field: str, value: object) -> None:
    fields = json.loads(marker_text(MARKER)) | {field: value}
    marker = read_marker(json.dumps(fields).encode())
    if marker is not None:
        assert is_open(marker, STAMP, "/ledger.csv", ROW) in (True, False)
        clock_step(marker, STAMP)
        assert marker.seq > 0


def test_the_time_is_not_part_of_the_decision() -> None:
    # Only the offset counts: a week later the same boot is the same session.
    later = ROW._replace(timestamp=datetime(2027, 1, 1, tzinfo=UTC))
    assert is_open(MARKER, STAMP, "/ledger.csv", later)
