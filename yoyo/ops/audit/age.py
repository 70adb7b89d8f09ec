"""Since when nobody has signed the ledger: cheap enough to be asked at every look."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from yoyo.errors import CheckpointInvalid
from yoyo.ops.audit.checkpoint import newest_checkpoint

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext

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
