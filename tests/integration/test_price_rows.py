"""Rows of money name the price that they rest on, and its record is there before them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cloud import GCE
from ledger_parts import open_ledger
from sample_node import NODE

from yoyo.core.lives import read_book
from yoyo.core.prices import read_price_record
from yoyo.drivers.files.proofs import FileProofs
from yoyo.drivers.system.clock import SystemClock
from yoyo.errors import LedgerWriteFailed
from yoyo.model.ledger import DISK_COST, CompletionStatus, Entry, EventType, Row
from yoyo.model.machine import MachineState, Observation, StopCause, Storage
from yoyo.model.settings import NodeSettings, PriceSettings
from yoyo.ops.context import Context
from yoyo.ops.settle import settle
from yoyo.ports.ledger import Ledger
from yoyo.ports.proofs import Proofs

PRICES = PriceSettings(Decimal("0.72"), Decimal("0.10"), "yoyo-2026-11", "list", "2025-03-06")
PRICED = NODE._replace(driver="gce", gce=GCE, prices=PRICES)
STARTED = datetime.now(UTC) - timedelta(hours=2)
STOPPED = Observation(
    MachineState.STOPPED,
    request_id="life",
    started_at=STARTED,
    stopped_at=STARTED + timedelta(hours=1),
    stop_cause=StopCause.LIFETIME,
    storage=Storage(100, STARTED),
)


class OrderSeen:
    """Proofs that note how many rows stood in the ledger when a record was kept."""

    def __init__(self, inner: Proofs, ledger: Ledger) -> None:
        self._inner, self._ledger = inner, ledger
        self.rows_before: list[int] = []

    def keep(self, document: bytes) -> str:
        self.rows_before.append(len(list(self._ledger.rows())))
        return self._inner.keep(document)

    def find(self, digest: str) -> bytes | None:
        return self._inner.find(digest)


def context(ledger: Ledger, proofs: Proofs | None, node: NodeSettings = PRICED) -> Context:
    no: Any = None
    clock = SystemClock()
    return Context(node, "me", no, no, ledger, clock, no, no, no, no, no, no, None, proofs)


def booted(path: Path) -> Ledger:
    ledger = open_ledger(path / "ledger.csv")
    for kind, status in (
        (EventType.BOOT_REQUEST, CompletionStatus.PENDING),
        (EventType.BOOT_COMPLETE, CompletionStatus.SUCCESS),
    ):
        ledger.append(Entry(kind, "demo", NODE.name, "life", status, "me"))
    return ledger


def money(ledger: Ledger) -> list[Row]:
    return [r for r in ledger.rows() if isinstance(r, Row) and r.entry.cost_usd is not None]


def test_machine_and_disk_name_their_own_prices(tmp_path: Path) -> None:
    ledger, proofs = booted(tmp_path), FileProofs(tmp_path / "ledger.proofs")
    seen = OrderSeen(proofs, ledger)
    settle(context(ledger, seen), STOPPED, healthy=False)
    end, disk = money(ledger)
    assert end.entry.event_type is EventType.PREEMPTION
    assert end.entry.cost_usd == Decimal("0.720000")
    assert disk.entry.error_code == DISK_COST
    assert seen.rows_before == [2, 3]  # each record before its row
    machine = read_price_record(proofs.find(end.entry.input_hash) or b"")
    disks = read_price_record(proofs.find(disk.entry.input_hash) or b"")
    assert (machine.hourly_usd, machine.version) == (Decimal("0.72"), "yoyo-2026-11")
    assert (disks.disk_gb_month_usd, disks.valid_from) == (Decimal("0.10"), "2025-03-06")
    assert ledger.verify().ok
    assert read_book(ledger.rows()).of(NODE.name)[0].cost_usd == Decimal("0.720000")


class Full:
    """Proofs on a disk without room."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def keep(self, document: bytes) -> str:
        raise self._error

    def find(self, digest: str) -> bytes | None:
        return None


@pytest.mark.parametrize("error", [LedgerWriteFailed("No room."), OSError(28, "No space")])
def test_a_record_that_cannot_be_kept_keeps_no_row_out(tmp_path: Path, error: Exception) -> None:
    ledger = booted(tmp_path)
    settle(context(ledger, Full(error)), STOPPED, healthy=False)
    assert [row.entry.input_hash for row in money(ledger)] == ["", ""]
    assert money(ledger)[0].entry.cost_usd == Decimal("0.720000")


def test_an_unknown_cost_names_no_price(tmp_path: Path) -> None:
    ledger, proofs = booted(tmp_path), FileProofs(tmp_path / "ledger.proofs")
    bare = PRICED._replace(prices=PriceSettings(None))
    settle(context(ledger, proofs, bare), STOPPED, healthy=False)
    (end,) = [row for row in ledger.tail(1) if isinstance(row, Row)]
    assert end.entry.event_type is EventType.PREEMPTION
    assert (end.entry.cost_usd, end.entry.input_hash) == (None, "")
    assert not (tmp_path / "ledger.proofs").exists()


def test_without_a_place_for_records_rows_are_as_before(tmp_path: Path) -> None:
    ledger = booted(tmp_path)
    settle(context(ledger, None), STOPPED, healthy=False)
    assert [row.entry.input_hash for row in money(ledger)] == ["", ""]
