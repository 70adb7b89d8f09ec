"""What a stretch of a ledger's rows can hold, so that it need not be read for what it cannot. Pure.

Of each stretch the lowest and highest time, event_id and job_id are kept, and a 32-bit
fingerprint of each input_hash. They say where a row may be, never that it is there.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from zlib import crc32

from yoyo.core.ledger_format import timestamp_text
from yoyo.model.row_filter import RowFilter

ZONE_ROWS = 4096  # about 1 MB of lines
PRINT_BYTES = 4
_ID_CHARS = 36  # a UUIDv7, whose order is that of time: what is kept apart by its bounds


class Bounds(NamedTuple):
    """The lowest and the highest, by their characters; "" for both where there is none."""

    low: str = ""
    high: str = ""

    def joined(self, fields: Sequence[bytes]) -> Bounds:
        """Wide enough for these, too."""
        if not fields:
            return self
        low, high = min(fields).decode(), max(fields).decode()
        return Bounds(min(self.low, low), max(self.high, high)) if self.high else Bounds(low, high)

    def may_hold(self, values: Iterable[str]) -> bool:
        """Whether one of them lies between the two."""
        return any(self.low <= value <= self.high for value in values)


class Zone(NamedTuple):
    """Consecutive rows, and what they can hold."""

    first: int  # seq
    last: int  # seq
    times: Bounds = Bounds()
    events: Bounds = Bounds()
    jobs: Bounds = Bounds()  # of those with the length of a UUID
    prints: int = 0  # how many fingerprints it has


class ZoneMaker:
    """Feed the columns of rows in order; whole zones come out."""

    def __init__(self, next_seq: int | None = None) -> None:
        """`next_seq`: that of the first row to come; None: whatever it is."""
        self.next_seq = next_seq
        self.row_hash = ""  # of the newest row
        self.sound = True  # until a number does not follow on the one above
        self._zone: Zone | None = None
        self._prints = set[int]()

    def rows(self, columns: list[list[bytes]]) -> tuple[Zone, bytes] | None:
        """Take rows; gives a zone and its fingerprints when one is full."""
        seqs = columns[15]
        first, last = int(seqs[0]), int(seqs[-1])
        due = first if self.next_seq is None else self.next_seq
        self.sound = self.sound and first == due and last - first == len(seqs) - 1
        self.next_seq, self.row_hash = last + 1, columns[16][-1].decode()
        zone = self._zone or Zone(first, last)
        ids = [job for job in columns[5] if len(job) == _ID_CHARS]
        self._prints.update(map(crc32, columns[6]))
        self._zone = zone._replace(
            last=last,
            times=zone.times.joined(columns[1]),
            events=zone.events.joined(columns[0]),
            jobs=zone.jobs.joined(ids),
        )
        return self.end() if last - zone.first >= ZONE_ROWS - 1 else None

    def end(self) -> tuple[Zone, bytes] | None:
        """The zone that is not full; None where no row came since the last."""
        if self._zone is None:
            return None
        found = array("I", sorted(self._prints)).tobytes()
        zone = self._zone._replace(prints=len(self._prints))
        self._zone, self._prints = None, set()
        return zone, found


def ranges(zones: Iterable[Zone], wanted: RowFilter) -> Iterator[tuple[int, int, int]]:
    """First and last seq of stretches that may hold a row that passes, as its prints allow too.

    The third: the place of its zone among `zones`.
    """
    ids = [job for job in wanted.jobs if len(job.encode(errors="replace")) == _ID_CHARS]
    by_job = bool(ids) and len(ids) == len(wanted.jobs)
    since = "" if wanted.since is None else _text(wanted.since)
    until = "~" if wanted.until is None else _text(wanted.until)
    for number, zone in enumerate(zones):
        if (
            since <= zone.times.high
            and zone.times.low < until
            and (not by_job or zone.jobs.may_hold(ids))
            and (not wanted.events or zone.events.may_hold(wanted.events))
        ):
            yield zone.first, zone.last, number


def holds_print(prints: bytes, inputs: Iterable[str]) -> bool:
    """Whether one of those values may be among the ones with these fingerprints."""
    known = array("I")
    known.frombytes(prints)
    sought = {crc32(each.encode(errors="surrogatepass")) for each in inputs}
    return not sought.isdisjoint(known)


def joined(found: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same stretches, with those that touch made one."""
    first = last = 0
    for low, high in found:
        if first and low == last + 1:
            last = high
            continue
        if first:
            yield first, last
        first, last = low, high
    if first:
        yield first, last


def narrows(wanted: RowFilter) -> bool:
    """Whether zones can tell anything about that filter."""
    return bool(
        wanted.jobs or wanted.events or wanted.inputs or wanted.since is not None
        or wanted.until is not None
    )  # fmt: skip


def _text(moment: datetime) -> str:
    return timestamp_text(moment.astimezone(UTC))
