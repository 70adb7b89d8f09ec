"""Books what a machine cost: the price that it rests on first, and the proof of it after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.errors import YoyoError
from yoyo.model.ledger import CLOSING, DISK_COST

if TYPE_CHECKING:
    from yoyo.model.ledger import Entry, Row
    from yoyo.ops.context import Context


def booked(ctx: Context, entry: Entry) -> Row:
    """Append a row of money or lifecycle; after one that ends a life the ledger is signed.

    Raises:
        LedgerCorrupt, LedgerRowRefused, LedgerWriteFailed.
    """
    row = ctx.ledger.append(priced(ctx, entry))
    if entry.event_type in CLOSING and ctx.prove is not None:
        ctx.progress.phase("signing", "the ledger")
        for note in ctx.prove():
            ctx.progress.note(f"ledger: {note}")
    return row


def priced(ctx: Context, entry: Entry) -> Entry:
    """The entry with the digest of its price record, which is kept first.

    Without a cost there is nothing to explain. A record that cannot be kept must not keep a
    machine running or its end out of the ledger: then the row names none.
    """
    if entry.cost_usd is None or ctx.proofs is None or entry.input_hash:
        return entry
    # Only here: most commands book no money, and all of them start.
    from yoyo.core.prices import price_record
    from yoyo.model.prices import DISK, MACHINE

    kind = DISK if entry.error_code == DISK_COST else MACHINE
    record = price_record(ctx.node, kind)
    if record is None:
        return entry
    try:
        return entry._replace(input_hash=ctx.proofs.keep(record))
    except (YoyoError, OSError):
        return entry
