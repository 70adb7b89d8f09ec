"""The ports of SQL and of a warehouse: the ledger's rows as tables."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from yoyo.model.audit import LedgerPart

# A cell as it comes back: Decimal, datetime without a zone (UTC), text, numbers, lists, None.
Cell = Any


class QueryLimits(NamedTuple):
    """What one query may use."""

    rows: int  # of the answer; what is beyond is cut, and said so
    timeout_s: float
    memory_bytes: int


class QueryResult(NamedTuple):
    """What a query answered."""

    columns: tuple[str, ...]
    types: tuple[str, ...]  # in SQL's words
    rows: tuple[tuple[Cell, ...], ...]
    cut: bool  # there were more rows than the limit
    bad_rows: int  # of the ledger, which the query did not see


class QueryEngine(Protocol):
    """Answers SQL about the ledger and can do nothing else."""

    def query(self, parts: tuple[LedgerPart, ...], sql: str, limits: QueryLimits) -> QueryResult:
        """Answer one statement that reads, over the views `ledger` and `money`.

        Raises:
            QueryFailed: the SQL is wrong, asks for more than that, or took too long or too much.
            LedgerUnreadable.
            DriverUnavailable: the extra that it needs is not installed.
        """
        ...


class PartitionResult(NamedTuple):
    """One month in a warehouse's form."""

    month: str  # YYYY-MM of a sealed file, "live" of the live one
    path: Path
    rows: int
    bad_rows: int
    cost_usd: Decimal  # the plain sum of the column
    written: bool  # False: it was there already


class PartitionWriter(Protocol):
    """Writes files of a ledger as partitions that a warehouse loads."""

    def write(
        self,
        parts: tuple[LedgerPart, ...],
        folder: Path,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[PartitionResult, ...]:
        """Write `month=…/moduleId=…/*.parquet`, each month whole or not at all.

        Raises:
            LedgerUnreadable.
            StoreFull, StateUnwritable: the folder cannot be written.
            DriverUnavailable: the extra that it needs is not installed.
        """
        ...
