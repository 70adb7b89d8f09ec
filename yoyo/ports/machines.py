"""The machines port: create, observe, stop and delete nodes on one platform."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from yoyo.model.machine import MachinePlan, Observation
from yoyo.model.settings import NodeSettings
from yoyo.ports.clock import Clock
from yoyo.ports.engine import Engine
from yoyo.ports.templates import Templates


class Tools(NamedTuple):
    """What the composition root lends to every machine driver."""

    clock: Clock
    engine: Engine
    templates: Templates


class Machines(Protocol):
    """One platform. Every method may be called again after a crash at any point.

    A driver wraps foreign exceptions itself: what leaves it is a YoyoError. What it cannot
    find out is `MachineState.UNKNOWN`, never an exception and never a guess.

    A driver class is named by an entry point in the group `yoyo.machines` and is called
    as `Driver(state_dir=Path, tools=Tools)`; it keeps what it must under that directory.
    """

    def plan(self, node: NodeSettings) -> MachinePlan:
        """Check that `create` can work and list what it would make. Changes nothing.

        Raises:
            ModelInvalid, EngineUnavailable, PortTaken, DriverUnavailable.
        """
        ...

    def caps(self, node: NodeSettings) -> tuple[tuple[str, int], ...]:
        """The guards that `create` arms on the machine itself: (name, seconds). Pure."""
        ...

    def create(self, node: NodeSettings, request_id: str) -> None:
        """Bring a machine into being, labelled with `request_id`; returns when accepted.

        Idempotent: with a machine of the same `request_id` running or starting it returns
        silently. A stopped machine of another life is replaced.

        Raises:
            ForeignNode: a machine of that name with another request_id runs.
            BootFailed, EngineUnavailable, StateUnwritable.
        """
        ...

    def observe(self, node: NodeSettings) -> Observation:
        """Look. Never changes anything, never raises for a machine that is in no good state."""
        ...

    def stop(self, node: NodeSettings, request_id: str = "") -> None:
        """Ask the machine to stop, with `guards.stop_grace_s` before force; returns when asked.

        `request_id` names the life whose machine is meant; "" means whichever has the node's
        name. Stopping what is stopped or absent returns silently. A stop counts only when `observe`
        says STOPPED or ABSENT.

        Raises:
            ForeignNode: the machine that runs is not of that life, or not ours at all.
        """
        ...

    def stop_bound_s(self, node: NodeSettings) -> float:
        """Seconds after which a stop that was asked for must have happened. Pure."""
        ...

    def delete(self, node: NodeSettings) -> None:
        """Remove a stopped machine and all that was made for it. Absent: returns silently.

        Raises:
            NodeBusy: the machine still runs.
        """
        ...

    def renew_lease(self, node: NodeSettings) -> None:
        """Push the dead-man's deadline to `guards.lease_s` from now. No machine: silent."""
        ...


@runtime_checkable
class NeedsHandover(Protocol):
    """Optional: machines at a distance, which need the controller's help to become of use."""

    def hand_over(self, node: NodeSettings) -> None:
        """Give a starting machine what it waits for, if it does; called between two looks.

        Idempotent. Never raises for a machine that is not there or not ready for it.
        """
        ...

    def reconnect(self, node: NodeSettings) -> None:
        """The machine runs and its engine does not answer: mend what lies in between.

        Raises:
            FirewallDrift, CloudDenied, CloudUnavailable.
        """
        ...

    def settled_in(self, node: NodeSettings) -> None:
        """The machine is healthy: remove what was kept in case it would not become so.

        Raises:
            CloudDenied, CloudUnavailable: it stays, and costs money; `yoyo sweep` finds it.
        """
        ...


@runtime_checkable
class HasLogs(Protocol):
    """Optional: the driver can show the engine's log."""

    def logs(self, node: NodeSettings, *, lines: int, follow: bool) -> Iterator[str]:
        """The last `lines` lines, then, with `follow`, new ones until the machine has stopped."""
        ...


@runtime_checkable
class HasPrerequisites(Protocol):
    """Optional: the driver can examine what it needs on this machine."""

    def prerequisites(self, node: NodeSettings) -> list[tuple[str, bool, str, str]]:
        """(name, ok, finding, remedy) for each; remedy is "" when ok."""
        ...


@runtime_checkable
class RunsHere(Protocol):
    """Machines that are this one: they load a model from a path, and cannot fetch it."""

    def models_directory(self) -> Path:
        """Where models of the store are put for them."""
        ...
