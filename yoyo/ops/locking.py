"""Taking a node's lock, and saying whom one waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from yoyo.errors import NodeBusy

if TYPE_CHECKING:
    from yoyo.ops.context import Context


@contextmanager
def node_lock(
    ctx: Context,
    command: str,
    *,
    wait_s: float,
    operator: str = "",
    when_busy: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold the node's lock. `when_busy` runs once if somebody else has it, before waiting.

    Raises:
        NodeBusy: still held after `wait_s` seconds.
        StateUnwritable.
    """
    who = operator or ctx.operator
    with ExitStack() as stack:
        try:
            stack.enter_context(
                ctx.locks.hold(ctx.node.name, operator=who, command=command, wait_s=0)
            )
        except NodeBusy as busy:
            ctx.progress.phase("waiting", f"{busy.what} {busy.why}")
            when_busy()
            stack.enter_context(
                ctx.locks.hold(ctx.node.name, operator=who, command=command, wait_s=wait_s)
            )
        yield
