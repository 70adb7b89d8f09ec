"""Use case: hand the ledger's months to a warehouse."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from yoyo.core.warehouse import bigquery_ddl
from yoyo.errors import QueryFailed
from yoyo.ports.ledger import Ledger
from yoyo.ports.query import PartitionResult, PartitionWriter

_URI = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9._=-]+)*/?\Z")
_TABLE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){1,2}\Z")


def export_parquet(
    ledger: Ledger,
    writer: PartitionWriter,
    folder: Path,
    *,
    live: bool = False,
    progress: Callable[[float], None] | None = None,
) -> tuple[PartitionResult, ...]:
    """Write the sealed months as partitions, with `live` the running one too, as `live`.

    Safe to repeat: a month that is there already, of the same file, is left as it is.

    Raises:
        LedgerUnreadable, StateUnwritable, DriverUnavailable.
    """
    parts = tuple(part for part in ledger.parts() if live or part.month is not None)
    return writer.write(parts, folder, progress)


def bigquery_table(table: str, uri: str) -> str:
    """The statement that makes the partitions at `uri` an external table of BigQuery.

    Raises:
        QueryFailed: not gs://BUCKET[/PREFIX], or no DATASET.TABLE.
    """
    if not _URI.match(uri) or not _TABLE.match(table):
        raise QueryFailed(
            f"No table can be made of {table[:100]!r} at {uri[:200]!r}.",
            why="The table is DATASET.TABLE or PROJECT.DATASET.TABLE, the place gs://BUCKET/PREFIX.",
            fix="Say where you copied the export to, such as --uri gs://my-bucket/ledger.",
        )
    return bigquery_ddl(table, uri)
