"""`yoyo status`: what runs, what guards it, what it costs."""

from __future__ import annotations

from yoyo.core.disk_cost import disk_spend
from yoyo.core.idle import decide, monitor_armed
from yoyo.core.lives import Book, Life
from yoyo.core.money import cost_of, day_start, month_start, seconds_between, spend
from yoyo.core.state import node_state
from yoyo.errors import LedgerCorrupt, LedgerWriteFailed, StateUnwritable, YoyoError
from yoyo.model.engine import Health, Slots
from yoyo.model.machine import Endpoint, GuardStatus, MachineState, Observation
from yoyo.model.status import CostStatus, NodeStatus
from yoyo.ops.context import Context
from yoyo.ops.lease import renew_if_due
from yoyo.ops.settle import settle_if_free
from yoyo.ports.machines import NeedsHandover


def status(ctx: Context) -> NodeStatus:
    """Observe one node. Books what is overdue (a guard's stop, a killed command's boot).

    Never fails because a part does not answer, or because a row cannot be written: whoever
    looks is told what there is, with a note.

    Raises:
        LedgerUnreadable: without the ledger there is nothing to say about lives and money.
    """
    seen = ctx.machines.observe(ctx.node)
    if isinstance(ctx.machines, NeedsHandover) and _waits(ctx, seen):
        ctx.machines.hand_over(ctx.node)
    healthy, model, slots, refusal = _engine(ctx, seen)
    try:
        book, notes = settle_if_free(ctx, seen, healthy=healthy)
    except (LedgerWriteFailed, LedgerCorrupt, StateUnwritable) as error:
        book, notes = ctx.book(), [f"NOT BOOKED: {error.what} {error.why}"]
    if healthy and ((slots is not None and slots.busy) or book.jobs_of(ctx.node.name)):
        renew_if_due(ctx, seen)
    life = book.last(ctx.node.name)
    state, since = node_state(life, seen, healthy=healthy)
    if book.bad_rows:
        notes.append(
            f"the ledger has {len(book.bad_rows)} bad row(s), first in line "
            f"{book.bad_rows[0].line}: run `yoyo ledger verify`"
        )
    notes += [f"the engine refuses this controller: {refusal}"] if refusal else []
    current = book.current(ctx.node.name)
    if healthy and current is not None and seen.endpoint is not None:
        notes += _adapters(ctx, current, seen.endpoint)
    notes += _warnings(seen, current)
    return NodeStatus(
        node_id=ctx.node.name,
        module_id=ctx.node.module_id,
        driver=ctx.node.driver,
        state=state,
        since=since,
        endpoint=seen.endpoint.url if seen.endpoint else None,
        engine_healthy=healthy,
        engine_model=model or None,
        slots=slots,
        guards=(_monitor_guard(ctx, book), *seen.guards),
        cost=_cost(ctx, book, seen),
        frozen=ctx.killswitch.state(),
        observed_at=ctx.clock.now(),
        notes=tuple(notes),
        adapters=current.adapters if current is not None else (),
    )


def _waits(ctx: Context, seen: Observation) -> bool:
    """Whether a boot of ours is under way, perhaps of an `up --no-wait` that is gone."""
    if not seen.awaits_handover:
        return False
    life = ctx.book().current(ctx.node.name)
    return life is not None and life.job_id == seen.request_id


def _engine(ctx: Context, seen: Observation) -> tuple[bool, str, Slots | None, str]:
    """Whether it is healthy, its model and slots, and why it refuses us if it does."""
    if seen.state is not MachineState.RUNNING or seen.endpoint is None:
        return False, "", None, ""
    health = seen.health or ctx.engine.health(seen.endpoint)
    if health is Health.REFUSED:
        return False, "", None, ctx.engine.load(seen.endpoint).error
    if health is not Health.OK:
        return False, "", None, ""
    model = seen.model or ctx.engine.model_name(seen.endpoint)
    return True, model, ctx.engine.slots(seen.endpoint), ""


def _adapters(ctx: Context, life: Life, endpoint: Endpoint) -> list[str]:
    """What is not as it was booked, and what should not be in use any more."""
    if not life.adapters and (ctx.on_adapters is None or life.booted_at is None):
        return []
    from yoyo.ops.adapters.load import differs, withdrawn

    try:
        wrong = differs(life, ctx.engine.adapters(endpoint))
        notes = [
            f"{name} is {stage} and still in use: see `yoyo adapters activate`"
            for name, stage in withdrawn(ctx, life)
        ]
    except YoyoError as error:
        return [f"which adapters it uses is not known: {error.why or error.what}"]
    if wrong:
        notes.append("its engine does not use the adapters that are booked: run `yoyo up`")
    return notes


def _warnings(seen: Observation, life: Life | None) -> list[str]:
    notes = []
    if seen.detail:
        notes.append(seen.detail)
    alive = seen.state in (MachineState.RUNNING, MachineState.PROVISIONING)
    if alive and (life is None or life.job_id != seen.request_id):
        notes.append("this machine is unknown to the ledger: `yoyo down --now` stops and books it")
    if seen.state is MachineState.RUNNING and not any(g.armed for g in seen.guards):
        notes.append("NO GUARD ON THE NODE IS ARMED: nothing but you will stop it")
    return notes


def _monitor_guard(ctx: Context, book: Book) -> GuardStatus:
    now = ctx.clock.now()
    life = book.current(ctx.node.name)
    samples = ctx.samples.load(ctx.node.name)
    if not monitor_armed(samples, ctx.node.guards, now):
        detail = "no recent sample: see `yoyo monitor install`"
        return GuardStatus("monitor", armed=False, fires_at=None, detail=detail)
    if life is None or life.booted_at is None:
        return GuardStatus("monitor", armed=True, fires_at=None)
    verdict = decide(samples, ctx.node.guards, boot=life.job_id, booted_at=life.booted_at, now=now)
    return GuardStatus("monitor", True, verdict.fires_at, str(verdict.verdict))


def _cost(ctx: Context, book: Book, seen: Observation) -> CostStatus:
    now, hourly = ctx.clock.now(), ctx.node.prices.hourly_usd
    lives = book.of(ctx.node.name)
    disk = book.disk_costs.get(ctx.node.name)
    current = book.current(ctx.node.name)
    since_boot = None
    if current is not None:
        since_boot = cost_of(seconds_between(seen.started_at or current.started, now), hourly)
    return CostStatus(
        hourly_usd=hourly,
        since_boot_usd=since_boot,
        today_usd=spend(lives, day_start(now), now, hourly).usd,
        month_usd=spend(lives, month_start(now), now, hourly).usd,
        disk_month_usd=disk_spend(disk, month_start(now)) if disk else None,
    )
