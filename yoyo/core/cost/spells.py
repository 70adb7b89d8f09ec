"""Machine lives as money sees them: from whom, until when, ended by whom. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from yoyo.core.lifecycle import guard_of
from yoyo.core.money import seconds_between
from yoyo.model.ledger import CLOSING, DISK_COST, OPENING, EventType, Row

# The values of `--by guard` beside those of core/lifecycle.py.
STILL_UP: Final = "(running)"
NEVER_CLOSED: Final = "(never closed)"


class Spell(NamedTuple):
    """One machine life. `closing` is None while it runs, or when nothing ever closed it."""

    node_id: str
    module_id: str
    operator_id: str  # of the boot request
    started: datetime
    booted_at: datetime | None
    closing: Row | None
    guard: str  # who ended it
    ended: datetime | None  # None: it runs, as far as the ledger knows

    @property
    def superseded(self) -> bool:
        """Whether nothing closed it, and the node has gone on with another life."""
        return self.closing is None and self.ended is not None

    @property
    def boot_seconds(self) -> Decimal:
        """From the request to a healthy engine; of a boot that failed, all of it."""
        end = self.booted_at or (self.closing.timestamp if self.closing else None)
        return seconds_between(self.started, end) or Decimal(0)


class Spells(NamedTuple):
    """The rows that are no job's, as far as they are about machines and money."""

    spells: tuple[Spell, ...]  # by the file order of their first rows
    disks: tuple[tuple[Row, str], ...]  # DISK_COST rows, each with the operator of its life


@dataclass(slots=True)
class _Open:
    row: Row  # the one that opened it
    booted_at: datetime | None = None
    stopper: str = ""  # the operator of its teardown request


def spells_of(rows: Iterable[Row]) -> Spells:
    """Pair the rows of each life, in file order. A closing row without its life is one, too."""
    places: dict[tuple[str, str], int] = {}  # of open lives in `found`
    operators: dict[tuple[str, str], str] = {}
    begun: list[_Open] = []
    found: list[Spell | None] = []
    disks: list[tuple[Row, str]] = []
    for row in rows:
        entry = row.entry
        kind, key = entry.event_type, (entry.node_id, entry.job_id)
        place = places.get(key)
        if kind is EventType.CHECKPOINT:
            if entry.error_code == DISK_COST and entry.cost_usd is not None:
                disks.append((row, operators.get(key, entry.operator_id)))
        elif kind in OPENING and place is None:
            places[key] = len(found)
            operators[key] = entry.operator_id
            found.append(None)
            stopper = entry.operator_id if kind is EventType.TEARDOWN_REQUEST else ""
            begun.append(_Open(row, stopper=stopper))
        elif kind is EventType.BOOT_COMPLETE and place is not None:
            begun[place].booted_at = row.timestamp
        elif kind is EventType.TEARDOWN_REQUEST and place is not None:
            begun[place].stopper = entry.operator_id
        elif kind in CLOSING:
            if place is None:
                found.append(_closed(_Open(row), row))
                begun.append(_Open(row))
            else:
                found[place] = _closed(begun[place], row)
                del places[key]
    return Spells(tuple(_with_open(found, begun)), tuple(disks))


def _with_open(found: list[Spell | None], begun: list[_Open]) -> list[Spell]:
    """The lives that nothing closed: the node's newest still runs."""
    follower: dict[str, datetime] = {}  # of each node, when the life after this one began
    spells = []
    for closed, opened in zip(reversed(found), reversed(begun), strict=True):
        entry, started = opened.row.entry, opened.row.timestamp
        after = follower.get(entry.node_id)
        follower[entry.node_id] = started
        guard = STILL_UP if after is None else NEVER_CLOSED
        spells.append(
            closed
            or Spell(
                entry.node_id, entry.module_id, entry.operator_id, started, opened.booted_at,
                None, guard, after,
            )
        )  # fmt: skip
    return spells[::-1]


def _closed(opened: _Open, row: Row) -> Spell:
    entry = opened.row.entry
    return Spell(
        # Money stays with the row that books it: its node and module, not the request's.
        row.entry.node_id, row.entry.module_id, entry.operator_id, opened.row.timestamp,
        opened.booted_at, row, guard_of(row, opened.stopper), row.timestamp,
    )  # fmt: skip
