"""The signed year, end to end: every command on it, and twelve tamperings found and named."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from year_audit import SIGNS, audited, tampered
from year_commands import SQL_USD, document, reading, run, told, writing
from year_parts import Year
from year_signed import Papers, sign_year
from year_tampering import KINDS

ROOT = Path(__file__).parents[2]
CORRECTING = ("CORRECTION", "BILLED")
ZERO = Decimal(0)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return sign_year(Year(rows_per_day=60), tmp_path_factory.mktemp("year"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    place = tmp_path_factory.mktemp("other")
    return sign_year(Year(8, 60, 20), place, "ledger.example.org/other")


@pytest.fixture
def mine(papers: Papers, tmp_path: Path) -> Papers:
    """The year, to write in."""
    copy = Papers(Path(shutil.copytree(papers.place, tmp_path / "mine")))
    config = copy.ledger / "yoyo.yaml"
    config.write_text(config.read_text().replace(str(papers.place), str(copy.place)))
    return copy


def rows(place: Path) -> Iterator[dict[str, str]]:
    """As anybody's Python reads them."""
    for path in [*sorted(place.glob("ledger-????-??.csv")), place / "ledger.csv"]:
        with path.open(newline="") as file:
            yield from csv.DictReader(file)


def plain_sum(place: Path, month: str = "", *, as_booked: bool = False) -> Decimal:
    """What it cost by a plain sum over the files, corrections put in place of what they correct."""
    booked: dict[str, tuple[str, Decimal]] = {}
    for row in rows(place):
        if row["error_code"] not in CORRECTING:
            cost = Decimal(row["cost_usd"]) if row["cost_usd"] else ZERO
            booked[row["seq"]] = row["timestamp_utc"][:7], cost
        elif not as_booked:
            seq = row["job_id"].split("/")[1]
            booked[seq] = booked[seq][0], Decimal(row["cost_usd"])
    return sum((cost for when, cost in booked.values() if when.startswith(month)), ZERO)


def focus_sum(path: Path) -> Decimal:
    with path.open(newline="") as file:
        return sum((Decimal(row["BilledCost"]) for row in csv.DictReader(file)), ZERO)


def query_usd(place: Path) -> Decimal:
    return Decimal(document(place, "ledger", "query", SQL_USD)["rows"][0][0])


def all_usd(place: Path, *options: str) -> Decimal:
    return Decimal(document(place, "cost", *options)["total"]["usd"])


def test_every_reading_command_works_on_it(papers: Papers, tmp_path: Path) -> None:
    said: list[str] = []
    assert not told(papers.ledger, reading(papers, tmp_path), said.append), "\n".join(said)
    assert len(said) > 30
    for line in (tmp_path / "spans.jsonl").read_text().splitlines():
        json.loads(line)
    total = all_usd(papers.ledger)
    assert total > 1000
    assert total == plain_sum(papers.ledger)
    assert total == query_usd(papers.ledger)
    assert total == focus_sum(tmp_path / "focus.csv")
    # Sheets hold all rows, with a quote before what a spreadsheet would take for a formula.
    with (tmp_path / "sheet.csv").open(newline="") as file:
        assert [row["seq"] for row in csv.DictReader(file)] == [
            row["seq"] for row in rows(papers.ledger)
        ]


def test_the_figures_agree_by_month_and_as_they_were_booked(papers: Papers, tmp_path: Path) -> None:
    place = papers.ledger
    found = {
        line["month"]: Decimal(line["usd"])
        for line in document(place, "cost", "--by", "month")["lines"]
    }
    assert found == {month: plain_sum(place, month) for month in found}
    assert len(found) == 13
    out = str(tmp_path / "page.html")
    page = document(place, "report", "--month", "2026-10", "-o", out)
    assert Decimal(page["usd"]) == found["2026-10"]
    assert page["integrity"]["holds"]
    booked = all_usd(place, "--as-booked")
    assert booked == plain_sum(place, as_booked=True)
    assert booked < all_usd(place), "the year has a correction upwards"
    months = document(place, "ledger", "export", "--to", "parquet", "--live", "-o", str(tmp_path))
    assert [each["month"] for each in months["months"]][-1] == "live"


def test_each_grouping_adds_up_to_the_same(papers: Papers) -> None:
    total = plain_sum(papers.ledger)
    for group in ("module", "node", "day", "adapter", "operator", "guard"):
        lines = document(papers.ledger, "cost", "--by", group)["lines"]
        assert sum((Decimal(line["usd"]) for line in lines), ZERO) == total, group
        assert len(lines) > 2


def test_an_answer_leads_back_to_everything_behind_it(papers: Papers) -> None:
    days = ("--since", "2026-10-06", "--until", "2026-10-08")
    done = ("--type", "JOB_COMPLETE", "--status", "success")
    shown = run(papers.ledger, "ledger", "show", "--json", *days, *done)
    jobs = [json.loads(line) for line in shown.stdout.splitlines()]
    job = next(each for each in jobs if each["adapter_versions"])
    (found,) = document(papers.ledger, "ledger", "trace", job["job_id"])["found"]
    assert found["unknown"] == []
    assert found["adapters"][0]["name"] == job["adapter_versions"][0]
    assert [each["role"] for each in found["adapters"][0]["signers"]] == ["signature", "sign-off"]
    assert found["boot"]["engine"]["name"] == "b6900"
    assert found["cost"]["price"]["version"] == "yoyo-2026-05"
    assert Decimal(found["cost"]["job_usd"]) > 0
    assert found["checkpoint"]["size"] >= job["seq"]


def test_open_items_are_named_and_the_bill_is_held_against_it(papers: Papers) -> None:
    strict = document(papers.ledger, "ledger", "verify", "--strict", code=42)
    assert [each["event_type"] for each in strict["open_intents"]] == [
        "JOB_START", "TEARDOWN_REQUEST", "BOOT_REQUEST",
    ]  # fmt: skip
    bill = document(papers.ledger, "reconcile", "--billing", "billing.csv", code=95)
    kinds = {each["kind"] for each in bill["findings"]}
    assert {"booked-nothing", "cost-differs", "billed-without-rows"} <= kinds


def test_what_writes_keeps_the_year_sound(mine: Papers) -> None:
    closing = [
        row for row in rows(mine.ledger)
        if row["event_type"] == "TEARDOWN_COMPLETE" and row["completion_status"] == "success"
    ][-1]  # fmt: skip
    before = plain_sum(mine.ledger)
    dear = int(closing["seq"])
    said: list[str] = []
    steps = list(writing(mine, dear))
    half = next(n for n, step in enumerate(steps) if "prune" in step.words)
    assert not told(mine.ledger, steps[:half], said.append), "\n".join(said)
    assert (mine.ledger / "ledger-2026-10.csv").stat().st_mode & 0o777 == 0o444
    corrected = before - Decimal(closing["cost_usd"]) + Decimal("0.5")
    assert all_usd(mine.ledger) == corrected == plain_sum(mine.ledger)
    assert query_usd(mine.ledger) == corrected
    assert all(audited(mine.ledger, mine.copies, mine.vkey, every=10).sound)
    assert not told(mine.ledger, steps[half:], said.append), "\n".join(said)
    gone = {path.name for path in mine.ledger.glob("ledger-????-??.csv")}
    assert min(gone) == "ledger-2026-05.csv"
    shown = run(mine.ledger, "ledger", "show", "--code", "MONTH_DELETED", "--json").stdout
    assert [json.loads(line)["job_id"] for line in shown.splitlines()] == [
        f"delete/{month}"
        for month in ("2025-11", "2025-12", "2026-01", "2026-02", "2026-03", "2026-04")
    ]


def test_both_verifiers_call_the_untouched_year_sound(papers: Papers) -> None:
    said = audited(papers.ledger, papers.copies, papers.vkey, every=5)
    assert said.sound == (True, True), said
    assert said.findings == set()
    assert said.document["against"]["agreed"] > 15_000 * 9 // 10
    assert len(said.document["against"]["trusted"]) == 2, "the change of keys was not followed"


def test_each_kind_has_its_signs() -> None:
    assert set(SIGNS) == set(KINDS)
    assert len(KINDS) == 12


@pytest.mark.parametrize("kind", SIGNS)
def test_a_tampering_is_found_and_named_by_both(
    papers: Papers, other: Papers, tmp_path: Path, kind: str
) -> None:
    done, said = tampered(kind, papers, other, tmp_path)
    signs = SIGNS[kind]
    assert said.sound == (False, False), (done, said.second)
    assert said.code == signs.code, said
    if signs.finding:
        assert signs.finding in said.findings
    row = re.search("row ([0-9]+)", done)
    number = int(row[1]) if row else 0
    words = signs.words.format(row=number, next=number + 1)
    assert any(words in each for each in said.problems), said.problems
    if not words:
        cut = "the newest checkpoint beside it signs"
        chain = [each["bad"] for each in said.document["problems"] if cut not in each["bad"]]
        assert not chain, "the chain was meant to hold"
    if kind == "edited-month":
        assert f" in {said.document['problems'][0]['file']} " in done
    place: dict[str, Any] = next(
        (each for each in said.document.get("against", {}).get("findings", ())
         if each["kind"] == "rewritten-or-forked"), {},
    )  # fmt: skip
    if signs.finding == "rewritten-or-forked" and number and kind != "rewritten":
        assert place["first_row"] <= number <= place["last_row"]


def test_the_generator_lays_a_year_out_signed(tmp_path: Path) -> None:
    words = ("--signed", "--out", str(tmp_path / "year"), "--days", "50", "--rows-per-day", "60")
    command = [sys.executable, str(ROOT / "scripts" / "generate_year.py"), *words]
    subprocess.run(command, capture_output=True, text=True, check=True)
    papers = Papers(tmp_path / "year")
    said = audited(papers.ledger, papers.copies, papers.vkey, every=3)
    assert said.sound == (True, True)
    assert {path.name for path in papers.ledger.glob("ledger-*.csv")} == {"ledger-2025-11.csv"}


def test_the_script_shows_an_auditor_all_of_it(tmp_path: Path) -> None:
    command = [
        sys.executable, str(ROOT / "scripts" / "audit_year"), "--days", "75", "--skip-commands",
        "--out", str(tmp_path / "year"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:
        assert len(re.findall(f"^{kind} ", done.stdout, re.M)) == 1
    assert "12 of 12 found by both" in done.stdout
