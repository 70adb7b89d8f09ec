"""The ledger beside the platform: what each says, and where they differ."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from yoyo.model.ledger import Row


class PlatformMachine(NamedTuple):
    """A machine that the platform has now. Times are its own, None where it keeps none."""

    name: str
    place: str  # zone; "" on this machine
    node_id: str  # by its label
    request_id: str  # by its label: the life it was made or last started for
    runs: bool
    started_at: datetime | None
    stopped_at: datetime | None


class PlatformDisk(NamedTuple):
    """A disk that the platform has now, and bills whether or not something uses it."""

    name: str
    place: str
    node_id: str
    request_id: str
    gigabytes: int
    since: datetime | None
    in_use: bool


class PlatformRun(NamedTuple):
    """A start and its stop, as the platform's log of operations has them.

    A log says for which machine, but not for which life.
    """

    node_id: str
    started_at: datetime
    stopped_at: datetime


class PlatformRecords(NamedTuple):
    """What one platform said when it was asked."""

    machines: tuple[PlatformMachine, ...] = ()
    disks: tuple[PlatformDisk, ...] = ()
    runs: tuple[PlatformRun, ...] = ()  # as far back as the platform keeps them
    unanswered: tuple[str, ...] = ()  # what it did not say, in words; then nothing is concluded


class BillKind(StrEnum):
    """What a line of a bill is for."""

    MACHINE = "machine"  # processor, memory, accelerator
    DISK = "disk"
    OTHER = "other"  # network, addresses, images: nothing that the ledger books


class BillLine(NamedTuple):
    """One line of a billing export that carries yoyo's labels or names. USD."""

    line: int  # 1-based, the header counts
    kind: BillKind
    node_id: str
    request_id: str  # "" where the line has no such label
    resource: str
    start: datetime
    end: datetime
    cost: Decimal  # before credits; an adjustment may be negative
    credits: Decimal  # below 0, but where one is taken back
    digest: str  # of all its fields: two lines with the same are one that was exported twice


class BilledLife(NamedTuple):
    """What was billed under one request id. USD."""

    request_id: str
    node_id: str
    machine_usd: Decimal
    disk_usd: Decimal
    credits_usd: Decimal  # of the machine, as a rule below 0
    first: datetime
    last: datetime
    duplicates: int = 0  # of its machine's lines; they count once, so the sum may be too low

    @property
    def paid_usd(self) -> Decimal:
        """For the machine, after credits."""
        return self.machine_usd + self.credits_usd


class Bill(NamedTuple):
    """A billing export, added up by life."""

    lives: tuple[BilledLife, ...]
    first: datetime | None  # of all usage in the file
    last: datetime | None
    lines: int  # all
    ours: int
    other_usd: Decimal  # ours, and nothing that the ledger books
    unlabelled_usd: Decimal  # ours by name, but of no request id
    duplicates: int  # lines that are there once more; they count once
    duplicate_usd: Decimal


class BookedLife(NamedTuple):
    """One machine's life as the ledger has it, corrections applied. USD, seconds."""

    request_id: str
    node_id: str
    module_id: str
    started: datetime  # the first row's time
    booted: bool
    closing: Row | None  # None: the life is open
    usd: Decimal | None  # None: unknown
    gpu_seconds: Decimal | None
    billed: bool  # the newest correction says what the platform billed


class Booked(NamedTuple):
    """What the ledger says, as far as a platform could contradict it."""

    lives: tuple[BookedLife, ...]
    disk_usd: tuple[tuple[str, Decimal], ...]  # by node; of the bill's time alone
    disk_nodes: frozenset[str]  # nodes whose disk was ever booked
    bad_rows: int


class FindingKind(StrEnum):
    """How ledger and platform differ."""

    MACHINE_WITHOUT_ROWS = "machine-without-rows"
    ROWS_WITHOUT_MACHINE = "rows-without-machine"
    RUNS_THOUGH_CLOSED = "runs-though-closed"
    RUN_WITHOUT_ROWS = "run-without-rows"
    TIMES_DIFFER = "times-differ"
    COST_DIFFERS = "cost-differs"
    BOOKED_NOTHING = "booked-nothing"
    BILLED_WITHOUT_ROWS = "billed-without-rows"
    NOT_BILLED = "not-billed"
    DISK_NOT_BOOKED = "disk-not-booked"
    DISK_COST_DIFFERS = "disk-cost-differs"
    DISK_LEFT = "disk-left"
    DUPLICATE_LINES = "duplicate-lines"


class Finding(NamedTuple):
    """One difference, and what most likely lies behind it."""

    kind: FindingKind
    node_id: str
    request_id: str  # "" where it is about no life
    what: str
    booked: Decimal | None  # None: unknown, or nothing to compare
    actual: Decimal | None
    unit: str  # "USD", "s" or ""
    cause: str
    fix: str
    bookable: bool = False  # a BILLED row settles it


class Bounds(NamedTuple):
    """How far figures may lie apart before that is a finding."""

    share: Decimal = Decimal("0.01")  # of the platform's figure
    usd: Decimal = Decimal("0.01")  # and at least this
    seconds: Decimal = Decimal(60)  # and at least this


class ToBook(NamedTuple):
    """A life whose bill is complete, and the amount that its closing row is to stand for."""

    closing: Row
    usd: Decimal  # to the millionth
    gpu_seconds: Decimal | None  # of an earlier correction, which the new one takes the place of


class Reconciliation(NamedTuple):
    """The answer to `yoyo reconcile`."""

    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]  # what could not be compared, in words
    notes: tuple[str, ...]
    compared_lives: int  # with a machine, a run or a bill
    bookable: tuple[ToBook, ...]
    booked: int = 0  # BILLED rows that were appended now
    settled: tuple[Finding, ...] = ()  # findings that those rows settled

    @property
    def agrees(self) -> bool | None:
        """None: as far as is known, but not all is known."""
        if self.findings:
            return False
        return None if self.unknown else True
