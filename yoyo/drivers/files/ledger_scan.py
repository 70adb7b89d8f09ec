"""Reading over all files of a ledger as if they were one, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.core.ledger_format import HASH_CHARS, MAX_LINE_BYTES, decode_row, read_header
from yoyo.drivers.files.ledger_sections import Section, Sections, end_of, sealed_paths
from yoyo.drivers.files.lines import LineBlocks, count_lines, line_seq, start_of_last
from yoyo.model.ledger import LEDGER_NODE, MONTH_DELETED, MONTH_SEALED, BadRow, EventType, Row

if TYPE_CHECKING:
    from yoyo.model.row_filter import RowFilter

# Below this, reading line by line is as fast as halving.
_NEAR_BYTES = MAX_LINE_BYTES
_MONTH_ROWS = b",MONTH_"  # in the rows that tell of a month's sealing or deletion


def named(section: Section, row: Row | BadRow) -> Row | BadRow:
    """The same, a bad row of a sealed month with the name of its file."""
    if section.month is not None and isinstance(row, BadRow):
        return row._replace(file=section.name)
    return row


def all_rows(sections: Sections) -> Iterator[Row | BadRow]:
    """Every row in order, good or bad."""
    for section in sections.files:
        line = 0
        for block in LineBlocks(section.fd, 0, section.end):
            for raw in block.split(b"\n"):
                line += 1
                if line == 1:
                    for found in read_header(raw):
                        yield named(section, found)
                else:
                    yield named(section, decode_row(raw, line))


def last_rows(sections: Sections, count: int) -> list[Row | BadRow]:
    """The last `count` rows, oldest first, read from the end."""
    found: list[Row | BadRow] = []
    for section in reversed(sections.files):
        if len(found) >= count:
            break
        last = _last_of(section, count - len(found))
        found[:0] = [named(section, row) for row in last]
    return found


def _last_of(section: Section, count: int) -> list[Row | BadRow]:
    fd, end = section.fd, section.end
    start = start_of_last(fd, end, count)
    raws = [raw for block in LineBlocks(fd, start, end) for raw in block.split(b"\n")]
    if start == 0 and raws:
        found = read_header(raws[0])
        return found + [decode_row(raw, n) for n, raw in enumerate(raws[1:], 2)]
    rows = [decode_row(raw, 0) for raw in raws]
    # In a sound ledger a row's line follows from its seq; else the lines are counted.
    above = section.first_seq - 2
    good = [row._replace(line=row.seq - above) for row in rows if isinstance(row, Row)]
    if len(good) == len(rows):
        return [*good]
    first = count_lines(fd, start) + 1
    return [decode_row(raw, line) for line, raw in enumerate(raws, first)]


def raw_lines(sections: Sections, first_seq: int) -> Iterator[list[bytes]]:
    """The lines of the rows from that one on, in blocks."""
    for section in sections.files:
        if section.last_seq is not None and section.last_seq < first_seq:
            continue
        start = section.start
        if section.first_seq < first_seq:
            start = offset_of(section, first_seq) or _offset_by_count(section, first_seq)
        for block in LineBlocks(section.fd, start, section.end):
            yield block.split(b"\n")


def state_rows(sections: Sections) -> Iterator[Row | BadRow]:
    """All rows but those of jobs that are over; jobs that are open come last."""
    from yoyo.core.ledger_state import StateRows

    state = StateRows()
    for section in sections.files:
        state.line = 0
        for block in LineBlocks(section.fd, 0, section.end):
            for row in state.take(block):
                yield named(section, row)
    yield from state.rest()


def matching_rows(sections: Sections, wanted: RowFilter) -> Iterator[Row | BadRow]:
    """The rows that pass, and the bad ones, in order."""
    for section in sections.files:
        for row in matching_in(section, wanted):
            yield named(section, row)


def matching_in(section: Section, wanted: RowFilter) -> Iterator[Row | BadRow]:
    """The same of one file."""
    from yoyo.core.ledger_filter import BlockFilter  # most commands ask for no rows by filter

    start = section.start
    seen = BlockFilter(wanted, section.first_seq, at_start=start == 0)
    for block in LineBlocks(section.fd, start, section.end):
        if seen.line == 0:
            # No header where it should be: the first line may be a row, or nothing at all.
            first, newline, rest = block.partition(b"\n")
            found = read_header(first)
            yield from (row for row in found if isinstance(row, BadRow))
            if not any(isinstance(row, Row) for row in found):
                seen.line = 1
                if newline:
                    yield from seen.take(rest)
                continue
        yield from seen.take(block)


def matching_between(
    sections: Sections,
    wanted: RowFilter,
    first: int,
    last: int | None,
    begins: Mapping[int, int],
) -> Iterator[Row | BadRow]:
    """The same of the rows with these numbers; None: to the end.

    `begins` has offsets of rows that are known. Where damage hides one, its file is read whole.
    """
    from yoyo.core.ledger_filter import BlockFilter

    for section in sections.files:
        if section.last_seq is not None and section.last_seq < first:
            continue
        if last is not None and section.first_seq > last:
            return
        here = max(first, section.first_seq)
        begin = section.start if here == section.first_seq else begins.get(here)
        if begin is None:
            begin = offset_of(section, here)
        end: int | None = section.end
        if last is not None and last != section.last_seq:
            end = offset_of(section, last + 1)
        if begin is None or end is None:
            yield from _between(section, wanted, first, last)
            continue
        seen = BlockFilter(wanted, here, at_start=False)
        seen.line = here - section.first_seq + 1
        for block in LineBlocks(section.fd, begin, end):
            for row in seen.take(block):
                yield named(section, row)


def _between(
    section: Section, wanted: RowFilter, first: int, last: int | None
) -> Iterator[Row | BadRow]:
    for row in matching_in(section, wanted):
        if isinstance(row, BadRow) or (first <= row.seq and (last is None or row.seq <= last)):
            yield named(section, row)


def find_row(sections: Sections, seq: int) -> Row | None:
    """That row; None where there is no good one of that number."""
    for section in sections.files:
        last = section.last_seq
        if section.first_seq <= seq and (last is None or seq <= last):
            return _row_in(section, seq)
    return None


def _row_in(section: Section, seq: int) -> Row | None:
    at = offset_of(section, seq)
    if at is not None:
        raw = os.pread(section.fd, min(MAX_LINE_BYTES, section.end - at), at).partition(b"\n")[0]
        row = decode_row(raw, seq - section.first_seq + 2)
        if isinstance(row, Row):
            return row
    # Damage may have led the halving astray: look at every line that could be it.
    needle, line = b",%d," % seq, 1 if section.start else 0
    for block in LineBlocks(section.fd, section.start, section.end):
        if needle in block:
            for number, raw in enumerate(block.split(b"\n"), line + 1):
                if raw[:-HASH_CHARS].endswith(needle):
                    row = decode_row(raw, number)
                    if isinstance(row, Row):
                        return row
        line += block.count(b"\n") + 1
    return None


def offset_of(section: Section, seq: int) -> int | None:
    """Where the line of that row begins, found by halving; None if damage is in the way."""
    fd, low, high = section.fd, section.start, section.end
    while high - low > _NEAR_BYTES:
        middle = (low + high) // 2
        found = _line_after(fd, middle, high)
        if found is None:
            high = middle
            continue
        at, there = found
        if there == seq:
            return at
        low, high = (at, high) if there < seq else (low, middle)
    at, needle = low, b",%d," % seq
    for block in LineBlocks(fd, low, section.end):
        raws = block.split(b"\n")
        for raw in raws:
            if raw[:-HASH_CHARS].endswith(needle) and line_seq((raw, b"\n", b"")) == seq:
                return at
            at += len(raw) + 1
        beyond = line_seq((raws[-1], b"\n", b""))
        if beyond is not None and beyond > seq:
            return None
        if at > high + _NEAR_BYTES or len(block) >= MAX_LINE_BYTES:
            return None
    return None


def _line_after(fd: int, offset: int, end: int) -> tuple[int, int] | None:
    """Where the first sound line after that offset begins, and its seq; None: not soon."""
    data = os.pread(fd, min(2 * MAX_LINE_BYTES, end - offset), offset)
    at = data.find(b"\n") + 1
    while 0 < at < len(data):
        newline = data.find(b"\n", at)
        if newline < 0:
            return None
        seq = line_seq((data[at:newline], b"\n", b""))
        if seq is not None:
            return offset + at, seq
        at = newline + 1
    return None


def _offset_by_count(section: Section, seq: int) -> int:
    """Where the line stands that would be that row's if none were damaged."""
    skip = seq - section.first_seq
    blocks = LineBlocks(section.fd, section.start, section.end)
    at = section.start
    for block in blocks:
        lines = block.count(b"\n") + 1
        if lines > skip:
            return at + sum(len(line) + 1 for line in block.split(b"\n")[:skip])
        skip -= lines
        at = blocks.at
    return at


def all_blocks(sections: Sections) -> Iterator[bytes]:
    """The lines of all rows."""
    for section in sections.files:
        yield from LineBlocks(section.fd, section.start, section.end)


def strangers(sections: Sections) -> Iterator[tuple[Path, int]]:
    """Sealed months that are not read and whose last row the ledger does not have.

    A sealing that was cut off leaves files that are not read; the live file has their rows.
    So another's months, or an older copy of the live file, are noticed.
    """
    read = {section.path for section in sections.files}
    live = sections.files[-1].path
    for _, path in sealed_paths(live):
        raw = None if path in read else end_of(path)
        seq = None if raw is None else line_seq((raw, b"\n", b""))
        if raw is not None and seq is not None:
            row = find_row(sections, seq)
            if row is None or row.row_hash.encode() != raw[-HASH_CHARS:]:
                yield path, seq


def names_deletion(sections: Sections, blocks: Iterable[bytes] | None = None) -> bool:
    """Whether rows say that the months before the oldest file were deleted.

    Each month before it whose sealing is still told of has to have its row. `blocks`: all lines
    that can be such rows, where they are known.
    """
    oldest = sections.files[0].month
    sealed, deleted = set[str](), set[str]()
    for block in all_blocks(sections) if blocks is None else blocks:
        if _MONTH_ROWS in block:
            for raw in block.split(b"\n"):
                _note_month(raw, sealed, deleted)
    before = {month for month in sealed if oldest is None or month < oldest}
    named = {month for month in deleted if oldest is None or month < oldest}
    return bool(named) and before <= named


def _note_month(raw: bytes, sealed: set[str], deleted: set[str]) -> None:
    row = decode_row(raw, 0) if _MONTH_ROWS in raw else None
    if not isinstance(row, Row):
        return
    entry = row.entry
    if entry.event_type is EventType.CHECKPOINT and entry.node_id == LEDGER_NODE:
        action, _, month = entry.job_id.partition("/")
        if (action, entry.error_code) == ("seal", MONTH_SEALED):
            sealed.add(month)
        elif (action, entry.error_code) == ("delete", MONTH_DELETED):
            deleted.add(month)
