"""What the tests of the ledger's file share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.ledger import BadRow, CompletionStatus, Entry, EventType, Row

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger-v1.csv"
NOTE = Entry(EventType.CHECKPOINT, "team-a", "node-1", "", CompletionStatus.SUCCESS, "someone")


def open_ledger(path: Path) -> CsvLedger:
    clock = SystemClock()
    return CsvLedger(path, clock, SystemIds(clock))


def jobs(count: int) -> list[Entry]:
    """That many entries, each with a code of its own."""
    return [NOTE._replace(error_code=f"N{n}") for n in range(count)]


def codes(rows: Iterator[Row | BadRow] | list[Row | BadRow]) -> list[str]:
    return [row.entry.error_code if isinstance(row, Row) else "bad" for row in rows]
