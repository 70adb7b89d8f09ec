"""The generated year is one that the ledger's own rules hold for, and tampering breaks it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from ledger_parts import open_ledger
from year_facts import MODULES
from year_papers import write_papers
from year_parts import Year
from year_tampering import KINDS, tamper

from yoyo.core.corrections import corrections_of
from yoyo.model.ledger import EventType, Row

SCRIPT = Path(__file__).parents[2] / "scripts" / "generate_year.py"
DAMAGE = ("edited-cost", "dropped-row", "swapped-rows", "inserted-row")
SILENT = ("cut-tail", "rewritten", "forked")  # the chain holds: a checkpoint has to tell
NEED_MORE = {"merged", "edited-month", "removed-month", "re-signed", "other-checkpoints"}


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("year")
    made = Year(rows_per_day=60)
    made.write(place)
    write_papers(made, place)
    return place


def test_a_year_is_sound_and_holds_what_it_is_made_for(year: Path) -> None:
    ledger = open_ledger(year / "ledger.csv")
    report = ledger.verify()
    assert report.ok, report.problems[:3]
    assert report.clock_steps_back > 0
    assert [each.event_type for each in report.open_intents] == [
        EventType.JOB_START, EventType.TEARDOWN_REQUEST, EventType.BOOT_REQUEST,
    ]  # fmt: skip
    rows = [row for row in ledger.rows() if isinstance(row, Row)]
    assert {row.entry.module_id for row in rows} == {*MODULES, "shared"}
    codes = Counter(row.entry.error_code for row in rows)
    for code in (
        "NO_CAPACITY", "SPOT_PREEMPTED", "GUARD_LIFETIME", "GUARD_DEAD_MAN", "MACHINE_GONE",
        "DISK_COST", "SESSION", "CLOCK_STEP", "HEARTBEAT", "CORRECTION", "ENGINE_DISCONNECTED",
    ):  # fmt: skip
        assert codes[code], code
    corrections = corrections_of(rows)
    assert not corrections.problems
    assert len(corrections.applied) == 1


def test_every_named_record_is_kept(year: Path) -> None:
    kept = {f"sha256:{path.stem}" for path in (year / "ledger.proofs").iterdir()}
    named = {
        row.entry.input_hash
        for row in open_ledger(year / "ledger.csv").rows()
        if isinstance(row, Row)
        and (row.entry.event_type is EventType.ADAPTER_LOAD or row.entry.cost_usd)
        and row.entry.error_code != "CORRECTION"
        and row.entry.input_hash
    }
    assert named
    assert named <= kept


def test_one_seed_gives_one_year_and_another_another(tmp_path: Path) -> None:
    texts = []
    for index, seed in enumerate((7, 7, 8)):
        Year(seed, 60, 20).write(tmp_path / str(index))
        texts.append((tmp_path / str(index) / "ledger.csv").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_the_script_writes_exactly_as_many_rows_as_asked(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "y"), "--rows", "5000"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("5000 rows")
    assert open_ledger(tmp_path / "y" / "ledger.csv").verify().rows == 5000
    copy = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "t"), "--tamper", "edited-cost"]
    subprocess.run([*copy, "--year", str(tmp_path / "y")], check=True, capture_output=True)
    assert not open_ledger(tmp_path / "t" / "ledger.csv").verify().ok


def test_there_are_twelve_ways_to_tamper() -> None:
    assert {*DAMAGE, *SILENT, *NEED_MORE} == set(KINDS)
    assert len(KINDS) == 12


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_breaks_the_chain(year: Path, tmp_path: Path, kind: str) -> None:
    assert tamper(kind, year, tmp_path / "copy")
    assert not open_ledger(tmp_path / "copy" / "ledger.csv").verify().ok


def test_a_merged_ledger_breaks_the_chain(year: Path, tmp_path: Path) -> None:
    Year(8, 60, 20).write(tmp_path / "other")
    tamper("merged", year, tmp_path / "copy", tmp_path / "other")
    assert not open_ledger(tmp_path / "copy" / "ledger.csv").verify().ok


@pytest.mark.parametrize("kind", SILENT)
def test_these_leave_a_chain_that_holds_and_another_head(
    year: Path, tmp_path: Path, kind: str
) -> None:
    head = open_ledger(year / "ledger.csv").verify().head
    tamper(kind, year, tmp_path / "copy")
    copy = open_ledger(tmp_path / "copy" / "ledger.csv")
    assert copy.verify().ok
    assert copy.verify(head).expected_head_found is False
