"""Use case: answer a question about the ledger in SQL."""

from __future__ import annotations

from yoyo.errors import QueryFailed
from yoyo.ports.ledger import Ledger
from yoyo.ports.query import QueryEngine, QueryLimits, QueryResult

MAX_SQL_BYTES = 1_000_000


def query(ledger: Ledger, engine: QueryEngine, sql: str, limits: QueryLimits) -> QueryResult:
    """Answer one statement that reads, over the views `ledger` and `money`.

    Raises:
        QueryFailed, LedgerUnreadable, DriverUnavailable, StoreFull.
    """
    if not sql.strip() or len(sql) > MAX_SQL_BYTES or "\0" in sql:
        raise QueryFailed(
            "There is no query." if not sql.strip() else "The query is no SQL text.",
            why="It is empty, longer than a megabyte, or holds a NUL.",
            fix='Ask such as: yoyo ledger query "SELECT count(*) FROM ledger"',
        )
    return engine.query(ledger.parts(), sql, limits)
