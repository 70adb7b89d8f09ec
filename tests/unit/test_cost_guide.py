"""docs/guides/cost.md: every group and figure is in it, and its sum is the command's."""

from __future__ import annotations

import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from year_parts import Year

from yoyo.cli.render_cost import FIGURES
from yoyo.drivers.files.accounts import PlainAccounts
from yoyo.model.accounts import GROUPS
from yoyo.model.settings import AuditSettings
from yoyo.ops.audit.seal import seal
from yoyo.ops.cost import Question, cost
from yoyo.wiring import ledger_for
from yoyo.wiring_audit import audit_context

GUIDE = Path(__file__).parents[2] / "docs/guides/cost.md"


def test_it_names_every_group_and_figure() -> None:
    text = GUIDE.read_text()
    assert [name for name in GROUPS if f"`{name}`" not in text] == []
    assert [name for name in FIGURES if name not in text and name not in ("tokens", "jobs")] == []


@pytest.mark.parametrize("sealed", [False, True])
def test_its_awk_line_gives_the_same_sums(tmp_path: Path, sealed: bool) -> None:
    found = re.search(r"^(awk .*?ledger\*\.csv)$", GUIDE.read_text(), re.M | re.S)
    assert found is not None
    book = tmp_path / "book"
    book.mkdir()
    path = Year(3, 60, 60).write(book)
    ledger = ledger_for(path)
    now = next(row for row in ledger.tail(1)).timestamp  # type: ignore[union-attr]
    if sealed:
        ctx = audit_context(path, AuditSettings(), "mira@host", tmp_path / "state", {})
        assert seal(ctx)
    assert (len(list(book.glob("ledger-????-??.csv"))) > 0) == sealed
    shell = shutil.which("sh")
    assert shell is not None
    done = subprocess.run(
        [shell, "-c", found[1]], cwd=book, capture_output=True, text=True, check=True
    )
    sums = dict(line.split() for line in done.stdout.splitlines())
    table = cost(ledger, PlainAccounts(), Question(("month",), as_booked=True), now=now)
    lines = {line.key[0]: line.usd for line in table.lines}
    assert lines == {month: Decimal(usd) for month, usd in sums.items()}
    assert len(lines) > 1
