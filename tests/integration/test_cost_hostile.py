"""`yoyo cost` on names that would act: none of them does, in any form of output."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import typer
from ledger_parts import open_ledger
from typer.testing import CliRunner

from yoyo.cli.cost import cost
from yoyo.model.ledger import CompletionStatus, Entry, EventType

# What the ledger's format lets through: C1 controls, bidi overrides, markup, formulas.
NAMES = (
    "\x9b31m\x9d0;owned\x9c", "\u202egnp.exe\u2066", "<script>alert(1)</script>",
    '=HYPERLINK("http://evil.example","x")', "@SUM(A1)", "-1+1", "+1", "\u200bjohn\ufeff", "ü 漢字",
)  # fmt: skip
ACTING = "\x1b\x9b\x9c\x9d\u202e\u2066\u200b\ufeff"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "ledger.csv"
    book = open_ledger(path)
    pending, done = CompletionStatus.PENDING, CompletionStatus.SUCCESS
    for number, name in enumerate(NAMES):
        first = Entry(EventType.BOOT_REQUEST, "team-a", "l4-a", f"life-{number}", pending, name)
        book.append(first)
        last = first._replace(event_type=EventType.TEARDOWN_COMPLETE, completion_status=done)
        book.append(last._replace(cost_usd=Decimal(1), gpu_seconds=Decimal(10)))
    return path


def out(ledger: Path, *options: str) -> str:
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(cost)
    done = CliRunner().invoke(app, ["--file", str(ledger), "--by", "operator", *options])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",), ("--plot",)])
def test_nothing_acts_on_a_terminal(ledger: Path, form: tuple[str, ...]) -> None:
    assert not [char for char in ACTING if char in out(ledger, *form)]


def test_json_gives_the_names_as_they_are(ledger: Path) -> None:
    lines = json.loads(out(ledger, "--json"))["lines"]
    assert {line["operator"] for line in lines} == set(NAMES)


def test_a_spreadsheet_gets_no_formula(ledger: Path) -> None:
    cells = [line.lstrip('"') for line in out(ledger, "--csv").splitlines()]
    assert len(cells) == len(NAMES) + 1
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_a_picture_holds_no_markup(ledger: Path, tmp_path: Path) -> None:
    out(ledger, "--plot-to", str(tmp_path / "cost.svg"))
    root = ET.parse(tmp_path / "cost.svg").getroot()
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags == {"svg", "title", "style", "rect", "text"}
