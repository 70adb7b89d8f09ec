"""Commands on a node that is reached over a network: shell, tunnel, key, bootstrap, image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from yoyo.errors import NodeNotReady, NotSupported
from yoyo.model.machine import Endpoint, MachineState
from yoyo.ops.context import Context
from yoyo.ops.lease import renew_if_due
from yoyo.ops.locking import node_lock
from yoyo.ports.remote import Bakes, HasBootstrap, HasShell, HasTunnel, RotatesKeys

_LOCK_WAIT_S = 30.0
_ROTATION_S = 120.0

Ability = TypeVar("Ability")


def _able(ctx: Context, ability: type[Ability], what: str) -> Ability:
    machines = ctx.machines
    if not isinstance(machines, ability):
        raise NotSupported(
            f"Node {ctx.node.name} {what}.",
            why=f"The driver {ctx.node.driver} cannot do this.",
            fix="Name a node of another driver with --node.",
        )
    return machines


def ssh_command(ctx: Context) -> list[str]:
    """The argv of an interactive login.

    Raises:
        NotSupported, NodeNotReady, SshFailed.
    """
    shell: HasShell = _able(ctx, HasShell, "has no shell of its own")  # type: ignore[type-abstract]
    return shell.ssh_command(ctx.node)


def execute(ctx: Context, command: tuple[str, ...], output: Callable[[int, bytes], None]) -> int:
    """Run a command on the node; its exit status. The lease is renewed: somebody is at work.

    Raises:
        NotSupported, NodeNotReady, SshFailed.
    """
    shell: HasShell = _able(ctx, HasShell, "has no shell of its own")  # type: ignore[type-abstract]
    renew_if_due(ctx, ctx.machines.observe(ctx.node))
    return shell.execute(ctx.node, command, output)


def open_tunnel(ctx: Context, local_port: int) -> Endpoint:
    """Carry a port of loopback to the engine until the process ends.

    Raises:
        NotSupported, NodeNotReady, SshFailed, PortTaken.
    """
    tunnel: HasTunnel = _able(ctx, HasTunnel, "needs no tunnel")  # type: ignore[type-abstract]
    return tunnel.open_tunnel(ctx.node, local_port)


def rotate_key(ctx: Context) -> None:
    """Give the running node a new bearer key; the old one is refused from then on.

    Raises:
        NotSupported, NodeBusy, NodeNotReady, CloudDenied, CloudUnavailable, StateUnwritable.
    """
    machines: RotatesKeys = _able(ctx, RotatesKeys, "gets a new key at each start")  # type: ignore[type-abstract]
    if ctx.node.engine.api_key is not None:
        raise NotSupported(
            f"The key of {ctx.node.name} is set by the configuration.",
            why="`engine.api_key` is given, and yoyo would go on using it.",
            fix="Change it there and restart the node, or remove it and let yoyo make the keys.",
        )
    with node_lock(ctx, "key rotate", wait_s=_LOCK_WAIT_S):
        ctx.progress.phase("rotating", "a new key, sealed for the node")
        machines.rotate_key(ctx.node, _ROTATION_S)


def bootstrap_script(ctx: Context) -> str:
    """The script that the node would set itself up with.

    Raises:
        NotSupported, ConfigInvalid, and what `prepared` raises for a node with adapters.
    """
    machines: HasBootstrap = _able(ctx, HasBootstrap, "has no startup script")  # type: ignore[type-abstract]
    if ctx.node.takes_from_store:
        from yoyo.ops.provide import provided

        ctx = provided(ctx)
    if ctx.on_adapters is not None:
        from yoyo.ops.adapters.shelve import described
        from yoyo.ops.adapters.stack import prepared

        ctx = described(prepared(ctx)[0])
    return machines.bootstrap_script(ctx.node)


def image_name(ctx: Context) -> str:
    """A name for an image that says of what and when (UTC): `yoyo-l4-20261121-101500`."""
    return f"yoyo-{ctx.node.name}-{ctx.clock.now():%Y%m%d-%H%M%S}"


def bake(ctx: Context, name: str) -> str:
    """Make an image of the stopped node's disk; its path for `gce.image`.

    Raises:
        NotSupported, NodeBusy, NodeNotReady, CloudDenied, CloudUnavailable, CloudRefused.
    """
    machines: Bakes = _able(ctx, Bakes, "cannot be baked into an image")  # type: ignore[type-abstract]
    with node_lock(ctx, "bake", wait_s=_LOCK_WAIT_S):
        seen = ctx.machines.observe(ctx.node)
        if seen.state is not MachineState.STOPPED:
            raise NodeNotReady(
                f"Node {ctx.node.name} is {seen.state}, not stopped.",
                why="The disk of a running machine changes while it is copied.",
                fix="Run `yoyo up` until it is ready, `yoyo down` without --delete, then this.",
            )
        life = ctx.book().last(ctx.node.name)
        if life is None or life.booted_at is None or life.job_id != seen.request_id:
            raise NodeNotReady(
                f"Node {ctx.node.name} has not been ready in its last life.",
                why="An image of a node that is half set up would be found out at its first boot.",
                fix="Run `yoyo up` until it is ready, then `yoyo down`, then this.",
            )
        ctx.progress.phase("baking", f"image {name}, some minutes")
        return machines.bake(ctx.node, name)
