"""Reading a large ledger by what is known of it, and keeping what was read for the next time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.core.ledger_filter import line_filter, passes
from yoyo.core.ledger_format import decode_row
from yoyo.core.ledger_state import StateRows, only_state
from yoyo.core.ledger_zones import holds_print, joined, narrows, ranges
from yoyo.drivers.files import ledger_scan
from yoyo.drivers.files.ledger_cache import Known, keeping, opened
from yoyo.drivers.files.ledger_scan import matching_between, matching_rows, named
from yoyo.drivers.files.ledger_sections import Sections
from yoyo.drivers.files.lines import LineBlocks
from yoyo.model.ledger import BadRow, Row
from yoyo.model.row_filter import RowFilter

if TYPE_CHECKING:
    from yoyo.drivers.files.ledger_keep import Keeper

_END = 10**18  # above every seq


def state_rows(path: Path, sections: Sections) -> Iterator[Row | BadRow]:
    """As `Ledger.state_rows`: what is known, and the rows after that."""
    with opened(path, sections) as found:
        known = found if found is not None and found.stands(sections) else None
        with keeping(path, sections, known) as keeper:
            state = StateRows(keeper)
            if known is not None:
                yield from _told(known, sections)
            yield from new_state_rows(sections, known, state, keeper)
            if keeper is not None:
                keeper.finish(state, known.verified if known is not None else None)
        yield from state.rest()


def new_state_rows(
    sections: Sections, known: Known | None, state: StateRows, keeper: Keeper | None
) -> Iterator[Row | BadRow]:
    """The rows after `known` that come out of `state`, which is set to go on there."""
    if known is not None:
        lines = known.held()
        rows = [row for raw in lines if (row := _placed(raw, sections)) is not None]
        state.resume(rows, lines, known.open_told)
    for number, section in enumerate(sections.files):
        start, state.line = 0, 0
        if known is not None:
            if section.first_seq < known.section.first_seq:
                continue
            if section.first_seq == known.section.first_seq:
                start, state.line = known.after, known.seq - section.first_seq + 2
        blocks = LineBlocks(section.fd, start, section.end)
        for block in blocks:
            if keeper is not None:
                keeper.reads(number, blocks.at - len(block) - 1, block)
            for found in state.take(block):
                yield named(section, found)


def matching(path: Path, sections: Sections, wanted: RowFilter) -> Iterator[Row | BadRow]:
    """As `Ledger.matching`, of a large ledger without reading what cannot hold such a row."""
    told = only_state(wanted)
    if not told and not narrows(wanted):
        yield from matching_rows(sections, wanted)
        return
    with opened(path, sections) as known:
        if known is None or (told and not known.stands(sections)):
            yield from matching_rows(sections, wanted)
            return
        tail, begins = (known.seq + 1, _END), {known.seq + 1: known.after}
        if told:
            yield from _told(known, sections, wanted)
            found = iter((tail,))
        else:
            found = joined(chain(_where(known, wanted), (tail,)))
        for first, last in found:
            to = None if last == _END else last
            yield from matching_between(sections, wanted, first, to, begins)


def names_deletion(path: Path, sections: Sections) -> bool:
    """As of `ledger_scan`, without reading what is known."""
    with opened(path, sections) as known:
        if known is None or not known.stands(sections):
            return ledger_scan.names_deletion(sections)
        told = (b"\n".join(block) for block in known.told())
        return ledger_scan.names_deletion(sections, chain(told, _tail(sections, known)))


def _tail(sections: Sections, known: Known) -> Iterator[bytes]:
    for section in sections.files:
        if section.first_seq == known.section.first_seq:
            yield from LineBlocks(section.fd, known.after, section.end)
        elif section.first_seq > known.section.first_seq:
            yield from LineBlocks(section.fd, section.start, section.end)


def _where(known: Known, wanted: RowFilter) -> Iterator[tuple[int, int]]:
    for first, last, number in ranges(known.zones, wanted):
        if not wanted.inputs or holds_print(known.prints(number), wanted.inputs):
            yield first, last


def _told(
    known: Known, sections: Sections, wanted: RowFilter | None = None
) -> Iterator[Row | BadRow]:
    may_pass = None if wanted is None else line_filter(wanted)
    for block in known.told():
        for raw in block:
            if may_pass is None or may_pass(raw):
                row = _placed(raw, sections)
                if row is not None and (wanted is None or passes(row, wanted)):
                    yield row


def _placed(raw: bytes, sections: Sections) -> Row | None:
    """The row with the number of its line, which follows from its seq in a sound ledger."""
    row = decode_row(raw, 0)
    if not isinstance(row, Row):
        return None
    for section in sections.files:
        if section.last_seq is None or row.seq <= section.last_seq:
            return row._replace(line=row.seq - section.first_seq + 2)
    return row
