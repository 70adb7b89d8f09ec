"""Adapters in a running engine: scaled, read back, booked; and what a request is to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yoyo.errors import AdapterNotLoaded
from yoyo.model.adapter import Stage
from yoyo.model.ledger import CompletionStatus, Entry, EventType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yoyo.core.lives import Life
    from yoyo.model.adapter import Loaded
    from yoyo.model.machine import Endpoint
    from yoyo.ops.adapters.stack import Stack
    from yoyo.ops.context import Context

# The engine keeps scales as 32-bit floats.
_ROUNDING = 1e-6


class Applied(NamedTuple):
    """What a request is answered with."""

    scales: Mapping[int, float] | None  # None: the engine has no adapters
    names: tuple[str, ...]  # id@version of those that weigh in, in the engine's order


def not_loaded(ctx: Context, found: tuple[Loaded, ...]) -> list[str]:
    """Of the adapters that the node is to have, those that its engine has not: by name, and by
    the directory, which stands for the bytes.

    `ctx` is what `prepared` gave, for a node at a distance after `described` or `shelved`.
    """
    node, there = ctx.node, {each.name: each.directory for each in found}
    at_a_distance = {each.name: each.manifest for each in node.adapters_from_store}
    return [
        lora.name
        for lora in node.loras
        if there.get(lora.name) != at_a_distance.get(lora.name, lora.sha256[:16])
    ]


def load(ctx: Context, life: Life, endpoint: Endpoint, stack: Stack) -> None:
    """Bring the engine's scales to the stack's (others get 0), read them back, book it.

    `ctx` as for `not_loaded`.

    Raises:
        AdapterNotLoaded: the engine has not all of them, has other bytes under their names, or
            did not take a scale.
        EngineFailed, LedgerCorrupt, LedgerWriteFailed.
    """
    found, scales = ctx.engine.adapters(endpoint), stack.scales
    if not found and not scales:
        return
    missing = not_loaded(ctx, found)
    if missing:
        raise AdapterNotLoaded(
            f"{ctx.node.name} has not loaded {', '.join(missing)}.",
            why="Its engine lists: "
            + (", ".join(each.name for each in found) or "none")
            + ", with the bytes that it was started with.",
            fix=f"Start it anew: `yoyo adapters activate --restart --node {ctx.node.name}`; "
            "`yoyo logs` has what the engine says.",
        )
    ctx.engine.rescale(endpoint, {each.number: scales.get(each.name, 0.0) for each in found})
    off = [
        each.name
        for each in ctx.engine.adapters(endpoint)
        if abs(each.scale - scales.get(each.name, 0.0)) > _ROUNDING
    ]
    if off:
        raise AdapterNotLoaded(
            f"{ctx.node.name} did not take the scale of {', '.join(off)}.",
            why="The engine lists another one than it was given.",
            fix="Run the command again; if it stays so, `yoyo down` and `yoyo up`.",
        )
    ctx.ledger.append(
        Entry(
            EventType.ADAPTER_LOAD,
            ctx.node.module_id,
            ctx.node.name,
            life.job_id,
            CompletionStatus.SUCCESS,
            ctx.operator,
            input_hash=stack.proof,
            adapter_versions=tuple(each.name for each in found if scales.get(each.name)),
        )
    )


def differs(life: Life, found: tuple[Loaded, ...]) -> bool:
    """Whether an engine uses other adapters than were booked: nobody waited for its boot, it was
    started anew by itself (all scales are 0 then), or somebody set them."""
    if not found:
        return False
    used = {each.name for each in found if each.scale != 0.0}
    return life.proof is None or used != set(life.adapters)


def applied(
    ctx: Context, life: Life, endpoint: Endpoint, wanted: Mapping[str, float] | None
) -> Applied:
    """The scales for one request: `wanted` by id@version, or what the engine is set to.

    Raises:
        AdapterNotLoaded: the engine has an adapter that the ledger knows nothing of, or does not
            use one that it was set to.
        EngineFailed.
    """
    found = ctx.engine.adapters(endpoint)
    _refuse_rejected(ctx, life)
    in_use = {each.name for each in found if wanted is not None or each.scale != 0.0}
    _refuse_lost(ctx, set(life.adapters if wanted is None else wanted) - in_use)
    if not found:
        return Applied(None, ())
    _refuse_strangers(ctx, life, found)
    scales = {
        each.number: each.scale if wanted is None else wanted.get(each.name, 0.0) for each in found
    }
    return Applied(scales, tuple(each.name for each in found if scales[each.number] != 0.0))


def withdrawn(ctx: Context, life: Life) -> list[tuple[str, Stage]]:
    """Adapters in use that were retired or rejected since they were loaded."""
    if ctx.on_adapters is None or not life.adapters:
        return []
    book = ctx.on_adapters().book.read()
    found = ((name, book.find(name)) for name in life.adapters)
    return [
        (name, entry.stage)
        for name, entry in found
        if entry is not None and entry.stage in (Stage.RETIRED, Stage.REJECTED)
    ]


def _refuse_rejected(ctx: Context, life: Life) -> None:
    bad = [name for name, stage in withdrawn(ctx, life) if stage is Stage.REJECTED]
    if bad:
        raise AdapterNotLoaded(
            f"{', '.join(bad)} was rejected since {ctx.node.name} loaded it.",
            why="What is rejected answers nobody.",
            fix=f"Run `yoyo adapters activate --node {ctx.node.name}`: the node goes on without.",
        )


def _refuse_strangers(ctx: Context, life: Life, found: tuple[Loaded, ...]) -> None:
    """What weighs in has to be what the ledger says was loaded."""
    strangers = [e.name for e in found if e.name not in life.adapters and e.scale != 0.0]
    if strangers:
        raise AdapterNotLoaded(
            f"The engine of {ctx.node.name} uses adapters that the ledger does not know.",
            why=f"It uses {', '.join(strangers)}; booked are {', '.join(life.adapters) or 'none'}.",
            fix=f"Restart it with what is registered: `yoyo down --node {ctx.node.name}`, "
            "`yoyo up`; and find out who set them.",
        )


def _refuse_lost(ctx: Context, lost: set[str]) -> None:
    """An engine that was started anew by itself has its adapters, and uses none of them."""
    if lost:
        raise AdapterNotLoaded(
            f"The engine of {ctx.node.name} does not use {', '.join(sorted(lost))} any more.",
            why="It was set to, and booked; an engine that was started anew uses no adapter.",
            fix=f"Run `yoyo adapters activate --node {ctx.node.name}`, which verifies them again.",
        )
