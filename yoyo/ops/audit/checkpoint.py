"""`yoyo ledger checkpoint`: a heartbeat row, the tree over all rows, a signature, a copy."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.about import refusal_of
from yoyo.core.audit.merkle import root_of
from yoyo.core.audit.note import (
    NoteError,
    body_of,
    check_note,
    format_note,
    format_vkey,
    parse_checkpoint,
)
from yoyo.errors import CheckpointFailed, CheckpointInvalid, CheckpointMismatch, LedgerCorrupt
from yoyo.model.audit import Checkpoint, NoteSignature, TreeHead, VerifierKey
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, KEY_REFUSED, KEY_RETIRED, Row
from yoyo.ops.audit.copies import copies
from yoyo.ops.audit.rotation import (
    KeyRow,
    key_row,
    key_rows,
    refuse_amid_rotation,
    refuse_strangers,
    strangers,
)
from yoyo.ops.audit.tree import frontier_at

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.notary import NoteSigner


class Signed(NamedTuple):
    """A checkpoint that was made."""

    name: str
    size: int  # rows it covers
    root: str  # hex
    key: str  # the verifier key that checks it
    copied: tuple[str, ...]  # names that were copied by this command
    note: str  # why copies are behind; "" when they are not
    forked: str = ""  # what the second store has that another history was signed for


def checkpoint(ctx: AuditContext) -> Signed:
    """Sign the ledger as it is, heartbeat included, and copy what was not copied yet.

    Raises:
        CheckpointFailed: no key, no room; the ledger is as it was, or has one heartbeat more.
        CheckpointMismatch: the ledger is not the one that was signed before.
        LedgerCorrupt, LedgerWriteFailed, LedgerUnreadable, NodeBusy, StateUnwritable.
    """
    signer = ctx.required_signer()
    own = frozenset({announcement(signer.key)})
    with ctx.lock("ledger checkpoint"):
        newest = own_newest(ctx, signer.key)
        # Before the row: a ledger that was tampered with is left as it is found.
        _hold(ctx, newest)
        if newest is not None:
            refuse_amid_rotation(ctx, newest[1])
        refuse_strangers(ctx, newest, own)
        if newest is None:
            announce(ctx, signer.key)
        return sign_now(ctx, newest, (signer,), own)


def refuse_keys(ctx: AuditContext) -> Signed:
    """Sign, after rows by which those about keys that somebody else wrote count for nothing.

    Raises:
        As `checkpoint`.
    """
    signer = ctx.required_signer()
    own = frozenset({announcement(signer.key)})
    with ctx.lock("ledger checkpoint"):
        newest = own_newest(ctx, signer.key)
        _hold(ctx, newest)
        for row in strangers(ctx, newest, own):
            ctx.ledger.append(ctx.entry(KEY_REFUSED, *refusal_of(row)))
        if newest is None:
            announce(ctx, signer.key)
        return sign_now(ctx, newest, (signer,), own)


def _hold(ctx: AuditContext, newest: tuple[str, Checkpoint] | None) -> None:
    if newest is None:
        return
    size = newest[1].head.size
    frontier_at(ctx, size, newest[1].head)
    last = ctx.ledger.tail(1)
    if last and isinstance(last[0], Row) and last[0].seq < size:
        raise _doubled()


def forked(done: Signed) -> CheckpointMismatch | None:
    """The error that a checkpoint amounts to whose copy met another history; None: it did not."""
    if not done.forked:
        return None
    return CheckpointMismatch(
        "The checkpoint was signed, and the second store has another one of that size.",
        why=done.forked,
        fix="Keep both ledgers and the second store as they are, and find out which one is a copy.",
    )


def sign_now(
    ctx: AuditContext,
    newest: tuple[str, Checkpoint] | None,
    signers: tuple[NoteSigner, ...],
    own: frozenset[KeyRow],
    beat: int | None = None,
) -> Signed:
    """A heartbeat, and every signer's word on the tree up to it. Needs the lock.

    `own` are the rows about keys that the command writes: over another one nothing is signed.
    `beat` is the seq of a heartbeat that is there already, and that nobody has signed.

    Raises:
        CheckpointFailed, CheckpointMismatch, LedgerCorrupt, LedgerWriteFailed, LedgerUnreadable.
    """
    row = heartbeat(ctx, newest) if beat is None else ctx.ledger.row_at(beat)
    if row is None:
        raise _doubled()
    frontier = frontier_at(ctx, row.seq, newest[1].head if newest else None)
    if frontier.row_hash != row.row_hash:
        raise _doubled()
    # Again: whoever may append needs no lock of ours.
    refuse_strangers(ctx, newest, own)
    head = root_of(frontier)
    name = keep_signed(ctx, head, signers)
    ctx.checkpoints.cache_frontier(frontier)
    made = copies(ctx)
    vkey = format_vkey(signers[-1].key)
    return Signed(name, head.size, head.root.hex(), vkey, made.names, made.note, made.forked)


def _doubled() -> LedgerCorrupt:
    return LedgerCorrupt(
        "The ledger's rows are not numbered as they stand; nothing was signed.",
        why="Two ledgers were put into one file, or rows were taken out of it.",
        fix="Run `yoyo ledger verify`: it names the line. Keep the file as it is.",
    )


def is_due(ctx: AuditContext) -> bool:
    """Whether the newest heartbeat is older than `checkpoints.every`, by the rows' own times."""
    newest = newest_checkpoint(ctx)
    if newest is None:
        return True
    row = ctx.ledger.row_at(newest[1].head.size)
    if row is None:
        return True  # signing will find out what became of it
    age = ctx.clock.now() - row.timestamp
    # One of a time to come: the clock was set back, and nobody can say how old it is.
    return not timedelta(0) <= age < timedelta(seconds=ctx.settings.every_s)


def newest_checkpoint(ctx: AuditContext) -> tuple[str, Checkpoint] | None:
    """The checkpoint of the largest size beside the ledger; its signature is not looked at.

    Raises:
        CheckpointInvalid: the file is damaged.
    """
    names = ctx.checkpoints.names()
    if not names:
        return None
    return names[-1], parsed(names[-1], ctx.checkpoints.read(names[-1]))


def own_newest(ctx: AuditContext, key: VerifierKey) -> tuple[str, Checkpoint] | None:
    """The newest checkpoint, which counts only if that key signed it.

    Raises:
        CheckpointFailed: another key is named by it.
        CheckpointInvalid: it is damaged, or the key's signature on it does not hold.
    """
    newest = newest_checkpoint(ctx)
    if newest is None:
        return None
    refuse_other_key(ctx, newest[1], key)
    try:
        check_note(newest[1], (key,), ctx.verifier())
    except NoteError as error:
        raise CheckpointInvalid(
            f"The signature of the newest checkpoint {newest[0]} does not hold; nothing was "
            "signed.",
            why=f"{error}.",
            fix="Compare it with the second store's, keep it as evidence, and move it away.",
        ) from error
    return newest


def parsed(name: str, note: bytes) -> Checkpoint:
    """A note as a checkpoint.

    Raises:
        CheckpointInvalid.
    """
    try:
        return parse_checkpoint(note)
    except NoteError as error:
        raise CheckpointInvalid(
            f"The checkpoint {name} is damaged.",
            why=f"{error}.",
            fix="Take it from the store that checkpoints are copied to, or move it away.",
        ) from error


def refuse_other_key(ctx: AuditContext, newest: Checkpoint, key: VerifierKey) -> None:
    """Refuse to go on with a key that the ledger does not expect.

    Raises:
        CheckpointFailed.
    """
    signs = newest.signatures[-1].key_id
    if (newest.origin, signs) == (key.name, key.key_id):
        return
    gone = (KEY_RETIRED, key_job(key), "")
    signed = [row for row in key_rows(ctx) if row.seq <= newest.head.size]
    if newest.origin == key.name and gone in map(key_row, signed):
        raise CheckpointFailed(
            f"The checkpoint was not signed: the key {key.key_id.hex()} is retired.",
            why=f"The ledger was changed over to the key {signs.hex()}, which signed the newest "
            "checkpoint; yoyo.yaml still names the old one.",
            fix=f"Set checkpoints.key to the key {signs.hex()} that follows it (and "
            "checkpoints.public_key, where that is set).",
        )
    raise CheckpointFailed(
        "The checkpoint was not signed: it would be by another key than the one before it.",
        why=f"The newest is of {newest.origin}, key {signs.hex()}; "
        f"yoyo.yaml has {key.name}, key {key.key_id.hex()}.",
        fix="Name the old key in checkpoints.key, or change over with `yoyo ledger rotate`.",
    )


def announce(ctx: AuditContext, key: VerifierKey) -> None:
    """Have a row that says which key signs from here on.

    Raises:
        LedgerCorrupt, LedgerWriteFailed, CheckpointFailed.
    """
    row = announcement(key)
    if row not in map(key_row, key_rows(ctx)):
        ctx.ledger.append(ctx.entry(*row))
    ctx.checkpoints.keep_key(key.key_id.hex(), format_vkey(key).encode())


def announcement(key: VerifierKey) -> KeyRow:
    """What the row says by which that key signs from here on."""
    return KEY_ADDED, key_job(key), digest_of(format_vkey(key).encode())


def key_job(key: VerifierKey) -> str:
    """The job_id of the rows about a key: `key/HEX8`, its id."""
    return f"key/{key.key_id.hex()}"


def digest_of(document: bytes) -> str:
    """sha256:<hex> of these bytes."""
    return f"sha256:{sha256(document).hexdigest()}"


def heartbeat(ctx: AuditContext, newest: tuple[str, Checkpoint] | None) -> Row:
    """The row that the checkpoint will cover; it names the checkpoint before it.

    Raises:
        LedgerCorrupt, LedgerWriteFailed.
    """
    if newest is None:
        return ctx.ledger.append(ctx.entry(HEARTBEAT, "checkpoint/0"))
    name, before = newest
    digest = digest_of(ctx.checkpoints.read(name))
    return ctx.ledger.append(ctx.entry(HEARTBEAT, f"checkpoint/{before.head.size}", digest))


def keep_signed(ctx: AuditContext, head: TreeHead, signers: tuple[NoteSigner, ...]) -> str:
    """Sign that head with every signer, the newest key last; gives the note's name.

    Raises:
        CheckpointFailed.
    """
    body = body_of(ctx.settings.origin, head)
    signatures = tuple(
        NoteSignature(each.key.name, each.key.key_id, each.sign(body)) for each in signers
    )
    name = f"{head.size:020d}-{signers[-1].key.key_id.hex()}"
    ctx.checkpoints.keep(name, format_note(body, signatures))
    return name
