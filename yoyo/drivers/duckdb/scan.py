"""One statement over one file of the ledger: jobs summed, all other rows by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from yoyo.core.warehouse import AMOUNT, TYPES, quoted
from yoyo.drivers.duckdb.lines import Misplaced, rows_at, rows_of_lines
from yoyo.drivers.duckdb.source import Source, newlines
from yoyo.model.accounts import JobSums, Wanted
from yoyo.model.ids import InvalidLabel, ModuleId
from yoyo.model.ledger import COLUMNS, CompletionStatus, Row

if TYPE_CHECKING:
    import duckdb

Key = tuple[str, str, str, str, str]
PRECISION: Final = 60  # sums of 36 digits stay exact
_MICRO: Final = Decimal("0.000001")
_FIRST_YEAR: Final = 1000  # DuckDB takes "26-10-01" for a day of the year 26
_PERIODS: Final = {
    "": ("0", "''"),
    "hour": ("date_trunc('hour', stamp)", "strftime(period, '%Y-%m-%dT%H')"),
    "day": ("CAST(stamp AS DATE)", "strftime(period, '%Y-%m-%d')"),
    "month": ("date_trunc('month', stamp)", "strftime(period, '%Y-%m')"),
}
_OTHER: Final = tuple(
    str(each) for each in CompletionStatus if each is not CompletionStatus.SUCCESS
)
# What a row is: 0 a job's start, 1 its success, 2 its end in another way, 3 no job's, 4 nonsense.
_KIND: Final = f"""CAST(CASE
  WHEN event_type IN ('JOB_START', 'JOB_COMPLETE') THEN
    CASE WHEN completion_status = '{CompletionStatus.SUCCESS}' THEN
      CASE WHEN event_type = 'JOB_START' THEN 0 ELSE 1 END
    WHEN completion_status IN {_OTHER} THEN
      CASE WHEN event_type = 'JOB_START' THEN 0 ELSE 2 END
    ELSE 4 END
  ELSE 3 END AS TINYINT)"""


class Fold(NamedTuple):
    """What one file says."""

    jobs: dict[Key, JobSums]
    rows: list[Row]
    rows_read: int
    first_time: datetime
    last_time: datetime


class NotSound(Exception):
    """The file is not what this way of reading it takes for granted: read it line by line."""


def typed_csv(source: Source) -> str:
    """A table function that reads the file by the schema's types and fails on any bad line.

    After a torn tail it cannot fail: then lines are left out, and whoever reads counts them.
    """
    # DuckDB would round a count with a fraction to a whole number and say nothing.
    types = {**TYPES, "tokens_processed": AMOUNT}
    columns = ", ".join(f"{quoted(name)}: '{types.get(name, 'VARCHAR')}'" for name in COLUMNS)
    return (
        f"read_csv({quoted(str(source.path))}, auto_detect=false, header=true, delim=',', "
        "quote='\"', escape='\"', new_line='\\n', strict_mode=true, max_line_size=65536, "
        f"ignore_errors={str(source.torn).lower()}, columns={{{columns}}})"
    )


def scan_csv(connection: duckdb.DuckDBPyConnection, source: Source, wanted: Wanted) -> Fold:
    """Read a file as CSV.

    What is proved here is that no figure is misread, and not that each row is well-formed: see
    docs/adr/0020-duckdb-for-large-ledgers.md.

    Raises:
        NotSound: something does not hold.
    """
    if source.torn and newlines(source) != source.rows + 1:
        raise NotSound
    where = f"seq BETWEEN {source.first_seq} AND {source.last_seq}"
    summed = sums_of(connection, typed_csv(source), where, source, wanted)
    try:
        rows = rows_at(source, summed.others)
    except (Misplaced, OSError, ValueError) as error:
        raise NotSound from error
    return Fold(summed.jobs, rows, source.rows, summed.first_time, summed.last_time)


def scan_parquet(
    connection: duckdb.DuckDBPyConnection, path: str, source: Source, wanted: Wanted
) -> Fold:
    """Read the same from the cache of a sealed file, which was proved when it was made.

    Raises:
        NotSound: the cache is not of that file after all.
    """
    table = f"read_parquet({quoted(path)})"
    summed = sums_of(connection, table, "true", source, wanted)
    found = connection.execute(
        f"SELECT line FROM {table} WHERE line IS NOT NULL ORDER BY seq"  # noqa: S608
    ).fetchall()
    try:
        rows = rows_of_lines(source, [line.encode() for (line,) in found], summed.others)
    except Misplaced as error:
        raise NotSound from error
    return Fold(summed.jobs, rows, source.rows, summed.first_time, summed.last_time)


class Summed(NamedTuple):
    """A file's jobs, and the numbers of its other rows."""

    jobs: dict[Key, JobSums]
    others: list[int]
    first_time: datetime
    last_time: datetime


def sums_of(
    connection: duckdb.DuckDBPyConnection, table: str, where: str, source: Source, wanted: Wanted
) -> Summed:
    """Add up the jobs of a table with the schema's types, which must have exactly those rows.

    Raises:
        NotSound.
    """
    import duckdb as module

    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE sums AS {grouped(table, where, wanted)}")
        others = _proved(connection, source)
        jobs = jobs_of(connection, "sums", wanted)
    except (module.InterruptException, module.ParserException, module.BinderException):
        raise  # stopped, or a mistake in here: no word about the file
    except (module.Error, ValueError, OverflowError) as error:
        raise NotSound from error
    return Summed(jobs, *others)


def grouped(
    table: str, where: str, wanted: Wanted, others: str = "list(seq) FILTER (kind = 3)"
) -> str:
    """Sums by all that tells figures apart; labels are always told apart, to be proved."""
    keys = [_PERIODS[wanted.period][0], "moduleId", "node_id"]
    keys += ["adapter_versions" if wanted.adapters else "''"]
    keys += ["operator_id" if wanted.operators else "''", _inside(wanted), _KIND]
    named = ("period", "module", "node", "adapters", "operator", "inside", "kind")
    shown = ", ".join(f"{key} AS {name}" for key, name in zip(keys, named, strict=True))
    # A constant is no key: a key more costs as much as a sum.
    told = [name for key, name in zip(keys, named, strict=True) if key not in ("0", "''", "true")]
    return f"""
SELECT {", ".join(name if name in told else f"any_value({name}) AS {name}" for name in named)},
  count(*) AS n, sum(seq) AS seqs, min(stamp) AS low, max(stamp) AS high,
  count(tokens_processed) AS known, sum(tokens_processed) AS tokens,
  sum(gpu_seconds) AS seconds, sum(cost_usd) AS cost,
  least(min(tokens_processed), min(gpu_seconds), min(cost_usd)) AS lowest,
  {others} AS others
FROM (SELECT *, {shown} FROM (SELECT *, timestamp_utc AS stamp FROM {table}) WHERE {where})
GROUP BY {", ".join(told)}
"""  # noqa: S608 (names and checked numbers)


_OUTER: Final = """
SELECT {period}, {module}, {node}, {adapters}, {operator},
  CAST(sum(CASE WHEN kind = 0 THEN n ELSE 0 END) AS BIGINT),
  CAST(sum(CASE WHEN kind = 0 THEN 0 ELSE n END) AS BIGINT),
  CAST(sum(CASE WHEN kind = 1 THEN n ELSE 0 END) AS BIGINT),
  CAST(coalesce(sum(tokens) FILTER (kind > 0), 0) AS HUGEINT),
  CAST(coalesce(sum(n - known) FILTER (kind = 1), 0) AS BIGINT),
  sum(seconds) FILTER (kind > 0), sum(cost) FILTER (kind > 0)
FROM {table} WHERE kind < 3 AND inside GROUP BY ALL HAVING count(*) > 0
"""


def jobs_of(
    connection: duckdb.DuckDBPyConnection, table: str, wanted: Wanted
) -> dict[Key, JobSums]:
    """The jobs of a table that `grouped` gives, or of several one after another."""
    statement = _OUTER.format(
        table=table,
        period=_PERIODS[wanted.period][1],
        module="module" if wanted.modules else "''",
        node="node" if wanted.nodes else "''",
        adapters="coalesce(adapters, '')" if wanted.adapters else "''",
        operator="coalesce(operator, '')" if wanted.operators else "''",
    )
    found = connection.execute(statement).fetchall()
    with localcontext() as context:
        context.prec = PRECISION
        sums = [JobSums(*row[:10], *map(_exact, row[10:])) for row in found]
    return {each[:5]: each for each in sums}


def times_of(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[int, datetime, datetime]:
    """How many rows went into such a table, and the first and the last time."""
    stamp = "%Y-%m-%dT%H:%M:%S.%f"
    rows, low, high = connection.execute(
        f"SELECT CAST(sum(n) AS BIGINT), strftime(min(low), '{stamp}'),"  # noqa: S608
        f" strftime(max(high), '{stamp}') FROM {table}"
    ).fetchall()[0]
    low, high = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (low, high))
    return rows, low, high


def _proved(
    connection: duckdb.DuckDBPyConnection, source: Source
) -> tuple[list[int], datetime, datetime]:
    """The numbers of the rows that are no jobs', and the times between which all rows are."""
    rows, low, high = times_of(connection, "sums")
    seqs, kind, least, count, whole, others = connection.execute(
        "SELECT sum(seqs), max(kind), min(lowest), sum(n) FILTER (kind = 3),"
        " coalesce(bool_and(tokens = floor(tokens)), true),"
        " flatten(list(others) FILTER (kind = 3)) FROM sums"
    ).fetchall()[0]
    ends = source.first_seq + source.last_seq
    if (
        rows != source.rows
        or seqs != ends * source.rows // 2
        or kind > 3
        or (least or 0) < 0
        or not whole
    ):
        raise NotSound
    if low.year < _FIRST_YEAR:
        raise NotSound
    others = sorted(others or ())
    if len(others) != (count or 0) or len(set(others)) != len(others):
        raise NotSound
    labels = connection.execute("SELECT module FROM sums UNION SELECT node FROM sums").fetchall()
    _prove_labels([label for (label,) in labels])
    return others, low, high


def _prove_labels(labels: Sequence[Any]) -> None:
    for label in labels:
        try:
            ModuleId.parse(label or "")  # a NodeName has the same form
        except InvalidLabel as error:
            raise NotSound from error


def _inside(wanted: Wanted) -> str:
    """Whether a row is one of those that are asked for."""
    tests = []
    if wanted.since is not None:
        tests.append(f"stamp >= {_time(wanted.since)}")
    if wanted.until is not None:
        tests.append(f"stamp < {_time(wanted.until)}")
    return f"({' AND '.join(tests)})" if tests else "true"


def _time(moment: datetime) -> str:
    return f"TIMESTAMP '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"


def _exact(value: Decimal | None) -> Decimal:
    """Without the zeros that only the type has."""
    if not value:
        return Decimal(0)
    coarse = value.quantize(_MICRO)
    return coarse if coarse == value else value.normalize()
