"""A money row's figures after its correction, and where they come from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from yoyo.core.corrections import Corrections, merged
from yoyo.model.ledger import Row

Key = tuple[int, str]  # seq and event_id of the corrected row


class Amended(NamedTuple):
    """What a row comes to, and what was booked at first. None: unknown."""

    tokens: int | None
    gpu_seconds: Decimal | None
    cost_usd: Decimal | None
    booked_usd: Decimal | None
    basis: str  # estimate, corrected, billed
    by: str  # event_id of the correction; "": none


def correcting_events(corrections: Corrections) -> dict[Key, str]:
    """The event_id of the correction in force, by the row that it corrects."""
    return {(each.seq, each.event_id): each.row.event_id for each in corrections.applied}


def amended_of(row: Row, corrections: Corrections, events: Mapping[Key, str]) -> Amended:
    """A row's figures. `events` is what `correcting_events` gave."""
    entry, change = row.entry, corrections.of(row)
    basis = "estimate"
    if change is not None:
        entry = merged(entry, change)
        basis = "billed" if change.billed else "corrected"
    return Amended(
        entry.tokens_processed,
        entry.gpu_seconds,
        entry.cost_usd,
        row.entry.cost_usd,
        basis,
        events.get((row.seq, row.event_id), ""),
    )
