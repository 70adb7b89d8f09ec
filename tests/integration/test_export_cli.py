"""`yoyo ledger export` on real files."""

from __future__ import annotations

import csv
import json
import os
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from export_parts import at, billed, rows_of, story, write
from focus_rules import broken_rules
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from yoyo.cli.ledger_export import export
from yoyo.errors import StateUnwritable

SCHEMA = Path(__file__).parents[1] / "golden" / "otlp-traces.schema.json"

app = typer.Typer()
app.command()(export)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    made = story()
    made.append((at(60), billed(rows_of(made)[7], "1.50")))
    return write(tmp_path / "ledger.csv", made)


def test_focus_passes_every_published_rule(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "focus.csv"
    done = run("--to", "focus-validator", "--file", ledger, "-o", out, "--json")

    assert done.exit_code == 0, done.output
    assert broken_rules(out) == []
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("10.26")
    document = json.loads(done.stdout)
    assert document["records"] == len(rows) == 4
    assert "1 charge(s) left out" in document["notes"][0]


def test_the_plain_file_lacks_only_the_older_names(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "focus.csv"
    run("--to", "focus", "--file", ledger, "-o", out)

    assert broken_rules(out) == [
        "InvoiceIssuer_Required", "Provider_Required", "Publisher_Required",
        "ResourceID_Required",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("BilledCost", "", "BilledCost_NotNull"),
        ("BilledCost", "NaN", "BilledCost_IsDecimal"),
        ("BillingCurrency", "usd", "BillingCurrency_IsCurrencyCode"),
        ("ChargePeriodEnd", "2026-10-30T10:00:00", "ChargePeriodEnd_IsDateTime"),
        ("ServiceCategory", "GPU", "ServiceCategory_Enum"),
        ("Tags", "[1]", "Tags_IsJSONObject"),
        ("SkuPriceId", "", "SkuPriceId_Nullable"),
    ],
)
def test_the_checker_finds_what_is_wrong(
    ledger: Path, tmp_path: Path, column: str, value: str, rule: str
) -> None:
    out = tmp_path / "focus.csv"
    run("--to", "focus-validator", "--file", ledger, "-o", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[1][column] = value
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)

    assert rule in broken_rules(out)


def test_otel_is_lines_of_otlp(ledger: Path) -> None:
    done = run("--to", "otel", "--file", ledger)
    valid = Draft202012Validator(json.loads(SCHEMA.read_text()))

    (line,) = done.stdout.splitlines()
    valid.validate(json.loads(line))
    assert "1 job(s) without an outcome" in done.stderr


def test_a_spreadsheet_gets_no_formula_and_reads_as_utf8(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    run("--to", "spreadsheet", "--file", ledger, "-o", out)

    content = out.read_bytes()
    assert content.startswith(b"\xef\xbb\xbfevent_id,")
    assert b",'=cmd()," in content
    assert content.count(b"\r\n") == len(story()) + 2
    with out.open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(story()) + 1


def test_bad_rows_are_counted_and_left_out(ledger: Path, tmp_path: Path) -> None:
    with ledger.open("ab") as file:
        file.write(b"this is no row\n")
    out = tmp_path / "rows.csv"
    done = run("--to", "spreadsheet", "--file", ledger, "-o", out, "--json")

    assert json.loads(done.stdout)["bad_rows"] == 1
    assert "1 bad row(s)" in done.stderr


@pytest.mark.parametrize("form", ["focus", "otel", "spreadsheet"])
def test_an_empty_ledger_gives_a_sound_file(tmp_path: Path, form: str) -> None:
    out, empty = tmp_path / "out", tmp_path / "none.csv"
    empty.touch()
    done = run("--to", form, "--file", empty, "-o", out, "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["records"] == 0
    assert out.read_bytes().count(b"\n") == (0 if form == "otel" else 1)


@pytest.mark.parametrize(
    "arguments",
    [("--since", "yesterday"), ("--module", "../x"), ("--until", "2026-13"), ("--json",)],
)
def test_what_cannot_be_meant_is_a_usage_error(ledger: Path, arguments: tuple[str, ...]) -> None:
    assert run("--to", "focus", "--file", ledger, *arguments).exit_code == 2


def test_a_file_that_cannot_be_written_is_said_and_nothing_stays(
    ledger: Path, tmp_path: Path
) -> None:
    done = run("--to", "focus", "--file", ledger, "-o", tmp_path / "no" / "such.csv")
    assert isinstance(done.exception, StateUnwritable)

    taken = tmp_path / "taken"
    taken.mkdir()
    done = run("--to", "focus", "--file", ledger, "-o", taken)
    assert isinstance(done.exception, StateUnwritable)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ledger.csv", "taken"]


def test_the_old_file_stays_until_the_new_one_is_whole(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "focus.csv"
    out.write_text("old")

    def broken(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    done = run("--to", "focus", "--file", ledger, "-o", out)

    assert isinstance(done.exception, StateUnwritable)
    assert out.read_text() == "old"
    monkeypatch.undo()
    run("--to", "focus", "--file", ledger, "-o", out)
    assert out.read_text().startswith("AvailabilityZone,")
    assert stat.S_IMODE(out.stat().st_mode) & 0o133 == 0


def test_partitions_and_their_table(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "warehouse"
    done = run("--to", "parquet", "--live", "--file", ledger, "-o", out, "--json")

    assert done.exit_code == 0, done.output
    (month,) = json.loads(done.stdout)["months"]
    assert (month["month"], month["rows"]) == ("live", len(story()) + 1)
    assert list(out.rglob("*.parquet"))
    assert run("--to", "parquet", "--file", ledger).exit_code == 2
    assert run("--to", "parquet", "--file", ledger, "-o", out, "--since", "7d").exit_code == 2
    shown = run("--to", "bigquery-ddl", "--uri", "gs://my-bucket/ledger", "--table", "a.b")
    assert "EXTERNAL TABLE" in shown.stdout
