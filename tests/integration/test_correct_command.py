"""`yoyo ledger correct` as a command: its document, its lines, its refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from ledger_parts import open_ledger

import yoyo
from yoyo.errors import LedgerRowRefused, TraceNotFound
from yoyo.model.ledger import BILLED, SESSION, CompletionStatus, Entry, EventType, Row

CONFIG = "version: 1\noperator: tester\nnodes:\n  l4: {moduleId: acme, driver: local}\n"
ROOT = Path(yoyo.__file__).parents[1]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "yoyo.yaml").write_text(CONFIG)
    ledger = open_ledger(tmp_path / "ledger.csv")
    ok, pending = CompletionStatus.SUCCESS, CompletionStatus.PENDING
    for kind, status, cost in (
        (EventType.BOOT_REQUEST, pending, None),
        (EventType.TEARDOWN_REQUEST, pending, None),
        (EventType.TEARDOWN_COMPLETE, ok, Decimal("0.71")),
    ):
        ledger.append(Entry(kind, "acme", "l4", "life", status, "op", cost_usd=cost))
    return tmp_path


def run(place: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "yoyo", "ledger", "correct", *words],
        cwd=place,
        env={"PYTHONPATH": str(ROOT), "HOME": str(place), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def rows(place: Path) -> list[Row]:
    return [row for row in open_ledger(place / "ledger.csv").rows() if isinstance(row, Row)]


def test_the_document_has_before_and_after(place: Path) -> None:
    words = ("3", "--cost", "0.520", "--billed", "--reason", "invoice 17", "--json")
    document = json.loads(run(place, *words).stdout)
    assert document["corrected"]["seq"] == 3
    assert document["before"]["cost_usd"] == "0.71"
    assert document["after"] == {
        "tokens_processed": None, "gpu_seconds": None, "cost_usd": "0.520", "billed": True,
    }  # fmt: skip
    *_, session, correction = rows(place)
    assert (session.entry.error_code, correction.entry.error_code) == (SESSION, BILLED)
    assert correction.entry.job_id == document["job_id"]
    assert correction.entry.operator_id == "tester"
    assert correction.seq == document["seq"]


def test_a_dry_run_writes_no_row_at_all(place: Path) -> None:
    done = run(place, "3", "--cost", "0.5", "--reason", "x", "--dry-run")
    assert "would be corrected" in done.stdout
    assert "0.71 -> 0.5" in done.stdout
    assert len(rows(place)) == 3


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("3", "--cost", "NaN"), LedgerRowRefused),
        (("3", "--cost", "5 EUR"), LedgerRowRefused),
        (("3", "--cost", "0.71"), LedgerRowRefused),
        (("1", "--cost", "1"), LedgerRowRefused),
        (("3", "--tokens", "1"), LedgerRowRefused),
        (("3",), LedgerRowRefused),
        (("99", "--cost", "1"), TraceNotFound),
    ],
)
def test_a_refusal_has_its_code_and_writes_nothing(
    place: Path, words: tuple[str, ...], error: type[LedgerRowRefused | TraceNotFound]
) -> None:
    done = run(place, *words, "--reason", "why", "--json", code=error.exit_code)
    assert json.loads(done.stdout)["error"]["fix"]
    assert len(rows(place)) == 3
