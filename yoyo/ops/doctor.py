"""`yoyo doctor`: every prerequisite examined, each failure with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from yoyo.core.idle import monitor_armed
from yoyo.errors import YoyoError
from yoyo.model.ledger import BadRow
from yoyo.model.machine import MachineState
from yoyo.model.settings import NodeSettings
from yoyo.ops.context import Context
from yoyo.ops.may_start import outlook, refuse_frozen
from yoyo.ops.settle import is_healthy
from yoyo.ports.machines import HasPrerequisites

# Beyond this much before the newest row, the clock is taken for wrong rather than imprecise.
_CLOCK_SLACK = timedelta(seconds=5)


class Check(NamedTuple):
    """One prerequisite. `level` is ok, warn (works, but look at it) or fail."""

    name: str
    level: str
    finding: str
    remedy: str = ""


def doctor(ctx: Context) -> list[Check]:
    """Examine one node's prerequisites. Changes nothing and never raises."""
    checks: list[Check] = []
    if isinstance(ctx.machines, HasPrerequisites):
        for name, ok, finding, remedy in ctx.machines.prerequisites(_looked_up(ctx)):
            checks.append(Check(name, "ok" if ok else "fail", finding, remedy))
    examined: tuple[tuple[str, Callable[[Context], Check]], ...] = (
        ("store", _store),
        ("adapters", _adapters),
        ("start", _start),
        ("kill switch", _kill_switch),
        ("ledger", _ledger),
        ("clock", _clock),
        ("budget", _budget),
        ("price", _price),
        ("guards", _guards),
        ("monitor", _monitor),
    )
    for name, examine in examined:
        try:
            checks.append(examine(ctx))
        except YoyoError as error:
            finding = f"{error.what} {error.why}".strip()
            checks.append(Check(name, "fail", finding, error.fix))
    return checks


def _start(ctx: Context) -> Check:
    seen = ctx.machines.observe(ctx.node)
    if seen.state is MachineState.RUNNING:
        if is_healthy(ctx, seen):
            return Check("start", "ok", "the node is up and its engine is healthy")
        return Check("start", "fail", "the node runs, its engine does not answer", "yoyo logs")
    plan = ctx.machines.plan(_resolved(ctx).node)
    model = plan.model
    return Check("start", "ok", f"`up` can start {model.name if model else 'the engine'}")


def _resolved(ctx: Context) -> Context:
    if not ctx.node.takes_from_store:
        return ctx
    from yoyo.ops.provide import provided

    return provided(ctx)


def _looked_up(ctx: Context) -> NodeSettings:
    try:
        return _resolved(ctx).node
    except YoyoError:
        return ctx.node  # the check `store` says why


def _store(ctx: Context) -> Check:
    if not ctx.node.takes_from_store:
        return Check("store", "ok", "the node takes nothing from it")
    node = _resolved(ctx).node
    if not node.taken:
        return Check("store", "warn", "no engine bundle matches: the node would build its engine",
                     "yoyo engine build, then yoyo engine publish")  # fmt: skip
    return Check("store", "ok", f"it has {' and '.join(each.name for each in node.taken)}")


def _adapters(ctx: Context) -> Check:
    if ctx.on_adapters is None or ctx.node.adapters == "none":
        return Check("adapters", "ok", "the node runs without any")
    from yoyo.core.adapters.trust import mistakes
    from yoyo.ops.adapters.stack import selected, unfit

    selection = selected(_resolved(ctx))
    left_out, stack = unfit(ctx, selection), selection.stack
    if left_out:
        return Check("adapters", "warn", "; ".join(left_out), "yoyo adapters select --explain")
    if not stack:
        return Check("adapters", "ok", "none is promoted for it")
    names = ", ".join(each.registered.adapter.name for each in stack)
    found = mistakes(ctx.on_adapters().trust())
    if found:
        return Check("adapters", "fail", f"{names} would be refused: {'; '.join(found)}",
                     "say whose signatures count: `trust` in yoyo.yaml")  # fmt: skip
    return Check("adapters", "ok", f"`up` verifies and loads {names}")


def _kill_switch(ctx: Context) -> Check:
    refuse_frozen(ctx)
    return Check("kill switch", "ok", "not frozen")


def _ledger(ctx: Context) -> Check:
    report = ctx.ledger.verify()
    if not report.ok:
        first = report.problems[0]
        return Check(
            "ledger",
            "fail",
            f"{report.problem_count} problem(s), first in line {first.line}: {first.reason}",
            "yoyo ledger verify",
        )
    if report.torn_tail_bytes:
        finding = f"{report.torn_tail_bytes} torn byte(s) at the end, never acknowledged"
        return Check("ledger", "warn", finding, "the next command that writes recovers them")
    return Check("ledger", "ok", f"{report.rows} row(s), chain intact")


def _clock(ctx: Context) -> Check:
    newest = [row for row in ctx.ledger.tail(1) if not isinstance(row, BadRow)]
    now = ctx.clock.now()
    if newest and newest[0].timestamp > now + _CLOCK_SLACK:
        return Check(
            "clock",
            "fail",
            f"this machine's clock ({now:%Y-%m-%d %H:%M:%S}Z) is behind the ledger's newest row "
            f"({newest[0].timestamp:%Y-%m-%d %H:%M:%S}Z)",
            "set the clock (NTP); times and costs booked now would be wrong",
        )
    return Check("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S}Z, not before the newest row")


def _budget(ctx: Context) -> Check:
    budget = ctx.node.budget
    if budget.day_usd is None and budget.month_usd is None:
        return Check("budget", "warn", "no cap configured", "set budget.day_usd and month_usd")
    refusal = outlook(ctx, ctx.book()).refusal
    if refusal is not None:
        return Check("budget", "fail", refusal, "raise the cap, shorten guards.lifetime, or wait")
    return Check("budget", "ok", "one more boot fits")


def _price(ctx: Context) -> Check:
    hourly = ctx.node.prices.hourly_usd
    if hourly is None:
        return Check(
            "price", "warn", "unknown: costs are booked as unknown", "set prices.hourly_usd"
        )
    table = ctx.node.prices.version
    by = f"price table {table}, since {ctx.node.prices.valid_from}" if table else "as configured"
    return Check("price", "ok", f"{hourly} USD an hour, {by}")


def _guards(ctx: Context) -> Check:
    seen = ctx.machines.observe(ctx.node)
    if seen.state is not MachineState.RUNNING:
        names = ", ".join(name for name, _ in ctx.machines.caps(ctx.node))
        return Check("guards", "ok", f"`up` arms {names}")
    missing = [
        name
        for name, _ in ctx.machines.caps(ctx.node)
        if not any(guard.name == name and guard.armed for guard in seen.guards)
    ]
    if missing:
        return Check("guards", "fail", f"not armed: {', '.join(missing)}", "yoyo down, yoyo up")
    return Check("guards", "ok", "all guards on the node are armed")


def _monitor(ctx: Context) -> Check:
    if monitor_armed(ctx.samples.load(ctx.node.name), ctx.node.guards, ctx.clock.now()):
        return Check("monitor", "ok", "it has sampled this node lately")
    return Check(
        "monitor",
        "warn",
        "no recent sample: nothing watches for idleness",
        f"yoyo monitor install --systemd --node {ctx.node.name}",
    )
