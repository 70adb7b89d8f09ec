"""`yoyo ledger prune`: deletes sealed months past their retention, each with a row that says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from yoyo.errors import MonthSealed
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import MONTH_DELETED, MONTH_SEALED, Row
from yoyo.model.row_filter import RowFilter

if TYPE_CHECKING:
    from yoyo.ops.audit.context import AuditContext


class Pruned(NamedTuple):
    """What retention says about the sealed months."""

    due: tuple[str, ...]  # file names, oldest first
    deleted: tuple[str, ...]
    legal_hold: bool
    retention_months: int | None


def prune(ctx: AuditContext, *, apply: bool) -> Pruned:
    """List sealed months that are past their retention; with `apply`, delete them.

    The row is written before the file goes: killed in between, the next run deletes it.

    Raises:
        MonthSealed: legal hold, or no record says what the month was.
        LedgerCorrupt, LedgerUnreadable, LedgerWriteFailed, NodeBusy, StateUnwritable.
    """
    settings = ctx.settings
    with ctx.lock("ledger prune"):
        due = _due(ctx)
        names = tuple(part.path.name for part in due)
        if apply and due and settings.legal_hold:
            raise MonthSealed(
                "Nothing was deleted: there is a legal hold.",
                why=f"sealing.legal_hold is on; past their retention are {', '.join(names)}.",
                fix="Leave them. When the hold is lifted, set it to off and run this again.",
            )
        deleted = []
        for part in due if apply else ():
            ctx.ledger.append(
                ctx.entry(MONTH_DELETED, f"delete/{part.month}", _record_of(ctx, part))
            )
            ctx.ledger.delete(part)
            deleted.append(part.path.name)
        return Pruned(names, tuple(deleted), settings.legal_hold, settings.retention_months)


def _due(ctx: AuditContext) -> list[LedgerPart]:
    keep = ctx.settings.retention_months
    if keep is None:
        return []
    now = ctx.clock.now().astimezone(UTC)
    first_kept = now.year * 12 + now.month - 1 - keep
    found = []
    for part in ctx.ledger.parts():
        if part.month is None:
            break
        then = datetime.strptime(part.month, "%Y-%m").replace(tzinfo=UTC)
        if then.year * 12 + then.month - 1 >= first_kept:
            break
        found.append(part)
    return found


def _record_of(ctx: AuditContext, part: LedgerPart) -> str:
    """The digest of the month's seal record, without which the rest could not be proved."""
    rows = ctx.ledger.matching(RowFilter(jobs=(f"seal/{part.month}",), codes=(MONTH_SEALED,)))
    for row in rows:
        if isinstance(row, Row) and ctx.proofs.find(row.entry.input_hash) is not None:
            return row.entry.input_hash
    raise MonthSealed(
        f"{part.path.name} was not deleted.",
        why="No record in the proofs beside the ledger says what it held, so the rows after it "
        "could not be proved any more.",
        fix="Restore the proofs directory from a copy, or keep the file.",
    )
