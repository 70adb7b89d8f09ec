"""Times that people type: one meaning each, said where it is not plain, or refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.times import TimeUnclear, parse_time

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-10", at(2026, 10, 1)),
        ("2026-10-03", at(2026, 10, 3)),
        ("2026-10-03T14:00:00Z", at(2026, 10, 3, 14)),
        ("2026-10-03t14:00:00z", at(2026, 10, 3, 14)),
        ("2026-10-03 14:00Z", at(2026, 10, 3, 14)),
        ("2026-10-03T14:00:00.25Z", at(2026, 10, 3, 14, 0, 0, 250_000)),
        ("2026-10-03T14:00:00.123456789Z", at(2026, 10, 3, 14, 0, 0, 123_456)),
        ("2026-10-03T14:00:00+00:00", at(2026, 10, 3, 14)),
        ("7d", NOW - timedelta(days=7)),
        ("24h", NOW - timedelta(hours=24)),
        ("90m", NOW - timedelta(minutes=90)),
        ("2w", NOW - timedelta(weeks=2)),
        (" 2026-10 ", at(2026, 10, 1)),
    ],
)
def test_a_plain_time_needs_no_note(text: str, wanted: datetime) -> None:
    assert parse_time(text, NOW) == (wanted, "")


@pytest.mark.parametrize(
    ("text", "wanted", "note"),
    [
        ("2026-10-03T14:00:00", at(2026, 10, 3, 14), "read as UTC"),
        ("2026-10-03T14:00:00+02:00", at(2026, 10, 3, 12), "is 2026-10-03T12:00:00Z"),
        ("2026-10-03T23:30:00-07:00", at(2026, 10, 4, 6, 30), "is 2026-10-04T06:30:00Z"),
    ],
)
def test_a_local_time_is_read_and_said_to_be(text: str, wanted: datetime, note: str) -> None:
    found = parse_time(text, NOW)
    assert found.at == wanted
    assert note in found.note


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026",
        "20261003",
        "2026-13",
        "2026-02-30",
        "0000-01-01",
        "2026-10-03T24:00:00Z",
        "2026-10-03T23:59:60Z",
        "2026-10-03T14:00:00 CET",
        "2026-10-03T14:00:00 Europe/Berlin",
        "2026-10-03T14:00:00+25:00",
        "2026-10-03T14:00:00+02:75",
        "2026-10-03T14",
        "0001-01-01T00:00:00+02:00",
        "9999-12-31T23:59:59-02:00",
        "999999999w",
        "-7d",
        "7 d",
        "\u0667d",
        "2026-10-03T14:00:00Z\x1b[31m",
    ],
)
def test_what_is_unclear_is_refused_in_safe_words(text: str) -> None:
    with pytest.raises(TimeUnclear) as caught:
        parse_time(text, NOW)
    assert str(caught.value).isprintable()


@given(st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?.{0,8}"))
def test_any_text_is_a_utc_time_or_refused(text: str) -> None:
    try:
        found = parse_time(text, NOW)
    except TimeUnclear:
        return
    assert found.at.utcoffset() == timedelta(0)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001 - hypothesis adds it
    st.integers(-14 * 60, 14 * 60),
)
def test_an_offset_never_changes_the_moment(naive: datetime, minutes: int) -> None:
    there = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_time(there.isoformat(), NOW).at == there
