"""`yoyo report` on real ledgers."""

from __future__ import annotations

import json
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
import typer
from audit_parts import Audited
from export_parts import at, billed, rows_of, story, write
from html_checks import Page, dangers
from typer.testing import CliRunner, Result

from yoyo.cli.report import report
from yoyo.core.clocks import skew_entries
from yoyo.core.lives import Life
from yoyo.core.report.facts import ReportFacts
from yoyo.core.report.page import page
from yoyo.drivers.files.accounts import PlainAccounts
from yoyo.errors import CheckpointMismatch, LedgerCorrupt, LedgerRowRefused, StateUnwritable
from yoyo.model.ids import ModuleId, NodeName
from yoyo.model.machine import Clocks
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.ops.report import ReportQuestion, gather, last_month, month_span, trouble
from yoyo.wiring_audit import bare_audit_context

app = typer.Typer()
app.command()(report)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    made = story()
    made.append((at(60), billed(rows_of(made)[7], "1.50")))
    return write(tmp_path / "ledger.csv", made)


def test_the_page_has_the_ledgers_figures(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "october.html"
    done = run("--month", "2026-10", "--file", ledger, "-o", out, "--json")
    assert done.exit_code == 0, done.output
    text = out.read_text(encoding="utf-8")
    found = Page(text).text

    assert dangers(text) == []
    document = json.loads(done.stdout)
    # 1.42 was booked, 1.50 billed; 0.05 for the disk. The second life was booked in November.
    assert document["usd"] == "1.550000"
    assert document["sha256"] == sha256(out.read_bytes()).hexdigest()
    assert document["integrity"]["holds"] is True
    assert "Spend, USD1.55" in found
    assert "Tokens1,200" in found
    assert "1.42 → 1.50 USD" in found
    assert "job-3" in found  # open
    assert "not all checked" in found  # nothing signs here
    head = rows_of([*story(), (at(60), billed(rows_of(story())[7], "1.50"))])[-1]
    assert f"{head.seq}:{head.row_hash}" in found


def test_a_tampered_ledger_is_said_to_be_one(ledger: Path, tmp_path: Path) -> None:
    ledger.write_bytes(ledger.read_bytes().replace(b",7.81,", b",0.81,"))
    out = tmp_path / "r.html"
    done = run("--month", "2026-11", "--file", ledger, "-o", out, "--json")

    assert isinstance(done.exception, LedgerCorrupt), done.output
    document = json.loads(done.stdout)
    assert document["integrity"]["holds"] is False
    assert "row_hash" in document["error"]["why"]
    assert "Integrity: fails" in out.read_text()
    assert "row_hash" in Page(out.read_text()).text


def test_a_month_without_rows_gives_a_page(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    done = run("--month", "2020-01", "--file", ledger, "-o", out)

    assert done.exit_code == 0, done.output
    assert "Nothing was booked" in out.read_text()


def test_a_ledger_without_a_row(tmp_path: Path) -> None:
    out, empty = tmp_path / "r.html", tmp_path / "none.csv"
    empty.touch()
    done = run("--month", "2026-10", "--file", empty, "-o", out)

    assert done.exit_code == 0, done.output
    assert dangers(out.read_text()) == []


@pytest.mark.parametrize(
    "text",
    ["2026", "2026-13", "october", "2026-1", "0000-01", "\u0662\u0660\u0662\u0666-\u0661\u0660"],
)
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(LedgerRowRefused):
        month_span(text)


def test_months() -> None:
    since, until = month_span("2026-12")
    assert (since.isoformat(), until.isoformat()) == (
        "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00",
    )  # fmt: skip
    assert last_month(until) == "2026-12"


def test_a_report_replaces_the_one_before_it(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    for _ in range(2):
        assert run("--month", "2026-10", "--file", ledger, "-o", out).exit_code == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ledger.csv", "r.html"]


@pytest.mark.parametrize("place", [".", "/"])
def test_a_directory_in_its_place(ledger: Path, place: str) -> None:
    done = run("--month", "2026-10", "--file", ledger, "-o", place)
    assert isinstance(done.exception, StateUnwritable), done.output
    assert "could not be written" in done.exception.what


def test_clocks_that_were_off_are_named_and_fail_nothing(tmp_path: Path) -> None:
    """A node may say of its clock whatever it likes."""
    house = Audited(tmp_path / "house")
    asked = ReportQuestion(*month_span("2026-10"), house.clock.now(), "1", "ledger.csv")
    house.book(1)
    before = gather(house.ctx, PlainAccounts(), asked)
    assert "Clocks" not in [check.what for check in before.integrity.checks]
    life = Life("the-life", NodeName("l4"), ModuleId("acme"), house.clock.now())
    for entry in skew_entries(life, Clocks(node_s=99, here_s=0), "alice"):
        house.ctx.ledger.append(entry)
    after = gather(house.ctx, PlainAccounts(), asked)
    (told,) = [check for check in after.integrity.checks if check.what == "Clocks"]
    assert told.result is True
    assert "1 was off by more than 2 s, at most by +99 s, that of node l4" in told.detail


def test_signed_checkpoints_are_part_of_the_statement(tmp_path: Path) -> None:
    house = Audited(tmp_path / "house")
    house.book(5)
    checkpoint(house.ctx)
    house.book(2)
    out = tmp_path / "r.html"
    asked = ReportQuestion(*month_span("2026-10"), house.clock.now(), "1", "ledger.csv")

    trusted = gather(house.ctx, PlainAccounts(), asked._replace(keys=(house.key,)))
    signed = trusted.integrity.checks[1]
    assert signed.result is True
    assert "2 later row(s)" in signed.detail
    assert "configured" in signed.detail
    named = gather(
        house.ctx, PlainAccounts(), asked._replace(keys=(house.key,), keys_from="checkpoints.key")
    )
    assert "configured as checkpoints.key" in named.integrity.checks[1].detail
    assert trusted.integrity.checks[2].result is None  # the copies were not read

    beside = gather(house.ctx, PlainAccounts(), asked)
    assert "vouched for by nobody" in beside.integrity.checks[1].detail
    out.write_text(page(beside))
    assert dangers(out.read_text()) == []

    lines = house.path.read_bytes().splitlines(keepends=True)
    house.path.write_bytes(b"".join(lines[:4]))
    cut = gather(house.ctx, PlainAccounts(), asked._replace(keys=(house.key,)))
    assert cut.integrity.checks[0].result is True  # the chain of what is left holds
    assert cut.integrity.checks[1].result is False
    assert not cut.integrity.holds
    assert isinstance(trouble(cut.integrity), CheckpointMismatch)
    assert trouble(trusted.integrity) is None
    assert trouble(beside.integrity) is None


def test_each_month_has_its_own_jobs_and_what_was_open_by_its_end(ledger: Path) -> None:
    ctx = bare_audit_context(ledger)

    def of(month: str) -> ReportFacts:
        asked = ReportQuestion(*month_span(month), at(100), "1", "ledger.csv")
        return gather(ctx, PlainAccounts(), asked)

    assert [strip.jobs for strip in of("2026-10").strips] == [2]
    assert [strip.jobs for strip in of("2026-11").strips] == [0]
    assert [item.job_id for item in of("2026-10").open_items] == ["job-3"]
    assert of("2026-09").open_items == ()
    assert of("2026-09").strips == ()
    assert [change.new_usd for change in of("2026-11").changes] == [Decimal("1.50")]
