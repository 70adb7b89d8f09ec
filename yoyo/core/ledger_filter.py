"""Which rows pass a filter, told from the bytes of a line as far as they tell it. Pure.

Taking a line apart costs some ten microseconds, looking for a word in 64 KiB about as much. So
a block of lines is searched for what a row that passes must hold, and only lines that hold it
are taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from yoyo.core.ledger_format import (
    COLUMNS_COUNT,
    HASH_CHARS,
    HEADER,
    MAX_LINE_BYTES,
    decode_row,
    quoted,
    timestamp_text,
)
from yoyo.model.ledger import BadRow, EventType, Row

if TYPE_CHECKING:
    from yoyo.model.row_filter import RowFilter

# A line begins with the event_id, a comma and the time, each of one length.
_STAMP = slice(37, 64)
_JOB_TYPES = frozenset((str(EventType.JOB_START), str(EventType.JOB_COMPLETE)))
_SECOND_HEADER = HEADER[:-1]


def passes(row: Row, wanted: RowFilter) -> bool:
    """Whether every condition of the filter holds for that row."""
    entry = row.entry
    return (
        (wanted.since is None or row.timestamp >= wanted.since)
        and (wanted.until is None or row.timestamp < wanted.until)
        and (not wanted.nodes or entry.node_id in wanted.nodes)
        and (not wanted.modules or entry.module_id in wanted.modules)
        and (not wanted.jobs or entry.job_id in wanted.jobs)
        and (not wanted.types or entry.event_type in wanted.types)
        and (not wanted.statuses or entry.completion_status in wanted.statuses)
        and (not wanted.codes or entry.error_code in wanted.codes)
        and (not wanted.inputs or entry.input_hash in wanted.inputs)
        and (not wanted.events or row.event_id in wanted.events)
    )


def line_filter(wanted: RowFilter) -> Callable[[bytes], bool]:
    """Tells of a line whether its row may pass, from the words in it."""
    return BlockFilter(wanted, 1).may_pass


class BlockFilter:
    """Feed a file's lines in order; what comes out are the rows that pass, and bad rows.

    A bad row comes out if it is looked at: if it holds what is searched for, if it has not
    the right number of columns, is a second header, holds NUL or CR, is no UTF-8 or is too
    long, or stands in a block whose numbering does not go on. Damage that hides from all of
    these is for the verifier to find.
    """

    def __init__(self, wanted: RowFilter, next_seq: int, *, at_start: bool = True) -> None:
        """`next_seq` is that of the first row to come; `at_start`: line 1 is still to come."""
        self._wanted = wanted
        self._needles = _needles(wanted)
        self._best = self._needles[0] if self._needles else ()
        self._outside = _outside(wanted)
        self._next_seq = next_seq
        self.line = 0 if at_start else 1

    def take(self, block: bytes) -> Iterator[Row | BadRow]:
        """Look at whole lines, of which the last lacks its newline."""
        lines = block.count(b"\n") + 1
        first, self.line = self.line + 1, self.line + lines
        last_seq = self._next_seq + lines - 1
        whole = _is_whole(block, lines, last_seq)
        self._next_seq = last_seq + 1
        if not whole:
            self._next_seq = _seq_at_end(block, last_seq) + 1
            yield from self._each(block.split(b"\n"), first)
        elif not self._needles:
            yield from self._each(block.split(b"\n"), first, self._outside)
        elif any(needle in block for needle in self._best):
            yield from self._hits(block, first)

    def _each(
        self,
        lines: list[bytes],
        first: int,
        outside: Callable[[bytes], bool] | None = None,
    ) -> Iterator[Row | BadRow]:
        for number, raw in enumerate(lines, first):
            if outside is None or not outside(raw):
                yield from self._row(raw, number)

    def _hits(self, block: bytes, first: int) -> Iterator[Row | BadRow]:
        """The lines that hold one of the best needles; the rest of the block is not split."""
        if len(self._best) > 1 or block.count(self._best[0]) > 8:
            for number, raw in enumerate(block.split(b"\n"), first):
                if self.may_pass(raw):
                    yield from self._row(raw, number)
            return
        needle, number, seen = self._best[0], first, 0
        at = block.find(needle)
        while at >= 0:
            begin = block.rfind(b"\n", 0, at) + 1
            end = block.find(b"\n", at)
            end = len(block) if end < 0 else end
            number += block.count(b"\n", seen, begin)
            seen = begin
            raw = block[begin:end]
            if self.may_pass(raw):
                yield from self._row(raw, number)
            at = block.find(needle, end)

    def may_pass(self, raw: bytes) -> bool:
        """Whether that line holds what a row that passes must hold."""
        for needles in self._needles:
            if not any(needle in raw for needle in needles):
                return False
        return self._outside is None or not self._outside(raw)

    def _row(self, raw: bytes, number: int) -> Iterator[Row | BadRow]:
        row = decode_row(raw, number)
        if isinstance(row, BadRow) or passes(row, self._wanted):
            yield row


def _is_whole(block: bytes, lines: int, last_seq: int) -> bool:
    """Whether the block is as sound as can be told without taking its lines apart."""
    if block.count(b",") != (COLUMNS_COUNT - 1) * lines or len(block) >= MAX_LINE_BYTES:
        return False
    if b"\0" in block or b"\r" in block or b'"' in block or _SECOND_HEADER in block:
        return False
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError:
            return False
    return block[: -HASH_CHARS - 1].endswith(b",%d" % last_seq)


def _seq_at_end(block: bytes, otherwise: int) -> int:
    last = decode_row(block[block.rfind(b"\n") + 1 :], 1)
    return last.seq if isinstance(last, Row) else otherwise


def _needles(wanted: RowFilter) -> tuple[tuple[bytes, ...], ...]:
    """Per condition what a row that passes holds one of; the rarest condition first."""
    found = [tuple(event.encode() + b"," for event in wanted.events)]
    # Nearly all rows are of jobs, and nearly every line has some node's name.
    rare = () if _JOB_TYPES.intersection(wanted.types) else wanted.types
    for values in (
        wanted.jobs,
        wanted.inputs,
        wanted.codes,
        rare,
        wanted.nodes,
        wanted.modules,
        () if rare else wanted.types,
        wanted.statuses,
    ):
        found.append(tuple(b"," + _spelt(value) + b"," for value in values))
    return tuple(needles for needles in found if needles)


def _spelt(value: str) -> bytes:
    # A lone surrogate is in no file; what it becomes here is in none either.
    return quoted(value).encode(errors="surrogatepass")


def _outside(wanted: RowFilter) -> Callable[[bytes], bool] | None:
    """Tells of a line that its time is outside the bounds; None without bounds.

    A time of another form is not told to be outside, so that its line is taken apart.
    """
    if wanted.since is None and wanted.until is None:
        return None
    # Times of one length and form are in the order of their bytes.
    since = _bound(wanted.since, b"")
    until = _bound(wanted.until, b"~")

    def outside(raw: bytes) -> bool:
        stamp = raw[_STAMP]
        return not since <= stamp < until and stamp[-1:] == b"Z" and stamp[10:11] == b"T"

    return outside


def _bound(moment: datetime | None, without: bytes) -> bytes:
    return without if moment is None else timestamp_text(moment.astimezone(UTC)).encode()
