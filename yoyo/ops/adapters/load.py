"""Adapters in a running engine: scaled, read back, booked; and what a request is to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yoyo.errors import AdapterNotLoaded
from yoyo.model.ledger import CompletionStatus, Entry, EventType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yoyo.core.lives import Life
    from yoyo.model.adapter import Loaded
    from yoyo.model.machine import Endpoint
    from yoyo.ops.context import Context

# The engine keeps scales as 32-bit floats.
_ROUNDING = 1e-6


class Applied(NamedTuple):
    """What a request is answered with."""

    scales: Mapping[int, float] | None  # None: the engine has no adapters
    names: tuple[str, ...]  # id@version of those that weigh in, in the engine's order


def load(
    ctx: Context, life: Life, endpoint: Endpoint, scales: Mapping[str, float], proof: str
) -> None:
    """Bring the engine's scales to these (by id@version; others get 0), read them back, book it.

    `proof` is the digest of the record that says who vouches for them.

    Raises:
        AdapterNotLoaded: the engine has not all of them, has others, or did not take a scale.
        EngineFailed, LedgerCorrupt, LedgerWriteFailed.
    """
    found = ctx.engine.adapters(endpoint)
    if not found and not scales:
        return
    missing = sorted(scales.keys() - {each.name for each in found})
    if missing:
        raise AdapterNotLoaded(
            f"{ctx.node.name} did not load {', '.join(missing)}.",
            why="The engine lists: " + (", ".join(each.name for each in found) or "none") + ".",
            fix=f"See `yoyo logs --node {ctx.node.name}` for what the engine says of it.",
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
            input_hash=proof,
            adapter_versions=tuple(each.name for each in found if scales.get(each.name)),
        )
    )


def dropped(ctx: Context, life: Life, endpoint: Endpoint) -> tuple[str, ...]:
    """Adapters that are booked as loaded and weigh in no more: an engine that was started anew
    by its supervisor has them all at 0.

    Raises:
        EngineFailed.
    """
    if not life.adapters:
        return ()
    used = {each.name for each in ctx.engine.adapters(endpoint) if each.scale != 0.0}
    return tuple(name for name in life.adapters if name not in used)


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
    in_use = {each.name for each in found if wanted is not None or each.scale != 0.0}
    _refuse_lost(ctx, set(life.adapters if wanted is None else wanted) - in_use)
    if not found:
        return Applied(None, ())
    _refuse_strangers(ctx, life, found)
    scales = {
        each.number: each.scale if wanted is None else wanted.get(each.name, 0.0) for each in found
    }
    return Applied(scales, tuple(each.name for each in found if scales[each.number] != 0.0))


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
