"""The machines port on this machine. A node is a directory, a supervisor and an engine."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoyo.drivers.local import records
from yoyo.drivers.local.lock import is_locked, open_lock
from yoyo.drivers.local.logs import last_lines, lines_of
from yoyo.drivers.local.process import ending, is_same, orphans, send_signal
from yoyo.drivers.local.spawn import spawn_supervisor
from yoyo.errors import (
    DriverUnavailable,
    ForeignNode,
    NodeBusy,
    StateUnwritable,
)
from yoyo.model.ids import Secret
from yoyo.model.machine import (
    Endpoint,
    GuardStatus,
    MachinePlan,
    MachineState,
    Observation,
    StopCause,
)
from yoyo.model.settings import SMOKE_MODEL, NodeSettings

if TYPE_CHECKING:
    from yoyo.ports.machines import Tools

_TAIL_LINES = 15
_STOP_SLACK_S = 10.0  # what a supervisor may take beyond the engine's own grace
_LOOKS, _BIRTH_LOOKS, _BIRTH_LOOK_S = 3, 200, 0.01  # a supervisor is born within some 20 ms


class LocalMachines:
    """Implements Machines, HasLogs and HasPrerequisites."""

    def __init__(self, *, state_dir: Path, tools: Tools) -> None:
        if sys.platform != "linux":
            raise DriverUnavailable(
                "The local driver needs Linux.",
                why="It guards its processes with pidfds and parent-death signals.",
                fix="Run it on a Linux machine.",
            )
        self._state_dir = state_dir
        self._clock = tools.clock

    def plan(self, node: NodeSettings) -> MachinePlan:
        """See the port."""
        from yoyo.drivers.local.preflight import plan

        return plan(node, self._state_dir, self._directory(node))

    def caps(self, node: NodeSettings) -> tuple[tuple[str, int], ...]:
        """See the port."""
        return caps(node)

    def prerequisites(self, node: NodeSettings) -> list[tuple[str, bool, str, str]]:
        """See the port."""
        from yoyo.drivers.local.preflight import prerequisites

        return prerequisites(node, self._state_dir)

    def create(self, node: NodeSettings, request_id: str) -> None:
        """See the port."""
        directory = self._directory(node)
        try:
            self._private(directory)
            lock, taken = open_lock(directory / records.LOCK)
        except OSError as error:
            raise _unwritable(directory, error) from error
        try:
            if not taken:
                self._refuse_other(directory, request_id)
                return
            self._prepare(node, directory, request_id)
            spawn_supervisor(directory, lock)
        except OSError as error:
            raise _unwritable(directory, error) from error
        finally:
            # The supervisor holds its own copy: the lock outlives this descriptor.
            os.close(lock)

    def observe(self, node: NodeSettings) -> Observation:
        """See the port."""
        directory = self._directory(node)
        try:
            for _ in range(_LOOKS):
                alive = is_locked(directory / records.LOCK)
                seen = self._observe(node, directory, alive)
                # Otherwise a machine was born or died between the two looks: the records read
                # are not those of the lock's holder.
                if is_locked(directory / records.LOCK) == alive:
                    break
            return seen
        except OSError as error:
            return Observation(MachineState.UNKNOWN, detail=f"{directory}: {error.strerror}")

    def stop(self, node: NodeSettings, request_id: str = "") -> None:
        """See the port."""
        directory = self._directory(node)
        machine = records.read_record(directory / records.MACHINE) or {}
        if not is_locked(directory / records.LOCK):
            _kill_orphans(directory, machine.get("request_id"))
            return
        # A record that is damaged must not keep a machine running.
        if request_id and machine.get("request_id", request_id) != request_id:
            raise _foreign(node.name, machine["request_id"])
        request = {"request_id": machine.get("request_id", ""), "asked_at": records.stamp()}
        unwritten = None
        try:
            records.write_record(directory / records.STOP, request)
        except OSError as error:
            unwritten = error  # a full disk must not keep a machine running
        supervisor = records.read_record(directory / records.SUPERVISOR, request["request_id"])
        # One that is still being born has no record yet; it looks for the request itself.
        signalled = supervisor is not None and send_signal(supervisor, signal.SIGTERM)
        if unwritten is not None and not signalled:
            raise _unwritable(directory, unwritten) from unwritten

    def stop_bound_s(self, node: NodeSettings) -> float:
        """See the port."""
        return node.guards.stop_grace_s + _STOP_SLACK_S

    def delete(self, node: NodeSettings) -> None:
        """See the port."""
        directory = self._directory(node)
        try:
            lock, taken = open_lock(directory / records.LOCK)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unwritable(directory, error) from error
        try:
            if not taken:
                raise NodeBusy(
                    f"Node {node.name} still runs.",
                    why="Its supervisor holds its lock.",
                    fix=f"Run `yoyo down --node {node.name} --delete`, which stops it first.",
                )
            shutil.rmtree(directory)
        except OSError as error:
            raise _unwritable(directory, error) from error
        finally:
            os.close(lock)

    def renew_lease(self, node: NodeSettings) -> None:
        """See the port."""
        try:
            os.utime(self._directory(node) / records.LEASE)
        except OSError:
            # No machine, or a lease that cannot be renewed: the guard then acts early.
            return

    def logs(self, node: NodeSettings, *, lines: int, follow: bool) -> Iterator[str]:
        """See the port."""
        directory = self._directory(node)
        return lines_of(
            directory / records.ENGINE_LOG,
            lines,
            (lambda: is_locked(directory / records.LOCK)) if follow else None,
            self._clock,
        )

    def models_directory(self) -> Path:
        """See RunsHere."""
        return self._state_dir / "models"

    def _directory(self, node: NodeSettings) -> Path:
        return self._state_dir / "nodes" / node.name

    def _private(self, directory: Path) -> None:
        for each in (self._state_dir, directory.parent, directory):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _refuse_other(self, directory: Path, request_id: str) -> None:
        for _ in range(_BIRTH_LOOKS):
            machine = records.read_record(directory / records.MACHINE) or {}
            holder = machine.get("request_id") or "(none)"
            if holder == request_id:
                return
            supervisor = records.read_record(directory / records.SUPERVISOR, holder)
            if supervisor is not None and is_same(supervisor):
                break
            # Another creator holds the lock, and the record is still that of a former life.
            self._clock.sleep(_BIRTH_LOOK_S)
        raise _foreign(directory.name, holder)

    def _prepare(self, node: NodeSettings, directory: Path, request_id: str) -> None:
        """Everything that the supervisor and the engine read, written before they start."""
        engine = node.engine
        model = engine.model
        if model == SMOKE_MODEL:
            from yoyo.drivers.local.smoke_model import ensure

            model = str(ensure(self._state_dir / "models"))
        server = engine.server
        if server != "embedded":
            # The supervisor works in /: a relative path would be another one there.
            server = str(Path(shutil.which(server) or server).absolute())
        key = engine.api_key.reveal() if engine.api_key is not None else os.urandom(32).hex()
        records.write_private(directory / records.KEY, key.encode() + b"\n")
        (directory / records.ENGINE_LOG).unlink(missing_ok=True)
        (directory / records.LEASE).touch(mode=0o600)
        guards = node.guards
        records.write_record(
            directory / records.MACHINE,
            {
                "request_id": request_id,
                "module_id": node.module_id,
                "created_at": records.stamp(),
                "engine": {
                    "server": server,
                    "model": model,
                    "ctx": engine.ctx,
                    "parallel": engine.parallel,
                    "cache_type_k": engine.cache_type_k,
                    "cache_type_v": engine.cache_type_v,
                    "port": engine.port,
                    "extra_flags": list(engine.extra_flags),
                    # As with the server: the engine works in /.
                    "loras": [
                        [str(Path(lora.path).absolute()), lora.sha256] for lora in node.loras
                    ],
                },
                "guards": {
                    "lifetime_s": guards.lifetime_s,
                    "lease_s": guards.lease_s,
                    "unreachable_after_s": guards.unreachable_after_s,
                    "stop_grace_s": guards.stop_grace_s,
                },
            },
        )

    def _observe(self, node: NodeSettings, directory: Path, alive: bool) -> Observation:
        machine = records.read_record(directory / records.MACHINE)
        if machine is None or not isinstance(machine.get("request_id"), str):
            return _without_record(directory, alive)
        request_id = machine["request_id"]
        supervisor = records.read_record(directory / records.SUPERVISOR, request_id)
        started_at = records.parse_stamp(supervisor.get("started_at")) if supervisor else None
        if not alive:
            return _stopped(directory, request_id, started_at)
        if supervisor is not None and not is_same(supervisor):
            # A creator holds the lock, and these are still the records of a former life.
            return Observation(MachineState.PROVISIONING)
        if records.read_record(directory / records.STOP, request_id) is not None:
            return Observation(MachineState.STOPPING, request_id, started_at=started_at)
        if supervisor is None:
            return Observation(MachineState.PROVISIONING, request_id)
        return Observation(
            MachineState.RUNNING,
            request_id,
            started_at=started_at,
            endpoint=_endpoint(directory, request_id),
            guards=_armed(directory, supervisor, node),
        )


def _foreign(name: str, holder: object) -> ForeignNode:
    return ForeignNode(
        f"Another machine named {name} runs here.",
        why=f"It carries the request id {holder}.",
        fix="Stop it with `yoyo down --now` in the place where it was started.",
    )


def _kill_orphans(directory: Path, request_id: object) -> None:
    """End what a killed supervisor could not take along: children that its engine had."""
    supervisor = records.read_record(directory / records.SUPERVISOR)
    if supervisor is None or supervisor.get("request_id") != request_id:
        return
    for pid in orphans(supervisor):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def caps(node: NodeSettings) -> tuple[tuple[str, int], ...]:
    """The guards that the supervisor arms."""
    return (("dead-man", node.guards.lease_s), ("lifetime", node.guards.lifetime_s))


def _without_record(directory: Path, alive: bool) -> Observation:
    if alive:
        detail = f"{directory / records.MACHINE} is missing or malformed, but a supervisor lives"
        return Observation(MachineState.UNKNOWN, detail=detail)
    return Observation(MachineState.ABSENT)


def _stopped(directory: Path, request_id: str, started_at: Any) -> Observation:
    end = records.read_record(directory / records.STOPPED, request_id)
    stopped_at = records.parse_stamp(end.get("stopped_at")) if end else None
    if started_at is None:
        # The supervisor never took over: nothing ran.
        return Observation(MachineState.STOPPED, request_id)
    if end is None and orphans(records.read_record(directory / records.SUPERVISOR) or {}):
        return Observation(
            MachineState.RUNNING,
            request_id,
            started_at=started_at,
            detail="the supervisor is gone, and a process of its engine still runs",
        )
    if end is None or stopped_at is None:
        return Observation(
            MachineState.STOPPED,
            request_id,
            started_at=started_at,
            stopped_at=records.modified_at(directory / records.HEARTBEAT),
            stop_cause=StopCause.SUPERVISOR_LOST,
        )
    try:
        cause = StopCause(str(end.get("cause")))
    except ValueError:
        cause = StopCause.UNKNOWN
    failed = cause is StopCause.ENGINE_EXITED
    status = end.get("exit_status")
    return Observation(
        MachineState.STOPPED,
        request_id,
        started_at=started_at,
        stopped_at=stopped_at,
        stop_cause=cause,
        detail=f"the engine ended by itself ({ending(status)})" if failed else "",
        log_tail=tuple(last_lines(directory / records.ENGINE_LOG, _TAIL_LINES)) if failed else (),
    )


def _endpoint(directory: Path, request_id: str) -> Endpoint | None:
    engine = records.read_record(directory / records.ENGINE, request_id)
    if engine is None or not isinstance(engine.get("url"), str) or not is_same(engine):
        return None
    try:
        key = (directory / records.KEY).read_text().strip()
    except (OSError, ValueError):
        return None
    return Endpoint(engine["url"], Secret(key))


def _armed(
    directory: Path, supervisor: dict[str, Any], node: NodeSettings
) -> tuple[GuardStatus, ...]:
    """The guards as the living supervisor says it armed them, not as they are configured."""
    armed = supervisor.get("armed")
    armed = armed if isinstance(armed, dict) and is_same(supervisor) else {}
    lifetime = records.parse_stamp(armed.get("lifetime"))
    lease_s = armed.get("dead-man")
    renewed = records.modified_at(directory / records.LEASE)
    dead_man = None
    if isinstance(lease_s, int | float) and renewed is not None:
        dead_man = renewed + timedelta(seconds=lease_s)
    ends = {"dead-man": dead_man, "lifetime": lifetime}
    return tuple(GuardStatus(name, ends[name] is not None, ends[name]) for name, _ in caps(node))


def _unwritable(directory: Path, error: OSError) -> StateUnwritable:
    return StateUnwritable(
        f"The node's directory {directory} cannot be written.",
        why=error.strerror or str(error),
        fix="Make it writable, free some space, or set `state_dir:` to another place.",
    )
