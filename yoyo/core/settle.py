"""What to book when ledger and machine are seen side by side. Pure.

Every lifecycle command begins here: whatever a crashed command, a guard or the platform
left behind is brought to its end in the ledger before anything new is begun.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from yoyo.core.lives import Book, Life
from yoyo.core.money import cost_of, seconds_between
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.machine import MachineState, Observation, StopCause
from yoyo.model.settings import NodeSettings

# Causes that are a guard's or the platform's doing get `preempted`; the rest are errors.
_PREEMPTED = {
    StopCause.LIFETIME: ("GUARD_LIFETIME", "guard:lifetime"),
    StopCause.DEAD_MAN: ("GUARD_DEAD_MAN", "guard:dead-man"),
    StopCause.UNREACHABLE: ("GUARD_UNREACHABLE", "guard:dead-man"),
    StopCause.ORDERED: ("STOPPED_OUTSIDE", ""),
    StopCause.PREEMPTED: ("SPOT_PREEMPTED", ""),
    StopCause.PLATFORM_CAP: ("GUARD_PLATFORM_CAP", "guard:platform-cap"),
}
_ERRORS = {
    StopCause.ENGINE_EXITED: "ENGINE_EXITED",
    StopCause.SUPERVISOR_LOST: "SUPERVISOR_LOST",
    StopCause.HOST_ERROR: "HOST_ERROR",
    StopCause.POWERED_OFF: "POWERED_OFF_INSIDE",
    StopCause.UNKNOWN: "STOPPED_OUTSIDE",
}


def settle_life(
    life: Life | None,
    seen: Observation,
    *,
    healthy: bool,
    node: NodeSettings,
    operator: str,
) -> Entry | None:
    """The one row that ledger and machine together call for now; None when they agree."""
    if life is None or seen.state is MachineState.UNKNOWN:
        return None
    ours = life.job_id == seen.request_id
    if seen.alive:
        if ours and healthy and life.booted_at is None and life.teardown_at is None:
            return boot_complete(life, operator)
        return None
    if not ours:
        return closing_without_machine(life, node, operator)
    return closing(life, seen, node=node, operator=operator)


def boot_complete(life: Life, operator: str) -> Entry:
    """The outcome of a boot that reached a healthy engine."""
    return Entry(
        EventType.BOOT_COMPLETE,
        life.module_id,
        life.node_id,
        life.job_id,
        CompletionStatus.SUCCESS,
        operator,
    )


def closing(
    life: Life,
    seen: Observation,
    *,
    node: NodeSettings,
    operator: str,
    failure: tuple[CompletionStatus, str] | None = None,
) -> Entry:
    """The row that ends a life whose machine has stopped, from the machine's own times.

    `failure` overrides status and error code where the caller knows better why it ended
    (a boot that timed out, an interrupt, a freeze).
    """
    cause = seen.stop_cause or StopCause.UNKNOWN
    kind, status, code = EventType.TEARDOWN_COMPLETE, CompletionStatus.SUCCESS, ""
    if life.booted_at is None and life.teardown_at is None:
        status, code = CompletionStatus.ERROR, _ERRORS.get(cause, "BOOT_ABANDONED")
        if seen.started_at is None:
            code = "BOOT_ABANDONED"
        if cause is not StopCause.ORDERED and cause in _PREEMPTED:
            code, operator = _PREEMPTED[cause]
    elif cause in _PREEMPTED and not (cause is StopCause.ORDERED and life.teardown_at is not None):
        kind, status = EventType.PREEMPTION, CompletionStatus.PREEMPTED
        code, guard = _PREEMPTED[cause]
        operator = guard or operator
    elif cause in _ERRORS:
        kind, status, code = EventType.PREEMPTION, CompletionStatus.ERROR, _ERRORS[cause]
    if failure is not None and kind is EventType.TEARDOWN_COMPLETE:
        status, code = failure
    seconds = seconds_between(seen.started_at, seen.stopped_at)
    if seen.started_at is None and life.booted_at is None:
        seconds = Decimal("0.000")  # the platform never started it
    return _end(life, kind, status, code, seconds, node.prices.hourly_usd, operator)


def closing_without_machine(
    life: Life,
    node: NodeSettings,
    operator: str,
    failure: tuple[CompletionStatus, str] | None = None,
) -> Entry:
    """The row that ends a life for which the platform has no machine (any more)."""
    if life.booted_at is None and life.teardown_at is None:
        # Nothing carries this life's label, so nothing ever ran for it: a known zero.
        status, code = failure or (CompletionStatus.ERROR, "BOOT_ABANDONED")
        return _end(
            life,
            EventType.TEARDOWN_COMPLETE,
            status,
            code,
            Decimal("0.000"),
            node.prices.hourly_usd,
            operator,
        )
    kind = EventType.TEARDOWN_COMPLETE if life.teardown_at else EventType.PREEMPTION
    return _end(life, kind, CompletionStatus.ERROR, "MACHINE_GONE", None, None, operator)


def _end(
    life: Life,
    kind: EventType,
    status: CompletionStatus,
    code: str,
    seconds: Decimal | None,
    hourly_usd: Decimal | None,
    operator: str,
) -> Entry:
    return Entry(
        kind,
        life.module_id,
        life.node_id,
        life.job_id,
        status,
        operator,
        error_code=code,
        gpu_seconds=seconds,
        cost_usd=cost_of(seconds, hourly_usd),
    )


def settle_jobs(book: Book, node: str, now: datetime, lease_s: int, operator: str) -> list[Entry]:
    """Close the jobs whose lease has run out.

    A living command gives up well before its lease ends, so nobody else will book these.
    """
    return [
        Entry(
            EventType.JOB_COMPLETE,
            job.module_id,
            job.node_id,
            job.job_id,
            CompletionStatus.TIMEOUT,
            operator,
            error_code="JOB_LEASE_EXPIRED",
            input_hash=job.input_hash,
        )
        for job in book.jobs_of(node)
        if now - job.started > timedelta(seconds=lease_s)
    ]
