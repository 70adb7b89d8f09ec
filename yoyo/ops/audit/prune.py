"""`yoyo ledger prune`: deletes sealed months past their retention, each with a row that says so."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.about import about_ledger
from yoyo.core.audit.documents import DocumentError
from yoyo.core.audit.seal_record import parse_seal_record
from yoyo.errors import MonthSealed
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import MONTH_DELETED, MONTH_SEALED, Row
from yoyo.ops.audit.checkpoint import own_newest
from yoyo.ops.audit.tree import frontier_at

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
        MonthSealed: legal hold, no record says what the month was, it is another one now, or
            no checkpoint of the configured key covers it.
        CheckpointFailed, CheckpointInvalid, CheckpointMismatch, LedgerCorrupt, LedgerUnreadable,
        LedgerWriteFailed, NodeBusy, StateUnwritable.
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
        if apply and due:
            _refuse_unsigned(ctx, due[-1])
        for part in due if apply else ():
            digest = _record_of(ctx, part)
            ctx.ledger.append(ctx.entry(MONTH_DELETED, f"delete/{part.month}", digest))
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
    for row in ctx.ledger.matching(about_ledger(MONTH_SEALED, jobs=(f"seal/{part.month}",))):
        if not isinstance(row, Row):
            continue
        document = ctx.proofs.find(row.entry.input_hash)
        if document is not None:
            _refuse_evidence(part, document)
            return row.entry.input_hash
    raise MonthSealed(
        f"{part.path.name} was not deleted.",
        why="No record in the proofs beside the ledger says what it held, so the rows after it "
        "could not be proved any more.",
        fix="Restore the proofs directory from a copy, or keep the file.",
    )


def _refuse_evidence(part: LedgerPart, document: bytes) -> None:
    """Refuse to delete a file that is not what was sealed: it shows what was done to it."""
    try:
        piece = parse_seal_record(document).piece
        size, digest = _measured(part)
        why = f"It has {size} bytes, sha256 {digest}; sealed were {piece.size}, {piece.sha256}."
        same = (size, digest) == (piece.size, piece.sha256)
    except (DocumentError, OSError) as error:
        same, why = False, f"It cannot be compared with its record: {error}."
    if same:
        return
    raise MonthSealed(
        f"{part.path.name} was not deleted: it is not the file that was sealed, and so evidence.",
        why=why,
        fix="Keep it as it is, and run `yoyo ledger verify --against` with the copies.",
    )


def _measured(part: LedgerPart) -> tuple[int, str]:
    size, digest = 0, sha256()
    with part.path.open("rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            digest.update(block)
    return size, digest.hexdigest()


def _refuse_unsigned(ctx: AuditContext, last: LedgerPart) -> None:
    """Refuse to delete rows that nobody signed, where somebody signs.

    With them gone, no checkpoint before them could be held against what is left.
    """
    if ctx.signer is None:
        return
    newest = own_newest(ctx, ctx.signer().key)
    parts = ctx.ledger.parts()
    end = parts[parts.index(last) + 1].first_seq - 1
    if newest is not None and newest[1].head.size >= end:
        frontier_at(ctx, newest[1].head.size, newest[1].head)
        return
    raise MonthSealed(
        f"{last.path.name} was not deleted: no checkpoint covers it.",
        why=f"It ends with row {end}, and after it is gone nobody could tell what is proved.",
        fix="Run `yoyo ledger checkpoint`, and this again.",
    )
