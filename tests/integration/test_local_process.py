"""A process is known by pid, start time and boot together."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from yoyo.drivers.local.process import identity, is_same, orphans, send_signal


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_recorded_process_is_signalled(sleeper: "subprocess.Popen[bytes]") -> None:
    record = identity(sleeper.pid)
    assert is_same(record)
    assert send_signal(record, signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM
    assert not is_same(record)
    assert not send_signal(record, signal.SIGTERM)


@pytest.mark.parametrize(
    "change",
    [
        {"start_ticks": 1},
        {"boot_id": "another boot"},
        {"pid": 1},
        {"pid": -1},
        {"pid": 0},
        {"pid": "7"},
        {"pid": None},
        {"start_ticks": None},
    ],
)
def test_another_process_under_that_pid_is_left_alone(
    sleeper: "subprocess.Popen[bytes]", change: dict[str, object]
) -> None:
    record = {**identity(sleeper.pid), **change}
    assert not is_same(record)
    assert not send_signal(record, signal.SIGKILL)
    assert sleeper.poll() is None


def test_orphans_of_a_dead_session_leader() -> None:
    code = (
        "import os, sys, time\n"
        "os.setsid()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    print(os.getpid(), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        try:
            record = identity(leader.pid)
            assert orphans({**record, "start_ticks": 1}) == []
            leader.kill()
            leader.wait()
            assert orphans(record) == [child]
            assert orphans({**record, "boot_id": "another boot"}) == []
        finally:
            os.kill(child, signal.SIGKILL)
