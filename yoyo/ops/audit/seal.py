"""`yoyo ledger seal`: months that are over become files of their own, with a row that proves it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.audit.merkle import root_of
from yoyo.core.audit.note import body_of, format_note
from yoyo.core.audit.seal_record import SealRecord, seal_record
from yoyo.errors import LedgerMoved, MonthSealed
from yoyo.model.audit import Frontier, MonthPiece, NoteSignature
from yoyo.model.ledger import MONTH_SEALED
from yoyo.ops.audit.checkpoint import (
    announce,
    announcement,
    newest_checkpoint,
    own_newest,
    parsed,
)
from yoyo.ops.audit.rotation import refuse_amid_rotation, refuse_strangers
from yoyo.ops.audit.tree import frontiers_at

if TYPE_CHECKING:
    from yoyo.model.ledger import Entry
    from yoyo.ops.audit.context import AuditContext
    from yoyo.ports.notary import NoteSigner

_TRIES = 5  # a row that is appended meanwhile moves the last month's end


class SealedMonth(NamedTuple):
    """A month that was sealed by this command."""

    month: str  # YYYY-MM
    file: str
    rows: int
    sha256: str  # hex, of the file
    checkpoint: str  # the note's name; "" where nothing signs


def seal(ctx: AuditContext, month: str | None = None) -> tuple[SealedMonth, ...]:
    """Seal every month that is over, or those up to `month` (YYYY-MM). None left: nothing.

    Raises:
        MonthSealed: the month is not over, or is sealed with other content.
        LedgerMoved: rows were appended all the while.
        CheckpointFailed, CheckpointMismatch, LedgerCorrupt, LedgerUnreadable, LedgerWriteFailed.
    """
    now = ctx.clock.now().astimezone(UTC)
    before = now if month is None else _after(month, now)
    with ctx.lock("ledger seal"):
        for attempt in range(_TRIES):
            pieces = ctx.ledger.complete_months(before)
            if not pieces:
                return ()
            try:
                return _seal(ctx, pieces)
            except LedgerMoved:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError  # every turn returns or raises


def held_up(ctx: AuditContext) -> str:
    """The row because of whose time no month can be sealed, for people; "" when there is none.

    A month ends before the first row of a later one: a row of a time to come ends sealing until
    that time is over.
    """
    parts = ctx.ledger.parts()
    now = ctx.clock.now().astimezone(UTC)
    row = ctx.ledger.row_at(parts[-1].first_seq) if parts else None
    if row is None or (row.timestamp.year, row.timestamp.month) <= (now.year, now.month):
        return ""
    return (
        f"no month is sealed before {row.timestamp:%Y-%m} is over: row {row.seq} is dated "
        f"{row.timestamp:%Y-%m-%d %H:%M}Z, a time to come; see that the host's clock is right"
    )


def seal_due(ctx: AuditContext) -> bool:
    """Whether months are to be sealed by themselves and one is over."""
    return ctx.settings.sealing == "monthly" and bool(ctx.ledger.complete_months(ctx.clock.now()))


def _seal(ctx: AuditContext, pieces: tuple[MonthPiece, ...]) -> tuple[SealedMonth, ...]:
    signer = ctx.signer() if ctx.signer is not None else None
    newest = newest_checkpoint(ctx) if signer is None else own_newest(ctx, signer.key)
    # All of it before anything is signed or written: also what the newest signs of later months.
    head = newest[1].head if newest is not None else None
    trees = frontiers_at(ctx, tuple(piece.last_seq for piece in pieces), head)
    if signer is not None:
        if newest is not None:
            refuse_amid_rotation(ctx, newest[1])
        refuse_strangers(ctx, newest, frozenset({announcement(signer.key)}))
        if newest is None:
            announce(ctx, signer.key)
    entries: list[Entry] = []
    done = []
    for piece in pieces:
        name = _file_of(ctx, piece.month)
        note_name, note = _note(ctx, signer, trees[piece.last_seq])
        document = seal_record(SealRecord(piece, name, trees[piece.last_seq], note.decode()))
        digest = ctx.proofs.keep(document)
        entries.append(ctx.entry(MONTH_SEALED, f"seal/{piece.month}", digest))
        rows = piece.last_seq - piece.first_seq + 1
        done.append(SealedMonth(piece.month, name, rows, piece.sha256, note_name))
    ctx.ledger.seal(pieces, entries)
    last = trees[pieces[-1].last_seq]
    if signer is not None and (head is None or head.size < last.size):
        ctx.checkpoints.cache_frontier(last)  # its note is the newest one now
    return tuple(done)


def _note(ctx: AuditContext, signer: NoteSigner | None, frontier: Frontier) -> tuple[str, bytes]:
    if signer is None:
        return "", b""
    head = root_of(frontier)
    name = f"{frontier.size:020d}-{signer.key.key_id.hex()}"
    if name in ctx.checkpoints.names():
        # Of the same rows: by a sealing that was cut off, or as the month's last row was signed.
        # Another signature of them could not be kept beside it.
        note = ctx.checkpoints.read(name)
        if parsed(name, note).head == head:
            return name, note
    body = body_of(ctx.settings.origin, head)
    signature = NoteSignature(signer.key.name, signer.key.key_id, signer.sign(body))
    note = format_note(body, (signature,))
    ctx.checkpoints.keep(name, note)
    return name, note


def _file_of(ctx: AuditContext, month: str) -> str:
    live = ctx.ledger.parts()[-1].path
    return f"{live.stem}-{month}{live.suffix}"


def _after(month: str, now: datetime) -> datetime:
    """The first moment after that month, which must be over."""
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        first = now
    if first.strftime("%Y-%m") != month or (first.year, first.month) >= (now.year, now.month):
        raise MonthSealed(
            f"{month[:20]!r} cannot be sealed.",
            why="It is no month as YYYY-MM, or it is not over yet (UTC).",
            fix="Name a month that is over, or none: then all of them are sealed.",
        )
    year, number = divmod(first.year * 12 + first.month, 12)
    return datetime(year, number + 1, 1, tzinfo=UTC)
