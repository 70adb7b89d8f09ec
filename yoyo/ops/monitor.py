"""`yoyo monitor run`: one look, one decision, and a stop only on proven idleness."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from yoyo.core.idle import Decision, Verdict, busy_reasons, decide
from yoyo.core.lives import Book, Life
from yoyo.errors import NodeBusy
from yoyo.model.engine import Health
from yoyo.model.machine import MachineState, Observation
from yoyo.model.samples import Sample
from yoyo.model.status import NodeState
from yoyo.ops.context import Context
from yoyo.ops.down import down, drain
from yoyo.ops.settle import is_healthy, settle_if_free

_KEEP_FACTOR = 3  # samples are kept for this many times the longest period a rule looks back
GUARD_OPERATOR = "guard:monitor"


class MonitorResult(NamedTuple):
    """What the monitor saw, decided and did."""

    node_id: str
    verdict: str  # a Verdict, or "no-node" when nothing runs
    reasons: tuple[str, ...]
    fires_at: datetime | None
    stopped: bool
    sample: Sample | None
    notes: tuple[str, ...]


def monitor_once(ctx: Context) -> MonitorResult:
    """Take one sample, decide, and stop the node when the rules say so.

    Before a stop it drains and looks once more; work that shows up then cancels the stop.
    The dead-man's lease is renewed: a monitor that runs is a controller that lives.

    Raises:
        StopFailed, StateUnwritable, LedgerCorrupt, LedgerWriteFailed.
    """
    seen = ctx.machines.observe(ctx.node)
    book, notes = settle_if_free(ctx, seen, healthy=is_healthy(ctx, seen))
    life = book.current(ctx.node.name)
    if life is None or life.booted_at is None or seen.state is not MachineState.RUNNING:
        reason = f"nothing to watch: the machine is {seen.state}"
        return MonitorResult(ctx.node.name, "no-node", (reason,), None, False, None, tuple(notes))
    sample = take_sample(ctx, life, seen, book)
    _remember(ctx, sample)
    decision = _decide(ctx, life)
    stopped = False
    if decision.stop:
        decision, stopped = _stop(ctx, life, seen, decision)
    else:
        ctx.machines.renew_lease(ctx.node)
    return MonitorResult(
        ctx.node.name,
        str(decision.verdict),
        decision.reasons,
        decision.fires_at,
        stopped,
        sample,
        tuple(notes),
    )


def take_sample(ctx: Context, life: Life, seen: Observation, book: Book) -> Sample:
    """Read every signal of idleness there is; what fails is None, and so not idle.

    `book` is the ledger as just read: it says which jobs are open.
    """
    now = ctx.clock.now()
    jobs = len(book.jobs_of(ctx.node.name))
    if seen.endpoint is None:
        return Sample(now, life.job_id, False, None, None, None, None, jobs, "no endpoint known")
    health = ctx.engine.health(seen.endpoint)
    if health is Health.UNREACHABLE:
        return Sample(now, life.job_id, False, None, None, None, None, jobs, "no answer")
    load = ctx.engine.load(seen.endpoint)
    return Sample(
        at=now,
        boot=life.job_id,
        reachable=True,
        processing=load.processing,
        deferred=load.deferred,
        slots_busy=load.slots.busy if load.slots else None,
        tokens_total=load.tokens_total,
        open_jobs=jobs,
        error=load.error,
    )


def _remember(ctx: Context, sample: Sample) -> None:
    guards = ctx.node.guards
    longest = max(guards.idle_after_s, guards.unreachable_after_s, guards.sample_every_s)
    ctx.samples.add(
        ctx.node.name, sample, keep_after=sample.at - timedelta(seconds=longest * _KEEP_FACTOR)
    )


def _decide(ctx: Context, life: Life) -> Decision:
    return decide(
        ctx.samples.load(ctx.node.name),
        ctx.node.guards,
        boot=life.job_id,
        booted_at=life.booted_at or life.started,
        now=ctx.clock.now(),
    )


def _stop(ctx: Context, life: Life, seen: Observation, decision: Decision) -> tuple[Decision, bool]:
    """Drain, look once more, stop. Anything that shows up in between cancels it."""
    if decision.verdict is Verdict.STOP_IDLE:
        try:
            drain(ctx, seen)
        except NodeBusy as busy:
            return Decision(Verdict.BUSY, (busy.what,)), False
        again = take_sample(ctx, life, seen, ctx.book())
        reasons = busy_reasons(again)
        _remember(ctx, again)
        if reasons or not _decide(ctx, life).stop:
            return Decision(Verdict.BUSY, ("re-check before the stop: ", *reasons)), False
    try:
        result = down(ctx, now=True, operator=GUARD_OPERATOR)
    except NodeBusy as busy:
        return Decision(Verdict.BUSY, (busy.what,)), False
    return decision, result.state in (NodeState.STOPPED, NodeState.ABSENT)
