"""Sealed months added up by the day, once: what most questions about cost need of them.

`LEDGER.cache/2026-10.days.parquet` is made of `2026-10.parquet`, which was proved, and is kept
by the same rules. It has the jobs of each day as sums and every other row as its line.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.core.warehouse import quoted
from yoyo.drivers.duckdb.cache import cache_of, holds, note_for, parquet_of, write_whole
from yoyo.drivers.duckdb.lines import Misplaced, rows_of_lines
from yoyo.drivers.duckdb.scan import Fold, NotSound, grouped, jobs_of, times_of
from yoyo.drivers.duckdb.source import Source
from yoyo.model.accounts import Wanted
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import Row

if TYPE_CHECKING:
    import duckdb

_ALL: Final = Wanted("day", modules=True, nodes=True, adapters=True, operators=True)


def answers(wanted: Wanted) -> bool:
    """Whether sums by the day are fine enough."""
    return wanted.period != "hour" and wanted.since is None and wanted.until is None


def days_of(
    connection: duckdb.DuckDBPyConnection,
    parts: tuple[LedgerPart, ...],
    part: LedgerPart,
    source: Source,
) -> Path:
    """The sums of that sealed part, made if there are none that hold.

    Raises:
        NotSound: the part is not well-formed throughout.
        OSError: the cache cannot be written.
    """
    folder = cache_of(parts)
    path = folder / f"{part.month}.days.parquet"
    if holds(path, source, None):
        return path
    table = f"read_parquet({quoted(str(parquet_of(connection, folder, part, source)))})"
    lines = "list(line ORDER BY seq) FILTER (kind = 3)"
    # In one order: made anew, it is the same file to the byte.
    statement = f"{grouped(table, 'true', _ALL, lines)} ORDER BY ALL"
    write_whole(connection, statement, path)
    note_for(connection, path, source)
    return path


def read_days(
    connection: duckdb.DuckDBPyConnection,
    months: Sequence[tuple[Path, Source]],
    wanted: Wanted,
) -> Fold:
    """What those months say, as one.

    Raises:
        NotSound: the cache is not of those files after all.
    """
    import duckdb as module

    paths = ", ".join(quoted(str(path)) for path, _ in months)
    table = f"read_parquet([{paths}])"
    try:
        count, first, last = times_of(connection, table)
        # No quote can stand behind the second comma from the right: it is always that of seq.
        found = connection.execute(
            "SELECT CAST(split_part(line, ',', -2) AS BIGINT) AS seq, line"  # noqa: S608
            f" FROM (SELECT unnest(others) AS line FROM {table}) ORDER BY seq"
        ).fetchall()
        jobs = jobs_of(connection, table, wanted)
    except module.Error as error:
        raise NotSound from error
    if count != sum(source.rows for _, source in months):
        raise NotSound
    rows = _rows(found, [source for _, source in months])
    return Fold(jobs, rows, count, first, last)


def _rows(numbered: list[tuple[int, str]], sources: Sequence[Source]) -> list[Row]:
    """Those rows, each of the month that has its number."""
    seqs = [seq for seq, _ in numbered]
    rows: list[Row] = []
    end = 0
    try:
        for source in sources:
            begin, end = end, bisect_right(seqs, source.last_seq, end)
            lines = [line.encode() for _, line in numbered[begin:end]]
            rows += rows_of_lines(source, lines, seqs[begin:end])
    except Misplaced as error:
        raise NotSound from error
    if len(rows) != len(numbered):
        raise NotSound
    return rows
