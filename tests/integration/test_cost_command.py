"""`yoyo cost` on a generated year: its figures against a plain sum, and every form of output."""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import typer
from typer.testing import CliRunner, Result
from year_papers import write_papers
from year_parts import Year

from yoyo.cli.cost import cost
from yoyo.cli.plot import write_plot
from yoyo.core.cost.table import costs
from yoyo.core.ledger_format import HEADER
from yoyo.errors import DriverUnavailable, StateUnwritable
from yoyo.model.accounts import Accounts

MONEY = ("TEARDOWN_COMPLETE", "PREEMPTION")


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six weeks of it: three nodes, their tenants, preemptions, a correction."""
    root = tmp_path_factory.mktemp("year")
    made = Year(7, 200, 90)
    made.write(root)
    write_papers(made, root)
    return root


def run(year: Path, *options: str) -> Result:
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(cost)
    given = [*options, "--config", str(year / "yoyo.yaml")]
    return CliRunner().invoke(app, given, catch_exceptions=False)


def document(year: Path, *options: str) -> dict[str, object]:
    done = run(year, *options, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def plain_sums(year: Path) -> dict[tuple[str, str], Decimal]:
    """By moduleId and month, as a few lines of anybody's Python have it."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with (year / "ledger.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            disk = row["event_type"] == "CHECKPOINT" and row["error_code"] == "DISK_COST"
            if row["cost_usd"] and (disk or row["event_type"] in MONEY):
                key = row["moduleId"], row["timestamp_utc"][:7]
                sums[key] += Decimal(row["cost_usd"])
    return sums


def test_as_booked_is_the_plain_sum(year: Path) -> None:
    found = document(year, "--by", "module,month", "--as-booked")
    lines = found["lines"]
    assert isinstance(lines, list)
    sums = {
        (line["module"], line["month"]): Decimal(line["usd"])
        for line in lines
        if Decimal(line["usd"])
    }
    assert sums == {key: usd for key, usd in plain_sums(year).items() if usd}


def test_corrections_change_the_sum_by_what_they_say(year: Path) -> None:
    with (year / "ledger.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    more = Decimal(0)
    by_seq = {row["seq"]: row for row in rows}
    for row in rows:
        if row["error_code"] == "CORRECTION" and row["cost_usd"]:
            old = by_seq[row["job_id"].split("/")[1]]
            more += Decimal(row["cost_usd"]) - Decimal(old["cost_usd"] or 0)
    assert more > 0, "the year has one"
    booked = document(year, "--as-booked")["total"]
    now = document(year)["total"]
    assert isinstance(booked, dict)
    assert isinstance(now, dict)
    assert Decimal(now["usd"]) - Decimal(booked["usd"]) == more


@pytest.mark.parametrize("by", ["module", "node", "day", "adapter", "operator", "guard"])
def test_every_group_has_the_same_total(year: Path, by: str) -> None:
    whole = document(year)["total"]
    assert isinstance(whole, dict)
    found = document(year, "--by", by)
    del whole["running_usd"]  # it grows while we look
    total = found["total"]
    assert isinstance(total, dict)
    assert total.items() >= whole.items()


def test_people_get_a_table_with_a_total_and_notes(year: Path) -> None:
    done = run(year, "--by", "node", "--since", "2026-10")
    lines = done.stdout.splitlines()
    assert lines[0] == "cost in USD, from 2026-10-01 00:00:00Z to now"
    assert lines[1].split()[:3] == ["node", "USD", "GPU"]
    assert any(line.startswith("total ") for line in lines)
    assert "forecast for " in done.stdout


def test_a_spreadsheet_gets_lines_with_a_head(year: Path) -> None:
    done = run(year, "--by", "operator,month", "--csv")
    rows = list(csv.reader(done.stdout.splitlines()))
    assert rows[0][:3] == ["operator", "month", "usd"]
    assert len({len(row) for row in rows}) == 1
    assert len(rows) > 2


def test_bars_and_pictures(year: Path, tmp_path: Path) -> None:
    done = run(year, "--by", "month", "--plot", "--plot-to", str(tmp_path / "cost.svg"))
    assert done.exit_code == 0
    assert done.stdout.startswith("Cost by month: ")
    ET.parse(tmp_path / "cost.svg")
    with pytest.raises(StateUnwritable):
        run(year, "--plot-to", str(tmp_path / "not-there" / "cost.svg"))
    assert [path.name for path in tmp_path.iterdir()] == ["cost.svg"]


def test_a_png_is_drawn(year: Path, tmp_path: Path) -> None:
    assert run(year, "--by", "month", "--plot-to", str(tmp_path / "cost.png")).exit_code == 0
    data = (tmp_path / "cost.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(data[16:20]) == 1760, "twice the width of the picture"


def test_a_png_without_its_extra_names_the_command(
    year: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DriverUnavailable) as caught:
        run(year, "--plot-to", str(tmp_path / "cost.png"))
    assert "pip install 'yoyo[plot]'" in caught.value.fix
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        ("--by", "colour"),
        ("--by", "node,node"),
        ("--json", "--csv"),
        ("--engine", "abacus"),
        ("--plot-to", "cost.gif"),
        ("--since", "yesterday"),
        ("--since", "2026-10", "--until", "2026-09"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(year: Path, options: tuple[str, ...]) -> None:
    assert run(year, *options).exit_code == 2


def test_a_window_without_rows_and_a_ledger_without_any(year: Path, tmp_path: Path) -> None:
    assert document(year, "--by", "day", "--until", "2020-01")["lines"] == []
    (tmp_path / "none.csv").touch()
    empty = document(year, "--file", str(tmp_path / "none.csv"), "--by", "module")
    assert empty["lines"] == []


def test_the_engines_agree(year: Path) -> None:
    by = ("--by", "module,month", "--until", "2026-11")
    plain = document(year, *by, "--engine", "plain")
    assert document(year, *by, "--engine", "duckdb") == plain


def test_a_file_that_duckdb_cannot_take_is_named(year: Path, tmp_path: Path) -> None:
    text = (year / "ledger.csv").read_bytes()
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_bytes(text)
    bad.write_bytes(text.replace(b",JOB_START,", b",JOB_BEGIN,", 1))
    found = {
        path.name: document(year, "--engine", "duckdb", "--file", str(path))["notes"]
        for path in (good, bad)
    }
    assert not any("line by line" in note for note in found["good.csv"])  # type: ignore[attr-defined]
    assert any("could not take bad.csv" in note for note in found["bad.csv"])  # type: ignore[attr-defined]


def test_a_picture_never_takes_the_place_of_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.svg"
    path.write_bytes(HEADER)
    nothing = costs(Accounts((), (), 0, 0, None, None), (), now=datetime(2026, 11, 1, tzinfo=UTC))
    with pytest.raises(StateUnwritable) as refused:
        write_plot(nothing, path)
    assert "--plot-to" in refused.value.fix
    assert path.read_bytes() == HEADER
