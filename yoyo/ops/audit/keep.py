"""After a teardown and by the monitor: seal the months that are over, sign, copy. Never fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.errors import YoyoError
from yoyo.ops.audit.checkpoint import checkpoint, is_due
from yoyo.ops.audit.seal import held_up, seal, seal_due

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext


def keep_proved(ctx: AuditContext, *, only_if_due: bool = False) -> list[str]:
    """Seal and sign where that is configured; gives a line for people for each trouble."""
    notes = seal_quietly(ctx)
    if ctx.signer is None:
        return notes
    try:
        if only_if_due and not is_due(ctx):
            return notes
        done = checkpoint(ctx)
    except Exception as error:  # a bug here must not fail a `down`
        return [*notes, f"no checkpoint was signed: {said(error)}"]
    return [*notes, done.note] if done.note else notes


def seal_quietly(ctx: AuditContext) -> list[str]:
    """Seal the months that are over, where that is to happen by itself."""
    if ctx.settings.sealing != "monthly":
        return []
    try:
        if seal_due(ctx):
            return [f"sealed {each.file} ({each.rows} rows)" for each in seal(ctx)]
        late = held_up(ctx)
    except Exception as error:  # as above
        return [f"no month was sealed: {said(error)}"]
    return [late] if late else []


def said(error: Exception) -> str:
    """An error in one line, whatever it is."""
    if isinstance(error, YoyoError):
        return f"{error.what} {error.why}".rstrip()
    return f"{type(error).__name__}: {error}"
