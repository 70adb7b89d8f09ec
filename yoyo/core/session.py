"""When a host's session with a ledger begins, and when its wall clock was set. Pure.

A session is one boot of one host with one ledger. The wall clock less the time since boot stays
the same however long the host runs, sleeps or is slewed by NTP: it changes when somebody sets
the clock.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple

from yoyo.model.ledger import (
    CLOCK_STEP,
    LEDGER_NODE,
    SESSION,
    SHARED,
    CompletionStatus,
    Entry,
    EventType,
    Row,
)

RECORD_TYPE: Final = "urn:yoyo:session:v1"
MARKER_VERSION: Final = 1
# Below this a step is a leap second, or the pause between reading two clocks.
STEP_S: Final = Decimal(2)
_MILLI: Final = Decimal("0.001")
_MOST_S: Final = Decimal(10) ** 12  # no clock is set further than that
_UNKNOWN: Final = "unknown"


class Stamp(NamedTuple):
    """What is looked at before a command's first row: cheap to read."""

    boot_id: str  # "": unknown
    offset_s: Decimal | None  # wall clock less time since boot; None: unknown


class HostFacts(NamedTuple):
    """What a session's record says about its host; "" or None: unknown."""

    host: str
    kernel: str
    clock_source: str
    synchronised: bool | None  # by NTP, as the kernel has it


class Marker(NamedTuple):
    """What the last command left: a cache, which may be deleted at any time."""

    ledger: str  # its path
    boot_id: str
    offset_s: Decimal | None
    seq: int  # of this session's row
    row_hash: str


def is_open(marker: Marker | None, stamp: Stamp, ledger: str, row: Row | None) -> bool:
    """Whether this boot has its SESSION row in this ledger; `row` is what stands at the marker's.

    A ledger that was begun anew, or copied back from a backup, has another row there or none.
    """
    return (
        marker is not None
        and (marker.ledger, marker.boot_id) == (ledger, stamp.boot_id)
        and row is not None
        and row.row_hash == marker.row_hash
    )


def clock_step(marker: Marker, stamp: Stamp) -> Decimal | None:
    """Seconds that the wall clock was set by, forwards if positive; None: it was not."""
    if marker.offset_s is None or stamp.offset_s is None:
        return None
    step = stamp.offset_s - marker.offset_s
    return step if abs(step) > STEP_S else None


def session_entry(stamp: Stamp, operator: str, digest: str) -> Entry:
    """The row that opens a session; `digest` is of its record, "" where it could not be kept."""
    return _entry(f"session/{stamp.boot_id or _UNKNOWN}", SESSION, operator, digest)


def step_entry(step_s: Decimal, operator: str) -> Entry:
    """The row that says by how much the wall clock was set."""
    bounded = max(-_MOST_S, min(_MOST_S, step_s)).quantize(_MILLI, ROUND_HALF_UP)
    return _entry(f"clock/{bounded:+f}", CLOCK_STEP, operator, "")


def _entry(job_id: str, code: str, operator: str, digest: str) -> Entry:
    return Entry(
        EventType.CHECKPOINT,
        SHARED,
        LEDGER_NODE,
        job_id,
        CompletionStatus.SUCCESS,
        operator,
        error_code=code,
        input_hash=digest,
    )


def session_record(stamp: Stamp, facts: HostFacts, program: str) -> bytes:
    """The document that a SESSION row names. `program` is yoyo's version."""
    import json  # what reads alone has no use for it

    synchronised = {True: "yes", False: "no", None: _UNKNOWN}[facts.synchronised]
    fields = {
        "_type": RECORD_TYPE,
        "boot_id": stamp.boot_id or _UNKNOWN,
        "clock_source": facts.clock_source or _UNKNOWN,
        "host": facts.host or _UNKNOWN,
        "kernel": facts.kernel or _UNKNOWN,
        "synchronised": synchronised,
        "wall_minus_boottime_s": _UNKNOWN if stamp.offset_s is None else f"{stamp.offset_s:f}",
        "yoyo": program,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def marker_text(marker: Marker) -> bytes:
    """The marker as a file."""
    import json

    fields = {
        "version": MARKER_VERSION,
        "ledger": marker.ledger,
        "boot_id": marker.boot_id,
        "offset_s": None if marker.offset_s is None else f"{marker.offset_s:f}",
        "seq": marker.seq,
        "row_hash": marker.row_hash,
    }
    return json.dumps(fields, sort_keys=True).encode() + b"\n"


def read_marker(text: bytes) -> Marker | None:
    """What `marker_text` wrote; None: it is none, or damaged."""
    import json

    try:
        fields = json.loads(text)
        if fields["version"] != MARKER_VERSION:
            return None
        offset = fields["offset_s"]
        marker = Marker(
            fields["ledger"],
            fields["boot_id"],
            None if offset is None else Decimal(offset),
            fields["seq"],
            fields["row_hash"],
        )
    except (ValueError, ArithmeticError, KeyError, TypeError, RecursionError):
        return None
    texts = (marker.ledger, marker.boot_id, marker.row_hash)
    if not all(isinstance(each, str) for each in texts) or type(marker.seq) is not int:
        return None
    finite = marker.offset_s is None or (
        marker.offset_s.is_finite() and abs(marker.offset_s) <= _MOST_S
    )
    return marker if finite and 0 < marker.seq < 10**18 else None
