"""A small ledger with everything that an export and a report have to deal with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from yoyo.core.ledger_format import HEADER, encode_entry, encode_row
from yoyo.core.uuid7 import uuid7
from yoyo.model.ledger import (
    BILLED,
    DISK_COST,
    GENESIS_HASH,
    CompletionStatus,
    Entry,
    EventType,
    Row,
)

E = EventType
START = datetime(2026, 10, 30, 8, 0, tzinfo=UTC)
PENDING, SUCCESS = CompletionStatus.PENDING, CompletionStatus.SUCCESS
PREEMPTED, FAILED = CompletionStatus.PREEMPTED, CompletionStatus.ERROR
Made = list[tuple[datetime, Entry]]


def entry(kind: EventType, job: str, status: CompletionStatus = SUCCESS, **more: object) -> Entry:
    made = Entry(kind, "acme", "l4-a", job, status, "alice")
    return made._replace(**more)  # type: ignore[arg-type]


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def story() -> Made:
    """Two lives, one over the month's end; three jobs, one of them still open; two disk rows."""
    return [
        (at(0), entry(E.BOOT_REQUEST, "life-1", PENDING)),
        (at(0.1), entry(E.BOOT_COMPLETE, "life-1")),
        (at(1), entry(E.JOB_START, "job-1", PENDING, input_hash="sha256:" + "ab" * 32)),
        (
            at(1.5),
            entry(
                E.JOB_COMPLETE,
                "job-1",
                tokens_processed=1200,
                gpu_seconds=Decimal("1800.5"),
                cache_hit_ratio=Decimal("0.25"),
                adapter_versions=("tone@1", "tone@2"),
                input_hash="sha256:" + "ab" * 32,
            ),
        ),
        (at(1.6), entry(E.JOB_START, "job-2", PENDING, operator_id="=cmd()")),
        (at(1.7), entry(E.JOB_COMPLETE, "job-2", FAILED, error_code="ENGINE_FAILED")),
        (at(2), entry(E.TEARDOWN_REQUEST, "life-1", PENDING)),
        (
            at(2.1),
            entry(
                E.TEARDOWN_COMPLETE, "life-1", gpu_seconds=Decimal(7200), cost_usd=Decimal("1.42")
            ),
        ),
        (at(2.2), entry(E.CHECKPOINT, "life-1", error_code=DISK_COST, cost_usd=Decimal("0.05"))),
        (at(30), entry(E.BOOT_REQUEST, "life-2", PENDING)),
        (at(30.1), entry(E.BOOT_COMPLETE, "life-2")),
        (at(31), entry(E.JOB_START, "job-3", PENDING)),
        (
            at(41),
            entry(
                E.PREEMPTION,
                "life-2",
                PREEMPTED,
                error_code="GUARD_LIFETIME",
                operator_id="guard:lifetime",
                gpu_seconds=Decimal(39600),
                cost_usd=Decimal("7.81"),
            ),
        ),
        (at(42), entry(E.CHECKPOINT, "life-2", error_code=DISK_COST, cost_usd=Decimal("0.90"))),
        (at(50), entry(E.BOOT_REQUEST, "life-3", PENDING)),
        (at(51), entry(E.TEARDOWN_COMPLETE, "life-3", FAILED, error_code="NO_CAPACITY")),
    ]


def billed(row: Row, usd: str) -> Entry:
    """What the platform's bill made of a row."""
    return Entry(
        E.CHECKPOINT,
        row.entry.module_id,
        row.entry.node_id,
        f"correct/{row.seq}/{row.event_id}",
        SUCCESS,
        "bob",
        error_code=BILLED,
        input_hash=f"sha256:{row.row_hash}",
        cost_usd=Decimal(usd),
    )


def rows_of(made: Made) -> list[Row]:
    """Them as rows, as if they had just been read."""
    from yoyo.core.ledger_format import decode_row

    found = []
    for number, line in enumerate(_lines(made), 2):
        row = decode_row(line[:-1], number)
        assert isinstance(row, Row), row
        found.append(row)
    return found


def write(path: Path, made: Made) -> Path:
    """A ledger's file with these rows."""
    path.write_bytes(HEADER + b"".join(_lines(made)))
    return path


def _lines(made: Made) -> list[bytes]:
    lines, prev = [], GENESIS_HASH
    for seq, (when, item) in enumerate(made, 1):
        event_id = uuid7(int(when.timestamp() * 1000), seq.to_bytes(10, "big"))
        text = encode_entry(item, event_id)
        line = encode_row(text, event_id=event_id, timestamp=when, seq=seq, prev_hash=prev)
        lines.append(line)
        prev = line[-65:-1].decode()
    return lines
