"""`yoyo ledger correct`: a new row says what another one should have said."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.corrections import (
    Amounts,
    correction_entry,
    corrections_of,
    merged,
    reason_slug,
    why_not,
)
from yoyo.core.ledger_format import encode_entry, is_uuid7
from yoyo.errors import LedgerRowRefused, TraceNotFound
from yoyo.model.ledger import CORRECTIONS, Entry, Row
from yoyo.model.row_filter import RowFilter

if TYPE_CHECKING:
    from yoyo.ports.ledger import Ledger

_SEQ = re.compile(r"#?([1-9][0-9]{0,17})\Z", re.ASCII)
_USD = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?\Z", re.ASCII)


class Corrected(NamedTuple):
    """What a correction does, or would do."""

    row: Row  # the one that is corrected, as it was booked
    before: Amounts  # its numbers until now, earlier corrections included
    after: Amounts
    entry: Entry  # the correction
    written: Row | None  # None: nothing was written (--dry-run)


def parse_amount(name: str, text: str | None) -> Decimal | None:
    """A number of the command line; None stays None.

    Raises:
        LedgerRowRefused: it is no plain decimal: negative, NaN, with a sign for a currency.
    """
    if text is None:
        return None
    if not _USD.match(text):
        raise _refused(
            f"{name} {text[:60]!r} is no amount",
            "It is a plain decimal of 0 or more, and money is in US dollars.",
            f"Give it as 1.25: {name} 1.25.",
        )
    return Decimal(text)


def find_row(ledger: Ledger, target: str) -> Row:
    """The row with that event_id, or that seq (`123`, `#123`).

    Raises:
        TraceNotFound.
        LedgerUnreadable.
    """
    seq = _SEQ.match(target)
    row: Row | None = None
    if seq is not None:
        row = ledger.row_at(int(seq[1]))
    elif is_uuid7(target):
        wanted = RowFilter(events=(target,))
        row = next((each for each in ledger.matching(wanted) if isinstance(each, Row)), None)
    if row is None:
        raise TraceNotFound(
            f"The ledger has no row {target[:80]!r}.",
            why="A row is named by its event_id or its seq.",
            fix="Find it with `yoyo ledger show --type TEARDOWN_COMPLETE`.",
        )
    return row


def correct(
    ledger: Ledger,
    target: str | Row,
    amounts: Amounts,
    *,
    reason: str,
    operator: str,
    dry_run: bool = False,
) -> Corrected:
    """Write a correction of that row; numbers that are not given stay as they are.

    Earlier corrections of the row are taken along, since only the newest one counts.

    Raises:
        TraceNotFound.
        LedgerRowRefused: a row without such amounts, a correction, the same numbers again,
            or no reason.
        LedgerUnreadable, LedgerCorrupt, LedgerWriteFailed.
    """
    row = find_row(ledger, target) if isinstance(target, str) else target
    why = why_not(row, amounts)
    if why:
        raise _refused(
            f"Row {row.seq} cannot be corrected so",
            f"{why}.",
            "Name the row that booked the amount: `yoyo ledger show --type TEARDOWN_COMPLETE`.",
        )
    if not reason_slug(reason):
        raise _refused(
            "A correction needs a reason",
            f"{reason[:60]!r} has no word in it.",
            "Say why in a few words: --reason 'billed less'.",
        )
    earlier = _earlier(ledger, row)
    old = row.entry if earlier is None else merged(row.entry, earlier)
    before = Amounts(
        old.tokens_processed, old.gpu_seconds, old.cost_usd, earlier is not None and earlier.billed
    )
    taken = _with_earlier(amounts, earlier)
    new = merged(row.entry, taken)
    after = Amounts(new.tokens_processed, new.gpu_seconds, new.cost_usd, taken.billed)
    if after == before:
        raise _refused(
            f"Row {row.seq} says that already",
            "The numbers are the ones that count now.",
            "There is nothing to do.",
        )
    entry = correction_entry(row, taken, reason, operator)
    encode_entry(entry, row.event_id)  # a dry run refuses what could not be written, too
    return Corrected(row, before, after, entry, None if dry_run else ledger.append(entry))


def _earlier(ledger: Ledger, row: Row) -> Amounts | None:
    """What the row is corrected to by now."""
    wanted = RowFilter(nodes=(row.entry.node_id,), codes=CORRECTIONS)
    return corrections_of(ledger.matching(wanted), ledger.row_at).of(row)


def _with_earlier(amounts: Amounts, earlier: Amounts | None) -> Amounts:
    if earlier is None:
        return amounts
    # A billed cost stays one until another cost takes its place.
    billed = amounts.billed or (amounts.cost_usd is None and earlier.billed)
    return Amounts(
        earlier.tokens if amounts.tokens is None else amounts.tokens,
        earlier.gpu_seconds if amounts.gpu_seconds is None else amounts.gpu_seconds,
        earlier.cost_usd if amounts.cost_usd is None else amounts.cost_usd,
        billed,
    )


def _refused(what: str, why: str, fix: str) -> LedgerRowRefused:
    return LedgerRowRefused(f"{what}.", why=why, fix=fix)
