"""One statement over one file of the ledger: jobs summed, all other rows as their lines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from yoyo.core.ledger_format import decode_row
from yoyo.core.warehouse import AMOUNT, column_list, quoted, read_csv
from yoyo.drivers.duckdb.form import IS_JOB, line_bytes, well_formed
from yoyo.drivers.duckdb.source import Source
from yoyo.model.accounts import JobSums, Wanted
from yoyo.model.ledger import Row

if TYPE_CHECKING:
    import duckdb

Key = tuple[str, str, str, str, str]
_CHARS: Final = {"": 0, "hour": 13, "day": 10, "month": 7}  # of YYYY-MM-DDTHH
_KEYS: Final = ("moduleId", "node_id", "adapter_versions", "operator_id")


class Fold(NamedTuple):
    """What one file says."""

    jobs: dict[Key, JobSums]
    rows: list[Row]
    rows_read: int
    first_time: datetime
    last_time: datetime


class _Table(NamedTuple):
    """How a file's rows come, in SQL."""

    source: str
    where: str
    number: str  # seq as a number
    period: str  # of `stamp`
    line: str  # the line of a row that is no job's
    time: Callable[[datetime], str]  # a bound, to compare `stamp` with


class NotSound(Exception):
    """The file is not what this way of reading it takes for granted: read it line by line."""


def scan_csv(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    wanted: Wanted,
    *,
    header_bytes: int,
    checked: int = 0,
    checked_end: int = 0,
) -> Fold:
    """Read a file as CSV.

    Rows up to number `checked`, which end at offset `checked_end`, were found well-formed
    before. Of all others it is proved here: each by its form, and together by their bytes, for
    a line that is spelt in another way, or that DuckDB left out, changes their sum.

    Raises:
        NotSound: something does not hold.
    """
    begin = checked_end or header_bytes
    tests = "0 AS bytes, true AS sound"
    if checked < source.last_seq:
        new = f"number > {checked}"
        tests = (
            f"sum(CASE WHEN {new} THEN {line_bytes()} ELSE 0 END) AS bytes, "
            f"bool_and(CASE WHEN {new} AND {IS_JOB} THEN {well_formed()} ELSE true END) AS sound"
        )
    table = _Table(
        read_csv(str(source.path)),
        f"number BETWEEN {source.first_seq} AND {source.last_seq}",
        "TRY_CAST(seq AS BIGINT)",
        f"stamp[:{_CHARS[wanted.period]}]",
        f"CASE WHEN job THEN NULL ELSE row({column_list()}) END",
        _text_time,
    )
    found = _run(connection, table, wanted, tests)
    written = sum(row[-2] for row in found)
    if checked < source.last_seq and written != source.end - begin:
        raise NotSound
    return _fold(found, source, wanted)


def scan_parquet(
    connection: duckdb.DuckDBPyConnection, path: str, source: Source, wanted: Wanted
) -> Fold:
    """Read the same from the cache of a sealed file, which was proved when it was made.

    Raises:
        NotSound: the cache is not of that file after all.
    """
    period = f"date_trunc('{wanted.period}', stamp)"
    table = _Table(f"read_parquet({quoted(path)})", "true", "seq", period, "line", _typed_time)
    found = _run(connection, table, wanted, "0 AS bytes, true AS sound")
    return _fold(found, source, wanted)


def _text_time(moment: datetime) -> str:
    return quoted(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def _typed_time(moment: datetime) -> str:
    return f"TIMESTAMP '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"


def _run(
    connection: duckdb.DuckDBPyConnection, table: _Table, wanted: Wanted, tests: str
) -> list[tuple[Any, ...]]:
    import duckdb as module

    asked = (wanted.modules, wanted.nodes, wanted.adapters, wanted.operators)
    # A constant is no key: a key more costs as much as a sum.
    keys = [name for name, yes in zip(_KEYS, asked, strict=True) if yes]
    selected = [
        table.period if wanted.period else "''",
        *(name if yes else "''" for name, yes in zip(_KEYS, asked, strict=True)),
        _inside(table, wanted),
    ]
    keys += [table.period] * bool(wanted.period)
    keys += [selected[-1]] * (selected[-1] != "true")
    well = "done AND well"
    statement = f"""
SELECT {", ".join(selected)}, count(*), sum(number), min(stamp), max(stamp),
  count(*) FILTER (WHERE started), count(*) FILTER (WHERE done), count(*) FILTER (WHERE {well}),
  sum(CAST(tokens_processed AS BIGINT)) FILTER (WHERE done),
  count(*) FILTER (WHERE {well} AND tokens_processed IS NULL),
  sum(CAST(gpu_seconds AS {AMOUNT})) FILTER (WHERE done),
  sum(CAST(cost_usd AS {AMOUNT})) FILTER (WHERE done),
  list({table.line}) FILTER (WHERE NOT job), {tests}
FROM (
  SELECT *, {table.number} AS number, timestamp_utc AS stamp, {IS_JOB} AS job,
    event_type = 'JOB_START' AS started, event_type = 'JOB_COMPLETE' AS done,
    completion_status = 'success' AS well
  FROM {table.source}
)
WHERE {table.where}
{"GROUP BY " + ", ".join(keys) if keys else "HAVING count(*) > 0"}
"""  # noqa: S608 (names and checked numbers)
    try:
        return connection.execute(statement).fetchall()
    except (module.InterruptException, module.ParserException, module.BinderException):
        raise  # stopped, or a mistake in here: no word about the file
    except module.Error as error:
        raise NotSound from error


def _inside(table: _Table, wanted: Wanted) -> str:
    """Whether a row is one of those that are asked for."""
    tests = []
    if wanted.since is not None:
        tests.append(f"stamp >= {table.time(wanted.since)}")
    if wanted.until is not None:
        tests.append(f"stamp < {table.time(wanted.until)}")
    return f"({' AND '.join(tests)})" if tests else "true"


def _fold(found: list[tuple[Any, ...]], source: Source, wanted: Wanted) -> Fold:
    count = sum(row[6] for row in found)
    ends = source.first_seq + source.last_seq
    if (
        count != source.rows
        or sum(row[7] for row in found) != ends * source.rows // 2
        or not all(row[-1] for row in found)
    ):
        raise NotSound
    jobs: dict[Key, JobSums] = {}
    lines: list[str | tuple[str | None, ...]] = []
    for row in found:
        if row[17]:
            lines += row[17]
        if row[5] and row[10] + row[11]:
            sums = _sums(row, wanted)
            jobs[sums[:5]] = sums
    first = min(row[8] for row in found)
    last = max(row[9] for row in found)
    return Fold(jobs, _rows(lines, source), count, _moment(first), _moment(last))


def _rows(lines: list[str | tuple[str | None, ...]], source: Source) -> list[Row]:
    """The lines as rows, in their order."""
    numbered = []
    for line in lines:
        text = line if isinstance(line, str) else _text(line)
        row = decode_row(text.encode(), 0)
        if not isinstance(row, Row):
            raise NotSound
        # In a sound file the line follows from seq.
        numbered.append(row._replace(line=row.seq - source.first_seq + 2))
    numbered.sort(key=lambda row: row.seq)
    if any(a.seq == b.seq for a, b in pairwise(numbered)):
        raise NotSound
    return numbered


def _text(fields: tuple[str | None, ...]) -> str:
    text = ",".join(field or "" for field in fields)
    if '"' in text or text.count(",") != len(fields) - 1:
        quotes = [
            ("," in field or '"' in field, field) for field in (each or "" for each in fields)
        ]
        return ",".join(
            '"' + field.replace('"', '""') + '"' if needed else field for needed, field in quotes
        )
    return text


def _sums(row: tuple[Any, ...], wanted: Wanted) -> JobSums:
    period, module, node, adapters, operator = (part or "" for part in row[:5])
    if isinstance(period, datetime):
        period = period.isoformat()[: _CHARS[wanted.period]]
    elif period and not isinstance(period, str):
        period = str(period)[: _CHARS[wanted.period]]  # a DATE
    started, completed, succeeded, tokens, unknown, seconds, cost = row[10:17]
    return JobSums(
        period, module, node, adapters, operator, started, completed, succeeded,
        int(tokens or 0), unknown, _amount(seconds), _amount(cost),
    )  # fmt: skip


def _amount(value: Decimal | None) -> Decimal:
    """Without the zeros that only the type has."""
    if not value:
        return Decimal(0)
    text = format(value, "f").rstrip("0").rstrip(".")
    return Decimal(text)


def _moment(value: str | datetime) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise NotSound from error
