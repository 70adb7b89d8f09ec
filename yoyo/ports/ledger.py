"""The ledger port: append-only, chained, the one truth about money and lifecycle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from yoyo.model.audit import LedgerPart, MonthPiece
from yoyo.model.ledger import BadRow, Entry, LedgerHead, Row, VerifyReport
from yoyo.model.row_filter import RowFilter


class Ledger(Protocol):
    """One ledger: its sealed months and the live file, read as one.

    `append` and `seal` are the only ways a row comes into being.
    """

    def append(self, entry: Entry) -> Row:
        """Write one row and return it once it is on the disk (fdatasync done).

        Raises:
            LedgerRowRefused: a field holds CR, LF or NUL, or has the wrong form.
            LedgerCorrupt: the tail's chain is broken; nothing was written.
            LedgerWriteFailed: disk full, no permission; the file is as it was before.
        """
        ...

    def rows(self) -> Iterator[Row | BadRow]:
        """Every row in file order, in constant memory. A missing file has no rows."""
        ...

    def state_rows(self) -> Iterator[Row | BadRow]:
        """Every row but the pairs of jobs that ended: what the state is reduced from, far faster.

        Rows about the store and the registry file are all there.

        Raises:
            LedgerUnreadable.
        """
        ...

    def follow(
        self, wanted: RowFilter, wake: Callable[[], None], after: int | None = None
    ) -> Iterator[Row | BadRow]:
        """The rows that pass as they come, for ever: those after row `after`, or from now on.

        `wake` waits between two looks.

        Raises:
            LedgerUnreadable: the file became shorter, or another one.
        """
        ...

    def tail(self, count: int) -> list[Row | BadRow]:
        """The last `count` rows, oldest first, read from the end of the file."""
        ...

    def verify(
        self, expect: LedgerHead | None = None, progress: Callable[[float], None] | None = None
    ) -> VerifyReport:
        """Check format, chain, sequence and pairing of the whole file, in constant memory.

        `progress` is called now and then with the share that is done, from 0 to 1.
        """
        ...

    def recheck(self) -> VerifyReport:
        """As `verify`, but rows that were verified within a day need not be read again.

        Rows that say what there is and what it cost are compared with what was verified; the
        report is of the rows that were read.
        """
        ...

    def lines(self, first_seq: int = 1) -> Iterator[list[bytes]]:
        """The raw lines from row `first_seq` on, in blocks, each without its newline.

        In file order over sealed months and the live file, up to the last whole line there was
        at the call. Nothing is checked: that is what `verify` is for.

        Raises:
            LedgerUnreadable: a file cannot be read, or the months before `first_seq` are gone.
        """
        ...

    def matching(self, wanted: RowFilter) -> Iterator[Row | BadRow]:
        """The rows that pass, in file order, in constant memory, and bad rows as they are met.

        Much faster than filtering `rows()`: a line that cannot pass is not taken apart, so that
        damage inside it stays unseen; finding all of it is what `verify` is for.

        Raises:
            LedgerUnreadable.
        """
        ...

    def row_at(self, seq: int) -> Row | None:
        """That row, found without reading what is before it; None: there is no such good row."""
        ...

    def parts(self) -> tuple[LedgerPart, ...]:
        """The files in the order of their rows, the live one last. A missing file has none."""
        ...

    def complete_months(self, before: datetime) -> tuple[MonthPiece, ...]:
        """What may be sealed: the live file's months before the UTC month of that time.

        A piece ends before the first row of a later month; the last one may end with the file.

        Raises:
            LedgerUnreadable, LedgerCorrupt.
        """
        ...

    def seal(self, pieces: Sequence[MonthPiece], entries: Sequence[Entry]) -> list[Row]:
        """Move those months into files of their own, and append `entries` in the same step.

        Killed at any point, the next `seal` with the same pieces finishes it, and until then
        every reader sees every row once. An existing sealed file is accepted if it has the
        piece's digest.

        Raises:
            LedgerMoved: the live file does not begin with those pieces (any more).
            MonthSealed: there is a sealed file of that month with other bytes.
            LedgerWriteFailed.
        """
        ...

    def delete(self, part: LedgerPart) -> None:
        """Remove a sealed month's file. Not there: returns silently. The live file is refused.

        Raises:
            LedgerWriteFailed.
        """
        ...
