"""Checkpoints end to end: what is signed, copied, refused, and found out afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_parts import ORIGIN, Audited, rechained

from yoyo.core.audit.against import FindingKind
from yoyo.core.audit.merkle import verify_consistency
from yoyo.errors import CheckpointFailed, CheckpointInvalid, CheckpointMismatch
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, KEY_RETIRED, BadRow
from yoyo.ops.audit.against import HeldAgainst, held_against, own_notes, verdict
from yoyo.ops.audit.checkpoint import checkpoint, is_due
from yoyo.ops.audit.keep import keep_proved
from yoyo.ops.audit.keys import rotate
from yoyo.wiring_audit import make_note_key, notes_at, signer_by


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    return Audited(tmp_path / "ledger")


def held(house: Audited) -> HeldAgainst:
    kept = notes_at(str(house.copies), house.settings)
    return held_against(house.ctx, kept.notes, [house.key], kept.keys)


def codes(house: Audited) -> list[str]:
    return [
        "bad" if isinstance(row, BadRow) else row.entry.error_code
        for row in house.ctx.ledger.rows()
    ]


def test_a_checkpoint_covers_its_own_heartbeat_and_is_copied(house: Audited) -> None:
    house.book(3)
    signed = checkpoint(house.ctx)
    assert codes(house) == ["", "", "", KEY_ADDED, HEARTBEAT]
    assert signed.size == 5
    assert signed.copied == (signed.name,)
    assert (house.copies / "checkpoints" / f"{signed.name}.note").read_bytes() == (
        house.home / "ledger.checkpoints" / f"{signed.name}.note"
    ).read_bytes()
    found = held(house)
    assert verdict(found) is None
    assert found.report.agreed == 5


def test_an_idle_ledger_has_heartbeats_and_each_names_the_checkpoint_before(house: Audited) -> None:
    first, second = checkpoint(house.ctx), checkpoint(house.ctx)
    rows = list(house.ctx.ledger.rows())
    assert second.size == first.size + 1
    assert not isinstance(rows[-1], BadRow)
    assert rows[-1].entry.job_id == f"checkpoint/{first.size}"
    from hashlib import sha256

    note = (house.home / "ledger.checkpoints" / f"{first.name}.note").read_bytes()
    assert rows[-1].entry.input_hash == f"sha256:{sha256(note).hexdigest()}"


def test_the_consistency_proof_is_from_the_signed_tree_to_the_one_there_is(house: Audited) -> None:
    house.book(5)
    signed = checkpoint(house.ctx)
    house.book(4)
    found = held(house)
    assert found.consistency is not None
    old, new, path = found.consistency
    assert (old.size, new.size) == (signed.size, signed.size + 4)
    assert path
    assert verify_consistency(old, new, path)
    assert not verify_consistency(old, new._replace(root=bytes(32)), path)


def test_a_cut_tail_is_found_and_never_signed(house: Audited) -> None:
    house.book(4)
    checkpoint(house.ctx)
    house.write(house.lines()[:-2])
    before = house.path.read_bytes()
    with pytest.raises(CheckpointMismatch, match="not the one that was signed"):
        checkpoint(house.ctx)
    assert house.path.read_bytes() == before, "the evidence was changed"
    assert [each.kind for each in held(house).report.findings] == [FindingKind.CUT]


@pytest.mark.parametrize("keep_cache", [True, False])
def test_a_rewrite_with_a_chain_that_holds_is_found_and_never_signed(
    house: Audited, keep_cache: bool
) -> None:
    house.book(2)
    first = checkpoint(house.ctx)
    house.book(4)
    checkpoint(house.ctx)
    lines = house.lines()
    lines[-3] = lines[-3].replace(b",0.25,", b",0.01,")
    house.write(rechained(lines))
    assert house.ctx.ledger.verify().ok, "the forgery is meant to hold together"
    if not keep_cache:
        (house.home / "ledger.checkpoints" / "tree.json").unlink()
    with pytest.raises(CheckpointMismatch):
        checkpoint(house.ctx)
    (finding,) = held(house).report.findings
    assert finding.kind is FindingKind.REWRITTEN
    assert finding.first_row == first.size + 1
    assert held(house).report.agreed == first.size


def test_a_fork_from_a_backup_is_found_by_the_copies(house: Audited) -> None:
    house.book(3)
    checkpoint(house.ctx)
    backup = house.path.read_bytes()
    notes = {p.name: p.read_bytes() for p in (house.home / "ledger.checkpoints").iterdir()}
    house.book(2)
    checkpoint(house.ctx)
    # Somebody puts ledger and checkpoints back from a backup, and work goes on.
    house.path.write_bytes(backup)
    for path in (house.home / "ledger.checkpoints").iterdir():
        if path.name not in notes:
            path.unlink()
        elif path.name == "tree.json":
            path.write_bytes(notes[path.name])
    house.book(5)
    again = checkpoint(house.ctx)
    assert again.note == "", "another size, so the copy has a place of its own"
    kinds = {each.kind for each in held(house).report.findings}
    assert kinds & {FindingKind.FORKED, FindingKind.REWRITTEN}
    assert verdict(held_against(house.ctx, own_notes(house.ctx), [house.key])) is None


def test_two_histories_of_one_size_collide_in_the_second_store(house: Audited) -> None:
    house.book(3)
    checkpoint(house.ctx)
    (house.home / "ledger.checkpoints" / "tree.json").unlink()
    for path in (house.home / "ledger.checkpoints").glob("*.note"):
        path.unlink()
    lines = house.lines()
    house.write(rechained([lines[0], *[x.replace(b",0.25,", b",0.75,") for x in lines[1:-2]]]))
    again = checkpoint(house.ctx)
    assert "could not be copied" in again.note
    assert "another" in again.note


def test_another_ledgers_checkpoint_and_a_strange_key_are_named(
    house: Audited, tmp_path: Path
) -> None:
    house.book(1)
    checkpoint(house.ctx)
    stranger = make_note_key(tmp_path / "x.pem", ORIGIN, {})
    found = held_against(house.ctx, own_notes(house.ctx), [stranger])
    assert [each.kind for each in found.report.findings] == [FindingKind.KEY_MISMATCH]
    other = make_note_key(tmp_path / "y.pem", "ledger.example.org/other", {})
    with pytest.raises(CheckpointInvalid, match="is it the right key"):
        held_against(house.ctx, own_notes(house.ctx), [other])


def test_a_change_of_keys_is_followed_from_the_first_key(house: Audited) -> None:
    house.book(2)
    checkpoint(house.ctx)
    new_path = house.home / "key2.pem"
    new = make_note_key(new_path, ORIGIN, {})
    rotate(house.ctx, signer_by(new_path, ORIGIN, {}))
    with pytest.raises(CheckpointFailed, match="is retired"):
        checkpoint(house.ctx)  # the configuration still names the old one
    first = house.key
    house.settings = house.settings._replace(key=new_path)
    house.book(1)
    checkpoint(house.ctx)
    found = held(house)
    assert verdict(found) is None
    assert found.trusted == (first, new)
    assert codes(house).count(KEY_RETIRED) == 1


def test_a_retired_key_signs_nothing_any_more(house: Audited) -> None:
    house.book(2)
    checkpoint(house.ctx)
    old = house.settings
    new_path = house.home / "key2.pem"
    make_note_key(new_path, ORIGIN, {})
    rotate(house.ctx, signer_by(new_path, ORIGIN, {}))
    # A thief of the old key signs the ledger as it grew, past the check that a command makes.
    from yoyo.core.audit.merkle import root_of
    from yoyo.ops.audit.checkpoint import heartbeat, keep_signed
    from yoyo.ops.audit.tree import frontier_at

    house.settings = old
    ctx = house.ctx
    house.book(1)
    beat = heartbeat(ctx, None)
    signer = ctx.required_signer()
    keep_signed(ctx, root_of(frontier_at(ctx, beat.seq, None)), (signer,))
    found = held_against(ctx, own_notes(ctx), [house.key])
    assert [each.kind for each in found.report.findings] == [FindingKind.KEY_MISMATCH]


def test_the_monitor_signs_when_it_is_time_and_not_before(house: Audited) -> None:
    house.book(1)
    assert is_due(house.ctx)
    assert keep_proved(house.ctx, only_if_due=True) == []
    before = len(codes(house))
    house.clock.sleep(3000)
    assert keep_proved(house.ctx, only_if_due=True) == []
    assert len(codes(house)) == before
    house.clock.sleep(700)
    assert keep_proved(house.ctx, only_if_due=True) == []
    assert codes(house)[before:] == [HEARTBEAT]


def test_what_goes_wrong_is_said_and_stops_nothing(house: Audited) -> None:
    house.book(1)
    (house.home / "key.pem").chmod(0o644)
    (note,) = keep_proved(house.ctx)
    assert "no checkpoint was signed" in note
    assert codes(house) == [""]


def test_copies_that_failed_are_made_up_for(house: Audited) -> None:
    house.book(1)
    house.copies.parent.joinpath(house.copies.name).write_bytes(b"in the way")
    first = checkpoint(house.ctx)
    assert "could not be copied" in first.note
    house.copies.unlink()
    second = checkpoint(house.ctx)
    assert second.copied == (first.name, second.name)


def test_without_key_or_checkpoint_it_is_said_what_to_do(house: Audited) -> None:
    house.settings = house.settings._replace(key=None)
    with pytest.raises(CheckpointFailed, match="No checkpoint was signed") as caught:
        checkpoint(house.ctx)
    assert "keygen" in caught.value.fix
    with pytest.raises(CheckpointInvalid, match="nothing to hold"):
        held_against(house.ctx, [], [house.key])
