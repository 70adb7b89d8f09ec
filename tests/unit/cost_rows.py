"""Lives, jobs and corrections as rows, for the tests of what things cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from yoyo.core.cost.amounts import period_of
from yoyo.core.cost.window import wanted_for
from yoyo.core.uuid7 import uuid7
from yoyo.model.accounts import Accounts, JobSums
from yoyo.model.ledger import (
    BILLED,
    CORRECTION,
    DISK_COST,
    CompletionStatus,
    Entry,
    EventType,
    Row,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # every other time is in seconds from it
E = EventType
JOBS = (E.JOB_START, E.JOB_COMPLETE)


class Maker:
    """Rows in the order of their times."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, at: int, entry: Entry) -> Row:
        seq = len(self.rows) + 1
        event = uuid7(seq, seq.to_bytes(10, "big"))
        row = Row(entry, event, NOW + timedelta(seconds=at), seq, f"{seq:064x}", seq + 1)
        self.rows.append(row)
        return row

    def request(
        self, life: str, *, start: int, node: str = "node-1", module: str = "team-a",
        operator: str = "alice",
    ) -> None:  # fmt: skip
        pending = CompletionStatus.PENDING
        self.add(start, Entry(E.BOOT_REQUEST, module, node, life, pending, operator))

    def life(
        self, life: str, *, start: int, boot: int | None, end: int, usd: str | None,
        seconds: str | None = "", node: str = "node-1", module: str = "team-a",
        operator: str = "alice", code: str = "", status: str = "success", ended_by: str = "",
    ) -> None:  # fmt: skip
        """`seconds` "" is as long as it was up."""
        self.request(life, start=start, node=node, module=module, operator=operator)
        done = CompletionStatus.SUCCESS
        if boot is not None:
            self.add(start + boot, Entry(E.BOOT_COMPLETE, module, node, life, done, operator))
        ended = CompletionStatus(status)
        kind = E.PREEMPTION if ended is CompletionStatus.PREEMPTED else E.TEARDOWN_COMPLETE
        if seconds == "":
            seconds = str(end - start)
        entry = Entry(
            kind, module, node, life, ended, ended_by or operator, error_code=code,
            gpu_seconds=None if seconds is None else Decimal(seconds),
            cost_usd=None if usd is None else Decimal(usd),
        )  # fmt: skip
        self.add(end, entry)

    def job(
        self, job: str, at: int, *, seconds: str, tokens: int, adapters: tuple[str, ...] = (),
        node: str = "node-1", module: str = "team-a", operator: str = "alice",
    ) -> None:  # fmt: skip
        start = Entry(E.JOB_START, module, node, job, CompletionStatus.PENDING, operator)
        self.add(at, start._replace(adapter_versions=adapters))
        end = start._replace(
            event_type=E.JOB_COMPLETE, completion_status=CompletionStatus.SUCCESS,
            adapter_versions=adapters, tokens_processed=tokens, gpu_seconds=Decimal(seconds),
        )  # fmt: skip
        self.add(at, end)

    def disk(self, life: str, at: int, usd: str, operator: str = "alice") -> None:
        done = CompletionStatus.SUCCESS
        entry = Entry(E.CHECKPOINT, "team-a", "node-1", life, done, operator)
        self.add(at, entry._replace(error_code=DISK_COST, cost_usd=Decimal(usd)))

    def correct(
        self, row: Row, *, usd: str | None = None, tokens: int | None = None, billed: bool = False
    ) -> None:
        entry = Entry(
            E.CHECKPOINT, row.entry.module_id, row.entry.node_id,
            f"correct/{row.seq}/{row.event_id}", CompletionStatus.SUCCESS, "auditor",
            error_code=BILLED if billed else CORRECTION, input_hash=f"sha256:{row.row_hash}",
            tokens_processed=tokens, cost_usd=None if usd is None else Decimal(usd),
        )  # fmt: skip
        self.add(10_000, entry)

    def last(self, job: str) -> Row:
        """The newest row of that id."""
        return [row for row in self.rows if row.entry.job_id == job][-1]

    def fetch(self, seq: int) -> Row | None:
        return self.rows[seq - 1] if 0 < seq <= len(self.rows) else None

    def accounts(self, by: Sequence[str], grain: str = "hour") -> Accounts:
        """What a reader gives for that question: the definition, row by row."""
        wanted = wanted_for(by, grain)
        sums: dict[tuple[str, ...], JobSums] = {}
        for row in self.rows:
            entry = row.entry
            if entry.event_type not in JOBS:
                continue
            key = (
                period_of(row.timestamp, wanted.period),
                entry.module_id if wanted.modules else "",
                entry.node_id if wanted.nodes else "",
                ";".join(entry.adapter_versions) if wanted.adapters else "",
                entry.operator_id if wanted.operators else "",
            )
            old = sums.get(key) or JobSums(*key, 0, 0, 0, 0, 0, Decimal(0), Decimal(0))
            done = int(entry.event_type is E.JOB_COMPLETE)
            good = int(done and entry.completion_status is CompletionStatus.SUCCESS)
            sums[key] = JobSums(
                *key, old.started + 1 - done, old.completed + done, old.succeeded + good,
                old.tokens + done * (entry.tokens_processed or 0),
                old.tokens_unknown + int(good and entry.tokens_processed is None),
                old.gpu_seconds + done * (entry.gpu_seconds or Decimal(0)),
                old.cost_usd + done * (entry.cost_usd or Decimal(0)),
            )  # fmt: skip
        rest = tuple(row for row in self.rows if row.entry.event_type not in JOBS)
        times = [row.timestamp for row in self.rows]
        jobs = tuple(sums[key] for key in sorted(sums))
        return Accounts(
            jobs, rest, len(self.rows), 0, min(times, default=None), max(times, default=None)
        )
