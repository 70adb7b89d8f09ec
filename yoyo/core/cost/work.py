"""Which machine life did which work: jobs are laid beside the lives of their node. Pure.

A job's row names its node and not the life. Its hour (or day) and module say which lives it can
have been; where there are several, they share by how much of that hour each was up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from yoyo.core.cost.amounts import period_of
from yoyo.core.cost.spells import Spell
from yoyo.core.cost.window import span_of
from yoyo.model.accounts import JobSums

_MICRO, _ZERO = Decimal("0.000001"), Decimal(0)
_ONE = timedelta(microseconds=1)
_DIGITS = 18  # after the point, docs/formats/ledger.md
_MICRO_UNITS = 10**12


class Work(NamedTuple):
    """Seconds of work by life, and of each sum of jobs the life that it mostly belongs to."""

    seconds: tuple[dict[str, Decimal], ...]  # of each spell, by the adapters of its jobs
    life_of: tuple[int | None, ...]  # of each JobSums, an index of the spells


class Split(NamedTuple):
    """A life's seconds and what they cost. All seconds: work + boot + idle."""

    work: dict[str, tuple[Decimal, Decimal]]  # adapters: seconds, USD
    boot: tuple[Decimal, Decimal]
    idle: tuple[Decimal, Decimal]
    side_by_side: bool  # more job seconds than the machine had: several slots were at work


def lay_out(
    jobs: Sequence[JobSums], spells: Sequence[Spell], now: datetime, grain: str = "hour"
) -> Work:
    """Give every sum of jobs, which are by that grain, to the lives that its node had then."""
    periods = {(job.node_id, job.period) for job in jobs}
    beside = _beside(spells, now, periods, grain)
    lives: dict[tuple[str, str, str], tuple[int | None, list[tuple[int, int]], int]] = {}
    # Whole numbers of 1e-18 s: there are many sums, and with decimals it takes three times as long.
    seconds: list[dict[str, int]] = [{} for _ in spells]
    life_of: list[int | None] = []
    for job in jobs:
        key = job.node_id, job.period, job.module_id
        known = lives.get(key)
        if known is None:
            found = beside.get(key[:2], [])
            same = [each for each in found if spells[each[1]].module_id == job.module_id] or found
            most = max(same)[1] if same else None
            known = lives[key] = most, same, sum(overlap for overlap, _ in same)
        most, same, whole = known
        life_of.append(most)
        if same and job.gpu_seconds:
            _share(job.adapters, int(job.gpu_seconds.scaleb(_DIGITS)), same, whole, seconds)
    return Work(tuple(map(_decimals, seconds)), tuple(life_of))


def _share(
    adapters: str,
    left: int,
    lives: list[tuple[int, int]],
    whole: int,
    seconds: list[dict[str, int]],
) -> None:
    """Add those seconds to the lives, by how long each was up; the last one takes the rest."""
    all_of_it, last = left, len(lives) - 1
    for number, (overlap, place) in enumerate(lives):
        part = left
        if number < last:
            # To the millionth, towards zero: a correction may have taken seconds away.
            part = abs(all_of_it) * overlap // whole // _MICRO_UNITS * _MICRO_UNITS
            part = part if all_of_it > 0 else -part
        left -= part
        if part:
            mine = seconds[place]
            mine[adapters] = mine.get(adapters, 0) + part


def _decimals(units: dict[str, int]) -> dict[str, Decimal]:
    return {name: Decimal(number).scaleb(-_DIGITS) for name, number in units.items()}


def _beside(
    spells: Sequence[Spell], now: datetime, periods: set[tuple[str, str]], grain: str
) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Of each node and period the lives that it had, with the microseconds of each."""
    beside: dict[tuple[str, str], list[tuple[int, int]]] = {}
    if not periods:
        return beside
    first = span_of(min(period for _, period in periods))[0]
    last = span_of(max(period for _, period in periods))[1]
    for place, spell in enumerate(spells):
        at, end = max(spell.started, first), min(spell.ended or now, last)
        # A life that began and ended in one moment of the clock had that moment.
        while at <= end:
            period = period_of(at, grain)
            stop = span_of(period)[1]
            if (spell.node_id, period) in periods:
                overlap = max((min(end, stop) - at) // _ONE, 1)
                beside.setdefault((spell.node_id, period), []).append((overlap, place))
            at = stop
    return beside


def split_of(
    work: dict[str, Decimal], boot: Decimal, seconds: Decimal | None, usd: Decimal
) -> Split | None:
    """What a life's seconds were used for, and their share of its cost.

    Work and boot are at most what there was. None: without seconds nothing can be told apart.
    """
    if not seconds:
        return None
    boot = min(boot, seconds)
    room, asked = seconds - boot, sum(work.values(), _ZERO)
    if asked > room:
        scale = room / asked
        work = {name: part * scale for name, part in work.items()}
    parts = {
        name: max(part, _ZERO).quantize(_MICRO, ROUND_DOWN) for name, part in sorted(work.items())
    }
    idle = max(room - sum(parts.values(), _ZERO), _ZERO)

    def price(part: Decimal) -> Decimal:
        return (usd * part / seconds).quantize(_MICRO, ROUND_DOWN)

    paid = {name: (part, price(part)) for name, part in parts.items() if part}
    boot_usd = price(boot)
    rest = usd - boot_usd - sum([amount for _, amount in paid.values()], _ZERO)
    if idle:
        return Split(paid, (boot, boot_usd), (idle, rest), asked > room)
    # Millionths that rounding left belong to whatever used the seconds.
    if paid:
        name = max(paid, key=lambda each: paid[each])
        used, amount = paid[name]
        paid[name] = (used, amount + rest)
    else:
        boot_usd += rest
    return Split(paid, (boot, boot_usd), (idle, _ZERO), asked > room)
