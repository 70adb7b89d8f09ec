"""A local node for tests of its driver, and the certainty that nothing of it stays."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sample_node import ENGINE, GUARDS, NODE, TOOLS

import yoyo
from yoyo.drivers.local.machines import LocalMachines
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint, MachineState, Observation

LIFE = "0197f0c0-0000-7000-8000-000000000001"
DEADLINE_S = 60.0  # of a wait; only broken code ever reaches it
SOURCES = Path(yoyo.__file__).parents[1]


class Local:
    """One node, its driver and its processes."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.node = NODE
        self.directory = state_dir / "nodes" / NODE.name

    @property
    def machines(self) -> LocalMachines:
        """A driver as a new command makes it."""
        return LocalMachines(state_dir=self.state_dir, tools=TOOLS)

    def engine(self, **changes: Any) -> None:
        self.node = self.node._replace(engine=self.node.engine._replace(**changes))

    def guards(self, **changes: Any) -> None:
        self.node = self.node._replace(guards=self.node.guards._replace(**changes))

    def observe(self) -> Observation:
        return self.machines.observe(self.node)

    def until(self, wanted: Callable[[Observation], bool]) -> Observation:
        deadline = time.monotonic() + DEADLINE_S
        while not wanted(seen := self.observe()):
            assert time.monotonic() < deadline, seen
            time.sleep(0.01)
        return seen

    def create(self, request_id: str = LIFE) -> None:
        self.machines.create(self.node, request_id)

    def up(self, request_id: str = LIFE) -> Endpoint:
        self.create(request_id)
        seen = self.until(
            lambda seen: seen.endpoint is not None or seen.state is MachineState.STOPPED
        )
        assert seen.endpoint is not None, seen
        return seen.endpoint

    def gone(self) -> Observation:
        """Wait for the supervisor's end by its own event."""
        for pid in self.supervisors():
            await_end(pid)
        return self.until(lambda seen: seen.state is MachineState.STOPPED)

    def commands(self) -> dict[int, list[bytes]]:
        """Every live process that names this node's directory, or was started for it."""
        found = {}
        marker = os.fsencode(self.state_dir) + b"/"
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes()
                    if marker in command:
                        found[int(entry.name)] = command.split(b"\0")
        return found

    def supervisors(self) -> list[int]:
        return [pid for pid, words in self.commands().items() if b"supervisor" in words]

    def engines(self) -> list[int]:
        """By what supervisors have started: an exec'd server has a command line of its own."""
        return [pid for pid in self.commands() if pid not in self.supervisors()]

    def kill_all(self) -> None:
        for pid in self.supervisors() + self.engines():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                await_end(pid)


@contextmanager
def local_node(tmp_path: Path) -> Iterator[Local]:
    local = Local(tmp_path / "state")
    try:
        yield local
    finally:
        local.kill_all()


def await_end(pid: int) -> None:
    """Wait for a process's end without polling; one that is gone has ended."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(watched):
        ready, _, _ = select.select([watched], [], [], DEADLINE_S)
        assert ready, f"process {pid} does not end"


def creator(local: Local, *, request_id: str = LIFE, **extra: Any) -> subprocess.Popen[bytes]:
    """A process of its own that calls `create`, as `yoyo up` does."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:4]\n"
        "from pathlib import Path\n"
        "from local_parts import Local\n"
        "sys.stdout.write('.'); sys.stdout.flush()\n"
        "Local(Path(sys.argv[4])).create(sys.argv[5])\n"
    )
    here = Path(__file__).parent
    paths = [str(SOURCES), str(here), str(here.parent)]
    return subprocess.Popen(
        # The directory goes without its closing slash: `kill_all` must not take it for a node's.
        [sys.executable, "-c", code, *paths, str(local.state_dir), request_id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        **extra,
    )


__all__ = [
    "DEADLINE_S", "ENGINE", "GUARDS", "LIFE", "NODE", "SOURCES", "Endpoint", "Local", "Secret",
    "await_end", "creator", "local_node",
]  # fmt: skip
