"""docs/guides/cost.md: every group and figure is in it, and its sum is the command's."""

from __future__ import annotations

import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

from year_parts import Year

from yoyo.cli.render_cost import FIGURES
from yoyo.drivers.files.accounts import PlainAccounts
from yoyo.model.accounts import GROUPS
from yoyo.ops.cost import Question, cost
from yoyo.wiring import ledger_for

GUIDE = Path(__file__).parents[2] / "docs/guides/cost.md"


def test_it_names_every_group_and_figure() -> None:
    text = GUIDE.read_text()
    assert [name for name in GROUPS if f"`{name}`" not in text] == []
    assert [name for name in FIGURES if name not in text and name not in ("tokens", "jobs")] == []


def test_its_awk_line_gives_the_same_sums(tmp_path: Path) -> None:
    found = re.search(r"^(awk .*?ledger\.csv)$", GUIDE.read_text(), re.M | re.S)
    assert found is not None
    year = Year(3, 60, 60)
    ledger = ledger_for(year.write(tmp_path))
    shell = shutil.which("sh")
    assert shell is not None
    done = subprocess.run(
        [shell, "-c", found[1]], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    sums = dict(line.split() for line in done.stdout.splitlines())
    now = next(row for row in ledger.tail(1)).timestamp  # type: ignore[union-attr]
    table = cost(ledger, PlainAccounts(), Question(("month",), as_booked=True), now=now)
    lines = {line.key[0]: line.usd for line in table.lines}
    assert lines == {month: Decimal(usd) for month, usd in sums.items()}
    assert len(lines) > 1
