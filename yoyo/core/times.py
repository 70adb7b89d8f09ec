"""Reads the times that people type, and always says which moment was understood. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

# What `--since` and `--until` accept, for help texts and mistakes.
FORMS = "2026-10, 2026-10-03, 2026-10-03T14:00:00Z, 7d or 24h"

_DATE = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?\Z", re.ASCII)
_STAMP = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.](\d{1,9}))?)?(.*)\Z", re.ASCII
)
_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})\Z", re.ASCII)
_AGO = re.compile(r"(\d{1,9})([smhdw])\Z", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class TimeUnclear(ValueError):
    """The text is no time, or one that could be several; the message says why."""


class Moment(NamedTuple):
    """A time as it was understood."""

    at: datetime  # aware, UTC
    note: str  # "", or what the reader of the text has to be told about how it was read


def parse_time(text: str, now: datetime) -> Moment:
    """Read a month or a day (its first moment), an RFC 3339 time, or how long ago.

    Everything is UTC. A time without a zone is read as UTC, one with an offset is converted,
    and `note` says so in both cases. `now` is aware; `7d` counts back from it.

    Raises:
        TimeUnclear: another form, no date of the calendar, or a zone by its name, which is
            not the same hour in summer and in winter.
    """
    text = text.strip()
    ago = _AGO.match(text)
    try:
        if ago is not None:
            seconds = int(ago[1]) * _UNIT_S[ago[2]]
            return Moment(now.astimezone(UTC) - timedelta(seconds=seconds), "")
        date = _DATE.match(text)
        if date is not None:
            return Moment(datetime(int(date[1]), int(date[2]), int(date[3] or 1), tzinfo=UTC), "")
        return _stamp(text)
    except TimeUnclear:
        raise
    except (ValueError, OverflowError):
        raise TimeUnclear(f"{_shown(text)} is no date of the calendar") from None


def _stamp(text: str) -> Moment:
    found = _STAMP.match(text)
    if found is None:
        raise TimeUnclear(f"{_shown(text)} is no time; write {FORMS}")
    year, month, day, hour, minute = (int(found[n]) for n in range(1, 6))
    if found[6] == "60":
        raise TimeUnclear(f"{_shown(text)} is a leap second, which UTC clocks here do not show")
    micros = int((found[7] or "").ljust(9, "0")[:6])
    read = datetime(year, month, day, hour, minute, int(found[6] or 0), micros, tzinfo=UTC)
    zone = found[8].strip()
    if zone in ("Z", "z"):
        return Moment(read, "")
    if not zone:
        return Moment(read, f"{_shown(text)} has no zone: read as UTC")
    offset = _OFFSET.match(zone)
    if offset is None:
        raise TimeUnclear(
            f"{_shown(text)} names a zone that is not read; write Z, or an offset such as +02:00"
        )
    minutes = int(offset[2]) * 60 + int(offset[3])
    if int(offset[2]) > 23 or int(offset[3]) > 59:
        raise TimeUnclear(f"{_shown(text)} has an offset that does not exist")
    at = read + timedelta(minutes=minutes if offset[1] == "-" else -minutes)
    return Moment(at, f"{_shown(text)} is {at:%Y-%m-%dT%H:%M:%SZ}" if minutes else "")


def _shown(text: str) -> str:
    return ascii(text[:60])
