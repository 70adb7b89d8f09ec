"""The answer of a trace as values: one thing that was found, and all that stands behind it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from yoyo.core.boot_record import BootFacts
    from yoyo.model.ledger import Row
    from yoyo.model.prices import PriceRecord


class Origin(NamedTuple):
    """The row that says since when a name stands for these bytes, and by whose hand."""

    seq: int
    at: datetime
    operator: str


class JobFacts(NamedTuple):
    """A job; figures after corrections."""

    job_id: str
    node_id: str
    module_id: str
    operator: str
    status: str  # pending: it is not completed, as far as the ledger knows
    error_code: str
    input_hash: str
    adapters: tuple[str, ...]  # id@version of those that weighed in
    started: datetime | None
    completed: datetime | None
    seconds: Decimal | None  # from its first row to its last
    tokens: int | None
    cache_hit_ratio: Decimal | None
    gpu_seconds: Decimal | None
    rows: tuple[int, ...]  # seq


class AdapterFacts(NamedTuple):
    """An adapter that weighed in, or was loaded."""

    name: str  # id@version
    weighed_in: bool
    manifest: str | None  # sha256:<hex>
    weights: str | None  # sha256:<hex> of the file that the engine loaded
    signers: tuple[tuple[str, str], ...]  # role, identity
    verified_at: str | None
    load_row: int | None
    registered: Origin | None


class LifeFacts(NamedTuple):
    """A machine's life; figures after corrections."""

    job_id: str
    node_id: str
    operator: str | None  # who started it
    requested: datetime | None
    up: datetime | None
    stop_asked: datetime | None
    ended: datetime | None
    ended_by: str | None
    status: str  # open, or how it ended
    error_code: str  # which guard, or what went wrong
    uptime_seconds: Decimal | None  # from a healthy engine to its end, or to now
    gpu_seconds: Decimal | None
    rows: tuple[int, ...]  # seq


class CostFacts(NamedTuple):
    """Money in USD; None: unknown."""

    life_usd: Decimal | None
    life_is: str  # booked, corrected, billed, estimate or unknown
    job_usd: Decimal | None  # job's gpu_seconds / life's gpu_seconds x life_usd
    job_share: Decimal | None
    price: PriceRecord | None
    price_digest: str | None


class CorrectionFacts(NamedTuple):
    """A correction of one of the rows."""

    seq: int
    of_row: int
    code: str
    at: datetime
    operator: str
    reason: str
    in_force: bool  # False: a newer one took its place, or it is none that counts
    problem: str  # why it does not count; "" where it does
    tokens: int | None
    gpu_seconds: Decimal | None
    cost_usd: Decimal | None


class Covered(NamedTuple):
    """The smallest checkpoint over all rows of the thing; its signature was not checked here."""

    name: str
    size: int


class Facts(NamedTuple):
    """One thing that was found, with all that stands behind it."""

    kind: str  # job, life, row
    job: JobFacts | None
    row: Row | None  # of kind row
    adapters: tuple[AdapterFacts, ...]
    life: LifeFacts | None
    boot: BootFacts | None
    boot_digest: str | None
    engine_staged: Origin | None
    weights_staged: Origin | None
    cost: CostFacts | None
    corrections: tuple[CorrectionFacts, ...]
    checkpoint: Covered | None
    unknown: tuple[str, ...]  # what the ledger does not say
