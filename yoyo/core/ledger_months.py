"""Where the months of a live file end, told from its lines in one pass. Pure.

A row belongs to the newest month that any row up to it names: so the pieces are in order
whatever the clock did, and a clock that was set back does not open a month again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256

from yoyo.core.ledger_format import HASH_CHARS, HEADER, MAX_LINE_BYTES, BadLine, seq_of, stored_hash
from yoyo.model.audit import MonthPiece

_MONTH = slice(37, 44)  # of a line: after the event_id and a comma
_MONTH_FORM = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")


def month_after(month: str) -> str:
    """The month after YYYY-MM."""
    year, number = map(int, month.split("-"))
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"


class _Open:
    """A month whose end is not reached yet."""

    def __init__(self, month: str, first_seq: int) -> None:
        self.month = month
        self.first_seq = first_seq
        self.rows = 0
        self.size = len(HEADER)
        self.last = b""
        self._digest = sha256(HEADER)

    def add(self, lines: list[bytes]) -> None:
        content = b"\n".join([*lines, b""])
        self._digest.update(content)
        self.size += len(content)
        self.rows += len(lines)
        self.last = lines[-1]

    def end(self) -> MonthPiece:
        last_seq = _seq(self.last)
        if last_seq != self.first_seq + self.rows - 1:
            raise BadLine(f"rows {self.first_seq} to {last_seq} are {self.rows} lines")
        digest = self._digest.hexdigest()
        last_hash = self.last[-HASH_CHARS:].decode()
        return MonthPiece(self.month, self.first_seq, last_seq, last_hash, self.size, digest)


class MonthsOver:
    """Feed the rows' lines in order; the months before a given one come out as they end."""

    def __init__(self, before: str, sealed: str | None) -> None:
        """Both YYYY-MM: no piece is of `before` or later; `sealed` is the newest sealed month.

        Rows that name a month which is sealed already count to the one after it.
        """
        self._before = before
        self._floor = month_after(sealed) if sealed else ""
        self._open: _Open | None = None
        self._last_seq: int | None = None  # of the month before
        self.is_done = False

    def take(self, block: bytes) -> Iterator[MonthPiece]:
        """Look at whole lines, of which the last lacks its newline.

        Raises:
            BadLine: a line that a piece begins or ends with is no row, or one is missing.
        """
        if len(block) >= MAX_LINE_BYTES:
            raise BadLine(f"a line is longer than {MAX_LINE_BYTES} bytes")
        lines = block.split(b"\n")
        begin = 0
        for at, month in enumerate(map(self._month_of, lines)):
            if self._open is not None and month <= self._open.month:
                continue
            if self._open is not None:
                if at > begin:
                    self._open.add(lines[begin:at])
                yield self._ended(self._open)
            if month >= self._before:
                self._open, self.is_done = None, True
                return
            self._open, begin = self._begun(month, lines[at]), at
        if self._open is not None:
            self._open.add(lines[begin:])

    def rest(self) -> Iterator[MonthPiece]:
        """The month that the file ends with, if it is over.

        Raises:
            BadLine.
        """
        if self._open is not None:
            yield self._ended(self._open)

    def _begun(self, month: str, line: bytes) -> _Open:
        seq = _seq(line)
        if self._last_seq is not None and seq != self._last_seq + 1:
            raise BadLine(f"row {seq} stands below row {self._last_seq}")
        return _Open(month, seq)

    def _ended(self, month: _Open) -> MonthPiece:
        piece = month.end()
        self._last_seq = piece.last_seq
        return piece

    def _month_of(self, line: bytes) -> str:
        month = line[_MONTH].decode(errors="replace")
        if self._open is not None and month == self._open.month:
            return month
        if not _MONTH_FORM.fullmatch(month):
            raise BadLine("a line has no time where it should have one")
        return max(month, self._floor)


def _seq(raw: bytes) -> int:
    if stored_hash(raw) is None:
        raise BadLine("a line has no row_hash")
    return seq_of(raw)
