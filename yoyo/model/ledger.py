"""The ledger's rows as values. `docs/formats/ledger.md` is the format."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

COLUMNS = (
    "event_id",
    "timestamp_utc",
    "event_type",
    "moduleId",
    "node_id",
    "job_id",
    "input_hash",
    "adapter_versions",
    "cache_hit_ratio",
    "tokens_processed",
    "gpu_seconds",
    "cost_usd",
    "completion_status",
    "error_code",
    "operator_id",
    "seq",
    "row_hash",
)
GENESIS_HASH = "0" * 64


class EventType(StrEnum):
    """What a row records."""

    BOOT_REQUEST = "BOOT_REQUEST"
    BOOT_COMPLETE = "BOOT_COMPLETE"
    JOB_START = "JOB_START"
    JOB_COMPLETE = "JOB_COMPLETE"
    CHECKPOINT = "CHECKPOINT"
    TEARDOWN_REQUEST = "TEARDOWN_REQUEST"
    TEARDOWN_COMPLETE = "TEARDOWN_COMPLETE"
    PREEMPTION = "PREEMPTION"
    ADAPTER_LOAD = "ADAPTER_LOAD"
    KV_POOL_SYNC = "KV_POOL_SYNC"


# What begins a machine's life in the ledger: a teardown request alone is that of a machine that
# was found by chance. And what ends it, and books its money.
OPENING = (EventType.BOOT_REQUEST, EventType.TEARDOWN_REQUEST)
CLOSING = (EventType.TEARDOWN_COMPLETE, EventType.PREEMPTION)


class CompletionStatus(StrEnum):
    """How the recorded thing ended, or `pending` for an intent."""

    PENDING = "pending"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"


# The error_code of a CHECKPOINT row whose cost_usd is that of a node's disk, from the row of its
# kind before it (or the disk's making) to its own time. docs/formats/ledger.md.
DISK_COST = "DISK_COST"

# The node_id of rows about the store; no node may have that name.
STORE_NODE = "store"
# The node_id of rows about the registry file of adapters; no node may have that name either.
ADAPTERS_NODE = "adapters"
# The node_id of rows about the ledger itself: checkpoints, keys, sealing, sessions, corrections
# of rows that no node had.
LEDGER_NODE = "ledger"
# The moduleId of rows that are everybody's; no node may have it.
SHARED = "shared"
RESERVED_NODES = {STORE_NODE: "the store", ADAPTERS_NODE: "adapters", LEDGER_NODE: "the ledger"}

# error_code of CHECKPOINT rows about the ledger itself. docs/formats/ledger.md.
HEARTBEAT = "HEARTBEAT"  # the row before a signed checkpoint, which covers it
KEY_ADDED = "KEY_ADDED"  # input_hash: sha256 of the verifier key's text
KEY_RETIRED = "KEY_RETIRED"
# job_id refuse/SEQ, input_hash sha256:<row_hash of that row>: a KEY_* row that somebody else wrote
KEY_REFUSED = "KEY_REFUSED"
MONTH_SEALED = "MONTH_SEALED"  # job_id seal/YYYY-MM, input_hash: sha256 of the seal record
MONTH_DELETED = "MONTH_DELETED"  # job_id delete/YYYY-MM, written before the file goes
SESSION = "SESSION"  # job_id session/BOOT_ID, input_hash: sha256 of the session record
CLOCK_STEP = "CLOCK_STEP"  # job_id clock/[+-]SECONDS: the wall clock was set since SESSION
# job_id skew/[+-]SECONDS: how far a clock is ahead of the platform's. Of a node: the node's own;
# of node `ledger`: that of the host that writes the ledger.
CLOCK_SKEW = "CLOCK_SKEW"
# A CHECKPOINT row of the corrected row's node and module; job_id correct/SEQ/EVENT_ID of that
# row, input_hash sha256:<its row_hash>. Each of tokens_processed, gpu_seconds and cost_usd that
# is filled takes the place of the old one.
CORRECTION = "CORRECTION"
# The same, where the amount is what the platform billed.
BILLED = "BILLED"
CORRECTIONS = (CORRECTION, BILLED)


class Entry(NamedTuple):
    """What a caller wants recorded; the ledger adds event_id, time, seq and hash.

    `job_id` is the idempotency id. All lifecycle rows of one machine life (boot request to
    teardown) carry the id of that life, which is also the resource's label; the two rows of
    a job carry the job's own. None means unknown and is written as an empty field.
    """

    event_type: EventType
    module_id: str
    node_id: str
    job_id: str
    completion_status: CompletionStatus
    operator_id: str
    error_code: str = ""
    input_hash: str = ""
    adapter_versions: tuple[str, ...] = ()
    cache_hit_ratio: Decimal | None = None
    tokens_processed: int | None = None
    gpu_seconds: Decimal | None = None
    cost_usd: Decimal | None = None


class Row(NamedTuple):
    """One good row as it stands in the file; `line` is 1-based and counts the header."""

    entry: Entry
    event_id: str
    timestamp: datetime
    seq: int
    row_hash: str
    line: int


class BadRow(NamedTuple):
    """A line that is no row: reported as a value, so that the good ones still load."""

    line: int
    reason: str
    raw: bytes
    file: str = ""  # the name of the sealed month's file; "": the live file


class LedgerHead(NamedTuple):
    """The newest row's identity: enough to notice a cut tail when kept elsewhere."""

    seq: int
    row_hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.row_hash}"


class OpenIntent(NamedTuple):
    """An intent whose outcome is not in the ledger (yet)."""

    line: int
    event_type: EventType
    node_id: str
    job_id: str
    timestamp: str
    file: str = ""  # the name of the sealed month's file; "": the live file


class VerifyReport(NamedTuple):
    """What `ledger verify` found. `ok` is False as soon as `problems` is not empty."""

    rows: int
    first_time: str
    last_time: str
    head: LedgerHead | None
    problems: tuple[BadRow, ...]  # the first ones, in file order; see problem_count
    problem_count: int
    open_intents: tuple[OpenIntent, ...]
    torn_tail_bytes: int  # bytes after the last newline: never acknowledged, recovered on append
    clock_steps_back: int  # rows whose time is before the row above
    expected_head_found: bool | None  # None: nothing was expected
    files: tuple[str, ...] = ()  # the sealed months that were read, oldest first

    @property
    def ok(self) -> bool:
        """Whether format, chain, sequence and pairing all hold."""
        return self.problem_count == 0 and self.expected_head_found is not False
