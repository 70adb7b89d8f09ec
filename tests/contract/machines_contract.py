"""What a driver must bring to be held against the machines port: a rig, one per driver.

A driver of its own adds one function to `RIGS`, and passes the same tests as every other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud import light_cloud
from sample_node import NODE, TOOLS

from yoyo.drivers.gce.machines import GceMachines
from yoyo.drivers.local.machines import LocalMachines
from yoyo.model.machine import MachineState, Observation
from yoyo.model.settings import NodeSettings
from yoyo.ports.machines import Machines, NeedsHandover

DEADLINE_S = 60.0  # of a wait; only a broken driver ever reaches it


@dataclass(frozen=True)
class Rig:
    """`machines` makes a driver as a new command would: nothing is remembered in memory."""

    machines: Callable[[], Machines]
    node: NodeSettings
    place: Path

    def observe(self) -> Observation:
        machines = self.machines()
        seen = machines.observe(self.node)
        if seen.awaits_handover and isinstance(machines, NeedsHandover):
            machines.hand_over(self.node)
        # How it was found out is no part of what was found out.
        guards = tuple(guard._replace(detail="") for guard in seen.guards)
        return seen._replace(health=None, steps=(), guards=guards, awaits_handover=False)

    def until(self, wanted: Callable[[Observation], bool]) -> Observation:
        """Observe until it is as wanted."""
        deadline = time.monotonic() + DEADLINE_S
        while not wanted(seen := self.observe()):
            assert time.monotonic() < deadline, seen
            time.sleep(0.01)
        return seen

    def until_state(self, state: MachineState) -> Observation:
        return self.until(lambda seen: seen.state is state)


@contextmanager
def local(tmp_path: Path) -> Iterator[Rig]:
    place = tmp_path / "state"
    try:
        yield Rig(lambda: LocalMachines(state_dir=place, tools=TOOLS), NODE, place)
    finally:
        kill_all_of(place)


def kill_all_of(place: Path) -> None:
    """Kill what names this directory in its command line: this test's own processes alone."""
    marker = os.fsencode(place) + b"/"
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if marker in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


@contextmanager
def gce(tmp_path: Path) -> Iterator[Rig]:
    """Google's API played by the lab's fake, and nodes that live in its threads."""
    place = tmp_path / "state"
    with light_cloud(tmp_path) as cloud:
        yield Rig(lambda: GceMachines(state_dir=place, tools=TOOLS), cloud.node, place)


RIGS: dict[str, Callable[[Path], AbstractContextManager[Rig]]] = {"local": local, "gce": gce}
