"""A node that has to be up for what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yoyo.errors import NodeNotReady
from yoyo.model.machine import MachineState

if TYPE_CHECKING:
    from yoyo.core.lives import Life
    from yoyo.model.machine import Endpoint, Observation
    from yoyo.ops.context import Context


class Running(NamedTuple):
    """A node that runs, as it was seen just now."""

    life: Life
    seen: Observation
    endpoint: Endpoint


def running(ctx: Context) -> Running:
    """The node, where it runs and the ledger knows it.

    Raises:
        NodeNotReady.
    """
    seen = ctx.machines.observe(ctx.node)
    life = ctx.book().current(ctx.node.name)
    if seen.state is not MachineState.RUNNING or seen.endpoint is None or life is None:
        raise NodeNotReady(
            f"Node {ctx.node.name} is not up.",
            why=f"The machine is {seen.state}.",
            fix=f"Start it with `yoyo up --node {ctx.node.name}`.",
        )
    return Running(life, seen, seen.endpoint)
