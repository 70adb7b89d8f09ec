"""Sealing and pruning end to end: months become files, and every row keeps its proof."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from audit_parts import Audited

from yoyo.core.audit.seal_record import parse_seal_record
from yoyo.errors import MonthSealed
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, MONTH_DELETED, MONTH_SEALED, BadRow, Row
from yoyo.ops.audit.against import held_against, own_notes, verdict
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.ops.audit.keep import keep_proved
from yoyo.ops.audit.prune import prune
from yoyo.ops.audit.seal import seal


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    made = Audited(tmp_path / "ledger", now=datetime(2026, 8, 30, 8, tzinfo=UTC))
    made.book(3)
    checkpoint(made.ctx)
    made.clock.at = datetime(2026, 9, 2, 8, tzinfo=UTC)
    made.book(2)
    made.clock.at = datetime(2026, 10, 1, 0, 0, 5, tzinfo=UTC)
    return made


def good(house: Audited) -> list[Row]:
    rows = list(house.ctx.ledger.rows())
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [row for row in rows if isinstance(row, Row)]


def test_each_month_is_a_file_and_the_new_months_first_row_proves_it(house: Audited) -> None:
    before = good(house)
    done = seal(house.ctx)
    assert [each.month for each in done] == ["2026-08", "2026-09"]
    august, september = (house.home / each.file for each in done)
    assert august.name == "ledger-2026-08.csv"
    assert august.stat().st_mode & 0o777 == 0o444
    assert sha256(august.read_bytes()).hexdigest() == done[0].sha256
    rows = good(house)
    assert rows[: len(before)] == [
        row._replace(line=r.line) for row, r in zip(before, rows, strict=False)
    ]
    first, second = rows[len(before) :]
    assert [first.entry.error_code, second.entry.error_code] == [MONTH_SEALED] * 2
    assert house.lines()[1].split(b",")[5] == b"seal/2026-08", "not the new file's first row"
    document = house.ctx.proofs.find(second.entry.input_hash)
    assert document is not None
    record = parse_seal_record(document)
    assert record.piece.sha256 == sha256(september.read_bytes()).hexdigest()
    assert record.checkpoint
    assert house.ctx.ledger.verify().ok
    checkpoint(house.ctx)
    found = held_against(house.ctx, own_notes(house.ctx), [house.key])
    assert verdict(found) is None
    assert found.report.checked == 3, "August ends with the checkpoint that was there"


def test_sealing_twice_is_sealing_once(house: Audited) -> None:
    seal(house.ctx)
    again = house.path.read_bytes()
    assert seal(house.ctx) == ()
    assert house.path.read_bytes() == again


def test_a_month_that_runs_is_not_sealed(house: Audited) -> None:
    house.book(1)
    assert [each.month for each in seal(house.ctx, "2026-08")] == ["2026-08"]
    for month in ("2026-10", "2027-01", "2026-13", "october", "2026-1", "\x1b[0m"):
        with pytest.raises(MonthSealed, match="cannot be sealed"):
            seal(house.ctx, month)


def test_a_sealed_month_that_was_changed_is_found(house: Audited) -> None:
    (august, _) = seal(house.ctx)
    checkpoint(house.ctx)
    path = house.home / august.file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b",0.25,", b",0.99,", 1))
    assert not house.ctx.ledger.verify().ok
    assert verdict(held_against(house.ctx, own_notes(house.ctx), [house.key])) is not None


def test_a_month_with_other_content_is_never_overwritten(house: Audited) -> None:
    stranger = house.home / "ledger-2026-08.csv"
    stranger.write_bytes(b"somebody else's\n")
    with pytest.raises(MonthSealed):
        seal(house.ctx)
    assert stranger.read_bytes() == b"somebody else's\n"


def test_without_a_key_months_are_sealed_all_the_same(house: Audited) -> None:
    house.settings = house.settings._replace(key=None)
    done = seal(house.ctx)
    assert [each.checkpoint for each in done] == ["", ""]
    assert house.ctx.ledger.verify().ok


def test_the_first_sign_of_life_seals_where_that_is_set(house: Audited) -> None:
    house.settings = house.settings._replace(sealing="monthly")
    notes = keep_proved(house.ctx)
    assert [note.split()[1] for note in notes] == ["ledger-2026-08.csv", "ledger-2026-09.csv"]
    assert good(house)[-1].entry.error_code == HEARTBEAT
    house.settings = house.settings._replace(sealing="manual")
    house.clock.at = datetime(2026, 11, 2, tzinfo=UTC)
    assert keep_proved(house.ctx) == []


def test_retention_deletes_with_a_row_that_says_so_and_the_rest_stays_provable(
    house: Audited,
) -> None:
    seal(house.ctx)
    checkpoint(house.ctx)
    house.settings = house.settings._replace(retention_months=1)
    listed = prune(house.ctx, apply=False)
    assert listed.due == ("ledger-2026-08.csv",)
    assert (house.home / "ledger-2026-08.csv").exists()
    assert prune(house.ctx, apply=True).deleted == ("ledger-2026-08.csv",)
    assert not (house.home / "ledger-2026-08.csv").exists()
    rows = good(house)
    assert rows[0].seq > 1
    assert rows[-1].entry.error_code == MONTH_DELETED
    assert house.ctx.ledger.verify().ok
    (house.home / "ledger.checkpoints" / "tree.json").unlink()
    checkpoint(house.ctx)
    assert verdict(held_against(house.ctx, own_notes(house.ctx), [house.key])) is None
    assert prune(house.ctx, apply=True).deleted == ()


def test_a_legal_hold_keeps_everything(house: Audited) -> None:
    seal(house.ctx)
    house.settings = house.settings._replace(retention_months=1, legal_hold=True)
    with pytest.raises(MonthSealed, match="legal hold"):
        prune(house.ctx, apply=True)
    assert (house.home / "ledger-2026-08.csv").exists()
    assert MONTH_DELETED not in [row.entry.error_code for row in good(house)]


def test_a_month_whose_record_is_lost_is_not_deleted(house: Audited) -> None:
    seal(house.ctx)
    for path in (house.home / "ledger.proofs").iterdir():
        path.unlink()
    house.settings = house.settings._replace(retention_months=1)
    with pytest.raises(MonthSealed, match="not deleted"):
        prune(house.ctx, apply=True)
    assert (house.home / "ledger-2026-08.csv").exists()


def test_a_month_that_vanished_without_a_row_is_found(house: Audited) -> None:
    seal(house.ctx)
    (house.home / "ledger-2026-08.csv").unlink()
    assert not house.ctx.ledger.verify().ok


def test_the_record_says_in_plain_json_what_was_sealed(house: Audited) -> None:
    done = seal(house.ctx)
    names = set()
    for path in (house.home / "ledger.proofs").iterdir():
        document = json.loads(path.read_text())
        names.add((document["month"], document["file"], document["sha256"]))
    assert names == {(each.month, each.file, each.sha256) for each in done}
    assert KEY_ADDED in [row.entry.error_code for row in good(house)]
