"""Costs and budgets, in Decimal USD. Unknown is None, never a made-up zero."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, ROUND_UP, Decimal
from typing import NamedTuple

from yoyo.core.lives import Life
from yoyo.model.settings import BudgetSettings

_HOUR = Decimal(3600)
_MICRO = Decimal("0.000001")
_MILLI = Decimal("0.001")


def seconds_between(start: datetime | None, stop: datetime | None) -> Decimal | None:
    """Seconds from start to stop to the millisecond; None when unknown or running backwards."""
    if start is None or stop is None or stop < start:
        return None
    return (Decimal((stop - start) // timedelta(microseconds=1)) * _MICRO).quantize(
        _MILLI, ROUND_HALF_UP
    )


def cost_of(seconds: Decimal | None, hourly_usd: Decimal | None) -> Decimal | None:
    """Price of that many seconds, to the millionth of a dollar; None when either is unknown."""
    if seconds is None or hourly_usd is None:
        return None
    return (seconds * hourly_usd / _HOUR).quantize(_MICRO, ROUND_HALF_UP)


def day_start(now: datetime) -> datetime:
    """Midnight UTC of that day."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def month_start(now: datetime) -> datetime:
    """Midnight UTC of the first of that month."""
    return day_start(now).replace(day=1)


class Spend(NamedTuple):
    """Money over a period. `usd` is None when a part of it cannot be priced at all.

    `estimated` says that a part is not booked yet (the node still runs) or was booked
    without a price and is priced with today's.
    """

    usd: Decimal | None
    estimated: bool


def spend(
    lives: Iterable[Life], since: datetime, now: datetime, hourly_usd: Decimal | None
) -> Spend:
    """What these lives cost between `since` and `now`.

    A life that crosses `since` counts with its share by time. A life whose seconds nobody
    knows counts from its request to its closing row: too much rather than too little.
    """
    total = Decimal(0)
    estimated = unknown = False
    for life in lives:
        start = life.started
        if life.closed_at is None:
            stop = max(now, start)
        elif life.gpu_seconds is not None:
            stop = start + timedelta(microseconds=int(life.gpu_seconds / _MICRO))
        else:
            stop = max(life.closed_at, start)
        overlap = seconds_between(max(start, since), stop)
        if not overlap:
            continue
        whole = seconds_between(start, stop)
        if life.cost_usd is not None and whole:
            total += life.cost_usd * overlap / whole
            continue
        estimated = True
        part = cost_of(overlap, hourly_usd)
        if part is None:
            unknown = True
        else:
            total += part
    return Spend(None if unknown else total.quantize(_MICRO, ROUND_HALF_UP), estimated)


def worst_case(hourly_usd: Decimal | None, caps_s: Iterable[int]) -> Decimal | None:
    """The most that one boot can cost: the hourly price until the earliest hard cap.

    None when no price is known or nothing is capped: then there is no worst case to name.
    """
    shortest = min(caps_s, default=None)
    if hourly_usd is None or shortest is None:
        return None
    return (hourly_usd * Decimal(shortest) / _HOUR).quantize(_MICRO, ROUND_UP)


def over_budget(
    budget: BudgetSettings, today: Spend, month: Spend, worst: Decimal | None
) -> str | None:
    """Why a start would pass a cap, with the figures; None when it would not."""
    for label, cap, spent in (
        ("day", budget.day_usd, today),
        ("month", budget.month_usd, month),
    ):
        if cap is None:
            continue
        if spent.usd is None or worst is None:
            return (
                f"the {label} cap is {cap} USD, but "
                + ("the spend so far" if spent.usd is None else "the worst case of this boot")
                + " is unknown"
            )
        if spent.usd + worst > cap:
            return (
                f"spent this {label} {spent.usd} USD + worst case of this boot {worst} USD "
                f"= {spent.usd + worst} USD, over the {label} cap of {cap} USD"
            )
    return None
