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
from decimal import Decimal
from pathlib import Path

from yoyo.drivers.local.machines import LocalMachines
from yoyo.drivers.system.clock import SystemClock
from yoyo.model.ids import ModuleId, NodeName
from yoyo.model.machine import MachineState, Observation
from yoyo.model.settings import (
    BudgetSettings,
    EngineSettings,
    GuardSettings,
    HardwareSettings,
    NodeSettings,
    PriceSettings,
)
from yoyo.ports.machines import Machines

DEADLINE_S = 60.0  # of a wait; only a broken driver ever reaches it


@dataclass(frozen=True)
class Rig:
    """`machines` makes a driver as a new command would: nothing is remembered in memory."""

    machines: Callable[[], Machines]
    node: NodeSettings
    place: Path

    def observe(self) -> Observation:
        return self.machines().observe(self.node)

    def until(self, wanted: Callable[[Observation], bool]) -> Observation:
        """Observe until it is as wanted."""
        deadline = time.monotonic() + DEADLINE_S
        while not wanted(seen := self.observe()):
            assert time.monotonic() < deadline, seen
            time.sleep(0.01)
        return seen

    def until_state(self, state: MachineState) -> Observation:
        return self.until(lambda seen: seen.state is state)


def settings(name: str) -> NodeSettings:
    return NodeSettings(
        name=NodeName.parse(name),
        module_id=ModuleId.parse("trial"),
        driver="local",
        engine=EngineSettings(
            model="smoke",
            server="embedded",
            ctx=4096,
            parallel=2,
            cache_type_k="f16",
            cache_type_v="f16",
            port=0,
            extra_flags=("--no-warmup",),
            api_key=None,
        ),
        guards=GuardSettings(
            idle_after_s=1800,
            sample_every_s=300,
            unreachable_after_s=900,
            boot_grace_s=600,
            boot_timeout_s=600,
            lease_s=1800,
            lifetime_s=3600,
            drain_timeout_s=60,
            stop_grace_s=10,
            job_lease_s=60,
        ),
        budget=BudgetSettings(None, None),
        prices=PriceSettings(Decimal("0.71")),
        hardware=HardwareSettings(None),
    )


@contextmanager
def local(tmp_path: Path) -> Iterator[Rig]:
    place = tmp_path / "state"
    try:
        yield Rig(
            lambda: LocalMachines(state_dir=place, clock=SystemClock()), settings("trial"), place
        )
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


RIGS: dict[str, Callable[[Path], AbstractContextManager[Rig]]] = {"local": local}
