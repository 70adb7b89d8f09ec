"""What a forger tries who may write the ledger's directory, and has no key."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from audit_parts import ORIGIN, Audited, rechained

from yoyo.core.audit.against import FindingKind
from yoyo.core.audit.documents import dump_object, encode_hash
from yoyo.core.audit.merkle import Tree, root_of
from yoyo.core.audit.note import body_of, format_note, format_vkey
from yoyo.core.audit.seal_record import SealRecord, seal_record
from yoyo.core.ledger_format import HEADER, row_hash
from yoyo.errors import CheckpointFailed, CheckpointInvalid, CheckpointMismatch
from yoyo.model.audit import Checkpoint, Frontier, MonthPiece, NoteSignature, VerifierKey
from yoyo.model.ledger import (
    HEARTBEAT,
    KEY_ADDED,
    KEY_REFUSED,
    KEY_RETIRED,
    CompletionStatus,
    Entry,
    EventType,
    Row,
)
from yoyo.ops.audit.against import held_against, own_notes, verdict
from yoyo.ops.audit.checkpoint import checkpoint, digest_of, key_job, refuse_keys
from yoyo.ops.audit.context import AuditContext
from yoyo.ops.audit.keys import rotate
from yoyo.ops.audit.seal import seal
from yoyo.wiring_audit import make_note_key, signer_by


@pytest.fixture
def house(tmp_path: Path) -> Audited:
    return Audited(tmp_path / "ledger")


@pytest.fixture
def old_house(tmp_path: Path) -> Audited:
    """September signed, October begun and signed, September not sealed yet."""
    made = Audited(tmp_path / "ledger", now=datetime(2026, 9, 2, 8, tzinfo=UTC))
    made.book(5)
    checkpoint(made.ctx)
    made.book(1)
    made.clock.at = datetime(2026, 10, 1, 1, tzinfo=UTC)
    made.book(2)
    return made


def notes_of(house: Audited) -> list[str]:
    return sorted(path.name for path in (house.home / "ledger.checkpoints").glob("*.note"))


def forged_deletion(house: Audited, rows: int) -> int:
    """The whole history "deleted by retention", and other rows after it; gives the cut."""
    cut = len(house.lines()) + 9
    nodes = tuple(os.urandom(32) for _ in range(cut.bit_count()))
    piece = MonthPiece("2026-09", 1, cut, "ab" * 32, 1000, "cd" * 32)
    document = seal_record(
        SealRecord(piece, "ledger-2026-09.csv", Frontier(cut, nodes, "ab" * 32), "")
    )
    digest = house.ctx.proofs.keep(document)
    above, made = "ab" * 32, [HEADER[:-1]]
    event = house.lines()[1].split(b",")[0].decode()
    for number in range(rows):
        first = number == 0
        whose = f"shared,ledger,delete/2026-09,{digest}" if first else "acme,demo,row/1,"
        code = "MONTH_DELETED" if first else ""
        prefix = (
            f"{event},2026-10-02T00:00:{number:02d}.000000Z,CHECKPOINT,{whose},,,,,,success,"
            f"{code},mira@host,{cut + 1 + number}"
        ).encode()
        above = row_hash(above, prefix)
        made.append(prefix + b"," + above.encode())
    house.write(made)
    return cut


def test_a_history_that_was_deleted_by_a_forged_row_is_not_taken_for_retention(
    house: Audited,
) -> None:
    house.book(5)
    checkpoint(house.ctx)
    house.book(5)
    checkpoint(house.ctx)
    kept = own_notes(house.ctx)
    forged_deletion(house, 40)
    assert house.ctx.ledger.verify().ok, "the forgery is meant to hold together"
    found = held_against(house.ctx, kept, [house.key])
    assert len(found.report.too_old) == 2
    trouble = verdict(found)
    assert isinstance(trouble, CheckpointMismatch)
    assert "no checkpoint covers rows that are still here" in trouble.what
    before = notes_of(house)
    with pytest.raises(CheckpointFailed, match="deleted"):
        checkpoint(house.ctx)
    assert notes_of(house) == before, "the real key signed the forgery"


def test_an_older_checkpoint_is_said_to_be_too_old_and_the_newer_one_proves(
    old_house: Audited,
) -> None:
    from yoyo.cli.render_prove import against_document, against_text
    from yoyo.ops.audit.prune import prune

    first = notes_of(old_house)[0].removesuffix(".note")
    seal(old_house.ctx)
    checkpoint(old_house.ctx)
    old_house.settings = old_house.settings._replace(retention_months=0)
    prune(old_house.ctx, apply=True)
    found = held_against(old_house.ctx, own_notes(old_house.ctx), [old_house.key])
    assert verdict(found) is None
    assert found.report.too_old == (first,)
    assert against_document(found)["too_old"] == [first]
    assert first in against_text(found)


def test_sealing_refuses_a_month_that_the_newest_checkpoint_signs_differently(
    old_house: Audited,
) -> None:
    checkpoint(old_house.ctx)  # in October: larger than September's last row
    lines = old_house.lines()
    lines[3] = lines[3].replace(b",0.25,", b",0.01,")
    old_house.write(rechained(lines))
    before, notes = old_house.path.read_bytes(), notes_of(old_house)
    with pytest.raises(CheckpointMismatch):
        seal(old_house.ctx)
    assert (old_house.path.read_bytes(), notes_of(old_house)) == (before, notes)


def forged_cache(house: Audited, leaves: list[bytes], last: int) -> None:
    tree = Tree()
    tree.extend(leaves)
    made = tree.frontier(house.lines()[last][-64:].decode())
    place = house.home / "ledger.checkpoints"
    place.mkdir(exist_ok=True)
    (place / "tree.json").write_bytes(
        dump_object(
            {
                "format": "yoyo-tree/1",
                "size": made.size,
                "row_hash": made.row_hash,
                "nodes": [encode_hash(node) for node in made.nodes],
                "root": encode_hash(root_of(made).root),
            }
        )
    )


def test_a_forged_cache_is_never_signed(old_house: Audited) -> None:
    last = max(n for n, line in enumerate(old_house.lines()) if b",2026-09-" in line)
    checkpoint(old_house.ctx)
    forged_cache(old_house, [b"x"] * last, last)
    seal(old_house.ctx)
    checkpoint(old_house.ctx)
    found = held_against(old_house.ctx, own_notes(old_house.ctx), [old_house.key])
    assert verdict(found) is None


def test_a_forged_cache_before_the_first_checkpoint_is_never_signed(house: Audited) -> None:
    house.book(8)
    forged_cache(house, [b"x"] * 8, 8)
    checkpoint(house.ctx)
    assert verdict(held_against(house.ctx, own_notes(house.ctx), [house.key])) is None


def test_a_forged_cache_accuses_nobody(house: Audited) -> None:
    house.book(3)
    size = checkpoint(house.ctx).size
    forged_cache(house, [b"x"] * size, size)
    checkpoint(house.ctx)
    assert verdict(held_against(house.ctx, own_notes(house.ctx), [house.key])) is None


@pytest.mark.parametrize("use", [checkpoint, seal])
def test_a_newest_note_that_the_key_did_not_sign_counts_for_nothing(
    old_house: Audited, use: Callable[..., object]
) -> None:
    lines = old_house.lines()
    lines[3] = lines[3].replace(b",0.25,", b",0.01,")
    old_house.write(rechained(lines))
    tree = Tree()
    tree.extend(old_house.lines()[1:])
    key = old_house.key
    note = format_note(
        body_of(ORIGIN, tree.head()), (NoteSignature(ORIGIN, key.key_id, os.urandom(64)),)
    )
    name = f"{tree.size:020d}-{key.key_id.hex()}.note"
    (old_house.home / "ledger.checkpoints" / name).write_bytes(note)
    before, notes = old_house.path.read_bytes(), notes_of(old_house)
    with pytest.raises(CheckpointInvalid, match="signature"):
        use(old_house.ctx)
    assert (old_house.path.read_bytes(), notes_of(old_house)) == (before, notes)


def planted(house: Audited) -> VerifierKey:
    """A row that announces a forger's key, without the operator."""
    evil = make_note_key(house.home / "evil.pem", ORIGIN, {})
    house.ctx.ledger.append(
        house.ctx.entry(KEY_ADDED, key_job(evil), digest_of(format_vkey(evil).encode()))
    )
    return evil


def signed_by(house: Audited, key: str) -> tuple[str, bytes]:
    """The ledger as it is, signed with that key past every check."""
    tree = Tree()
    tree.extend(house.lines()[1:])
    signer = signer_by(house.home / key, ORIGIN, {})
    body = body_of(ORIGIN, tree.head())
    line = NoteSignature(ORIGIN, signer.key.key_id, signer.sign(body))
    return f"{tree.size}-{key}", format_note(body, (line,))


@pytest.mark.parametrize("use", [checkpoint, seal])
def test_a_key_that_somebody_else_announced_is_never_signed_over(
    old_house: Audited, use: Callable[..., object]
) -> None:
    evil = planted(old_house)
    old_house.clock.at = datetime(2026, 11, 1, 1, tzinfo=UTC)
    before, notes = old_house.path.read_bytes(), notes_of(old_house)
    with pytest.raises(CheckpointFailed, match="somebody else") as caught:
        use(old_house.ctx)
    assert "--refuse-keys" in caught.value.fix
    assert (old_house.path.read_bytes(), notes_of(old_house)) == (before, notes)
    assert key_job(evil) in f"{caught.value.what} {caught.value.why}"


def test_a_key_announced_at_the_last_moment_is_not_signed_over(
    house: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yoyo.ops.audit import checkpoint as module

    house.book(1)
    checkpoint(house.ctx)
    notes, real = notes_of(house), module.heartbeat

    def after_a_plant(ctx: AuditContext, newest: tuple[str, Checkpoint] | None) -> Row:
        planted(house)
        return real(ctx, newest)

    monkeypatch.setattr(module, "heartbeat", after_a_plant)
    with pytest.raises(CheckpointFailed, match="somebody else"):
        checkpoint(house.ctx)
    assert notes_of(house) == notes


def test_a_planted_key_is_refused_by_a_row_and_trusted_by_nobody(house: Audited) -> None:
    house.book(2)
    checkpoint(house.ctx)
    evil = planted(house)
    own = house.ctx.entry(KEY_RETIRED, key_job(house.key))
    house.ctx.ledger.append(own)
    house.ctx.ledger.append(house.ctx.entry(HEARTBEAT, "checkpoint/9"))
    make_note_key(house.home / "good.pem", ORIGIN, {})
    with pytest.raises(CheckpointFailed):
        rotate(house.ctx, signer_by(house.home / "good.pem", ORIGIN, {}))
    refuse_keys(house.ctx)
    codes = [r.entry.error_code for r in house.ctx.ledger.rows() if isinstance(r, Row)]
    assert codes.count(KEY_REFUSED) >= 2
    house.book(1)
    checkpoint(house.ctx)
    house.book(1)
    texts = [format_vkey(evil).encode()]
    found = held_against(house.ctx, own_notes(house.ctx), [house.key], texts)
    assert verdict(found) is None
    assert evil not in found.trusted
    stolen = held_against(
        house.ctx, [*own_notes(house.ctx), signed_by(house, "evil.pem")], [house.key], texts
    )
    assert [each.kind for each in stolen.report.findings] == [FindingKind.KEY_MISMATCH]
    rotate(house.ctx, signer_by(house.home / "good.pem", ORIGIN, {}))
    found = held_against(house.ctx, own_notes(house.ctx), [house.key], house.ctx.checkpoints.keys())
    assert verdict(found) is None
    assert len(found.trusted) == 2


def test_a_retirement_cannot_be_taken_back_by_a_planted_refusal(house: Audited) -> None:
    house.book(2)
    checkpoint(house.ctx)
    make_note_key(house.home / "good.pem", ORIGIN, {})
    rotate(house.ctx, signer_by(house.home / "good.pem", ORIGIN, {}))
    retired = next(
        row
        for row in house.ctx.ledger.rows()
        if isinstance(row, Row) and row.entry.error_code == KEY_RETIRED
    )
    house.ctx.ledger.append(
        house.ctx.entry(KEY_REFUSED, f"refuse/{retired.seq}", f"sha256:{retired.row_hash}")
    )
    stolen = signed_by(house, "key.pem")
    house.settings = house.settings._replace(key=house.home / "good.pem")
    with pytest.raises(CheckpointFailed, match="somebody else"):
        checkpoint(house.ctx)
    refuse_keys(house.ctx)
    assert verdict(held_against(house.ctx, own_notes(house.ctx), [house.key],
                                house.ctx.checkpoints.keys())) is None  # fmt: skip
    found = held_against(
        house.ctx,
        [*own_notes(house.ctx), stolen],
        [house.key],
        house.ctx.checkpoints.keys(),
    )
    assert [each.kind for each in found.report.findings] == [FindingKind.KEY_MISMATCH]


def test_rows_of_a_module_are_no_rows_about_the_ledger(house: Audited) -> None:
    house.book(2)
    checkpoint(house.ctx)
    make_note_key(house.home / "evil.pem", ORIGIN, {})
    evil = signer_by(house.home / "evil.pem", ORIGIN, {}).key
    digest = digest_of(format_vkey(evil).encode())
    for code, job, what in (
        (KEY_ADDED, key_job(evil), digest),
        (KEY_RETIRED, key_job(house.key), ""),
        (HEARTBEAT, "checkpoint/1", ""),
    ):
        house.ctx.ledger.append(
            Entry(
                EventType.CHECKPOINT,
                "acme" if code == KEY_ADDED else "shared",
                "ledger" if code == KEY_ADDED else "demo",
                job,
                CompletionStatus.SUCCESS,
                "x",
                error_code=code,
                input_hash=what,
            )
        )
    checkpoint(house.ctx)
    house.book(1)
    checkpoint(house.ctx)
    found = held_against(house.ctx, own_notes(house.ctx), [house.key], [format_vkey(evil).encode()])
    assert verdict(found) is None
    assert found.trusted == (house.key,)


def test_a_retired_key_does_not_come_back(house: Audited) -> None:
    house.book(1)
    checkpoint(house.ctx)
    old = house.settings
    make_note_key(house.home / "b.pem", ORIGIN, {})
    rotate(house.ctx, signer_by(house.home / "b.pem", ORIGIN, {}))
    house.settings = old._replace(key=house.home / "b.pem")
    rows = house.path.read_bytes()
    with pytest.raises(CheckpointFailed, match="retired"):
        rotate(house.ctx, signer_by(house.home / "key.pem", ORIGIN, {}))
    assert house.path.read_bytes() == rows
