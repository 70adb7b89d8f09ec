"""The ledger as CSV files: its sealed months and the live file, read as one.

`docs/formats/ledger.md` gives the format and the append protocol, ADR 0001 the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.drivers.files import ledger_scan
from yoyo.drivers.files.ledger_live import LiveFile
from yoyo.drivers.files.ledger_sections import (
    Sections,
    is_large,
    missing_first,
    open_live,
    open_sections,
    unreadable,
)
from yoyo.errors import LedgerUnreadable
from yoyo.model.ledger import BadRow, Entry, LedgerHead, Row, VerifyReport
from yoyo.ports.clock import Clock
from yoyo.ports.ids import Ids

if TYPE_CHECKING:
    from yoyo.model.audit import LedgerPart, MonthPiece
    from yoyo.model.row_filter import RowFilter

_TRIES = 3  # a month may be deleted, or sealed, while the files are being opened


class CsvLedger:
    """One ledger. Any number of processes may use it at once; an object, one thread."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        ids: Ids,
        new_month: Callable[[], None] | None = None,
        before_first: Callable[[CsvLedger], None] | None = None,
    ) -> None:
        """Both hooks are called once, before the first append and before any lock is taken.

        `new_month` comes first, and only if the newest row's month is over: it may seal.
        `before_first` is handed this ledger and may append rows of its own.
        """
        self._path = path
        self._clock = clock
        self._ids = ids
        self._live = LiveFile(path, clock, ids)
        self._new_month = new_month
        self._before_first = before_first
        self._deleted_before = 0  # a row says that the rows before this seq were deleted

    def append(self, entry: Entry) -> Row:
        """Write one row and return it once it is on the disk (fdatasync done).

        A torn tail is recovered first: its bytes go to `<ledger>.torn` and a CHECKPOINT row
        records it.

        Raises:
            LedgerRowRefused: a field holds CR, LF or NUL, or has the wrong form.
            LedgerCorrupt: the tail's chain is broken; nothing was written.
            LedgerWriteFailed: disk full, no permission; the file is as it was before. Only
                when the disk fails at the very end is it unknown whether the row is there.
        """
        if self._new_month is not None:
            self._greet_month()
        if self._before_first is not None:
            hook, self._before_first = self._before_first, None
            hook(self)
        return self._live.append(entry)

    def _greet_month(self) -> None:
        hook, self._new_month = self._new_month, None
        with open_live(self._path) as live:
            last = [] if live is None else ledger_scan.last_rows(Sections((live,)), 1)
        now = self._clock.now().astimezone(UTC)
        for row in last:
            if isinstance(row, Row) and hook is not None:
                then = row.timestamp
                if (then.year, then.month) < (now.year, now.month):
                    hook()

    def rows(self) -> Iterator[Row | BadRow]:
        """Every row in file order, in constant memory. A missing file has no rows.

        Format alone is checked here; chain, sequence and pairing are what `verify` is for.

        Raises:
            LedgerUnreadable: a file cannot be read, or one is missing.
        """
        with self._whole() as sections:
            yield from ledger_scan.all_rows(sections)

    def tail(self, count: int) -> list[Row | BadRow]:
        """The last `count` rows, oldest first, read from the end of the file.

        Raises:
            LedgerUnreadable.
        """
        with self._fitting() as sections:
            return ledger_scan.last_rows(sections, max(count, 0))

    def lines(self, first_seq: int = 1) -> Iterator[list[bytes]]:
        """The raw lines from row `first_seq` on, in blocks, each without its newline.

        Raises:
            LedgerUnreadable: a file cannot be read, or the months before `first_seq` are gone.
        """
        with self._fitting() as sections:
            if sections.first_seq > first_seq:
                raise self._hole(f"rows {first_seq} to {sections.first_seq - 1} are not there")
            yield from ledger_scan.raw_lines(sections, first_seq)

    def matching(self, wanted: RowFilter) -> Iterator[Row | BadRow]:
        """The rows that pass, in file order, in constant memory; bad rows too.

        A line that cannot pass is not taken apart, so of damage in it only that shows which
        `BlockFilter` names; `verify` finds all.

        Raises:
            LedgerUnreadable: a file cannot be read, or one is missing.
        """
        if wanted.is_empty:
            yield from self.rows()
            return
        with self._whole() as sections:
            if not is_large(sections):
                yield from ledger_scan.matching_rows(sections, wanted)
                return
            from yoyo.drivers.files.ledger_known import matching

            yield from matching(self._path, sections, wanted)

    def state_rows(self) -> Iterator[Row | BadRow]:
        """All rows but those of jobs that are over: the same state at a third of the time.

        Every bad row comes out, and every job of the store and of the registry file. Jobs
        that are open come last.

        Raises:
            LedgerUnreadable: a file cannot be read, or one is missing.
        """
        with self._whole() as sections:
            if not is_large(sections):
                yield from ledger_scan.state_rows(sections)
                return
            from yoyo.drivers.files.ledger_known import state_rows

            yield from state_rows(self._path, sections)

    def row_at(self, seq: int) -> Row | None:
        """That row, found without reading what is before it; None: there is no such good row.

        Its `line` is the one it has if none is missing or too many above it.

        Raises:
            LedgerUnreadable.
        """
        with self._fitting() as sections:
            return ledger_scan.find_row(sections, seq)

    def follow(
        self, wanted: RowFilter, wake: Callable[[], None], after: int | None = None
    ) -> Iterator[Row | BadRow]:
        """Rows that pass as they come, and bad ones, without an end.

        It begins after row `after`, or after those there are at the call. `wake` is called
        to wait before each new look.

        Raises:
            LedgerUnreadable: the ledger was cut or replaced, or cannot be read.
        """
        from yoyo.drivers.files.ledger_follow import Follower

        return Follower(self._path, wanted, after).rows(wake)

    def parts(self) -> tuple[LedgerPart, ...]:
        """The files in the order of their rows, the live one last. A missing file has none.

        Raises:
            LedgerUnreadable: a file cannot be read, or one is missing.
        """
        with self._whole() as sections:
            return tuple(section.part for section in sections.files)

    def verify(
        self, expect: LedgerHead | None = None, progress: Callable[[float], None] | None = None
    ) -> VerifyReport:
        """Check format, chain, sequence and pairing of all files, in constant memory.

        Raises:
            LedgerUnreadable: a file cannot be read. One that is missing is a problem found.
        """
        from yoyo.drivers.files.verify import verify_sections  # only `verify` pays for OpenSSL

        with open_sections(self._path) as sections:
            return verify_sections(sections, expect, progress)

    def recheck(self) -> VerifyReport:
        """As `verify`; of a large ledger, rows that were verified within a day are not read again.

        That holds while every row that the state is made of is as it was then. The report is of
        the rows that were read.

        Raises:
            LedgerUnreadable: a file cannot be read.
        """
        with open_sections(self._path) as sections:
            from yoyo.drivers.files.ledger_recheck import recheck

            return recheck(self._path, sections, self._clock.now())

    def complete_months(self, before: datetime) -> tuple[MonthPiece, ...]:
        """What may be sealed: the live file's months before the UTC month of that time.

        A row that names a month which is sealed already counts to the one after it.

        Raises:
            LedgerUnreadable, LedgerCorrupt.
        """
        from yoyo.drivers.files.ledger_seal import months_over

        with self._fitting() as sections:
            return months_over(sections, before)

    def seal(self, pieces: Sequence[MonthPiece], entries: Sequence[Entry]) -> list[Row]:
        """Move those months into files of their own, and append `entries` in the same step.

        Killed at any point, the next `seal` with the same pieces finishes it, and until then
        every reader sees every row once.

        Raises:
            ValueError: no piece or no entry.
            LedgerMoved, MonthSealed, LedgerCorrupt, LedgerRowRefused, LedgerWriteFailed.
        """
        from yoyo.drivers.files.ledger_seal import Sealer

        return Sealer(self._path, self._live, self._clock, self._ids).seal(pieces, entries)

    def delete(self, part: LedgerPart) -> None:
        """Remove a sealed month's file; one that is gone already is left at that.

        The row that says so is the caller's, written before.

        Raises:
            LedgerWriteFailed: it is no sealed month of this ledger, or cannot be removed.
        """
        from yoyo.drivers.files.ledger_seal import delete_month

        delete_month(self._path, part)

    @contextmanager
    def _fitting(self) -> Iterator[Sections]:
        """The files, which follow on each other; the oldest may be gone."""
        for tries in range(_TRIES):
            with open_sections(self._path) as sections:
                if sections.fault and tries + 1 < _TRIES:
                    continue
                if sections.fault:
                    raise self._hole(sections.fault)
                yield sections
                return

    @contextmanager
    def _whole(self) -> Iterator[Sections]:
        """The files from the first row on, or from the first that was not deleted."""
        with self._fitting() as sections:
            first = sections.first_seq
            if first > max(self._deleted_before, 1):
                if not self._names_deletion(sections):
                    raise self._hole(missing_first(first))
                self._deleted_before = first
            yield sections

    def _names_deletion(self, sections: Sections) -> bool:
        if not is_large(sections):
            return ledger_scan.names_deletion(sections)
        from yoyo.drivers.files.ledger_known import names_deletion

        return names_deletion(self._path, sections)

    def _hole(self, why: str) -> LedgerUnreadable:
        return unreadable(
            self._path,
            why,
            "Run `yoyo ledger verify`, and put the missing month back from a copy.",
        )
