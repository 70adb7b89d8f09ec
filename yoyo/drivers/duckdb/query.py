"""Implements the port of SQL: a database in memory that can read the ledger and nothing else.

SQL never sees the ledger's own files: it reads the Parquet cache, which may be deleted and is
checked before every use. A statement has to be one that DuckDB also takes as a subquery, which
leaves out all that writes (a common table expression may hold COPY or INSERT, but only at the
top level), and file access is closed but for those cached files before it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypeVar

from yoyo.core.warehouse import ledger_view, money_view, quoted
from yoyo.drivers.duckdb.cache import as_parquet, cache_of
from yoyo.drivers.duckdb.connect import connected, load
from yoyo.errors import QueryFailed, StoreFull
from yoyo.model.audit import LedgerPart
from yoyo.ports.query import QueryLimits, QueryResult

if TYPE_CHECKING:
    import duckdb

_EXPLAIN: Final = re.compile(r"\s*EXPLAIN\b(\s+ANALYZE\b)?", re.IGNORECASE)
_LOCKED: Final = (
    "SET enable_external_access = false; SET lock_configuration = true"  # in this order
)
_AGAIN_S: Final = 0.1
_Answer = TypeVar("_Answer")
_FIX: Final = "Ask one SELECT over the views ledger and money; `DESCRIBE ledger` shows the columns."


class DuckdbQuery:
    """Answers SQL over the views `ledger` and `money`."""

    def query(self, parts: tuple[LedgerPart, ...], sql: str, limits: QueryLimits) -> QueryResult:
        """Answer one statement that reads.

        Raises:
            QueryFailed, LedgerUnreadable, DriverUnavailable.
            StoreFull: there is no room for the rows as Parquet.
        """
        prefix, statement = _one_select(sql)
        with TemporaryDirectory(prefix="yoyo-query-") as scratch:
            paths, bad = _prepared(parts, Path(scratch))
            with connected(limits.memory_bytes) as connection:
                sources = tuple(f"read_parquet({quoted(str(path))})" for path in paths)
                connection.execute(ledger_view(sources))
                connection.execute(money_view())
                allowed = ", ".join(quoted(str(path)) for path in paths)
                connection.execute(f"SET allowed_paths = [{allowed}]")
                connection.execute(_LOCKED)
                return _answer(connection, prefix, statement, limits)._replace(bad_rows=bad)


def _one_select(sql: str) -> tuple[str, str]:
    """The statement, and what says that only its plan is wanted.

    Raises:
        QueryFailed: it is not one statement, or not one that reads.
    """
    module = load()
    peeled = _EXPLAIN.match(sql)
    prefix = peeled.group().strip() + " " if peeled else ""
    text = sql[peeled.end() :] if peeled else sql
    try:
        found = module.extract_statements(text)
    except module.Error as error:
        raise _failed("The SQL cannot be read.", str(error)) from error
    if len(found) != 1:
        raise _failed("The query has to be one statement.", f"There are {len(found)}.")
    if found[0].type != module.StatementType.SELECT:
        kind = str(found[0].type).rpartition(".")[2]
        raise _failed("The query does more than read.", f"{kind} is not allowed.")
    return prefix, found[0].query.strip().rstrip(";")


def _prepared(parts: tuple[LedgerPart, ...], scratch: Path) -> tuple[list[Path], int]:
    paths, bad = [], 0
    with connected() as connection:
        for part in parts:
            try:
                path, wrong = as_parquet(connection, cache_of(parts), part, scratch)
            except OSError as error:
                raise StoreFull(
                    "There is no room for the ledger's rows as Parquet.",
                    why=f"{error}.",
                    fix=f"Free some space for {cache_of(parts)} or in the temporary directory.",
                ) from error
            bad += wrong
            if path is not None:
                paths.append(path)
    return paths, bad


def _answer(
    connection: duckdb.DuckDBPyConnection, prefix: str, statement: str, limits: QueryLimits
) -> QueryResult:
    module = load()

    def ask() -> tuple[list[tuple[str, str]], list[tuple[object, ...]]]:
        # Bound and not run: a statement that writes is refused here.
        connection.execute(f"EXPLAIN SELECT * FROM (\n{statement}\n)")  # noqa: S608
        cursor = connection.execute(prefix + statement)
        columns = [(str(each[0]), str(each[1])) for each in cursor.description or ()]
        return columns, cursor.fetchmany(limits.rows + 1)

    try:
        columns, rows = _watched(connection, ask, limits.timeout_s)
    except TimeoutError as error:
        raise QueryFailed(
            f"The query took longer than {limits.timeout_s:g} s.",
            fix="Ask for less, such as one month, or give it more with --timeout.",
        ) from error
    except module.OutOfMemoryException as error:
        raise QueryFailed(
            f"The query needs more than {limits.memory_bytes // 1_000_000} MB.",
            why=_first_line(str(error)),
            fix="Ask for less, or give it more with --memory.",
        ) from error
    except (module.Error, RuntimeError, ValueError, OverflowError) as error:
        raise _failed("The query failed.", str(error)) from error
    return QueryResult(
        tuple(name for name, _ in columns),
        tuple(kind for _, kind in columns),
        tuple(tuple(row) for row in rows[: limits.rows]),
        len(rows) > limits.rows,
        0,
    )


def _watched(
    connection: duckdb.DuckDBPyConnection, ask: Callable[[], _Answer], timeout_s: float
) -> _Answer:
    """Run `ask` beside this thread, which so hears Ctrl-C at once and sees the time pass.

    DuckDB itself looks for Ctrl-C only between its tasks, and one task may be the whole query.

    Raises:
        TimeoutError: it took longer, and was stopped.
        KeyboardInterrupt: Ctrl-C; it was stopped.
    """
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask)
        try:
            done, _ = wait([running], timeout_s)
            if not done:
                raise TimeoutError
        finally:
            # More than once: an interrupt before a statement has begun stops nothing.
            while not running.done():
                connection.interrupt()
                wait([running], _AGAIN_S)
        return running.result()


def _failed(what: str, why: str) -> QueryFailed:
    return QueryFailed(what, why=_first_line(why), fix=_FIX)


def _first_line(message: str) -> str:
    """DuckDB's word without the SQL that it repeats below."""
    return message.strip().partition("\n")[0][:500]
