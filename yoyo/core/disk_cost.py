"""What a node's disk costs, booked apart from what its machine costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from yoyo.core.lives import Book, DiskCost
from yoyo.core.money import Spend, seconds_between
from yoyo.model.ledger import DISK_COST, CompletionStatus, Entry, EventType
from yoyo.model.machine import Storage
from yoyo.model.settings import NodeSettings

HOURS_A_MONTH = 730  # Google's price list counts a month so
MONTH_S = HOURS_A_MONTH * 3600
_MICRO = Decimal("0.000001")


def cost_between(
    storage: Storage, start: datetime, end: datetime, gb_month_usd: Decimal
) -> Decimal | None:
    """USD for that much disk over that time; None when time runs backwards."""
    seconds = seconds_between(start, end)
    if seconds is None:
        return None
    price = gb_month_usd * storage.gigabytes * seconds / MONTH_S
    return price.quantize(_MICRO, ROUND_HALF_UP)


def disk_entry(
    book: Book, storage: Storage | None, node: NodeSettings, now: datetime, operator: str
) -> Entry | None:
    """The row that is due for the time since the last one; None when there is nothing to book.

    A disk that was made anew since then counts from its making.
    """
    price, life = node.prices.disk_gb_month_usd, book.last(node.name)
    if storage is None or price is None or life is None:
        return None
    booked = book.disk_costs.get(node.name, [])
    start = max(storage.since, booked[-1].at) if booked else storage.since
    usd = cost_between(storage, start, now, price)
    if not usd:
        return None
    return Entry(
        EventType.CHECKPOINT,
        life.module_id,
        life.node_id,
        life.job_id,
        CompletionStatus.SUCCESS,
        operator,
        error_code=DISK_COST,
        cost_usd=usd,
    )


def disk_spend(costs: Sequence[DiskCost], since: datetime) -> Decimal:
    """What was booked for the disk since then; a row that reaches further back by its share.

    How far the first row reaches is not in the ledger: it counts whole.
    """
    total, before = Decimal(0), None
    for cost in costs:
        if cost.at > since:
            whole = (cost.at - before) if before is not None else timedelta(0)
            part = cost.at - max(before, since) if before is not None else whole
            share = Decimal(1)
            if whole > timedelta(0):
                micro = timedelta(microseconds=1)
                share = Decimal(part // micro) / Decimal(whole // micro)
            total += cost.usd * share
        before = cost.at
    return total.quantize(_MICRO, ROUND_HALF_UP)


def plus_disk(spent: Spend, costs: Sequence[DiskCost], since: datetime) -> Spend:
    """Machine and disk together, as a budget counts them."""
    if spent.usd is None or not costs:
        return spent
    return spent._replace(usd=spent.usd + disk_spend(costs, since))
