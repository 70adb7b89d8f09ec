"""The ledger as money: what is read from it, and what a question about cost is answered with."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from yoyo.model.ledger import Row

# What costs may be grouped by, in the words of `yoyo cost --by`.
GROUPS = ("module", "node", "day", "month", "adapter", "operator", "guard")
PERIODS = ("", "hour", "day", "month")


class Wanted(NamedTuple):
    """How far jobs are to be told apart; what is not asked for is "" in every `JobSums`."""

    period: str = ""  # one of PERIODS, UTC
    modules: bool = False
    nodes: bool = False
    adapters: bool = False
    operators: bool = False
    since: datetime | None = None  # of jobs alone, inclusive
    until: datetime | None = None  # of jobs alone, exclusive


class JobSums(NamedTuple):
    """The JOB_START and JOB_COMPLETE rows of one group, added up."""

    period: str  # "", YYYY-MM-DDTHH, YYYY-MM-DD or YYYY-MM
    module_id: str
    node_id: str
    adapters: str  # adapter_versions as it stands in the row
    operator_id: str
    started: int  # JOB_START rows
    completed: int  # JOB_COMPLETE rows, however they ended
    succeeded: int
    tokens: int  # of those that know
    tokens_unknown: int  # successful rows without tokens
    gpu_seconds: Decimal  # of those that know
    cost_usd: Decimal  # normally 0: a job's cost is a part of its node's


class Accounts(NamedTuple):
    """What the ledger says about money: jobs are many and summed, all else is few and whole."""

    jobs: tuple[JobSums, ...]  # in the order of their keys
    rows: tuple[Row, ...]  # every good row that is no job's, in file order, of any time
    rows_read: int  # good ones
    bad_rows: int
    first_time: datetime | None
    last_time: datetime | None


class CostLine(NamedTuple):
    """One group's cost. USD; money is booked where its row stands, by the row's time."""

    key: tuple[str, ...]  # the values of `by`, in its order
    gpu_usd: Decimal  # of machines; holds work, idle and boot
    disk_usd: Decimal
    idle_usd: Decimal  # the part of gpu_usd for seconds in which no job was at work
    boot_usd: Decimal  # the part of gpu_usd from start to a healthy engine
    billed_usd: Decimal  # the part of gpu_usd + disk_usd that the platform's bill confirmed
    running_usd: Decimal | None  # not booked yet, in no other figure; None: unknown
    unpriced: int  # closed lives whose cost nobody knows
    gpu_seconds: Decimal
    work_seconds: Decimal  # of jobs, at most gpu_seconds
    boot_seconds: Decimal
    tokens: int
    jobs: int

    @property
    def usd(self) -> Decimal:
        """What was booked: machines and disks."""
        return self.gpu_usd + self.disk_usd

    @property
    def estimated_usd(self) -> Decimal:
        """The part that rests on a price list and not on a bill."""
        return self.usd - self.billed_usd

    @property
    def utilisation(self) -> Decimal | None:
        """Effective utilisation: the share of GPU seconds that did work; None without any."""
        return self.work_seconds / self.gpu_seconds if self.gpu_seconds else None

    @property
    def usd_per_million_tokens(self) -> Decimal | None:
        """Booked USD for a million tokens; None without tokens."""
        return self.usd * 1_000_000 / self.tokens if self.tokens else None


class Forecast(NamedTuple):
    """The running month, drawn out at the pace it had until now. USD."""

    month: str  # YYYY-MM
    spent_usd: Decimal
    expected_usd: Decimal
    cap_usd: Decimal | None  # of all nodes' `budget.month_usd`, where every node has one
    cap_reached: datetime | None  # at this pace; None: not within the month


class CostTable(NamedTuple):
    """The answer to `yoyo cost`."""

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    lines: tuple[CostLine, ...]
    total: CostLine
    as_booked: bool  # corrections left out
    corrections: int  # that apply
    notes: tuple[str, ...]  # what the reader should know about these figures
    forecast: Forecast | None = None
    first_kept: int = 1  # seq of the ledger's first row that was not deleted by retention
