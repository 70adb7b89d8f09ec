"""`yoyo ledger checkpoint`: a heartbeat row, the tree over all rows, a signature, a copy."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.merkle import root_of
from yoyo.core.audit.note import (
    NoteError,
    body_of,
    format_note,
    format_vkey,
    parse_checkpoint,
)
from yoyo.errors import CheckpointFailed, CheckpointInvalid, LedgerCorrupt
from yoyo.model.audit import Checkpoint, NoteSignature, TreeHead, VerifierKey
from yoyo.model.ledger import HEARTBEAT, KEY_ADDED, Row
from yoyo.model.row_filter import RowFilter
from yoyo.ops.audit.copies import copies
from yoyo.ops.audit.rotation import refuse_amid_rotation
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


def checkpoint(ctx: AuditContext) -> Signed:
    """Sign the ledger as it is, heartbeat included, and copy what was not copied yet.

    Raises:
        CheckpointFailed: no key, no room; the ledger is as it was, or has one heartbeat more.
        CheckpointMismatch: the ledger is not the one that was signed before.
        LedgerCorrupt, LedgerWriteFailed, LedgerUnreadable, NodeBusy, StateUnwritable.
    """
    signer = ctx.required_signer()
    with ctx.lock("ledger checkpoint"):
        newest = newest_checkpoint(ctx)
        if newest is None:
            announce(ctx, signer.key)
        else:
            refuse_other_key(newest[1], signer.key)
            # Before the row: a ledger that was tampered with is left as it is found.
            frontier_at(ctx, newest[1].head.size, newest[1].head)
            refuse_amid_rotation(ctx, newest[1])
            last = ctx.ledger.tail(1)
            if last and isinstance(last[0], Row) and last[0].seq < newest[1].head.size:
                raise _doubled()
        return sign_now(ctx, newest, (signer,))


def sign_now(
    ctx: AuditContext,
    newest: tuple[str, Checkpoint] | None,
    signers: tuple[NoteSigner, ...],
    beat: int | None = None,
) -> Signed:
    """A heartbeat, and every signer's word on the tree up to it. Needs the lock.

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
    head = root_of(frontier)
    name = keep_signed(ctx, head, signers)
    ctx.checkpoints.cache_frontier(frontier)
    copied, note = copies(ctx)
    return Signed(name, head.size, head.root.hex(), format_vkey(signers[-1].key), copied, note)


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


def refuse_other_key(newest: Checkpoint, key: VerifierKey) -> None:
    """Refuse to go on with a key that the ledger does not expect.

    Raises:
        CheckpointFailed.
    """
    if (newest.origin, newest.signatures[-1].key_id) == (key.name, key.key_id):
        return
    raise CheckpointFailed(
        "The checkpoint was not signed: it would be by another key than the one before it.",
        why=f"The newest is of {newest.origin}, key {newest.signatures[-1].key_id.hex()}; "
        f"yoyo.yaml has {key.name}, key {key.key_id.hex()}.",
        fix="Name the old key in checkpoints.key, or change over with `yoyo ledger rotate`.",
    )


def announce(ctx: AuditContext, key: VerifierKey) -> None:
    """Have a row that says which key signs from here on.

    Raises:
        LedgerCorrupt, LedgerWriteFailed, CheckpointFailed.
    """
    text = format_vkey(key).encode()
    digest, job = digest_of(text), key_job(key)
    rows = ctx.ledger.matching(RowFilter(jobs=(job,), codes=(KEY_ADDED,)))
    if not any(isinstance(row, Row) and row.entry.input_hash == digest for row in rows):
        ctx.ledger.append(ctx.entry(KEY_ADDED, job, digest))
    ctx.checkpoints.keep_key(key.key_id.hex(), text)


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
