"""Ledgers over several months, and their sealed files, for the tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ledger_parts import NOTE

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.audit import MonthPiece
from yoyo.model.ledger import (
    LEDGER_NODE,
    MONTH_DELETED,
    MONTH_SEALED,
    BadRow,
    Entry,
    Row,
)

START = datetime(2026, 8, 30, 12, 0, tzinfo=UTC)


class Calendar:
    """A clock that says the same until it is told otherwise."""

    def __init__(self, now: datetime = START) -> None:
        self.at = now
        self._system = SystemClock()

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self._system.monotonic()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def ledger_at(path: Path, clock: Calendar) -> CsvLedger:
    return CsvLedger(path, clock, SystemIds(SystemClock()))


def write_days(path: Path, days: int, a_day: int = 2, start: datetime = START) -> Calendar:
    """Rows of that many days, so many a day; returns the clock at the last one's."""
    clock = Calendar(start)
    ledger = ledger_at(path, clock)
    for day in range(days):
        clock.at = start + timedelta(days=day)
        for n in range(a_day):
            ledger.append(NOTE._replace(error_code=f"D{day}N{n}", job_id=f"job-{day}"))
    return clock


def sealed_rows(pieces: Iterable[MonthPiece]) -> list[Entry]:
    return [
        NOTE._replace(
            module_id="shared",
            node_id=LEDGER_NODE,
            job_id=f"seal/{piece.month}",
            error_code=MONTH_SEALED,
            input_hash=f"sha256:{piece.sha256}",
        )
        for piece in pieces
    ]


def deleted_row(month: str) -> Entry:
    return NOTE._replace(
        module_id="shared", node_id=LEDGER_NODE, job_id=f"delete/{month}", error_code=MONTH_DELETED
    )


def seal_all(ledger: CsvLedger, before: datetime) -> tuple[MonthPiece, ...]:
    pieces = ledger.complete_months(before)
    ledger.seal(pieces, sealed_rows(pieces))
    return pieces


def good(rows: Iterable[Row | BadRow]) -> list[Row]:
    found = [row for row in rows if isinstance(row, Row)]
    return found


def numbers(rows: Iterable[Row | BadRow]) -> list[int]:
    return [row.seq if isinstance(row, Row) else -1 for row in rows]
