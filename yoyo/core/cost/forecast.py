"""Where this month's spend is going, at the pace it had until now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from yoyo.core.money import month_start, seconds_between
from yoyo.model.accounts import Forecast

_MICRO = Decimal("0.000001")


def forecast(spent: Decimal, now: datetime, caps: Sequence[Decimal | None]) -> Forecast:
    """Draw `spent`, which is since the first of now's month, out to the month's end.

    `caps` are the nodes' `budget.month_usd`. The sum is a cap only where every node has one.
    In the month's first moment there is no pace yet: what is expected is what was spent.
    """
    start = month_start(now)
    end = month_start(start + timedelta(days=32))
    gone = seconds_between(start, now) or Decimal(0)
    whole = seconds_between(start, end) or Decimal(1)
    # Not to the cent: then a cap could be reached by rounding, and a small sum have no pace.
    expected = (spent * whole / gone).quantize(_MICRO, ROUND_HALF_UP) if gone else spent
    given = [cap for cap in caps if cap is not None]
    cap = sum(given, Decimal(0)) if given and len(given) == len(caps) else None
    reached = None
    if cap is not None and gone and spent and expected >= cap:
        after = int(cap * gone / spent / _MICRO)
        reached = min(start + timedelta(microseconds=after), end)
    return Forecast(f"{start:%Y-%m}", spent, max(expected, spent), cap, reached)
