"""Sound ledgers as lines, for the tests of the verifier."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from yoyo.core.ledger_check import LedgerCheck
from yoyo.core.ledger_format import HEADER, encode_entry, encode_row
from yoyo.core.uuid7 import uuid7
from yoyo.model.ledger import (
    GENESIS_HASH,
    CompletionStatus,
    Entry,
    EventType,
    LedgerHead,
    VerifyReport,
)

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
E = EventType


def entry(
    kind: EventType, job: str = "life-1", node: str = "node-1", operator: str = "op"
) -> Entry:
    pending = kind in (E.BOOT_REQUEST, E.JOB_START, E.TEARDOWN_REQUEST)
    status = CompletionStatus.PENDING if pending else CompletionStatus.SUCCESS
    return Entry(kind, "team-a", node, job, status, operator)


def ledger(entries: Iterable[Entry], times: Iterable[datetime] = ()) -> list[bytes]:
    """Header and rows, without their newlines."""
    lines, prev = [HEADER[:-1]], GENESIS_HASH
    stamps = iter(times)
    for seq, item in enumerate(entries, 1):
        at = next(stamps, NOON + timedelta(seconds=seq))
        event_id = uuid7(int(at.timestamp() * 1000), seq.to_bytes(10, "big"))
        text = encode_entry(item, event_id)
        line = encode_row(text, event_id=event_id, timestamp=at, seq=seq, prev_hash=prev)
        lines.append(line[:-1])
        prev = line[-65:-1].decode()
    return lines


def verify(lines: list[bytes], expect: LedgerHead | None = None, batch: int = 0) -> VerifyReport:
    check = LedgerCheck(expect)
    step = batch or max(len(lines), 1)
    for start in range(0, len(lines), step):
        check.feed(b"\n".join(lines[start : start + step]))
    return check.report()


CYCLE = [
    entry(E.BOOT_REQUEST),
    entry(E.BOOT_COMPLETE),
    entry(E.JOB_START, "job-1"),
    entry(E.JOB_COMPLETE, "job-1")._replace(
        input_hash="sha256:" + "ab" * 32,
        adapter_versions=("a@1", "b@2"),
        cache_hit_ratio=Decimal("0.25"),
        tokens_processed=512,
        gpu_seconds=Decimal("1.500"),
    ),
    entry(E.CHECKPOINT, ""),
    entry(E.TEARDOWN_REQUEST),
    entry(E.TEARDOWN_COMPLETE)._replace(cost_usd=Decimal("0.710000"), gpu_seconds=Decimal(3600)),
]
