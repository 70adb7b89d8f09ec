"""Months that retention deleted: no figure passes for that of all rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from audit_faults_parts import configure, document, yoyo
from audit_parts import Audited

from yoyo.core.reconcile.bills import compare_bill
from yoyo.core.reconcile.booked import read_booked
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.reconcile import Bill, BilledLife, Bounds, FindingKind
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.ops.audit.prune import prune
from yoyo.ops.audit.seal import seal
from yoyo.ops.kept import deleted

ZERO = Decimal(0)
GONE = "Rows 1 to 4 (up to 2026-08) were deleted by retention and are in no figure."


def life(house: Audited, name: str) -> None:
    """A life of an hour: 0.000154 USD."""

    def add(kind: EventType, status: CompletionStatus, **more: Any) -> None:
        house.clock.sleep(60)
        house.ctx.ledger.append(Entry(kind, "acme", "demo", name, status, "op")._replace(**more))

    add(EventType.BOOT_REQUEST, CompletionStatus.PENDING)
    add(EventType.BOOT_COMPLETE, CompletionStatus.SUCCESS)
    add(EventType.TEARDOWN_REQUEST, CompletionStatus.PENDING)
    add(
        EventType.TEARDOWN_COMPLETE, CompletionStatus.SUCCESS,
        gpu_seconds=Decimal(3600), cost_usd=Decimal("0.000150"),
    )  # fmt: skip


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    """August is deleted, September sealed, October live; a life in August and one in September."""
    made = Audited(tmp_path / "ledger", now=datetime(2026, 8, 30, 8, tzinfo=UTC))
    configure(made.home, copy=f"file://{made.copies}")
    life(made, "life-august")
    made.clock.at = datetime(2026, 9, 2, 8, tzinfo=UTC)
    life(made, "life-september")
    made.clock.at = datetime(2026, 10, 1, 0, 0, 5, tzinfo=UTC)
    seal(made.ctx)
    checkpoint(made.ctx)
    assert deleted(made.ctx.ledger) is None
    made.settings = made.settings._replace(retention_months=1)
    assert prune(made.ctx, apply=True).deleted == ("ledger-2026-08.csv",)
    return made


def test_every_command_with_figures_says_what_is_gone(house: Audited, tmp_path: Path) -> None:
    for engine in ("plain", "duckdb"):
        said = yoyo(house.home, "cost", "--engine", engine)
        assert (said.code, GONE in said.out) == (0, True), said
        assert "from the first row that is kept to" in said.out
    assert GONE in document(yoyo(house.home, "cost", "--json"))["notes"]
    assert GONE in yoyo(house.home, "ledger", "verify").out
    asked = yoyo(house.home, "ledger", "query", "--csv", "SELECT sum(cost_usd) AS usd FROM money")
    assert (asked.out, GONE in asked.err) == ("usd\n0.000150\n", True)
    page = tmp_path / "page.html"
    yoyo(house.home, "report", "--month", "2026-09", "-o", str(page))
    assert page.read_text().count(GONE) == 1, "in the integrity box, not among September's figures"


def test_a_window_after_the_deleted_months_has_all_its_rows(house: Audited) -> None:
    later = yoyo(house.home, "cost", "--since", "2026-09-01")
    assert (later.code, "deleted" in later.out) == (0, False)
    assert GONE in yoyo(house.home, "cost", "--since", "2026-08-31").out


def test_partitions_show_no_more_digits_than_were_booked(house: Audited, tmp_path: Path) -> None:
    said = yoyo(
        house.home, "ledger", "export", "--to", "parquet", "--live", "-o", str(tmp_path / "out")
    )
    assert "2026-09: 4 row(s), 0.000150 USD" in said.out


def line(request: str, month: int, usd: str, disk: str = "0") -> BilledLife:
    first = datetime(2026, month, 2, 8, tzinfo=UTC)
    return BilledLife(
        request, "demo", Decimal(usd), Decimal(disk), ZERO, first, first.replace(hour=9)
    )


def test_what_was_billed_in_deleted_months_is_a_note(house: Audited) -> None:
    ledger = house.ctx.ledger
    gone = deleted(ledger)
    assert gone is not None
    assert gone.until == datetime(2026, 9, 1, tzinfo=UTC)
    first, last = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    lines = (
        line("life-august", 8, "3.50", "0.25"), line("life-stranger", 9, "1"),
        line("life-september", 9, "0.00015"),
    )  # fmt: skip
    bill = Bill(lines, first, last, 9, 9, ZERO, ZERO, 0, ZERO)
    ours = read_booked(ledger.rows(), first, last)
    found = compare_bill(ours, ours.lives, bill, None, Bounds(), lost=gone.until)
    assert [(each.kind, each.request_id) for each in found.findings] == [
        (FindingKind.BILLED_WITHOUT_ROWS, "life-stranger")
    ]
    assert found.notes[0] == (
        "1 billed life is of months deleted by retention, 3.75 USD; not compared."
    )
    before = compare_bill(ours, ours.lives, bill, None, Bounds())
    assert "life-august" in [each.request_id for each in before.findings]


def test_a_bill_over_deleted_months_in_the_command(house: Audited, tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    labels = json.dumps([
        {"key": "yoyo-node", "value": "demo"}, {"key": "yoyo-request", "value": "life-august"}
    ]).replace('"', '""')  # fmt: skip
    bill.write_text(
        "usage_start_time,usage_end_time,cost,currency,labels,sku.description\n"
        "2026-08-30 08:00:00 UTC,2026-08-30 09:00:00 UTC,3.5,USD,"
        f'"{labels}",Nvidia L4 GPU running\n'
    )
    said = yoyo(house.home, "reconcile", "--billing", str(bill))
    assert "1 billed life is of months deleted by retention, 3.5 USD; not compared." in said.out
    assert "billed-without-rows" not in said.out
