"""A node that is up already, or that another command started: its adapters set right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.errors import YoyoError
from yoyo.ops.adapters.load import differs, load
from yoyo.ops.adapters.shelve import described
from yoyo.ops.adapters.stack import prepared, selected, unfit
from yoyo.ops.provide import provided

if TYPE_CHECKING:
    from collections.abc import Set

    from yoyo.core.lives import Life
    from yoyo.model.machine import Endpoint
    from yoyo.ops.context import Context


def rejoin(ctx: Context, life: Life, endpoint: Endpoint) -> list[str]:
    """Bring back what the engine has loaded and does not use as booked; gives what to know of.

    What has been promoted since the node was started is not loaded, and no reason to stop it; nor
    is it one that this cannot be found out, where the engine is as it was booked.

    Raises:
        AdapterNotLoaded, EngineFailed, and what `provided` and `prepared` raise.
    """
    found = ctx.engine.adapters(endpoint)
    there = {each.name for each in found}
    if differs(life, found):
        ctx = provided(ctx)
        if life.proof is None:  # nobody waited for the boot: all that its engine has
            ready, stack = prepared(ctx, only=there)
        else:  # no more than was booked, for whichever task that was
            ready, stack = prepared(ctx, "", only=there & set(life.adapters))
        load(described(ready), life, endpoint, stack)
    if ctx.node.adapters == "none":
        return []
    try:
        return _advice(provided(ctx), there)
    except YoyoError as error:
        return [f"what is promoted for it is not known: {error.what} {error.why}".rstrip()]


def _advice(ctx: Context, there: Set[str]) -> list[str]:
    """Promoted for the node, and not in its engine."""
    selection = selected(ctx)
    notes = unfit(ctx, selection)
    names = [each.registered.adapter.name for each in selection.stack]
    later = ", ".join(name for name in names if name not in there)
    if later:
        notes.append(
            f"promoted since it was started: {later}; `yoyo adapters activate --restart` loads it"
        )
    return notes
