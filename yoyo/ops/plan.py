"""`yoyo plan` and `yoyo up --dry-run`: what a start would do, cost and reach."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from yoyo.core.fit import Fit
from yoyo.core.roofline import Roofline, roofline
from yoyo.core.state import node_state
from yoyo.errors import YoyoError
from yoyo.model.adapter import Chosen
from yoyo.model.freeze import Freeze
from yoyo.model.machine import MachinePlan, MachineState
from yoyo.model.settings import Provided
from yoyo.model.status import NodeState
from yoyo.model.store import WEIGHTS
from yoyo.ops.context import Context
from yoyo.ops.may_start import Outlook, lacks_registry_file, outlook
from yoyo.ops.provide import provided
from yoyo.ops.settle import GONE, is_healthy
from yoyo.ops.suits import bandwidth_of, fit_of


class PlanResult(NamedTuple):
    """A start, described. Made without changing anything."""

    node_id: str
    module_id: str
    driver: str
    state: NodeState
    actions: tuple[str, ...]
    machine: MachinePlan | None  # None: nothing would be created
    caps: tuple[tuple[str, int], ...]
    hourly_usd: Decimal | None
    outlook: Outlook
    roofline: Roofline | None
    frozen: Freeze | None
    fit: Fit | None = None  # None: no model, or the node's memory is unknown
    taken: tuple[Provided, ...] = ()  # from the store: weights, engine bundle
    adapters: tuple[Chosen, ...] = ()  # selected; `up` verifies them
    left_out: tuple[str, ...] = ()  # adapters that are promoted and not selected, and why


def plan(ctx: Context) -> PlanResult:
    """Compare what is with what `up` would make. Changes nothing, books nothing.

    Raises:
        ModelInvalid, EngineUnavailable, PortTaken: `up` would fail for the same reason.
    """
    seen = ctx.machines.observe(ctx.node)
    if seen.state in GONE:
        ctx = provided(ctx)
    book = ctx.book()
    life = book.current(ctx.node.name)
    healthy = is_healthy(ctx, seen)
    state, _ = node_state(book.last(ctx.node.name), seen, healthy=healthy)
    machine = ctx.machines.plan(ctx.node) if seen.state in GONE else None
    adapters, left_out = _adapters(ctx) if machine is not None else ((), ())
    forecast = outlook(ctx, book)
    frozen = ctx.killswitch.state()
    if machine is None and life is not None and life.teardown_at is None:
        actions = ["nothing: the node is up" if life.booted_at else "wait for the boot under way"]
        actions += _swaps(ctx)
    elif seen.state is MachineState.UNKNOWN:
        actions = ["nothing: the machine's state is unknown"]
    else:
        actions = [] if machine is not None else ["finish the teardown that was cut short"]
        if life is not None:
            actions.append(f"book the end of {life.job_id}")
        actions += [f"verify and fetch {each.registered.adapter.name}" for each in adapters]
        actions += [
            "book BOOT_REQUEST",
            f"create the machine on driver {ctx.node.driver}",
            "wait for a healthy engine, read back the guards, look at the kill switch again",
            "book BOOT_COMPLETE",
        ]
    if frozen is not None:
        actions = [f"refuse: frozen by {frozen.operator}: {frozen.reason}"]
    elif forecast.refusal is not None and life is None:
        actions = [f"refuse: {forecast.refusal}"]
    elif book.has_promoted and lacks_registry_file(ctx):
        actions = ["refuse: there is no registry file of adapters"]
    if machine is not None and machine.model is None:
        machine = _with_header(ctx, machine)
    facts = machine.model if machine is not None else None
    return PlanResult(
        node_id=ctx.node.name,
        module_id=ctx.node.module_id,
        driver=ctx.node.driver,
        state=state,
        actions=tuple(actions),
        machine=machine,
        caps=ctx.machines.caps(ctx.node),
        hourly_usd=ctx.node.prices.hourly_usd,
        outlook=forecast,
        roofline=roofline(facts, ctx.node.engine, bandwidth_of(ctx.node)) if facts else None,
        frozen=frozen,
        fit=fit_of(facts, ctx.node) if facts else None,
        taken=ctx.node.taken,
        adapters=adapters,
        left_out=left_out,
    )


def _adapters(ctx: Context) -> tuple[tuple[Chosen, ...], tuple[str, ...]]:
    if ctx.on_adapters is None:
        return (), ()
    from yoyo.ops.adapters.stack import selected, unfit

    selection = selected(ctx)
    return selection.stack, tuple(unfit(ctx, selection))


def _swaps(ctx: Context) -> list[str]:
    """What the configuration asks for and the node that is up was not started with."""
    if not ctx.node.takes_from_store:
        return []
    from yoyo.ops.weights_verify import used

    node = provided(ctx).node
    running = [use for use in used(ctx.on_store()) if use.node == node.name]
    held = {digest for use in running for digest in use.artefacts}
    return [
        f"to swap to {each.name}: `yoyo down`, then `yoyo up`, which fetches "
        f"{sum(size for _, size, digest in each.files if digest not in held) / 1e9:.1f} GB"
        for each in node.taken
        if not any(each.manifest in use.manifests for use in running)
    ]


def _with_header(ctx: Context, machine: MachinePlan) -> MachinePlan:
    """The plan with what the model's header says, read by range from its address."""
    from yoyo.ops.model_header import look_at

    node = ctx.node
    if "://" not in node.engine.model:
        return machine
    try:
        sources = ctx.on_store().sources
        found = sources.resolve(
            node.engine.model, sha256=node.weights.sha256, mirrors=node.weights.mirrors
        )
        return machine._replace(model=look_at(sources, WEIGHTS, found.files).model)
    except YoyoError as error:
        note = f"the model's header could not be read: {error.what} {error.why}"
        return machine._replace(notes=(*machine.notes, note))
