"""docs/guides/audit.md, followed to the letter by an auditor who has what it says that he needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from year_audit import SIGNS
from year_parts import Year
from year_signed import Papers, sign_year
from year_tampering import forked, tamper

from yoyo.core.audit.against import FindingKind

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "audit.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.M | re.S)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return sign_year(Year(rows_per_day=60), tmp_path_factory.mktemp("year"))


@pytest.fixture
def desk(papers: Papers, tmp_path: Path) -> Path:
    return laid_out(papers.ledger, papers, tmp_path / "desk")


def laid_out(ledger: Path, papers: Papers, desk: Path) -> Path:
    """The ledger without the operator's configuration, the copies, the first key."""
    kept = shutil.ignore_patterns("yoyo.yaml", "billing.csv", "platform.json")
    shutil.copytree(ledger, desk, ignore=kept)
    shutil.copytree(papers.copies, desk / "COPIES")
    shutil.copy(papers.vkey, desk)
    (desk / "scripts").symlink_to(ROOT / "scripts")
    return desk


def shell(desk: Path, block: str) -> subprocess.CompletedProcess[str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: each for name, each in os.environ.items() if not name.startswith("YOYO_")}
    return subprocess.run(
        ["/bin/sh", "-eu", "-c", block],
        cwd=desk, capture_output=True, text=True, check=False, env={**kept, "PATH": programs},
    )  # fmt: skip


def block(words: str) -> str:
    (found,) = (str(each) for each in BLOCKS if words in each)
    return found


def test_no_block_is_left_out() -> None:
    tried = ("--strict", "--against", "for note in", "sha256sum", "yoyo cost", "extract")
    assert len(BLOCKS) == len({block(words) for words in tried}) == len(tried)


def test_it_holds_together_and_has_three_open_items(desk: Path) -> None:
    done = shell(desk, block("--strict"))
    assert done.returncode == 42
    assert "chain     intact" in done.stdout
    assert done.stdout.count(", since 2026-") == 3
    plain = shell(desk, block("--strict").replace(" --strict", ""))
    assert plain.returncode == 0
    assert plain.stdout.endswith("the chain holds; nothing says that it is the signed one\n")


def test_it_is_the_ledger_that_was_signed(desk: Path) -> None:
    done = shell(desk, block("--against"))
    assert done.returncode == 0, done.stderr
    assert "agrees    rows 1 to" in done.stdout
    assert "proof     tree of" in done.stdout


def test_every_copy_holds_by_the_second_verifier_and_no_fork_does(tmp_path: Path) -> None:
    papers = sign_year(Year(rows_per_day=60, days=75), tmp_path / "year")
    desk = laid_out(papers.ledger, papers, tmp_path / "desk")
    done = shell(desk, block("for note in"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("OK: ") == len(list((papers.copies / "checkpoints").glob("*.note")))
    assert tamper("forked", papers.ledger, tmp_path / "fork"), forked.__doc__
    again = shell(laid_out(tmp_path / "fork", papers, tmp_path / "second"), block("for note in"))
    assert again.stderr.startswith("NOT OK: ")


def test_the_change_of_keys_can_be_followed_by_hand(desk: Path) -> None:
    done = shell(desk, block("sha256sum"))
    assert done.returncode == 0, done.stderr
    *lines, change = done.stdout.splitlines()
    digests = {line.split()[0] for line in lines if line.endswith(".vkey")}
    named = {line.rpartition(":")[2] for line in lines if ",key/" in line}
    assert len(digests) == 2
    assert digests == named
    note = change.removesuffix(":2")
    old = (desk / "ledger-key.vkey").read_text().strip()
    words = f"python3 scripts/audit_check.py ledger ledger-????-??.csv ledger.csv --note {note}"
    assert shell(desk, f"{words} --vkey '{old}'").stdout.startswith("OK: ")


def test_two_ways_to_the_figures_agree_and_the_rest_is_printed(desk: Path) -> None:
    done = shell(desk, block("yoyo cost"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("the same, to the last digit\n")
    lines = (desk / "query.csv").read_text().splitlines()
    assert lines[0] == "module,month,usd"
    assert len([Decimal(line.split(",")[2]) for line in lines[1:]]) > 400
    assert (desk / "rows.csv").read_text().count("\n") > 15_000
    with (desk / "cost.csv").open("a") as more:
        more.write("acme,2026-12,0.000001\n")
    compare = next(line for line in block("yoyo cost").splitlines() if line.startswith("diff"))
    assert shell(desk, compare).returncode == 1


def test_a_tenant_gets_its_part(desk: Path) -> None:
    done = shell(desk, block("extract"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every row holds" in done.stdout
    assert "OK: " in done.stdout


def test_it_explains_each_finding_and_each_tampering() -> None:
    table = GUIDE.partition("| finding | means |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, re.M)) == {str(each) for each in FindingKind}
    tried = GUIDE.partition("| tampering |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z-]+)`.*\| (.*) \| ([0-9]+) \|$", tried, re.M)
    assert {kind: int(code) for kind, _, code in rows} == {
        kind: signs.code for kind, signs in SIGNS.items()
    }
    for kind, said, _ in rows:
        assert SIGNS[kind].finding in said or "the same" in said


@pytest.mark.parametrize("words", re.findall("`(yoyo [^`]+)`", GUIDE))
def test_every_command_that_is_named_is_one(words: str) -> None:
    command = [part for part in words.split() if not part.startswith("-")][1:3]
    known = [sys.executable, "-c", "from yoyo.cli.main import main; main()"]
    line = [*known, *(command if command[0] == "ledger" else command[:1]), "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in re.findall("--[a-z-]+", words):
        assert option in done.stdout, option
