"""The smallest parts that every table of cost is added up from. Pure.

Whatever a table is grouped by, it is the same parts: that is why its total is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from yoyo.core.cost.amounts import Counted
from yoyo.core.cost.spells import Spell, Spells
from yoyo.core.cost.window import Window, span_of
from yoyo.core.cost.work import Work, split_of
from yoyo.core.money import cost_of, seconds_between
from yoyo.model.accounts import JobSums
from yoyo.model.ledger import Row

# Values of a group where the ledger has none: no name of its own has a bracket.
BASE: Final = "(base)"  # no adapter
IDLE: Final = "(idle and boot)"
UNSPLIT: Final = "(not told apart)"  # a cost without seconds
DISK: Final = "(disk)"
RUNNING: Final = "(running)"
NO_MACHINE: Final = "(no machine)"
UNKNOWN: Final = "(unknown)"

_ZERO = Decimal(0)


Labels = tuple[str, str, str, str, str, str, str]  # in the order of GROUPS


class Piece(NamedTuple):
    """Something that costs."""

    labels: Labels
    gpu_usd: Decimal = _ZERO
    disk_usd: Decimal = _ZERO
    idle_usd: Decimal = _ZERO
    boot_usd: Decimal = _ZERO
    billed_usd: Decimal = _ZERO
    running: tuple[Decimal | None] | None = None  # None: nothing runs
    unpriced: int = 0
    gpu_seconds: Decimal = _ZERO
    work_seconds: Decimal = _ZERO
    boot_seconds: Decimal = _ZERO


class Facts(NamedTuple):
    """What pieces are cut from."""

    spells: Spells
    jobs: Sequence[JobSums]
    work: Work
    money: Mapping[int, Counted]  # corrected rows by seq
    hourly_prices: Mapping[str, Decimal | None]
    window: Window
    now: datetime
    adapters: bool  # whether they are to be told apart


class Remarks:
    """What the cutting came across and the reader should know."""

    def __init__(self) -> None:
        self.unsplit = 0  # lives with a cost and without seconds
        self.side_by_side = 0  # lives with more job seconds than machine seconds
        self.superseded = 0
        self.corrected = 0  # figures in the window that a later row has set
        self.outside_seconds = _ZERO  # of jobs beside which no machine was up
        self.oldest_open: datetime | None = None


def cut(facts: Facts, remarks: Remarks) -> Iterator[Piece]:
    """Every piece of the window that is of machines and disks."""
    for spell, seconds in zip(facts.spells.spells, facts.work.seconds, strict=True):
        if spell.closing is not None:
            if facts.window.holds(spell.closing.timestamp):
                yield from _closed(facts, spell, spell.closing, seconds, remarks)
        elif spell.superseded:
            if facts.window.holds(spell.started):
                remarks.superseded += 1
                yield Piece(_labels(spell, spell.started, UNSPLIT), unpriced=1)
        elif facts.window.holds(facts.now):
            oldest = remarks.oldest_open
            remarks.oldest_open = spell.started if oldest is None else min(oldest, spell.started)
            price = facts.hourly_prices.get(spell.node_id)
            usd = cost_of(seconds_between(spell.started, facts.now), price)
            yield Piece(_labels(spell, facts.now, RUNNING), running=(usd,))
    for row, operator in facts.spells.disks:
        if facts.window.holds(row.timestamp):
            remarks.corrected += row.seq in facts.money
            yield _disk(facts, row, operator)


def _labels(spell: Spell, at: datetime, adapter: str) -> Labels:
    day = at.isoformat()[:10]
    operator = spell.operator_id or UNKNOWN
    return spell.module_id, spell.node_id, day, day[:7], adapter, operator, spell.guard


def _closed(
    facts: Facts, spell: Spell, row: Row, work: dict[str, Decimal], remarks: Remarks
) -> Iterator[Piece]:
    entry = row.entry
    amounts = facts.money.get(row.seq)
    remarks.corrected += amounts is not None
    amounts = amounts or Counted(entry.gpu_seconds, entry.cost_usd, False)
    seconds, usd = amounts.gpu_seconds, amounts.cost_usd
    known = seconds or _ZERO
    if usd is None and seconds is not None and not seconds:
        usd = _ZERO  # no second of it was ever used: at any price that is nothing
    unpriced = int(usd is None)
    cost = usd or _ZERO
    split = split_of(work, spell.boot_seconds, seconds, cost)
    billed = amounts.billed
    if split is None:
        remarks.unsplit += bool(cost)
        yield Piece(
            _labels(spell, row.timestamp, UNSPLIT), gpu_usd=cost,
            billed_usd=cost if billed else _ZERO, unpriced=unpriced, gpu_seconds=known,
        )  # fmt: skip
        return
    remarks.side_by_side += split.side_by_side
    rest_seconds, rest = split.boot[0] + split.idle[0], split.boot[1] + split.idle[1]
    used = _ZERO
    if not facts.adapters:
        used, rest = sum((part for part, _ in split.work.values()), _ZERO), cost
    yield Piece(
        _labels(spell, row.timestamp, IDLE), gpu_usd=rest, idle_usd=split.idle[1],
        boot_usd=split.boot[1], billed_usd=rest if billed else _ZERO, unpriced=unpriced,
        gpu_seconds=rest_seconds + used, work_seconds=used, boot_seconds=split.boot[0],
    )  # fmt: skip
    if not facts.adapters:
        return
    for adapters, (part, amount) in split.work.items():
        yield Piece(
            _labels(spell, row.timestamp, adapters or BASE), gpu_usd=amount,
            billed_usd=amount if billed else _ZERO, gpu_seconds=part, work_seconds=part,
        )  # fmt: skip


def _disk(facts: Facts, row: Row, operator: str) -> Piece:
    amounts = facts.money.get(row.seq)
    usd = (amounts.cost_usd if amounts is not None else row.entry.cost_usd) or _ZERO
    billed = usd if amounts is not None and amounts.billed else _ZERO
    day = row.timestamp.isoformat()[:10]
    entry = row.entry
    labels = (entry.module_id, entry.node_id, day, day[:7], DISK, operator or UNKNOWN, DISK)
    return Piece(labels, disk_usd=usd, billed_usd=billed)


def work_done(facts: Facts, remarks: Remarks) -> Iterator[tuple[Labels, int, int]]:
    """Labels, tokens and jobs of all that was done in the window.

    No `Piece`: of these there are many.
    """
    held: dict[str, bool] = {}  # of each period, whether the window holds it
    spells = facts.spells.spells
    for job, life in zip(facts.jobs, facts.work.life_of, strict=True):
        period, completed, tokens = job.period, job.completed, job.tokens
        inside = held.get(period)
        if inside is None:
            inside = held[period] = facts.window.holds(span_of(period)[0])
        if not inside or not (completed or tokens or job.gpu_seconds):
            continue
        # A correction's difference counts no job: no row of its own was read for it.
        remarks.corrected += not (job.started or completed)
        guard = NO_MACHINE
        if life is not None:
            guard = spells[life].guard
        else:
            remarks.outside_seconds += job.gpu_seconds
        labels = (
            job.module_id, job.node_id, period[:10], period[:7], job.adapters or BASE,
            job.operator_id or UNKNOWN, guard,
        )  # fmt: skip
        yield labels, tokens, completed
