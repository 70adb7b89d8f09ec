"""Implements the port of accounts for large ledgers: one scan of each file by DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from yoyo.core.ledger_format import HEADER
from yoyo.drivers.duckdb.cache import (
    ACCOUNT_COLUMNS,
    cache_of,
    checked_before,
    holds,
    note_checked,
    parquet_of,
)
from yoyo.drivers.duckdb.connect import connected
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
        with connected() as connection:
            for number, part in enumerate(parts, 1):
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
        if source is None or source.first_seq != part.first_seq:
            return self._plain.read((part,), wanted)
        try:
            if part.month is None:
                return _accounts(_live(connection, parts, source, wanted))
            return _accounts(_sealed(connection, parts, part, source, wanted))
        except NotSound:
            return self._plain.read((part,), wanted)


def _live(
    connection: duckdb.DuckDBPyConnection,
    parts: tuple[LedgerPart, ...],
    source: Source,
    wanted: Wanted,
) -> Fold:
    folder = cache_of(parts)
    seq, end = checked_before(folder, source)
    fold = scan_csv(
        connection, source, wanted, header_bytes=len(HEADER), checked=seq, checked_end=end
    )
    if seq < source.last_seq:
        note_checked(folder, source)
    return fold


def _sealed(
    connection: duckdb.DuckDBPyConnection,
    parts: tuple[LedgerPart, ...],
    part: LedgerPart,
    source: Source,
    wanted: Wanted,
) -> Fold:
    folder = cache_of(parts)
    path = folder / f"{part.month}.parquet"
    if not holds(path, source, ACCOUNT_COLUMNS):
        try:
            path = parquet_of(connection, folder, part, source)
        except OSError:  # a cache that cannot be kept is none
            return scan_csv(connection, source, wanted, header_bytes=len(HEADER))
    try:
        return scan_parquet(connection, str(path), source, wanted)
    except NotSound:
        return scan_csv(connection, source, wanted, header_bytes=len(HEADER))


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
