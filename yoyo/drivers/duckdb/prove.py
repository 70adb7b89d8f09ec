"""Whether a file is well-formed throughout: asked once, before it is copied into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.core.ledger_format import HEADER
from yoyo.core.warehouse import read_csv
from yoyo.drivers.duckdb.form import IS_JOB, line_bytes, well_formed
from yoyo.drivers.duckdb.lines import Misplaced, rows_at
from yoyo.drivers.duckdb.scan import NotSound
from yoyo.drivers.duckdb.source import Source

if TYPE_CHECKING:
    import duckdb


def prove(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Prove each row by its form, and all together by their bytes.

    A line that is spelt in another way, or that DuckDB left out, changes the sum of the lengths
    that the rows must have.

    Raises:
        NotSound: something does not hold.
    """
    import duckdb as module

    statement = f"""
SELECT count(*), sum(number), sum({line_bytes()}),
  bool_and(CASE WHEN job THEN {well_formed()} ELSE true END), list(number) FILTER (NOT job)
FROM (
  SELECT *, TRY_CAST(seq AS BIGINT) AS number, coalesce({IS_JOB}, false) AS job
  FROM {read_csv(str(source.path))}
)
WHERE number BETWEEN {source.first_seq} AND {source.last_seq}
"""  # noqa: S608 (names and checked numbers)
    try:
        count, numbers, written, sound, others = connection.execute(statement).fetchall()[0]
    except (module.InterruptException, module.ParserException, module.BinderException):
        raise  # stopped, or a mistake in here: no word about the file
    except module.Error as error:
        raise NotSound from error
    ends = source.first_seq + source.last_seq
    if (
        (count, numbers) != (source.rows, ends * source.rows // 2)
        or written != source.end - len(HEADER)
        or not sound
    ):
        raise NotSound
    try:
        rows_at(source, sorted(others or ()))
    except (Misplaced, OSError) as error:
        raise NotSound from error
