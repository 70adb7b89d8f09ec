"""`yoyo ledger keygen` and `rotate`: who signs, and how that changes without a gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from yoyo.core.audit.note import format_vkey, is_key_name
from yoyo.errors import CheckpointFailed
from yoyo.model.ledger import KEY_RETIRED
from yoyo.ops.audit.checkpoint import (
    Signed,
    announce,
    announcement,
    digest_of,
    key_job,
    newest_checkpoint,
    own_newest,
    sign_now,
)
from yoyo.ops.audit.rotation import CutOff, cut_off, key_row, key_rows, refuse_strangers
from yoyo.ops.audit.tree import frontier_at

if TYPE_CHECKING:
    from yoyo.model.settings import AuditSettings
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.notary import NoteSigner


def rotate(ctx: AuditContext, new: NoteSigner, *, lost: bool = False) -> Signed:
    """Change over to another key: rows that say so, and a checkpoint over them by both keys.

    With `lost` the old key signs nothing, and whoever verifies must be told of the new one by
    another way. One that was cut off is finished: with the same new key.

    Raises:
        CheckpointFailed: the new key is the old one, or the old one cannot sign.
        CheckpointMismatch, CheckpointInvalid, LedgerCorrupt, LedgerWriteFailed, NodeBusy.
    """
    with ctx.lock("ledger rotate"):
        newest = newest_checkpoint(ctx)
        if newest is None:
            raise CheckpointFailed(
                "There is nothing to change over from.",
                why="No checkpoint was signed yet.",
                fix="Name the new key in checkpoints.key and run `yoyo ledger checkpoint`.",
            )
        before = newest[1]
        old_id = before.signatures[-1].key_id
        if old_id == new.key.key_id:
            raise CheckpointFailed(
                "The key was not changed: it signs already.",
                fix="Make another one: `yoyo ledger keygen --out FILE`.",
            )
        # With the key lost nobody can say whether it signed the newest one.
        old = None if lost else ctx.required_signer()
        if old is not None:
            own_newest(ctx, old.key)
        retired = (KEY_RETIRED, f"key/{old_id.hex()}", "")
        _refuse_a_retired(ctx, new)
        signers: tuple[NoteSigner, ...] = (new,)
        if old is not None:
            old.sign(before.body)  # that it can, before any row says that it did
            signers = (old, new)
        frontier_at(ctx, before.head.size, before.head)
        begun = cut_off(ctx, before)
        if begun is not None and begun.beat is not None:
            _refuse_a_third(begun, new)
        own = frozenset({announcement(new.key), retired})
        refuse_strangers(ctx, newest, own)
        announce(ctx, new.key)
        if begun is None:
            ctx.ledger.append(ctx.entry(*retired))
        return sign_now(ctx, newest, signers, own, begun.beat if begun is not None else None)


def _refuse_a_retired(ctx: AuditContext, new: NoteSigner) -> None:
    job = key_job(new.key)
    if any(key_row(row)[:2] == (KEY_RETIRED, job) for row in key_rows(ctx)):
        raise CheckpointFailed(
            "The key was not changed: the new one was retired before, and signs nothing any more.",
            why=f"A row says so: {KEY_RETIRED} {job}.",
            fix="Make a new one: `yoyo ledger keygen --out FILE`.",
        )


def _refuse_a_third(begun: CutOff, new: NoteSigner) -> None:
    if digest_of(format_vkey(new.key).encode()) in begun.added:
        return
    raise CheckpointFailed(
        "The key was not changed: an earlier change to another key was cut off.",
        why="Its rows are in the ledger, and only the key that they announce can follow.",
        fix="Run `yoyo ledger rotate` with that key first, and then with this one. If nobody of "
        "yours began that: `yoyo ledger checkpoint --refuse-keys`, and then this again.",
    )


def origin_of(given: str | None, settings: Callable[[], AuditSettings]) -> str:
    """The ledger's name: as given, else as configured.

    Raises:
        CheckpointFailed: neither, or it cannot be a name.
    """
    name = given if given is not None else settings().origin
    if name and is_key_name(name):
        return name
    raise CheckpointFailed(
        "The ledger has no name to sign under."
        if not name
        else f"{name[:100]!r} cannot be the ledger's name.",
        why="Every checkpoint begins with it; it holds no space and no plus.",
        fix="Give --origin HOST/NAME, or set checkpoints.origin: unique in the world, for ever.",
    )
