"""What every node did, hour by hour, and who stopped it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from yoyo.core.lifecycle import (
    BY_DEAD_MAN,
    BY_FAULT,
    BY_LIFETIME,
    BY_MONITOR,
    BY_OPERATOR,
    BY_OUTSIDE,
    BY_PLATFORM,
    BY_PLATFORM_CAP,
    guard_of,
)
from yoyo.core.money import seconds_between
from yoyo.core.report.facts import NodeStrip, Spell, Stop
from yoyo.model.accounts import JobSums
from yoyo.model.ledger import CLOSING, RESERVED_NODES, EventType, Row

# The letter in the drawing -> what ended a life. Letters, since colours alone tell nothing to
# those who do not see them.
STOPS = {
    "O": "operator: yoyo down",
    "M": "idle monitor",
    "D": "dead-man: nobody was in charge",
    "L": "lifetime cap",
    "P": "platform cap",
    "G": "another guard",
    "S": "platform: spot capacity taken back, or hardware failed",
    "F": "fault: a failed start, or it ended by itself",
    "X": "stopped from outside",
    "?": "end not booked",
}
# Letter -> the word of `yoyo cost --by guard` for the same.
GUARDS = {
    "O": BY_OPERATOR,
    "M": BY_MONITOR,
    "D": BY_DEAD_MAN,
    "L": BY_LIFETIME,
    "P": BY_PLATFORM_CAP,
    "S": BY_PLATFORM,
    "F": BY_FAULT,
    "X": BY_OUTSIDE,
}
_MARKS = {word: letter for letter, word in GUARDS.items()}
_HOUR = Decimal(3600)
_ONE = Decimal(1)


def mark_of(row: Row, stopper: str = "") -> str:
    """The letter for the end of a life; `stopper` is who asked for it."""
    return _MARKS.get(guard_of(row, stopper), "G")


class _Life(NamedTuple):
    job_id: str
    asked: datetime
    up: datetime | None = None
    stopper: str = ""  # the operator of its teardown request


class _Node:
    def __init__(self) -> None:
        self.open: dict[str, _Life] = {}
        self.spells: list[Spell] = []
        self.stops: list[Stop] = []
        self.boots = 0


def strips_of(
    rows: Iterable[Row], jobs: Iterable[JobSums], since: datetime, until: datetime
) -> list[NodeStrip]:
    """One strip for each node that did something in the period, in the order of their names.

    `rows` are all rows that are no job's, from the ledger's beginning; `jobs` are summed by
    hour and node. `until` is the earlier one of now and the period's end.
    """
    nodes: dict[str, _Node] = {}
    for row in rows:
        if row.timestamp < until and row.entry.node_id not in RESERVED_NODES:
            _take(nodes.setdefault(row.entry.node_id, _Node()), row, since)
    load: dict[str, dict[str, Decimal]] = {}
    counts: dict[str, int] = {}
    for sums in jobs:
        if sums.node_id in RESERVED_NODES:
            continue
        hours = load.setdefault(sums.node_id, {})
        share = hours.get(sums.period, Decimal(0)) + sums.gpu_seconds / _HOUR
        hours[sums.period] = min(share, _ONE)
        counts[sums.node_id] = counts.get(sums.node_id, 0) + sums.completed
    found = []
    for node in sorted(nodes.keys() | load.keys()):
        seen = nodes.get(node, _Node())
        for life in seen.open.values():
            _close(seen, life, until)
        spells = tuple(_within(seen.spells, since, until))
        strip = NodeStrip(
            node,
            spells,
            tuple(seen.stops),
            load.get(node, {}),
            seen.boots,
            counts.get(node, 0),
            _seconds(spells, is_boot=False),
            _seconds(spells, is_boot=True),
        )
        if strip.spells or strip.stops or strip.load or strip.boots:
            found.append(strip)
    return found


def _take(node: _Node, row: Row, since: datetime) -> None:
    entry, kind = row.entry, row.entry.event_type
    if kind is EventType.BOOT_REQUEST:
        _lose(node, since)
        node.open[entry.job_id] = _Life(entry.job_id, row.timestamp)
        node.boots += row.timestamp >= since
    elif kind is EventType.BOOT_COMPLETE and entry.job_id in node.open:
        node.open[entry.job_id] = node.open[entry.job_id]._replace(up=row.timestamp)
    elif kind is EventType.TEARDOWN_REQUEST:
        # Of an id that was never booted: a machine that was found by chance, and was up.
        life = node.open.get(entry.job_id) or _Life(entry.job_id, row.timestamp, row.timestamp)
        node.open[entry.job_id] = life._replace(stopper=entry.operator_id)
    elif kind in CLOSING:
        closed = node.open.pop(entry.job_id, None)
        if closed is not None:
            _close(node, closed, row.timestamp)
        if row.timestamp >= since:
            mark = mark_of(row, closed.stopper if closed is not None else "")
            node.stops.append(
                Stop(
                    row.timestamp,
                    mark,
                    entry.error_code,
                    entry.operator_id,
                    entry.job_id,
                    entry.cost_usd,
                )
            )


def _lose(node: _Node, since: datetime) -> None:
    """A node has one machine at a time: whatever is open at its next boot has ended unseen.

    When, nobody knows, so it is drawn no further than its last row.
    """
    for life in node.open.values():
        last = life.up or life.asked
        _close(node, life, last)
        if last >= since:
            node.stops.append(Stop(last, "?", "", "", life.job_id, None))
    node.open.clear()


def _close(node: _Node, life: _Life, end: datetime) -> None:
    if life.up is None or life.asked < life.up:
        node.spells.append(Spell(life.asked, life.up or end, is_boot=True))
    if life.up is not None:
        node.spells.append(Spell(life.up, end, is_boot=False))


def _within(spells: Iterable[Spell], since: datetime, until: datetime) -> Iterable[Spell]:
    for spell in spells:
        start, end = max(spell.start, since), min(spell.end, until)
        if start < end:
            yield Spell(start, end, spell.is_boot)


def _seconds(spells: Iterable[Spell], *, is_boot: bool) -> Decimal:
    found = (seconds_between(each.start, each.end) for each in spells if each.is_boot is is_boot)
    return sum((seconds or Decimal(0) for seconds in found), Decimal(0))
