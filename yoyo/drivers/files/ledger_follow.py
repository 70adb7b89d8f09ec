"""New rows as they come, for whoever watches a ledger; sealing does not break it off."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from yoyo.core.ledger_filter import passes
from yoyo.core.ledger_format import decode_row
from yoyo.drivers.files.ledger_scan import find_row, raw_lines
from yoyo.drivers.files.ledger_sections import Section, open_live, open_sections, unreadable
from yoyo.drivers.files.lines import LineBlocks
from yoyo.errors import LedgerUnreadable
from yoyo.model.ledger import BadRow, Row
from yoyo.model.row_filter import RowFilter


class Follower:
    """Where a reader stands in a ledger that grows."""

    def __init__(self, path: Path, wanted: RowFilter, after: int | None) -> None:
        """`after`: the seq of the last row that was seen already; None: all there are now.

        Raises:
            LedgerUnreadable.
        """
        self._path = path
        self._wanted = wanted
        self._identity: tuple[int, int] | None = None
        self._at = 0  # the offset up to which that file was read
        self._line = 0  # the lines before it
        self._next_seq = 1
        self._newest: Row | None = None
        self._begin(after)

    def rows(self, wake: Callable[[], None]) -> Iterator[Row | BadRow]:
        """What passes the filter, for ever; `wake` is called to wait before each new look.

        Raises:
            LedgerUnreadable: it cannot be read, was cut, or was replaced by another one.
        """
        while True:
            for row in self._look():
                if isinstance(row, BadRow) or passes(row, self._wanted):
                    yield row
            wake()

    def _begin(self, after: int | None) -> None:
        with open_sections(self._path) as sections:
            if not sections.files:
                return
            live = sections.files[-1]
            if after is not None:
                self._next_seq = after + 1
                self._newest = find_row(sections, after)
                return
            self._at, self._line = live.start, 1 if live.start else 0
            blocks = LineBlocks(live.fd, self._at, live.end)
            last = b""
            for block in blocks:
                self._line += block.count(b"\n") + 1
                self._at, last = blocks.at, block
            self._identity = _identity(live)
            self._next_seq = live.first_seq + self._line - (1 if live.start else 0)
            newest = decode_row(last[last.rfind(b"\n") + 1 :], self._line)
            self._newest = newest if isinstance(newest, Row) else None

    def _look(self) -> Iterator[Row | BadRow]:
        with open_live(self._path) as live:
            if live is None:
                if self._identity is not None:
                    raise self._cut("it is not there any more")
                return
            if _identity(live) == self._identity:
                yield from self._more(live)
                return
        yield from self._anew()

    def _more(self, live: Section) -> Iterator[Row | BadRow]:
        if live.end < self._at:
            raise self._cut("it is shorter than it was")
        blocks = LineBlocks(live.fd, self._at, live.end)
        for block in blocks:
            self._at = blocks.at
            for raw in block.split(b"\n"):
                yield self._next(raw, self._line + 1)

    def _anew(self) -> Iterator[Row | BadRow]:
        """Another file has the ledger's name: months were sealed, or it is our first look."""
        with open_sections(self._path) as sections:
            if sections.fault:
                raise unreadable(self._path, sections.fault, "Run `yoyo ledger verify`.")
            newest = self._newest
            if newest is not None:
                there = find_row(sections, newest.seq)
                if there is None or there.row_hash != newest.row_hash:
                    raise self._cut("another file has its name, without the rows that were read")
            if not sections.files:
                return
            live = sections.files[-1]
            # What was taken between the two openings would be seen twice otherwise.
            self._identity, self._at = _identity(live), live.end
            for lines in raw_lines(sections, self._next_seq):
                for raw in lines:
                    yield self._next(raw, max(self._next_seq - live.first_seq + 2, 1))
            self._at -= _torn_bytes(live)
            self._line = self._next_seq - live.first_seq + 1

    def _next(self, raw: bytes, line: int) -> Row | BadRow:
        row = decode_row(raw, line)
        self._line = line
        self._next_seq += 1
        if isinstance(row, Row):
            self._newest = row
        return row

    def _cut(self, why: str) -> LedgerUnreadable:
        return unreadable(
            self._path,
            f"While it was followed, {why}",
            "Run `yoyo ledger verify`, against a kept checkpoint if there is one.",
        )


def _identity(section: Section) -> tuple[int, int]:
    found = os.fstat(section.fd)
    return found.st_dev, found.st_ino


def _torn_bytes(section: Section) -> int:
    """The bytes after the last newline."""
    at = section.end
    while at > 0:
        begin = max(at - 65_536, 0)
        cut = os.pread(section.fd, at - begin, begin).rfind(b"\n")
        if cut >= 0:
            return section.end - begin - cut - 1
        at = begin
    return section.end
