"""The ledger read as money in plain Python: no extra needed, one pass, a few MB.

A block of lines is taken apart as columns and proved well-formed with a few bulk operations, as
the verifier does it; the jobs of a block are added up without a `Row` for any of them. A block
that is not well-formed goes line by line, so that one bad row costs no good one.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal, localcontext
from itertools import compress
from operator import itemgetter
from pathlib import Path
from typing import Final

from yoyo.core.cost.rows import rows_of, sound_columns
from yoyo.core.ledger_faults import gone, unreadable
from yoyo.core.ledger_format import decode_row, read_header, split_fields
from yoyo.drivers.files.lines import LineBlocks
from yoyo.errors import LedgerUnreadable
from yoyo.model.accounts import Accounts, JobSums, Wanted
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import BadRow, CompletionStatus, EventType, Row

# Sums of 36-digit decimals stay exact: 10 ** 24 rows would be needed to overflow.
PRECISION: Final = 60
STAMP_CHARS: Final = {"": 0, "hour": 13, "day": 10, "month": 7}  # of YYYY-MM-DDTHH:MM:SS

_START, _COMPLETE = EventType.JOB_START.encode(), EventType.JOB_COMPLETE.encode()
_SUCCESS = CompletionStatus.SUCCESS.encode()
_FIGURES = (9, 10, 11, 12)  # tokens_processed, gpu_seconds, cost_usd, completion_status
_PROGRESS_EVERY = 64  # blocks

_Key = tuple[bytes, bytes, bytes, bytes, bytes]
_Columns = list[list[bytes]]
_Take = Callable[[list[bytes]], Sequence[bytes]]


class PlainAccounts:
    """Reads the ledger's files one after another."""

    def read(
        self,
        parts: tuple[LedgerPart, ...],
        wanted: Wanted,
        progress: Callable[[float], None] | None = None,
    ) -> Accounts:
        """Sum the jobs and give every other row; `line` of a row counts within its file.

        A file that was sealed away or deleted after `parts` was asked for is noticed.

        Raises:
            LedgerUnreadable.
        """
        fold = _Fold(wanted)
        sizes = [_size(part.path) for part in parts]
        whole, before = sum(sizes) or 1, 0
        with localcontext() as context:
            context.prec = PRECISION
            for part, size in zip(parts, sizes, strict=True):
                done = before
                for number, block in enumerate(_blocks(part)):
                    fold.take(block, first=number == 0, part=part)
                    done += len(block) + 1
                    if progress is not None and number % _PROGRESS_EVERY == 0:
                        progress(min(done / whole, 1.0))
                before += size
            return fold.accounts()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError as error:
        raise gone(path) from error
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from error


def _blocks(part: LedgerPart) -> Iterator[bytes]:
    """The whole lines of one file, up to where no write is under way."""
    try:
        fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise gone(part.path) from error
    except OSError as error:
        raise unreadable(part.path, error.strerror or str(error)) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise unreadable(part.path, "it is no regular file")
        fcntl.flock(fd, fcntl.LOCK_SH)
        end = os.fstat(fd).st_size
        fcntl.flock(fd, fcntl.LOCK_UN)
        yield from LineBlocks(fd, 0, end)
    except OSError as error:
        raise unreadable(part.path, error.strerror or str(error)) from error
    finally:
        os.close(fd)


class _Sums:
    """One group while it is being added up."""

    __slots__ = (
        "completed", "cost", "seconds", "started", "succeeded", "tokens", "tokens_unknown",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started = self.completed = self.succeeded = self.tokens = self.tokens_unknown = 0
        self.seconds = self.cost = Decimal(0)

    def complete(
        self,
        tokens: Sequence[bytes],
        seconds: Sequence[bytes],
        costs: Sequence[bytes],
        statuses: Sequence[bytes],
    ) -> None:
        """Count JOB_COMPLETE rows; empty is unknown and adds nothing."""
        self.completed += len(statuses)
        good = statuses.count(_SUCCESS)
        self.succeeded += good
        known = list(filter(None, tokens))
        self.tokens += sum(map(int, known))
        if len(known) < len(tokens):
            pairs = zip(statuses, tokens, strict=True)
            self.tokens_unknown += sum(status == _SUCCESS and not token for status, token in pairs)
        self.seconds = _plus(self.seconds, seconds)
        self.cost = _plus(self.cost, costs)


class _Fold:
    """Blocks in, accounts out."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._chars = STAMP_CHARS[wanted.period]
        self._since = _stamp(wanted.since)
        self._until = _stamp(wanted.until)
        self._sums: dict[_Key, _Sums] = {}
        self._rows: list[Row] = []
        self._good = self._bad = 0
        self._first: bytes | None = None
        self._last = b""
        self._line = 0

    def take(self, block: bytes, *, first: bool, part: LedgerPart) -> None:
        """Take whole lines; with `first` they begin with the file's header."""
        if first:
            self._line = 1
            header, newline, block = block.partition(b"\n")
            for item in read_header(header):
                self._keep(item, header)
                if isinstance(item, Row):
                    # The header is missing: this is the file's first row, and not the next one.
                    _check_begin(part, item.seq)
                    first = False
            if not newline:
                return
        lines = block.split(b"\n")
        self._line += 1
        columns = sound_columns(block, lines)
        if columns is None:
            for number, raw in enumerate(lines, self._line):
                self._keep(decode_row(raw, number), raw)
        else:
            if first:
                _check_begin(part, int(columns[15][0]))
            self._take(columns)
        self._line += len(lines) - 1

    def accounts(self) -> Accounts:
        """All that was taken."""
        jobs = tuple(_job_sums(key, self._sums[key]) for key in sorted(self._sums))
        times = None
        if self._first is not None:
            times = datetime.fromisoformat(self._first.decode())
        last = datetime.fromisoformat(self._last.decode()) if self._last else None
        return Accounts(jobs, tuple(self._rows), self._good, self._bad, times, last)

    def _keep(self, row: Row | BadRow, raw: bytes) -> None:
        """A row by itself, good or bad."""
        if isinstance(row, BadRow):
            self._bad += 1
            return
        columns = [[field] for field in split_fields(raw)]
        self._good += 1
        self._times(columns[1])
        if row.entry.event_type in (EventType.JOB_START, EventType.JOB_COMPLETE):
            self._add(columns, [row.entry.event_type is EventType.JOB_START])
        else:
            self._rows.append(row)

    def _times(self, stamps: Sequence[bytes]) -> None:
        """The earliest and the latest: a clock may have gone back in between."""
        low, high = min(stamps), max(stamps)
        self._first = low if self._first is None else min(self._first, low)
        self._last = max(self._last, high)

    def _take(self, columns: _Columns) -> None:
        """Lines that are all well-formed."""
        kinds = columns[2]
        self._good += len(kinds)
        self._times(columns[1])
        starts = [kind == _START for kind in kinds]
        jobs = starts.count(True) + kinds.count(_COMPLETE)
        if jobs < len(kinds):
            others = [kind not in (_START, _COMPLETE) for kind in kinds]
            places = compress(range(self._line, self._line + len(kinds)), others)
            self._rows += rows_of([list(compress(column, others)) for column in columns], places)
            if not jobs:
                return
            mine = [not other for other in others]
            columns = [list(compress(column, mine)) for column in columns]
            starts = list(compress(starts, mine))
        self._add(columns, starts)

    def _add(self, columns: _Columns, starts: list[bool]) -> None:
        """Rows of jobs alone, as columns; `starts` says which are JOB_START."""
        if self._since or self._until:
            columns, starts = self._within(columns, starts)
        keys = self._keys(columns)
        for key, count in Counter(compress(keys, starts)).items():
            self._group(key).started += count
        ends = [not start for start in starts]
        columns = [list(compress(columns[place], ends)) for place in _FIGURES]
        for key, take in _places(list(compress(keys, ends))):
            self._group(key).complete(*map(take, columns))

    def _group(self, key: _Key) -> _Sums:
        group = self._sums.get(key)
        if group is None:
            group = self._sums[key] = _Sums()
        return group

    def _keys(self, columns: _Columns) -> list[_Key]:
        wanted, chars, stamps = self._wanted, self._chars, columns[1]
        none = [b""] * len(stamps)
        periods = [stamp[:chars] for stamp in stamps] if chars else none
        return list(
            zip(
                periods,
                columns[3] if wanted.modules else none,
                columns[4] if wanted.nodes else none,
                columns[7] if wanted.adapters else none,
                columns[14] if wanted.operators else none,
                strict=True,
            )
        )

    def _within(self, columns: _Columns, starts: list[bool]) -> tuple[_Columns, list[bool]]:
        since, until = self._since, self._until
        mask = [since <= stamp and (not until or stamp < until) for stamp in columns[1]]
        return [list(compress(column, mask)) for column in columns], list(compress(starts, mask))


def _stamp(moment: datetime | None) -> bytes:
    """That time as the ledger writes times, so that bytes can be compared; b"" for none."""
    if moment is None:
        return b""
    from datetime import UTC

    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26].encode() + b"Z"


def _plus(start: Decimal, fields: Sequence[bytes]) -> Decimal:
    known = list(filter(None, fields))
    # One decode for all of them: a call for each would take as long as the sum.
    return sum(map(Decimal, b",".join(known).decode().split(",")), start) if known else start


def _places(keys: list[_Key]) -> Iterator[tuple[_Key, _Take]]:
    """Each key with what takes its rows' fields out of a column."""
    if keys and keys.count(keys[0]) == len(keys):
        yield keys[0], _all
        return
    places: dict[_Key, list[int]] = {}
    for place, key in enumerate(keys):
        found = places.get(key)
        if found is None:
            places[key] = [place]
        else:
            found.append(place)
    for key, mine in places.items():
        first = mine[0]
        # Of one place alone an itemgetter gives the item and no tuple.
        yield key, itemgetter(*mine) if len(mine) > 1 else itemgetter(slice(first, first + 1))


def _all(column: list[bytes]) -> list[bytes]:
    return column


def _check_begin(part: LedgerPart, seq: int) -> None:
    if part.month is None and seq > part.first_seq:
        raise LedgerUnreadable(
            "The ledger was sealed while it was being read.",
            why=f"{part.path} began with row {part.first_seq}, and now with row {seq}.",
            fix="Run the command again.",
        )


def _job_sums(key: _Key, sums: _Sums) -> JobSums:
    period, module, node, adapters, operator = (text.decode() for text in key)
    return JobSums(
        period, module, node, adapters, operator,
        sums.started, sums.completed, sums.succeeded, sums.tokens, sums.tokens_unknown,
        sums.seconds, sums.cost,
    )  # fmt: skip
