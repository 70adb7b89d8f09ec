"""Since when nobody has signed the ledger: cheap enough to be asked at every look."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from yoyo.core.audit.merkle import root_of
from yoyo.errors import CheckpointInvalid
from yoyo.model.audit import TreeHead
from yoyo.model.ledger import Row
from yoyo.ops.audit.checkpoint import newest_checkpoint, parsed

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.checkpoints import Checkpoints
    from yoyo.ports.ledger import Ledger

# The monitor signs when one `checkpoints.every` is over: after three it does not run.
OVERDUE: Final = 3


def signed_at(ctx: AuditContext) -> datetime | None:
    """The time of the newest checkpoint's own row; None: there is none, or its row is gone.

    Raises:
        CheckpointInvalid, LedgerUnreadable.
    """
    newest = newest_checkpoint(ctx)
    row = ctx.ledger.row_at(newest[1].head.size) if newest is not None else None
    return row.timestamp if row is not None else None


def differs(checkpoints: Checkpoints, ledger: Ledger) -> str:
    """How the ledger differs from the newest checkpoint beside it, as sizes and one row show.

    "" where it does not. No signature is checked, and a damaged checkpoint is passed over: to
    say so is the doctor's.

    Raises:
        LedgerUnreadable.
    """
    newest = _newest_whole(checkpoints)
    if newest is None:
        return ""
    name, head = newest
    row, last = ledger.row_at(head.size), ledger.tail(1)
    if row is None:
        end = last[0].seq if last and isinstance(last[0], Row) else 0
        # A bad row, or one of a deleted month, is for others to judge.
        if end >= head.size or (last and not isinstance(last[0], Row)):
            return ""
        return f"The checkpoint {name} signs {head.size} rows, and the ledger ends with row {end}."
    cached = checkpoints.cached_frontier()
    is_its = cached is not None and cached.size == head.size and root_of(cached) == head
    if cached is not None and is_its and cached.row_hash != row.row_hash:
        return f"Its row {head.size} is not the one that the checkpoint {name} signs."
    return ""


def _newest_whole(checkpoints: Checkpoints) -> tuple[str, TreeHead] | None:
    for name in reversed(checkpoints.names()):
        try:
            return name, parsed(name, checkpoints.read(name)).head
        except CheckpointInvalid:
            continue
    return None


def unsigned_note(ctx: AuditContext) -> str:
    """One line when the ledger is overdue to be signed; "" when it is not.

    Raises:
        LedgerUnreadable.
    """
    try:
        at = signed_at(ctx)
    except CheckpointInvalid as error:
        return f"{error.what} {error.why}"
    if at is None and ctx.checkpoints.names():
        return "the newest checkpoint signs more rows than the ledger has: run `yoyo doctor`"
    if at is None:
        first = ctx.ledger.row_at(1)
        if first is None or not _overdue(ctx, first.timestamp):
            return ""
        return "nobody has signed the ledger yet: run `yoyo ledger checkpoint`"
    if not _overdue(ctx, at):
        return ""
    return (
        f"nobody has signed the ledger since {at:%Y-%m-%d %H:%M}Z: run `yoyo ledger checkpoint`, "
        "and see that the monitor runs"
    )


def _overdue(ctx: AuditContext, at: datetime) -> bool:
    return ctx.clock.now() - at > timedelta(seconds=OVERDUE * ctx.settings.every_s)
