"""Retention, copies and extracts where something is not as it should be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from audit_parts import ORIGIN, Audited

from yoyo.config.load import Flags, load
from yoyo.errors import (
    CheckpointFailed,
    CheckpointMismatch,
    ConfigInvalid,
    MonthSealed,
    TraceNotFound,
)
from yoyo.model.ledger import MONTH_DELETED, Row
from yoyo.ops.audit.against import held_against, own_notes, verdict
from yoyo.ops.audit.checkpoint import checkpoint, forked
from yoyo.ops.audit.extract import extract, module_named
from yoyo.ops.audit.keep import keep_proved
from yoyo.ops.audit.prune import prune
from yoyo.ops.audit.seal import held_up, seal
from yoyo.wiring_audit import booking_ledger


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    """August is over, and signed before its last row."""
    made = Audited(tmp_path / "ledger", now=datetime(2026, 8, 2, 8, tzinfo=UTC))
    made.book(2)
    checkpoint(made.ctx)
    made.book(3)
    made.clock.at = datetime(2026, 9, 2, 8, tzinfo=UTC)
    made.book(60)
    return made


def deletions(house: Audited) -> int:
    rows = [row for row in house.ctx.ledger.rows() if isinstance(row, Row)]
    return sum(row.entry.error_code == MONTH_DELETED for row in rows)


def test_months_that_no_checkpoint_covers_are_not_deleted(house: Audited) -> None:
    with_key = house.settings
    house.settings = with_key._replace(key=None)
    seal(house.ctx)
    house.settings = with_key._replace(retention_months=0)
    with pytest.raises(MonthSealed, match="no checkpoint"):
        prune(house.ctx, apply=True)
    assert (house.home / "ledger-2026-08.csv").exists()
    assert deletions(house) == 0
    checkpoint(house.ctx)
    assert prune(house.ctx, apply=True).deleted == ("ledger-2026-08.csv",)
    checkpoint(house.ctx)
    assert verdict(held_against(house.ctx, own_notes(house.ctx), [house.key])) is None


def test_a_ledger_whose_signed_months_are_gone_is_refused_and_not_accused(
    house: Audited,
) -> None:
    with_key = house.settings
    house.settings = with_key._replace(key=None, retention_months=0)
    seal(house.ctx)
    prune(house.ctx, apply=True)  # nobody signs: there is nothing to be covered by
    house.settings = with_key
    with pytest.raises(CheckpointFailed, match="deleted") as caught:
        checkpoint(house.ctx)
    assert "Restore" in caught.value.fix
    (note,) = keep_proved(house.ctx)
    assert "deleted" in note


def test_an_edited_month_is_evidence_and_is_not_deleted(house: Audited) -> None:
    seal(house.ctx)
    checkpoint(house.ctx)
    august = house.home / "ledger-2026-08.csv"
    august.chmod(0o644)
    august.write_bytes(august.read_bytes().replace(b",0.25,", b",0.01,", 1))
    house.settings = house.settings._replace(retention_months=0)
    with pytest.raises(MonthSealed, match="evidence"):
        prune(house.ctx, apply=True)
    assert august.exists()
    assert deletions(house) == 0


def test_a_bug_in_proving_is_a_note_and_stops_no_teardown(
    house: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("yoyo.ops.audit.keep.checkpoint", bug)
    (note,) = keep_proved(house.ctx)
    assert "no checkpoint was signed: KeyError" in note
    house.settings = house.settings._replace(sealing="monthly", key=None)
    monkeypatch.setattr("yoyo.ops.audit.keep.seal", bug)
    (note,) = keep_proved(house.ctx)
    assert "no month was sealed: KeyError" in note


def test_a_fork_in_the_second_store_is_a_mismatch(tmp_path: Path) -> None:
    house = Audited(tmp_path / "ledger")
    house.book(3)
    checkpoint(house.ctx)
    shutil.copytree(house.home, tmp_path / "fork")
    house.book(1)
    assert forked(checkpoint(house.ctx)) is None
    fork = Audited(tmp_path / "fork")
    fork.settings = fork.settings._replace(copy_to=house.settings.copy_to)
    fork.clock.at = house.clock.at
    fork.book(1, module="evil")
    done = checkpoint(fork.ctx)
    trouble = forked(done)
    assert isinstance(trouble, CheckpointMismatch)
    assert done.name in trouble.why
    (note,) = keep_proved(fork.ctx)
    assert "has another" in note


def configured(house: Audited) -> Path:
    config = house.home / "yoyo.yaml"
    config.write_text(
        f"version: 1\noperator: mira\nledger: {house.path}\ncheckpoints:\n  origin: {ORIGIN}\n"
        f"  key: {house.home / 'key.pem'}\n  copy_to: file://{house.copies}\n"
        "nodes:\n  demo:\n    moduleId: acme\n    driver: local\n    engine:\n"
        "      model: smoke\n"
    )
    return config


def yoyo(house: Audited, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "yoyo", *words, "--config", str(configured(house)), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=house.home)


def test_the_command_ends_with_what_it_found(tmp_path: Path) -> None:
    house = Audited(tmp_path / "ledger")
    house.book(2)
    house.ctx.ledger.append(house.ctx.entry("KEY_ADDED", "key/00000000", "sha256:" + "ab" * 32))
    refused = yoyo(house, "ledger", "checkpoint")
    assert refused.returncode == CheckpointFailed("").exit_code
    assert "--refuse-keys" in json.loads(refused.stdout)["error"]["fix"]
    signed = yoyo(house, "ledger", "checkpoint", "--refuse-keys")
    assert signed.returncode == 0
    assert json.loads(signed.stdout)["forked"] == ""
    (copy,) = (house.copies / "checkpoints").glob("*.note")
    size = json.loads(signed.stdout)["size"]
    copy.rename(copy.with_name(f"{size + 1:020d}{copy.name[20:]}"))
    fork = yoyo(house, "ledger", "checkpoint")
    assert fork.returncode == CheckpointMismatch("").exit_code
    document = json.loads(fork.stdout)
    assert document["size"] == size + 1
    assert "another" in document["error"]["why"]


def test_a_copy_that_is_behind_is_a_note(tmp_path: Path) -> None:
    house = Audited(tmp_path / "ledger")
    house.book(1)
    house.copies.write_bytes(b"in the way")
    done = checkpoint(house.ctx)
    assert done.note
    assert forked(done) is None


@pytest.mark.parametrize("cost", [b",0.01,", b",0.25,"])
def test_nothing_of_an_edited_ledger_is_extracted(tmp_path: Path, cost: bytes) -> None:
    house = Audited(tmp_path / "ledger")
    house.book(5)
    checkpoint(house.ctx)
    lines, written = house.lines(), list[bytes]()
    lines[3] = lines[3].replace(b",0.25,", cost)
    house.write(lines)
    if cost == b",0.25,":
        assert extract(house.ctx, "acme", written.append).rows == 5
        return
    with pytest.raises(CheckpointMismatch):
        extract(house.ctx, "acme", written.append)
    assert written == []


def test_no_node_is_everybodys(tmp_path: Path) -> None:
    config = tmp_path / "yoyo.yaml"
    config.write_text(
        "version: 1\nnodes:\n  demo:\n    moduleId: shared\n    driver: local\n"
        "    engine:\n      model: smoke\n"
    )
    with pytest.raises(ConfigInvalid) as caught:
        load(Flags(config), {"USER": "mira"}, tmp_path)
    assert "nodes.demo.moduleId" in caught.value.details[0]


def test_everybodys_rows_are_no_tenants() -> None:
    with pytest.raises(TraceNotFound, match="shared"):
        module_named("shared")
    assert module_named("acme") == "acme"


def test_a_row_of_a_time_to_come_that_keeps_months_from_being_sealed_is_named(
    tmp_path: Path,
) -> None:
    house = Audited(tmp_path / "ledger", now=datetime(2026, 8, 2, 8, tzinfo=UTC))
    house.book(1)
    assert held_up(house.ctx) == ""
    house.clock.at = datetime(2099, 1, 1, tzinfo=UTC)
    house.book(1)
    for month in (8, 9, 10):
        house.clock.at = datetime(2026, month, 3, tzinfo=UTC)
        house.book(1)
    house.clock.at = datetime(2026, 11, 2, tzinfo=UTC)
    assert [each.month for each in seal(house.ctx)] == ["2026-08"]
    assert seal(house.ctx) == ()
    said = held_up(house.ctx)
    assert "row 2 " in said
    assert "2099-01-01" in said
    house.settings = house.settings._replace(sealing="monthly")
    assert any("row 2 " in note for note in keep_proved(house.ctx))


def test_a_seal_that_fails_by_itself_is_said_by_the_command(tmp_path: Path) -> None:
    house = Audited(tmp_path / "ledger", now=datetime(2026, 8, 2, 8, tzinfo=UTC))
    house.book(1)
    (house.home / "ledger-2026-08.csv").write_bytes(b"somebody else's\n")
    config = tmp_path / "yoyo.yaml"
    config.write_text(
        f"version: 1\nledger: {house.path}\nsealing:\n  mode: monthly\n"
        "nodes:\n  demo:\n    moduleId: acme\n    driver: local\n    engine:\n      model: smoke\n"
    )
    settings = load(Flags(config), {"USER": "mira"}, tmp_path).settings
    said: list[str] = []
    ledger = booking_ledger(settings, {}, said.append)
    ledger.append(house.ctx.entry("HEARTBEAT", "checkpoint/0"))
    assert [note.split(":")[0] for note in said] == ["no month was sealed"]
