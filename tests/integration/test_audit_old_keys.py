"""After a change of keys: months deleted before it, the old key still configured, a wrong key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from audit_parts import ORIGIN, Audited

from yoyo.core.audit.against import FindingKind
from yoyo.drivers.files.accounts import PlainAccounts
from yoyo.errors import CheckpointFailed, CheckpointInvalid, CheckpointMismatch
from yoyo.model.audit import VerifierKey
from yoyo.ops.audit.against import held_against, own_notes, verdict
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.ops.audit.keys import rotate
from yoyo.ops.audit.prune import prune
from yoyo.ops.audit.seal import seal
from yoyo.ops.report import ReportQuestion, gather, month_span, trouble
from yoyo.wiring_audit import make_note_key, signer_by


def changed_over(house: Audited) -> VerifierKey:
    """The ledger's signer is another one from here on."""
    path = house.home / "key2.pem"
    new = make_note_key(path, ORIGIN, {})
    rotate(house.ctx, signer_by(path, ORIGIN, {}))
    house.settings = house.settings._replace(key=path)
    return new


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    return Audited(tmp_path / "ledger", now=datetime(2026, 8, 2, 8, tzinfo=UTC))


def test_the_new_key_alone_after_the_months_of_the_old_one_were_deleted(house: Audited) -> None:
    house.book(2)
    in_august = checkpoint(house.ctx).name
    house.book(1)
    for month in (9, 10):
        house.clock.at = datetime(2026, month, 2, 8, tzinfo=UTC)
        house.book(2)
        checkpoint(house.ctx)
    new = changed_over(house)
    house.clock.at = datetime(2026, 11, 2, 8, tzinfo=UTC)
    house.book(2)
    seal(house.ctx)
    house.settings = house.settings._replace(retention_months=2)
    checkpoint(house.ctx)
    assert prune(house.ctx, apply=True).deleted == ("ledger-2026-08.csv",)
    checkpoint(house.ctx)
    found = held_against(house.ctx, own_notes(house.ctx), [new])
    assert verdict(found) is None
    assert found.trusted == (new, house.key)
    assert found.report.too_old == (in_august,)
    assert found.report.agreed == found.rows
    house.write(house.lines()[:-1])
    cut = held_against(house.ctx, own_notes(house.ctx), [new])
    assert [each.kind for each in cut.report.findings] == [FindingKind.CUT]


def test_a_configuration_that_still_names_the_retired_key(house: Audited) -> None:
    house.book(2)
    checkpoint(house.ctx)
    before = house.settings
    new = changed_over(house)
    house.settings = before
    with pytest.raises(CheckpointFailed, match=f"{house.key.key_id.hex()} is retired") as caught:
        checkpoint(house.ctx)
    assert f"Set checkpoints.key to the key {new.key_id.hex()}" in caught.value.fix


def test_a_key_of_another_ledger_is_asked_about(house: Audited, tmp_path: Path) -> None:
    house.book(1)
    checkpoint(house.ctx)
    strange = make_note_key(tmp_path / "x.pem", "ledger.example.org/x", {})
    with pytest.raises(CheckpointInvalid, match="is it the right key") as caught:
        held_against(house.ctx, own_notes(house.ctx), [strange])
    assert f"(ledger.example.org/x) than these checkpoints ({ORIGIN})" in caught.value.what
    # The ledger knows its key: it is the checkpoints that are another's.
    other = Audited(tmp_path / "other")
    body = own_notes(house.ctx)[0][1]
    theirs = [("n", body.replace(ORIGIN.encode(), b"ledger.example.org/y", 1))]
    found = held_against(house.ctx, theirs, [house.key])
    assert [each.kind for each in found.report.findings] == [FindingKind.ANOTHER_LEDGER]
    with pytest.raises(CheckpointInvalid):
        held_against(other.ctx, theirs, [house.key])


def test_the_report_leads_with_what_verify_ends_with(house: Audited) -> None:
    house.book(2)
    checkpoint(house.ctx)
    house.book(2)
    checkpoint(house.ctx)
    notes = house.home / "ledger.checkpoints"
    newest = sorted(notes.glob("*.note"))[-1]
    # One that no known key signed sorts before the cut.
    text = newest.read_bytes().replace(b"\n7\n", b"\n2\n", 1)
    assert text != newest.read_bytes()
    (notes / f"{2:020d}-00000000.note").write_bytes(text)
    house.write(house.lines()[:-1])
    error = verdict(held_against(house.ctx, own_notes(house.ctx), [house.key]))
    assert isinstance(error, CheckpointMismatch)
    assert "are gone" in error.why
    since, until = month_span("2026-08")
    asked = ReportQuestion(since, until, until, "1", "ledger.csv", keys=(house.key,))
    facts = gather(house.ctx, PlainAccounts(), asked)
    said = trouble(facts.integrity)
    assert said is not None
    assert said.why.startswith(f"{error.why} And 1 more. Key: ")
