"""`yoyo doctor` on the ledger's proof: key, checkpoints, copies, sealing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from yoyo.core.audit.note import format_vkey
from yoyo.errors import CheckpointInvalid, StoreDenied, YoyoError
from yoyo.ops.audit.age import OVERDUE, signed_at, unsigned_note
from yoyo.ops.audit.checkpoint import newest_checkpoint, refuse_other_key
from yoyo.ops.audit.copies import PLACE, note_file
from yoyo.ops.doctor import Check

if TYPE_CHECKING:
    from yoyo.model.audit import VerifierKey
    from yoyo.ops.audit.context import AuditContext

_KEYGEN = "yoyo ledger keygen --origin HOST/NAME, and follow what it prints"


def doctor(ctx: AuditContext, public: Callable[[], Sequence[VerifierKey]]) -> list[Check]:
    """Examine what proves the ledger. Changes nothing and never raises.

    `public` gives the verifier keys that are configured; it may raise CheckpointInvalid.
    """
    examined: list[tuple[str, Callable[[], Check]]] = [("sealing", lambda: _sealing(ctx))]
    if ctx.signer is None:
        finding = "nobody signs the ledger: that rows were cut off or rewritten is not found"
        nobody = Check("checkpoints", "warn", finding, _KEYGEN)
        return [nobody, *_each(examined)]
    examined = [
        ("signing key", lambda: _key(ctx)),
        ("verifier key", lambda: _public(ctx, public)),
        ("checkpoints", lambda: _age(ctx)),
        ("second store", lambda: _copies(ctx)),
        *examined,
    ]
    return _each(examined)


def _each(examined: list[tuple[str, Callable[[], Check]]]) -> list[Check]:
    checks = []
    for name, examine in examined:
        try:
            checks.append(examine())
        except YoyoError as error:
            finding = f"{error.what} {error.why}".strip()
            checks.append(Check(name, "fail", finding, error.fix))
    return checks


def _key(ctx: AuditContext) -> Check:
    key = ctx.required_signer().key
    newest = newest_checkpoint(ctx)
    if newest is not None:
        refuse_other_key(ctx, newest[1], key)
    if ctx.settings.key is None:
        found = f"the command of checkpoints.signer_command, for {key.name}; it was not tried"
    else:
        found = f"{ctx.settings.key}, of {key.name}, readable by you alone"
    return Check("signing key", "ok", found)


def _public(ctx: AuditContext, public: Callable[[], Sequence[VerifierKey]]) -> Check:
    signs = ctx.required_signer().key
    vkey = format_vkey(signs)
    try:
        known = public()
    except CheckpointInvalid as error:
        remedy = f"write it there, as one line: {vkey}"
        return Check("verifier key", "warn", f"{error.what} {error.why}", remedy)
    if signs not in known:
        finding = "the one that is configured is not that of the key that signs"
        return Check("verifier key", "fail", finding, f"it is {vkey}")
    return Check("verifier key", "ok", vkey)


def _age(ctx: AuditContext) -> Check:
    every = f"{ctx.settings.every_s} s"
    newest = newest_checkpoint(ctx)
    if newest is None:
        return Check("checkpoints", "warn", "none was signed yet", "yoyo ledger checkpoint")
    at = signed_at(ctx)
    if at is None:
        finding = f"{newest[0]} signs row {newest[1].head.size}, which the ledger has not"
        return Check("checkpoints", "fail", finding, "yoyo ledger verify --against COPIES")
    if unsigned_note(ctx):
        finding = (
            f"the newest is of {at:%Y-%m-%d %H:%M:%S}Z, more than {OVERDUE} times "
            f"checkpoints.every ({every}) ago"
        )
        remedy = "yoyo ledger checkpoint; the monitor does it by itself: yoyo monitor install"
        return Check("checkpoints", "warn", finding, remedy)
    found = f"the newest signs {newest[1].head.size} row(s), {at:%Y-%m-%d %H:%M:%S}Z"
    return Check("checkpoints", "ok", found)


def _copies(ctx: AuditContext) -> Check:
    if ctx.copy_to is None:
        finding = "checkpoints lie beside the ledger alone: who can rewrite one can the other"
        remedy = "set checkpoints.copy_to to a store where you may create and not delete"
        return Check("second store", "warn", finding, remedy)
    store, names = ctx.copy_to(), ctx.checkpoints.names()
    known = ctx.checkpoints.copied(store.url)
    how = ""
    try:
        there = {info.key.removeprefix(PLACE) for info in store.list(PLACE)}
    except StoreDenied as error:
        # To create is all that the account needs; then what was copied is known here alone.
        there, how = set(known), f"; this account may not list it ({error.why.rstrip('.')})"
    gone = [name for name in names if note_file(name) in known - there]
    if gone:
        finding = f"{len(gone)} checkpoint(s) are gone from {store.url}, first {gone[0]}"
        return Check("second store", "fail", finding, "find out who may delete there")
    behind = [name for name in names if note_file(name) not in there]
    if behind:
        finding = f"{len(behind)} checkpoint(s) are not known to be in {store.url}{how}"
        return Check("second store", "warn", finding, "yoyo ledger checkpoint")
    return Check("second store", "ok", f"{store.url} has all {len(names)} checkpoint(s){how}")


def _sealing(ctx: AuditContext) -> Check:
    over = ctx.ledger.complete_months(ctx.clock.now())
    months = ", ".join(piece.month for piece in over)
    if over and ctx.settings.sealing == "monthly":
        finding = f"over and not sealed: {months}"
        return Check("sealing", "warn", finding, "yoyo ledger seal says why")
    if over:
        return Check("sealing", "ok", f"by hand; `yoyo ledger seal` would seal {months}")
    return Check("sealing", "ok", f"{ctx.settings.sealing}; no month is over that is not sealed")
