"""Node locks between real processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from yoyo.drivers.files.locks import FileLocks
from yoyo.drivers.system.clock import SystemClock
from yoyo.errors import NodeBusy, StateUnwritable
from yoyo.model.ids import InvalidLabel

HOLD = """
import sys
from pathlib import Path
from yoyo.drivers.files.locks import FileLocks
from yoyo.drivers.system.clock import SystemClock
with FileLocks(Path(sys.argv[1]), SystemClock()).hold(
    "node-1", operator="ann", command="up", wait_s=0
):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(state: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


class ClockThatActs:
    """Time that passes only by sleeping, and what is to happen while we sleep."""

    def __init__(self, act: Callable[[int], None] = lambda sleeps: None) -> None:
        self._act = act
        self.sleeps = 0
        self.elapsed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.elapsed += seconds
        self._act(self.sleeps)


def take(locks: FileLocks, wait_s: float = 0, node: str = "node-1") -> None:
    with locks.hold(node, operator="bob", command="down", wait_s=wait_s):
        pass


def test_the_message_names_who_holds_it(tmp_path: Path) -> None:
    clock = ClockThatActs()
    with held_by_another(tmp_path) as holder, pytest.raises(NodeBusy) as caught:
        take(FileLocks(tmp_path, clock))
    assert clock.sleeps == 0, "a wait of 0 does not wait"
    for part in ("`up`", "ann", str(holder.pid)):
        assert part in caught.value.why


def test_another_node_is_free(tmp_path: Path) -> None:
    with held_by_another(tmp_path):
        take(FileLocks(tmp_path, SystemClock()), node="node-2")


def test_a_killed_holder_frees_it_at_once(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        take(FileLocks(tmp_path, ClockThatActs()))


def test_waiting_ends_when_the_holder_does(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as holder:

        def end_at_the_third(sleeps: int) -> None:
            if sleeps == 3:
                holder.kill()
                holder.wait()

        clock = ClockThatActs(end_at_the_third)
        take(FileLocks(tmp_path, clock), wait_s=60)
        assert clock.sleeps == 3


def test_waiting_has_an_end(tmp_path: Path) -> None:
    clock = ClockThatActs()
    with held_by_another(tmp_path), pytest.raises(NodeBusy):
        take(FileLocks(tmp_path, clock), wait_s=1.0)
    assert clock.elapsed == pytest.approx(1.0)


def test_it_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path, SystemClock())
    with (
        pytest.raises(RuntimeError),
        locks.hold("node-1", operator="bob", command="up", wait_s=0),
    ):
        raise RuntimeError
    take(locks)


def test_a_forked_child_does_not_keep_it(tmp_path: Path) -> None:
    locks = FileLocks(tmp_path, SystemClock())
    reader, writer = os.pipe()
    with locks.hold("node-1", operator="bob", command="up", wait_s=0):
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent closes its end, or dies
            os._exit(0)
    try:
        take(locks)
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)


def test_a_holder_that_has_not_signed_yet(tmp_path: Path) -> None:
    with held_by_another(tmp_path):
        for content in ("", "{", '{"command": "up"}', "[]", "\udcff"):
            (tmp_path / "locks" / "node-1.lock").write_text(content, errors="surrogateescape")
            with pytest.raises(NodeBusy) as caught:
                take(FileLocks(tmp_path, SystemClock()))
            assert "Another yoyo command" in caught.value.why


def test_the_state_directory_is_private(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    take(FileLocks(state, SystemClock()))
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "locks" / "node-1.lock").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnwritable) as caught:
        take(FileLocks(tmp_path / "file" / "state", SystemClock()))
    assert str(tmp_path / "file") in caught.value.what
    assert caught.value.why
    assert caught.value.fix


def test_a_name_that_is_no_node_never_becomes_a_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidLabel):
        take(FileLocks(tmp_path, SystemClock()), node="../node")
