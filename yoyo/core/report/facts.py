"""What the report says, as values: gathered by the use case, drawn by the page."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from yoyo.model.accounts import CostTable


class Spell(NamedTuple):
    """A stretch of one machine's life."""

    start: datetime
    end: datetime
    is_boot: bool  # else up


class Stop(NamedTuple):
    """The end of a life, and who or what ended it."""

    at: datetime
    mark: str  # one letter, see strips.STOPS
    code: str  # error_code of the row
    operator: str
    life: str
    cost_usd: Decimal | None


class NodeStrip(NamedTuple):
    """What one node did in the period."""

    node: str
    spells: tuple[Spell, ...]
    stops: tuple[Stop, ...]
    load: dict[str, Decimal]  # YYYY-MM-DDTHH -> share of that hour, 0 to 1, spent on jobs
    boots: int  # requests
    jobs: int  # completed
    up_seconds: Decimal
    boot_seconds: Decimal


class OpenItem(NamedTuple):
    """An intent without an outcome."""

    kind: str
    node: str
    job_id: str
    since: datetime


class Change(NamedTuple):
    """A correction that concerns the period: it, or what it corrects, stands there."""

    at: datetime
    seq: int  # of the corrected row
    node: str
    module: str
    operator: str
    billed: bool
    in_force: bool  # False: a newer one took its place, or the row is not the one it names
    old_usd: Decimal | None
    new_usd: Decimal | None  # None: this correction does not change the cost
    old_seconds: Decimal | None
    new_seconds: Decimal | None
    tokens: int | None


class Check(NamedTuple):
    """One thing that was looked at, or that could not be."""

    what: str
    result: bool | None  # None: not checked
    detail: str


class Integrity(NamedTuple):
    """The whole ledger's state when the page was made."""

    rows: int
    first_time: str
    last_time: str
    head: str  # SEQ:HASH; "": no rows
    checks: tuple[Check, ...]
    problems: tuple[str, ...]  # the first ones
    problem_count: int

    @property
    def holds(self) -> bool:
        """Whether nothing that was checked failed."""
        return all(check.result is not False for check in self.checks)


class ReportFacts(NamedTuple):
    """Everything on the page."""

    month: str  # YYYY-MM
    since: datetime
    until: datetime
    made_at: datetime
    version: str  # of yoyo
    ledger: str  # the file's name
    by_module: CostTable
    by_day: CostTable
    strips: tuple[NodeStrip, ...]
    strips_left_out: int
    open_items: tuple[OpenItem, ...]
    open_count: int
    changes: tuple[Change, ...]
    change_count: int
    integrity: Integrity
    rows_in_month: int  # good rows of the ledger that are no job's, in the period
    bad_rows: int
