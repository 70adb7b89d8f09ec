"""Mistakes of whoever asks, and losses that a chain does not show: none may look like success."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from audit_parts import Audited
from sealed_parts import START, Calendar, deleted_row, ledger_at, sealed_rows, write_days
from typer.testing import CliRunner

from yoyo.cli.app import build
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.errors import YoyoError
from yoyo.ops.audit.checkpoint import checkpoint

app = build(("ledger", "cost", "report"))
ABSENT = "nosuch.csv"


class Said(NamedTuple):
    """How a command ended; `stderr` on one line."""

    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: object) -> Said:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    error = done.exception
    if isinstance(error, YoyoError):  # what the entry point prints
        return Said(error.exit_code, done.stdout, f"{error.what} {error.why} {error.fix}")
    assert error is None or isinstance(error, SystemExit), repr(error)
    return Said(done.exit_code, done.stdout, " ".join(done.stderr.split()))


def document(result: Said) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    made = Audited(tmp_path / "ledger")
    made.book(6)
    checkpoint(made.ctx)
    return made


@pytest.fixture
def sealed(tmp_path: Path) -> CsvLedger:
    path = tmp_path / "ledger.csv"
    clock = write_days(path, 70)
    ledger = ledger_at(path, clock)
    pieces = ledger.complete_months(datetime(2026, 11, 1, tzinfo=UTC))
    ledger.seal(pieces, sealed_rows(pieces))
    return ledger


@pytest.mark.parametrize(
    "command",
    [
        ("ledger", "verify"),
        ("ledger", "show"),
        ("ledger", "tail"),
        ("ledger", "trace", "job-1"),
        ("ledger", "query", "SELECT 1"),
        ("ledger", "export", "--to", "otel"),
        ("ledger", "export", "--to", "parquet", "-o", "out"),
        ("ledger", "extract", "--module", "acme", "-o", "out.jsonl"),
        ("cost",),
        ("report", "--month", "2026-10", "-o", "out.html"),
    ],
)
def test_a_ledger_that_is_named_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*command, "--file", ABSENT)
    assert done.exit_code == 45, done
    assert f"There is no ledger at {ABSENT}." in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_ledger(tmp_path: Path) -> None:
    assert run("ledger", "verify", "--file", tmp_path).exit_code == 45


@pytest.mark.parametrize(("kept", "says"), [(7, "1 is gone"), (5, "3 are gone"), (1, "7 are gone")])
def test_a_ledger_cut_below_its_newest_checkpoint(house: Audited, kept: int, says: str) -> None:
    signed = len(house.lines()) - 1
    assert signed == 8
    assert run("ledger", "verify", "--file", house.path).exit_code == 0
    house.write(house.lines()[: kept + 1])
    done = run("ledger", "verify", "--file", house.path)
    assert done.exit_code == 49, done
    assert f"the newest checkpoint beside it signs 8 rows: {says}" in done.stdout
    assert "1 PROBLEM(S)" in done.stdout
    found = document(run("ledger", "verify", "--json", "--file", house.path))
    assert (found["ok"], found["problem_count"]) == (False, 1)
    assert found["error"]["code"] == "CheckpointMismatch"


def test_a_ledger_that_is_gone_though_its_checkpoints_are_there(
    house: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.path.unlink()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yoyo.yaml").write_text(
        f"version: 1\noperator: tester\nledger: {house.path}\nnodes:\n  l:\n    moduleId: demo\n"
        "    driver: local\n    engine: {model: smoke}\n"
    )
    done = run("ledger", "verify")
    assert done.exit_code == 49, done
    assert "8 are gone" in done.stdout
    shutil.rmtree(house.path.with_suffix(".checkpoints"))
    assert run("ledger", "verify").exit_code == 0


def test_a_damaged_last_row_is_damage_and_no_cut(house: Audited) -> None:
    house.write([*house.lines()[:-1], b"x" * 40])
    done = run("ledger", "verify", "--file", house.path)
    assert done.exit_code == 40, done
    assert "gone" not in done


def test_rows_after_the_checkpoint_are_no_finding(house: Audited) -> None:
    house.book(3)
    assert run("ledger", "verify", "--file", house.path).exit_code == 0


def test_a_damaged_note_does_not_hide_the_one_before_it(house: Audited) -> None:
    house.book(2)
    checkpoint(house.ctx)
    newest = max(house.path.with_suffix(".checkpoints").glob("*.note"))
    newest.chmod(0o600)
    newest.write_bytes(b"no note")
    house.write(house.lines()[:5])
    done = run("ledger", "verify", "--file", house.path)
    assert done.exit_code == 49
    assert "signs 8 rows: 4 are gone" in done.stdout


def test_a_key_without_a_place_is_refused(house: Audited) -> None:
    done = run("ledger", "verify", "--file", house.path, "--key", house.home / "key.vkey")
    assert done.exit_code == 2
    assert "--key needs --against" in done.stderr


@pytest.mark.parametrize(
    ("month", "says"),
    [
        ("2026-08", "rows 1 to 4 are missing, and no row says they were deleted"),
        ("2026-09", "rows 5 to 64 are missing between ledger-2026-08.csv and ledger-2026-10.csv"),
    ],
)
def test_a_missing_month_has_one_name_and_one_code(
    sealed: CsvLedger, tmp_path: Path, month: str, says: str
) -> None:
    path = tmp_path / "ledger.csv"
    path.with_name(f"ledger-{month}.csv").unlink()
    made = Audited(tmp_path / "other")
    made.book(1)
    checkpoint(made.ctx)
    plain = run("ledger", "verify", "--file", path)
    against = ("--against", made.path.with_suffix(".checkpoints"), "--key", made.home / "key.vkey")
    held = run("ledger", "verify", "--file", path, *against)
    for done in (plain, held):
        assert done.exit_code == 45, done
        assert says in done.stdout
        assert says in done.stderr
    assert sealed.verify().problems[0].reason == says


def test_an_extract_of_nobody_is_not_written(house: Audited) -> None:
    out = house.home / "x.jsonl"
    asked = ("ledger", "extract", "--file", house.path, "-o", out, "--module")
    done = run(*asked, "acmee")
    assert done.exit_code == 97, done
    assert "Names like it there: acme." in done.stderr
    assert not out.exists()
    assert "Names like" not in run(*asked, "zzz-9").stderr
    assert run(*asked, "acmee", "--allow-empty").exit_code == 0
    assert out.exists()
    assert run(*asked[:-2], house.home / "y.jsonl", "--module", "acme").exit_code == 0


@pytest.mark.parametrize("thing", ["nofile.json", "answers/one"])
def test_a_file_that_is_not_there_is_called_one(house: Audited, thing: str) -> None:
    done = run("ledger", "trace", thing, "--file", house.path)
    assert done.exit_code == 97
    assert f"There is no file '{thing}'" in done.stderr
    assert "no file" not in run("ledger", "trace", "job-9", "--file", house.path).stderr


def test_no_report_of_a_month_that_has_not_begun(house: Audited, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    done = run("report", "--month", "2199-12", "--file", house.path, "-o", out)
    assert done.exit_code == 2
    assert "2199-12 has not begun" in done.stderr
    assert not out.exists()


def test_no_report_of_a_month_that_retention_deleted(sealed: CsvLedger, tmp_path: Path) -> None:
    path, out = tmp_path / "ledger.csv", tmp_path / "r.html"
    asked = ("report", "--file", path, "-o", out, "--month")
    assert run(*asked, "2026-08").exit_code == 0
    out.unlink()
    later = ledger_at(path, Calendar(START.replace(month=11, day=20)))
    later.append(deleted_row("2026-08"))
    path.with_name("ledger-2026-08.csv").unlink()
    done = run(*asked, "2026-08")
    assert done.exit_code == 45, done
    assert "deleted by retention" in done.stderr
    assert "The first row that is kept is 5, of 2026-09-01" in done.stderr
    assert not out.exists()
    assert run(*asked, "2026-09").exit_code == 0
