"""Optional abilities of a driver whose machines are reached over a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from yoyo.model.machine import Endpoint, Leftover
from yoyo.model.settings import NodeSettings


@runtime_checkable
class HasShell(Protocol):
    """Commands on the machine, over SSH with a host key that the machine published."""

    def ssh_command(self, node: NodeSettings) -> list[str]:
        """The argv of an interactive login; nothing secret is in it.

        Raises:
            NodeNotReady: no running machine, or it has published no host key.
            SshFailed: there is no OpenSSH client here.
        """
        ...

    def execute(
        self, node: NodeSettings, command: tuple[str, ...], output: Callable[[int, bytes], None]
    ) -> int:
        """Run a command; `output` gets (1 or 2, bytes) as they come. Its exit status.

        Raises:
            NodeNotReady, SshFailed.
        """
        ...

    def remote_log(
        self, node: NodeSettings, source: str, *, lines: int, follow: bool
    ) -> Iterator[str]:
        """A log of the machine: `boot` (its console and bootstrap) or `engine`.

        Raises:
            NodeNotReady, SshFailed, CloudDenied, CloudUnavailable.
        """
        ...


@runtime_checkable
class HasTunnel(Protocol):
    """A way to the engine that no firewall rule opens."""

    def open_tunnel(self, node: NodeSettings, local_port: int) -> Endpoint:
        """Listen on loopback (0: a free port) and carry to the engine, until the process ends.

        Raises:
            NodeNotReady, SshFailed, PortTaken.
        """
        ...


@runtime_checkable
class RotatesKeys(Protocol):
    """The bearer key of a running machine can be changed."""

    def rotate_key(self, node: NodeSettings, timeout_s: float) -> None:
        """Make a new key, hand it over, and wait until the machine uses it.

        Raises:
            NodeNotReady, CloudDenied, CloudUnavailable, StateUnwritable.
        """
        ...


@runtime_checkable
class HasBootstrap(Protocol):
    """The machine sets itself up with a script."""

    def bootstrap_script(self, node: NodeSettings) -> str:
        """The script as the machine will get it. Pure, but for the templates."""
        ...


@runtime_checkable
class Bakes(Protocol):
    """An image can be made of a machine that is set up."""

    def bake(self, node: NodeSettings, name: str) -> str:
        """Make an image of the stopped machine's disk; its path for the configuration.

        Raises:
            NodeNotReady: the machine is not stopped, or there is none.
            CloudDenied, CloudUnavailable, CloudRefused.
        """
        ...


@runtime_checkable
class HasSweep(Protocol):
    """What yoyo made and nobody needs any more can be found and removed."""

    def leftovers(
        self, node: NodeSettings, live: frozenset[str], known: frozenset[str]
    ) -> list[Leftover]:
        """Everything in the node's project that carries our labels or names and is no part of
        a life in `live`. `known` are the node names of the configuration.

        Raises:
            CloudDenied, CloudUnavailable: then nothing is known, and nothing is returned.
        """
        ...

    def remove(self, node: NodeSettings, leftover: Leftover) -> None:
        """Remove one. It is gone already: silent.

        Raises:
            CloudDenied, CloudUnavailable, CloudRefused.
        """
        ...
