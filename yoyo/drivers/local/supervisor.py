"""The process beside the engine: its parent, its guards, and the witness of its end.

It needs no controller and no network. It inherits a lock that it holds until it dies, it
never writes the ledger, and the engine it starts dies with it (see `engine_host`).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from yoyo.drivers.local.process import identity, start_code
from yoyo.drivers.local.records import (
    ENGINE,
    ENGINE_LOG,
    HEARTBEAT,
    KEY,
    LEASE,
    MACHINE,
    STOP,
    STOPPED,
    SUPERVISOR,
    parse_stamp,
    read_record,
    stamp,
    write_record,
)

# True: idle. False: at work, or a reading failed. None: no answer at all.
Probe = Callable[[str, str], "bool | None"]

_TICK_S = 1.0
_IDLE_LOOKS = 2  # consecutive idle looks, a tick apart, before the dead-man fires
_WAITED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


def _now() -> float:
    # Immune to steps of the wall clock, and counts the time a laptop sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Supervisor:
    """One life of one node."""

    def __init__(self, directory: Path, probe: Probe) -> None:
        self.directory = directory
        self.probe = probe
        machine = read_record(directory / MACHINE)
        if machine is None:
            raise SystemExit("machine.json is missing or malformed")
        self.machine = machine
        self.request_id = str(machine["request_id"])
        self.guards: dict[str, float] = machine["guards"]
        self.begun = _now()
        self.lease_seen = self._lease_mark()
        self.lease_ends = self.begun + self.guards["lease_s"]
        self.idle_looks = 0
        self.silent_since: float | None = None
        self.engine = 0
        self.exit_status: int | None = None

    def run(self) -> None:
        """Arm, start the engine, watch, and record how it ended."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
        (self.directory / HEARTBEAT).touch()
        self._record_arming()
        self.engine = self._start_engine()
        cause = self._watch()
        if self.exit_status is None:
            self._stop_engine()
        # A server that is a wrapper script may leave a child behind.
        self._signal_engine(signal.SIGKILL)
        write_record(
            self.directory / STOPPED,
            {
                "request_id": self.request_id,
                "stopped_at": stamp(),
                "cause": cause,
                "exit_status": self.exit_status,
            },
        )

    def _record_arming(self) -> None:
        started_at = stamp()
        lifetime = parse_stamp(started_at)
        assert isinstance(lifetime, datetime)  # noqa: S101 - our own stamp
        deadline = lifetime + timedelta(seconds=self.guards["lifetime_s"])
        write_record(
            self.directory / SUPERVISOR,
            {
                **identity(os.getpid()),
                "request_id": self.request_id,
                "started_at": started_at,
                "armed": {
                    "lifetime": deadline.isoformat(),
                    "dead-man": self.guards["lease_s"],
                },
            },
        )

    def _start_engine(self) -> int:
        log = os.open(
            self.directory / ENGINE_LOG,
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )
        code = start_code("yoyo.drivers.local.engine_host")
        command = [sys.executable, "-I", "-c", code, str(self.directory), str(os.getpid())]
        try:
            return os.posix_spawn(
                sys.executable,
                command,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
                setpgroup=0,
                setsigmask=[],
            )
        finally:
            os.close(log)

    def _watch(self) -> str:
        """Wait for the end; gives its cause."""
        next_tick = self.begun
        while True:
            left = max(0.0, next_tick - _now())
            received = signal.sigtimedwait(_WAITED, left)
            if self._engine_ended():
                return "engine-exited"
            if received is not None and received.si_signo != signal.SIGCHLD:
                return "ordered" if self._asked_to_stop() else "unknown"
            if _now() < next_tick:
                continue
            next_tick = _now() + _TICK_S
            os.utime(self.directory / HEARTBEAT)
            if self._asked_to_stop():
                return "ordered"
            if _now() - self.begun >= self.guards["lifetime_s"]:
                return "lifetime"
            cause = self._dead_man()
            if cause is not None:
                return cause

    def _asked_to_stop(self) -> bool:
        return read_record(self.directory / STOP, self.request_id) is not None

    def _lease_mark(self) -> int:
        try:
            return (self.directory / LEASE).stat().st_mtime_ns
        except OSError:
            return 0

    def _dead_man(self) -> str | None:
        mark = self._lease_mark()
        if mark != self.lease_seen:
            # Counted from when the renewal was noticed: the file's own time is wall time.
            self.lease_seen = mark
            self.lease_ends = _now() + self.guards["lease_s"]
        if _now() < self.lease_ends:
            self.idle_looks, self.silent_since = 0, None
            return None
        idle = self._look()
        if idle is None:
            self.idle_looks = 0
            self.silent_since = self.silent_since or _now()
            silent_for = _now() - self.silent_since
            return "unreachable" if silent_for >= self.guards["unreachable_after_s"] else None
        self.silent_since = None
        self.idle_looks = self.idle_looks + 1 if idle else 0
        return "dead-man" if self.idle_looks >= _IDLE_LOOKS else None

    def _look(self) -> bool | None:
        engine = read_record(self.directory / ENGINE, self.request_id)
        try:
            key = (self.directory / KEY).read_text().strip()
        except OSError:
            return None
        if engine is None or not isinstance(engine.get("url"), str):
            return None
        return self.probe(engine["url"], key)

    def _engine_ended(self) -> bool:
        if self.exit_status is None:
            pid, status = os.waitpid(self.engine, os.WNOHANG)
            if pid:
                self.exit_status = os.waitstatus_to_exitcode(status)
        return self.exit_status is not None

    def _signal_engine(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.engine, number)
        except ProcessLookupError:
            pass

    def _stop_engine(self) -> None:
        self._signal_engine(signal.SIGTERM)
        deadline = _now() + self.guards["stop_grace_s"]
        while not self._engine_ended():
            left = deadline - _now()
            if left <= 0:
                self._signal_engine(signal.SIGKILL)
                _, status = os.waitpid(self.engine, 0)
                self.exit_status = os.waitstatus_to_exitcode(status)
                return
            os.utime(self.directory / HEARTBEAT)
            signal.sigtimedwait({signal.SIGCHLD}, min(left, _TICK_S))


def supervise(directory: Path, lock: int, probe: Probe) -> None:
    """Run one life. `lock` is the inherited descriptor that says we are alive."""
    os.set_inheritable(lock, False)
    # What the caller's shell left open (`flock 9`, a pipe) would be held for the node's life.
    os.closerange(3, lock)
    os.closerange(lock + 1, os.sysconf("SC_OPEN_MAX"))
    os.umask(0o077)
    os.chdir("/")
    Supervisor(directory, probe).run()
