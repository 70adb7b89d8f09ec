"""Implements the port of accounts for large ledgers: one scan of each file by DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from yoyo.drivers.duckdb.cache import ACCOUNT_COLUMNS, cache_of, holds, parquet_of
from yoyo.drivers.duckdb.connect import connected
from yoyo.drivers.duckdb.days import answers, days_of, read_days
from yoyo.drivers.duckdb.scan import Fold, Key, NotSound, scan_csv, scan_parquet
from yoyo.drivers.duckdb.source import Source, look_at
from yoyo.model.accounts import Accounts, JobSums, Wanted
from yoyo.model.audit import LedgerPart
from yoyo.ports.accounts import AccountsReader

if TYPE_CHECKING:
    import duckdb


class DuckdbAccounts:
    """Sealed months are read from the Parquet cache, which is made where it is missing.

    A file that is not well-formed throughout is left to `plain`, which takes it line by line:
    the figures are the same, and it takes longer.
    """

    def __init__(self, plain: AccountsReader) -> None:
        self._plain = plain
        self.line_by_line: tuple[str, ...] = ()  # names of files that were left to `plain`

    def read(
        self,
        parts: tuple[LedgerPart, ...],
        wanted: Wanted,
        progress: Callable[[float], None] | None = None,
    ) -> Accounts:
        """Sum the jobs and give every other row.

        Raises:
            LedgerUnreadable.
            DriverUnavailable: duckdb is not installed.
        """
        found = []
        self.line_by_line = ()
        with connected() as connection:
            sealed = _days(connection, parts, wanted)
            if sealed is not None:
                found.append(_accounts(sealed))
            for number, part in enumerate(parts, 1):
                if sealed is None or part.month is None:
                    found.append(self._part(connection, parts, part, wanted))
                if progress is not None:
                    progress(number / len(parts))
        return _together(found)

    def _part(
        self,
        connection: duckdb.DuckDBPyConnection,
        parts: tuple[LedgerPart, ...],
        part: LedgerPart,
        wanted: Wanted,
    ) -> Accounts:
        source = look_at(part)
        while source is not None and source.first_seq == part.first_seq:
            try:
                if part.month is None:
                    return _accounts(scan_csv(connection, source, wanted))
                return _accounts(_sealed(connection, parts, part, source, wanted))
            except NotSound:
                # A row that was being written meanwhile may have been seen half.
                before, source = source, look_at(part)
                if source is None or source.end <= before.end:
                    break
        return self._by_line(part, wanted)

    def _by_line(self, part: LedgerPart, wanted: Wanted) -> Accounts:
        accounts = self._plain.read((part,), wanted)
        if accounts.rows_read or accounts.bad_rows:
            self.line_by_line += (part.path.name,)
        return accounts


def _days(
    connection: duckdb.DuckDBPyConnection, parts: tuple[LedgerPart, ...], wanted: Wanted
) -> Fold | None:
    """All sealed months from their sums by the day; None: that is not possible."""
    sealed = [part for part in parts if part.month is not None]
    if not sealed or not answers(wanted):
        return None
    months = []
    try:
        for part in sealed:
            source = look_at(part)
            if source is None or source.first_seq != part.first_seq:
                return None
            months.append((days_of(connection, parts, part, source), source))
        return read_days(connection, months, wanted)
    except (NotSound, OSError):
        return None


def _sealed(
    connection: duckdb.DuckDBPyConnection,
    parts: tuple[LedgerPart, ...],
    part: LedgerPart,
    source: Source,
    wanted: Wanted,
) -> Fold:
    folder = cache_of(parts)
    path = folder / f"{part.month}.parquet"
    try:
        if not holds(path, source, ACCOUNT_COLUMNS):
            path = parquet_of(connection, folder, part, source)
        return scan_parquet(connection, str(path), source, wanted)
    except (NotSound, OSError):  # a cache that cannot be kept is none
        return scan_csv(connection, source, wanted)


def _accounts(fold: Fold) -> Accounts:
    return Accounts(
        tuple(fold.jobs.values()), tuple(fold.rows), fold.rows_read, 0,
        fold.first_time, fold.last_time,
    )  # fmt: skip


def _together(found: Iterable[Accounts]) -> Accounts:
    """The accounts of several files as one."""
    found = list(found)
    jobs: dict[Key, JobSums] = {}
    for each in found:
        for sums in each.jobs:
            jobs[sums[:5]] = _added(jobs[sums[:5]], sums) if sums[:5] in jobs else sums
    firsts = [each.first_time for each in found if each.first_time is not None]
    lasts = [each.last_time for each in found if each.last_time is not None]
    return Accounts(
        tuple(jobs[key] for key in sorted(jobs)),
        tuple(row for each in found for row in each.rows),
        sum(each.rows_read for each in found),
        sum(each.bad_rows for each in found),
        min(firsts, default=None),
        max(lasts, default=None),
    )


def _added(one: JobSums, other: JobSums) -> JobSums:
    from decimal import localcontext

    with localcontext() as context:
        context.prec = 60  # sums of 36 digits stay exact
        return JobSums(
            *one[:5],
            one.started + other.started,
            one.completed + other.completed,
            one.succeeded + other.succeeded,
            one.tokens + other.tokens,
            one.tokens_unknown + other.tokens_unknown,
            one.gpu_seconds + other.gpu_seconds,
            one.cost_usd + other.cost_usd,
        )
