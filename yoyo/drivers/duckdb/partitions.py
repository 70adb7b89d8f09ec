"""Implements the port of partitions: the ledger's months as Parquet for a warehouse.

A month's folder is written beside its place and then put there in one step, so that a loader
sees all of a month or nothing. `_yoyo/YYYY-MM.json` in the export's folder says of which file a
month was made; the same file is not written twice.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from yoyo.core.warehouse import column_list, quoted
from yoyo.drivers.duckdb.cache import as_parquet, cache_of
from yoyo.drivers.duckdb.connect import connected
from yoyo.drivers.duckdb.source import look_at
from yoyo.errors import StateUnwritable
from yoyo.model.audit import LedgerPart
from yoyo.ports.query import PartitionResult

if TYPE_CHECKING:
    import duckdb

LIVE: Final = "live"
_NOTES: Final = "_yoyo"
_FORM: Final = 1


class DuckdbPartitions:
    """Writes `month=…/moduleId=…/*.parquet`."""

    def write(
        self,
        parts: tuple[LedgerPart, ...],
        folder: Path,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[PartitionResult, ...]:
        """Write each file as one month; what is there of the same file stays.

        Raises:
            LedgerUnreadable, StateUnwritable, DriverUnavailable.
        """
        done = []
        try:
            (folder / _NOTES).mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix="yoyo-export-") as scratch, connected() as connection:
                for number, part in enumerate(parts, 1):
                    result = _month(connection, parts, part, folder, Path(scratch))
                    if result is not None:
                        done.append(result)
                    if progress is not None:
                        progress(number / len(parts))
        except OSError as error:
            raise StateUnwritable(
                f"The export could not be written to {folder}.",
                why=f"{error.strerror or error}.",
                fix="Free space or choose another folder with --out, and run it again.",
            ) from error
        return tuple(done)


def _month(
    connection: duckdb.DuckDBPyConnection,
    parts: tuple[LedgerPart, ...],
    part: LedgerPart,
    folder: Path,
    scratch: Path,
) -> PartitionResult | None:
    month = part.month or LIVE
    place, note = folder / f"month={month}", folder / _NOTES / f"{month}.json"
    source = look_at(part)
    identity = [] if source is None else [source.first_seq, source.last_seq, source.last_hash]
    there = _noted(note, identity) if place.is_dir() else None
    if there is not None:
        return PartitionResult(month, place, *there, False)
    path, bad = as_parquet(connection, cache_of(parts), part, scratch)
    if path is None:
        return None
    rows, cost = connection.execute(
        f"SELECT count(*), sum(cost_usd) FROM read_parquet({quoted(str(path))})"  # noqa: S608
    ).fetchall()[0]
    _replace(connection, path, place)
    text = {"form": _FORM, "source": identity, "rows": rows, "bad_rows": bad, "cost": str(cost)}
    part_note = note.with_suffix(".part")
    part_note.write_text(json.dumps(text), encoding="ascii")
    part_note.replace(note)
    return PartitionResult(month, place, rows, bad, Decimal(cost or 0), True)


def _noted(note: Path, identity: list[object]) -> tuple[int, int, Decimal] | None:
    try:
        found = json.loads(note.read_text(encoding="ascii"))
        if identity and found["form"] == _FORM and found["source"] == identity:
            cost = found["cost"]
            return found["rows"], found["bad_rows"], Decimal(0 if cost == "None" else cost)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
        pass
    return None


def _replace(connection: duckdb.DuckDBPyConnection, path: Path, place: Path) -> None:
    """Write the partitions of one month and put them in the place of what is there."""
    # A name that no loader takes for a partition.
    new = place.with_name(f"_{place.name}.{os.getpid()}.part")
    old = place.with_name(f"_{place.name}.{os.getpid()}.old")
    try:
        shutil.rmtree(new, ignore_errors=True)
        connection.execute(
            # In the order of the key, so that one folder after another is written, once.
            f"COPY (SELECT {column_list()} FROM read_parquet({quoted(str(path))})"  # noqa: S608
            f" ORDER BY moduleId, seq) TO {quoted(str(new))}"
            " (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (moduleId))"
        )
        if place.exists():
            place.rename(old)
        new.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
