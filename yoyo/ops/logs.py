"""`yoyo logs`: the engine's own lines, or those of the machine's boot."""

from __future__ import annotations

from collections.abc import Iterator

from yoyo.errors import NotSupported
from yoyo.ops.context import Context
from yoyo.ports.machines import HasLogs
from yoyo.ports.remote import HasShell


def logs(ctx: Context, *, lines: int, follow: bool, boot: bool = False) -> Iterator[str]:
    """The last `lines` lines; with `follow` also the new ones until the machine stops.

    Raises:
        NotSupported: this driver has no such log.
        NodeNotReady, SshFailed, CloudDenied, CloudUnavailable: of a remote machine.
    """
    if isinstance(ctx.machines, HasShell):
        source = "boot" if boot else "engine"
        return ctx.machines.remote_log(ctx.node, source, lines=lines, follow=follow)
    if boot or not isinstance(ctx.machines, HasLogs):
        raise NotSupported(
            f"The driver {ctx.node.driver} has no such log.",
            why="Its machines have no boot of their own." if boot else "",
            fix="Run `yoyo logs` without --boot.",
        )
    return ctx.machines.logs(ctx.node, lines=lines, follow=follow)
