"""Reducing the ledger to what is: machine lives, open jobs, spend. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from yoyo.model.ledger import (
    ADAPTERS_NODE,
    CLOSING,
    CORRECTIONS,
    DISK_COST,
    OPENING,
    BadRow,
    CompletionStatus,
    EventType,
    Row,
)


class Life(NamedTuple):
    """One machine from its boot request to its end, as far as the ledger knows it."""

    job_id: str
    node_id: str
    module_id: str
    started: datetime  # the boot request's time
    booted_at: datetime | None = None
    teardown_at: datetime | None = None  # when its stop was asked for
    closed_at: datetime | None = None
    status: CompletionStatus | None = None
    error_code: str = ""
    gpu_seconds: Decimal | None = None
    cost_usd: Decimal | None = None
    adapters: tuple[str, ...] = ()  # id@version, of the newest load
    proof: str | None = None  # sha256:<hex> of its record, "" for the base alone; None: no load


class OpenJob(NamedTuple):
    """A job whose completion is not in the ledger."""

    job_id: str
    node_id: str
    module_id: str
    started: datetime
    input_hash: str


class DiskCost(NamedTuple):
    """A row that books what a node's disk cost; it reaches back to the one before it."""

    at: datetime
    usd: Decimal


class _Booked(NamedTuple):
    """A row of money, and where its amount stands among its node's lives or disk costs."""

    row: Row
    place: int


class Book:
    """The reduced ledger. `lives` holds, per node, every life in order of request."""

    def __init__(self) -> None:
        self.lives: dict[str, list[Life]] = {}
        self.disk_costs: dict[str, list[DiskCost]] = {}
        self.open_jobs: dict[str, OpenJob] = {}
        self.bad_rows: list[BadRow] = []
        self.has_promoted = False  # whether an adapter was ever put into use

    def of(self, node: str) -> list[Life]:
        """All lives of that node."""
        return self.lives.get(node, [])

    def last(self, node: str) -> Life | None:
        """The newest life of that node, open or closed."""
        lives = self.lives.get(node)
        return lives[-1] if lives else None

    def current(self, node: str) -> Life | None:
        """The life of that node that is not closed."""
        last = self.last(node)
        return last if last is not None and last.closed_at is None else None

    def jobs_of(self, node: str) -> list[OpenJob]:
        """The node's open jobs."""
        return [job for job in self.open_jobs.values() if job.node_id == node]


def read_book(rows: Iterable[Row | BadRow]) -> Book:
    """Reduce rows in file order. Bad rows are kept aside; the good ones still count.

    What was corrected counts as it was corrected: a budget is held against what things cost.
    """
    book = Book()
    money: dict[int, _Booked] = {}
    corrections: list[Row] = []
    for row in rows:
        if isinstance(row, BadRow):
            book.bad_rows.append(row)
        elif row.entry.error_code == DISK_COST:
            if _disk(book, row):
                money[row.seq] = _Booked(row, len(book.disk_costs[row.entry.node_id]) - 1)
        elif row.entry.error_code in CORRECTIONS:
            corrections.append(row)
        elif row.entry.event_type in (EventType.JOB_START, EventType.JOB_COMPLETE):
            _job(book, row)
        else:
            _lifecycle(book, row)
            if row.entry.event_type in CLOSING:
                money[row.seq] = _Booked(row, len(book.of(row.entry.node_id)) - 1)
    if corrections:
        _correct(book, corrections, money)
    return book


def _correct(book: Book, corrections: list[Row], money: dict[int, _Booked]) -> None:
    from yoyo.core.corrections import corrections_of, merged  # most ledgers have none

    rows = {seq: booked.row for seq, booked in money.items()}
    for each in corrections_of(corrections, rows.get).applied:
        row, place = money[each.seq]
        entry = merged(row.entry, each.amounts)
        if entry.error_code == DISK_COST:
            costs = book.disk_costs.get(entry.node_id, [])
            if entry.cost_usd is not None:
                costs[place] = costs[place]._replace(usd=entry.cost_usd)
            continue
        lives = book.of(entry.node_id)
        if place >= 0 and lives[place].job_id == entry.job_id:
            lives[place] = lives[place]._replace(
                gpu_seconds=entry.gpu_seconds, cost_usd=entry.cost_usd
            )


def _job(book: Book, row: Row) -> None:
    entry = row.entry
    if entry.event_type is EventType.JOB_COMPLETE:
        book.open_jobs.pop(entry.job_id, None)
        if entry.node_id == ADAPTERS_NODE and entry.job_id.startswith(("promote/", "rollback/")):
            book.has_promoted |= entry.completion_status is CompletionStatus.SUCCESS
        return
    book.open_jobs[entry.job_id] = OpenJob(
        entry.job_id, entry.node_id, entry.module_id, row.timestamp, entry.input_hash
    )


def _disk(book: Book, row: Row) -> bool:
    if row.entry.event_type is not EventType.CHECKPOINT or row.entry.cost_usd is None:
        return False
    cost = DiskCost(row.timestamp, row.entry.cost_usd)
    book.disk_costs.setdefault(row.entry.node_id, []).append(cost)
    return True


def _lifecycle(book: Book, row: Row) -> None:
    entry, kind = row.entry, row.entry.event_type
    lives = book.lives.setdefault(entry.node_id, [])
    life = lives[-1] if lives and lives[-1].job_id == entry.job_id else None
    if life is None and kind in OPENING:
        # A teardown request for an id the ledger never booted: a machine found by chance.
        life = Life(entry.job_id, entry.node_id, entry.module_id, row.timestamp)
        lives.append(life)
    if life is None:
        return
    if kind is EventType.BOOT_COMPLETE:
        life = life._replace(booted_at=row.timestamp)
    elif kind is EventType.TEARDOWN_REQUEST:
        life = life._replace(teardown_at=row.timestamp)
    elif kind is EventType.ADAPTER_LOAD and entry.completion_status is CompletionStatus.SUCCESS:
        life = life._replace(adapters=entry.adapter_versions, proof=entry.input_hash)
    elif kind in CLOSING:
        life = life._replace(
            closed_at=row.timestamp,
            status=entry.completion_status,
            error_code=entry.error_code,
            gpu_seconds=entry.gpu_seconds,
            cost_usd=entry.cost_usd,
        )
    lives[-1] = life
