"""`yoyo logs`: the engine's own lines."""

from __future__ import annotations

from collections.abc import Iterator

from yoyo.errors import DriverUnavailable
from yoyo.ops.context import Context
from yoyo.ports.machines import HasLogs


def logs(ctx: Context, *, lines: int, follow: bool) -> Iterator[str]:
    """The last `lines` lines; with `follow` also the new ones until the machine stops.

    Raises:
        DriverUnavailable: this driver cannot show logs.
    """
    if not isinstance(ctx.machines, HasLogs):
        raise DriverUnavailable(
            f"The driver {ctx.node.driver} cannot show logs.",
            fix="Look at the platform's own console.",
        )
    return ctx.machines.logs(ctx.node, lines=lines, follow=follow)
