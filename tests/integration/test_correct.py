"""`yoyo ledger correct`'s use case on a real ledger."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from ledger_parts import open_ledger

from yoyo.core.corrections import Amounts, corrections_of
from yoyo.errors import LedgerRowRefused, TraceNotFound
from yoyo.model.ledger import (
    BILLED,
    CORRECTION,
    CORRECTIONS,
    DISK_COST,
    CompletionStatus,
    Entry,
    EventType,
    Row,
)
from yoyo.model.row_filter import RowFilter
from yoyo.ops.correct import Corrected, correct, find_row, parse_amount
from yoyo.ports.ledger import Ledger

E = EventType


def entry(kind: EventType, job: str, **more: object) -> Entry:
    pending = kind in (E.BOOT_REQUEST, E.JOB_START, E.TEARDOWN_REQUEST)
    status = CompletionStatus.PENDING if pending else CompletionStatus.SUCCESS
    return Entry(kind, "acme", "l4", job, status, "op")._replace(**more)  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Seven rows: a life with one job, its disk, its end."""
    made = open_ledger(tmp_path / "ledger.csv")
    for each in (
        entry(E.BOOT_REQUEST, "life"),
        entry(E.BOOT_COMPLETE, "life"),
        entry(E.JOB_START, "job"),
        entry(E.JOB_COMPLETE, "job", tokens_processed=512, gpu_seconds=Decimal("1.5")),
        entry(E.CHECKPOINT, "life", error_code=DISK_COST, cost_usd=Decimal("0.1")),
        entry(E.TEARDOWN_REQUEST, "life"),
        entry(E.TEARDOWN_COMPLETE, "life", gpu_seconds=Decimal(3600), cost_usd=Decimal("0.71")),
    ):
        made.append(each)
    return made


def fix(ledger: Ledger, target: str, *, dry_run: bool = False, **amounts: object) -> Corrected:
    return correct(
        ledger,
        target,
        Amounts(**amounts),  # type: ignore[arg-type]
        reason="Billed less!",
        operator="auditor",
        dry_run=dry_run,
    )


def effective(ledger: Ledger, seq: int) -> Amounts | None:
    row = ledger.row_at(seq)
    assert row is not None
    found = corrections_of(ledger.matching(RowFilter(codes=CORRECTIONS)), ledger.row_at)
    assert found.problems == ()
    return found.of(row)


def test_a_correction_names_the_row_and_its_hash(ledger: Ledger) -> None:
    done = fix(ledger, "7", cost_usd=Decimal("0.52"), billed=True)
    target = ledger.row_at(7)
    assert target is not None
    (written,) = ledger.tail(1)
    assert isinstance(written, Row)
    assert written == done.written
    assert written.entry.job_id == f"correct/7/{target.event_id}/billed-less"
    assert written.entry.input_hash == f"sha256:{target.row_hash}"
    assert (written.entry.error_code, written.entry.cost_usd) == (BILLED, Decimal("0.52"))
    assert written.entry.gpu_seconds is None
    assert (done.before.cost_usd, done.after.cost_usd) == (Decimal("0.71"), Decimal("0.52"))
    assert effective(ledger, 7) == Amounts(cost_usd=Decimal("0.52"), billed=True)
    assert ledger.verify().ok


def test_a_row_is_found_by_its_event_and_by_its_number(ledger: Ledger) -> None:
    row = find_row(ledger, "7")
    assert find_row(ledger, row.event_id) == row
    assert find_row(ledger, "#7") == row


@pytest.mark.parametrize("target", ["8", "0", "07", "", "x", "-1", "\u0663", "9" * 30])
def test_a_row_that_is_not_there(ledger: Ledger, target: str) -> None:
    with pytest.raises(TraceNotFound):
        fix(ledger, target, cost_usd=Decimal(1))


def test_numbers_of_an_earlier_correction_are_taken_along(ledger: Ledger) -> None:
    fix(ledger, "7", cost_usd=Decimal("0.52"), billed=True)
    fix(ledger, "7", gpu_seconds=Decimal(3000))
    assert effective(ledger, 7) == Amounts(None, Decimal(3000), Decimal("0.52"), True)
    fix(ledger, "7", cost_usd=Decimal("0.6"))
    assert effective(ledger, 7) == Amounts(None, Decimal(3000), Decimal("0.6"), False)


def test_the_same_numbers_again_are_refused_and_nothing_is_written(ledger: Ledger) -> None:
    with pytest.raises(LedgerRowRefused, match="says that already"):
        fix(ledger, "7", cost_usd=Decimal("0.710"))
    fix(ledger, "7", cost_usd=Decimal("0.71"), billed=True)  # the bill agrees: that is news
    with pytest.raises(LedgerRowRefused, match="says that already"):
        fix(ledger, "7", cost_usd=Decimal("0.71"), billed=True)
    assert len(list(ledger.rows())) == 8


@pytest.mark.parametrize(
    ("target", "amounts"),
    [
        ("1", {"cost_usd": Decimal(1)}),
        ("4", {"cost_usd": Decimal(1)}),
        ("5", {"tokens": 1}),
        ("5", {"gpu_seconds": Decimal(1)}),
        ("7", {"tokens": 1}),
        ("7", {}),
        ("7", {"gpu_seconds": Decimal(1), "billed": True}),
        ("7", {"cost_usd": Decimal("NaN")}),
        ("7", {"cost_usd": Decimal(-1)}),
    ],
)
def test_nonsense_is_refused_and_nothing_is_written(
    ledger: Ledger, target: str, amounts: dict[str, object]
) -> None:
    for dry_run in (True, False):
        with pytest.raises(LedgerRowRefused):
            fix(ledger, target, dry_run=dry_run, **amounts)
    assert len(list(ledger.rows())) == 7


def test_a_correction_is_not_corrected_and_needs_a_reason(ledger: Ledger) -> None:
    fix(ledger, "5", cost_usd=Decimal("0.2"))
    with pytest.raises(LedgerRowRefused, match="cannot be corrected"):
        fix(ledger, "8", cost_usd=Decimal("0.3"))
    with pytest.raises(LedgerRowRefused, match="reason"):
        correct(ledger, "5", Amounts(cost_usd=Decimal(1)), reason=" .\n", operator="me")


def test_a_dry_run_shows_and_writes_nothing(ledger: Ledger) -> None:
    done = fix(ledger, "4", tokens=600, dry_run=True)
    assert done.written is None
    assert (done.before.tokens, done.after.tokens) == (512, 600)
    assert done.entry.error_code == CORRECTION
    assert len(list(ledger.rows())) == 7


@pytest.mark.parametrize(
    "text", ["NaN", "inf", "-1", "+1", "1e3", "0x1", "1,5", "€5", "5 EUR", "$5", "", "\u0663"]
)
def test_an_amount_is_a_plain_decimal(text: str) -> None:
    with pytest.raises(LedgerRowRefused):
        parse_amount("--cost", text)


def test_an_amount_keeps_its_digits() -> None:
    assert parse_amount("--cost", "0.10") == Decimal("0.10")
    assert parse_amount("--cost", None) is None
