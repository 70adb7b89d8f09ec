"""What the ledger says of every machine's life, corrections applied. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from yoyo.core.corrections import Corrections, corrections_of
from yoyo.model.ledger import CLOSING, DISK_COST, OPENING, BadRow, EventType, Row
from yoyo.model.reconcile import Booked, BookedLife

# The rows that `read_booked` has a use for; jobs are many, and no platform knows them.
TYPES = tuple(
    str(kind)
    for kind in (
        *OPENING,
        EventType.BOOT_COMPLETE,
        *CLOSING,
        EventType.CHECKPOINT,
    )
)
_MICRO = Decimal("0.000001")


def read_booked(
    rows: Iterable[Row | BadRow],
    disk_since: datetime | None = None,
    disk_until: datetime | None = None,
) -> Booked:
    """Reduce the rows of TYPES, in file order; lives in the order of their newest rows.

    `disk_usd` is for the time from `disk_since` to `disk_until`: a row books the time since the
    one before it, and counts with its share. An id that is used again after its end counts as
    its last life, which is the one that the platform knows.
    """
    kept: list[Row] = []
    bad = 0
    for row in rows:
        if isinstance(row, BadRow):
            bad += 1
        else:
            kept.append(row)
    corrections = corrections_of(kept)
    lives: dict[str, BookedLife] = {}
    disk: dict[str, Decimal] = {}
    reached: dict[str, datetime] = {}  # by node: up to when its disk is booked
    nodes: set[str] = set()
    for row in kept:
        entry = row.entry
        if entry.event_type is not EventType.CHECKPOINT:
            reached.setdefault(entry.node_id, row.timestamp)
            _take(lives, row, corrections)
        elif entry.error_code == DISK_COST:
            nodes.add(entry.node_id)
            amounts = corrections.of(row)
            usd = amounts.cost_usd if amounts and amounts.cost_usd is not None else entry.cost_usd
            since = reached.get(entry.node_id, row.timestamp)
            reached[entry.node_id] = row.timestamp
            if usd is not None:
                part = usd * _share(since, row.timestamp, disk_since, disk_until)
                disk[entry.node_id] = disk.get(entry.node_id, Decimal(0)) + part
    sums = tuple((node, usd.quantize(_MICRO)) for node, usd in sorted(disk.items()))
    return Booked(tuple(lives.values()), sums, frozenset(nodes), bad)


def _share(
    start: datetime, end: datetime, since: datetime | None, until: datetime | None
) -> Decimal:
    """How much of the time from start to end lies between since and until."""
    first = start if since is None else max(start, since)
    last = end if until is None else min(end, until)
    if end <= start:
        return Decimal(int(first <= last))
    micro = timedelta(microseconds=1)
    return Decimal(max(last - first, timedelta(0)) // micro) / Decimal((end - start) // micro)


def _take(lives: dict[str, BookedLife], row: Row, corrections: Corrections) -> None:
    entry = row.entry
    life = lives.get(entry.job_id)
    if entry.event_type in OPENING and (life is None or life.closing is not None):
        life = BookedLife(
            request_id=entry.job_id,
            node_id=entry.node_id,
            module_id=entry.module_id,
            started=row.timestamp,
            booted=False,
            closing=None,
            usd=None,
            gpu_seconds=None,
            billed=False,
        )
    if life is None:
        return  # an outcome without its intent: for `ledger verify` to report
    if entry.event_type is EventType.BOOT_COMPLETE:
        life = life._replace(booted=True)
    elif entry.event_type in CLOSING:
        amounts = corrections.of(row)
        usd, seconds = entry.cost_usd, entry.gpu_seconds
        if amounts is not None:
            usd = usd if amounts.cost_usd is None else amounts.cost_usd
            seconds = seconds if amounts.gpu_seconds is None else amounts.gpu_seconds
        billed = amounts is not None and amounts.billed
        life = life._replace(closing=row, usd=usd, gpu_seconds=seconds, billed=billed)
    lives.pop(entry.job_id, None)
    lives[entry.job_id] = life
