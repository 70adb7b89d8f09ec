"""Budgets are held against what things cost, not against what was booked by mistake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from ledger_parts import open_ledger

from yoyo.core.corrections import Amounts, correction_entry
from yoyo.core.disk_cost import disk_spend
from yoyo.core.lives import read_book
from yoyo.core.money import day_start, spend
from yoyo.model.ledger import DISK_COST, CompletionStatus, Entry, EventType, Row

LIFE = Entry(EventType.BOOT_REQUEST, "acme", "l4", "life-1", CompletionStatus.PENDING, "mira@host")


def test_a_life_booked_as_nothing_counts_as_it_was_corrected(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.csv")
    ledger.append(LIFE)
    end = ledger.append(
        LIFE._replace(
            event_type=EventType.TEARDOWN_COMPLETE,
            completion_status=CompletionStatus.SUCCESS,
            gpu_seconds=Decimal("0.500"),
            cost_usd=Decimal("0.00"),
        )
    )
    disk = ledger.append(
        LIFE._replace(
            event_type=EventType.CHECKPOINT,
            completion_status=CompletionStatus.SUCCESS,
            error_code=DISK_COST,
            cost_usd=Decimal("1.00"),
        )
    )
    ledger.append(correction_entry(end, Amounts(cost_usd=Decimal("50.00")), "", "ada@host"))
    ledger.append(correction_entry(end, Amounts(cost_usd=Decimal("49.00")), "", "ada@host"))
    ledger.append(correction_entry(disk, Amounts(cost_usd=Decimal("2.50")), "", "ada@host"))
    book = read_book(ledger.rows())
    (life,) = book.of("l4")
    assert (life.cost_usd, life.gpu_seconds) == (Decimal("49.00"), Decimal("0.500"))
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert spend([life], day_start(now) - timedelta(days=1), now, None).usd == Decimal("49")
    assert disk_spend(book.disk_costs["l4"], day_start(now) - timedelta(days=1)) == Decimal("2.5")


def test_a_correction_of_another_row_changes_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.csv")
    ledger.append(LIFE)
    end = ledger.append(
        LIFE._replace(
            event_type=EventType.TEARDOWN_COMPLETE,
            completion_status=CompletionStatus.SUCCESS,
            gpu_seconds=Decimal(10),
            cost_usd=Decimal(3),
        )
    )
    wrong: Row = end._replace(row_hash="f" * 64)
    ledger.append(correction_entry(wrong, Amounts(cost_usd=Decimal(0)), "", "ada@host"))
    (life,) = read_book(ledger.state_rows()).of("l4")
    assert life.cost_usd == Decimal(3)
