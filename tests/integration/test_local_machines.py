"""The local driver's processes: who outlives whom, who is found again, who is never touched."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_parts import LIFE, Local, await_end, creator, local_node

from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.drivers.local.process import identity
from yoyo.model.engine import Health
from yoyo.model.machine import MachineState, StopCause

NEXT_LIFE = LIFE[:-1] + "2"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    with local_node(tmp_path) as node:
        yield node


@contextlib.contextmanager
def held_lock(local: Local) -> Iterator[None]:
    """The node's lock in our hands: to an observer, a supervisor lives."""
    local.directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(local.directory / "supervisor.lock", os.O_RDWR | os.O_CREAT)
    try:
        wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
        yield
    finally:
        os.close(descriptor)


def test_the_engine_answers_and_both_processes_have_left_the_creator(local: Local) -> None:
    with creator(local) as process:
        assert process.wait(60) == 0
    endpoint = local.until(lambda seen: seen.endpoint is not None).endpoint
    assert endpoint is not None
    assert LlamaServerClient().health(endpoint) is Health.OK
    (supervisor,), (engine,) = local.supervisors(), local.engines()
    assert os.getsid(supervisor) == supervisor
    assert Path(f"/proc/{supervisor}/cwd").readlink() == Path("/")
    assert Path(f"/proc/{supervisor}/fd/0").readlink() == Path("/dev/null")
    status = Path(f"/proc/{engine}/status").read_text()
    assert f"PPid:\t{supervisor}\n" in status


def test_the_key_is_private_and_in_no_command_line_environment_or_log(local: Local) -> None:
    endpoint = local.up()
    key = endpoint.key.reveal().encode()
    assert len(key) == 64
    for pid in local.commands():
        for part in ("cmdline", "environ"):
            assert key not in Path(f"/proc/{pid}/{part}").read_bytes()
    list(LlamaServerClient().complete(endpoint, "a secret prompt", max_tokens=4, timeout=60))
    local.machines.stop(local.node)
    local.gone()
    for file in local.directory.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 or file.name == "heartbeat"
        if file.name != "key":
            assert key not in file.read_bytes()
            assert b"a secret prompt" not in file.read_bytes()
    assert stat.S_IMODE(local.directory.stat().st_mode) == 0o700


def test_a_key_of_one_s_own_is_used(local: Local) -> None:
    from yoyo.model.ids import Secret

    local.engine(api_key=Secret("of-my-own"))
    endpoint = local.up()
    assert endpoint.key.reveal() == "of-my-own"
    assert LlamaServerClient().load(endpoint).slots is not None


def test_secrets_and_engine_switches_of_the_environment_do_not_reach_the_node(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOYO_API_KEY", "not-for-the-node")
    monkeypatch.setenv("LLAMA_ARG_HOST", "0.0.0.0")
    local.up()
    for pid in local.commands():
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"not-for-the-node" not in environment
        assert b"LLAMA_ARG" not in environment


def test_an_engine_never_outlives_its_supervisor(local: Local) -> None:
    local.up()
    (supervisor,), (engine,) = local.supervisors(), local.engines()
    os.kill(supervisor, signal.SIGKILL)
    await_end(engine)
    seen = local.observe()
    assert (seen.state, seen.stop_cause) == (MachineState.STOPPED, StopCause.SUPERVISOR_LOST)
    assert seen.stopped_at is not None
    assert seen.started_at is not None
    assert (seen.started_at - seen.stopped_at).total_seconds() < 1


def test_an_engine_that_is_killed_is_told_with_its_signal(local: Local) -> None:
    local.up()
    (engine,) = local.engines()
    os.kill(engine, signal.SIGKILL)
    seen = local.gone()
    assert seen.stop_cause is StopCause.ENGINE_EXITED
    assert "SIGKILL" in seen.detail
    assert seen.log_tail


def test_a_recorded_pid_that_is_another_process_now_is_not_signalled(local: Local) -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as victim:
        try:
            record = {**identity(victim.pid), "request_id": LIFE}
            with held_lock(local):
                (local.directory / "machine.json").write_text(json.dumps({"request_id": LIFE}))
                for part, other in (("start_ticks", 1), ("boot_id", "another boot")):
                    false = json.dumps({**record, part: other})
                    (local.directory / "supervisor.json").write_text(false)
                    local.machines.stop(local.node)
                    assert victim.poll() is None
                # The same with the true identity: so the test can tell one from the other.
                (local.directory / "supervisor.json").write_text(json.dumps(record))
                local.machines.stop(local.node)
                assert victim.wait(60) == -signal.SIGTERM
        finally:
            victim.kill()


def test_a_creator_killed_at_any_moment_leaves_what_the_next_one_finishes(local: Local) -> None:
    local.up()  # so that the model is written, and a former life is in the way
    for moment in range(20):
        local.machines.stop(local.node)
        local.gone()
        life = f"{LIFE[:-4]}{moment + 16:04x}"
        with creator(local, request_id=life) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment * 0.001)
            process.kill()
        assert local.observe().state is not MachineState.UNKNOWN
        local.up(life)
        assert len(local.supervisors()) == 1
        assert len(local.engines()) == 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
_fields = st.dictionaries(
    st.sampled_from(
        ["pid", "start_ticks", "boot_id", "url", "started_at", "stopped_at", "cause", "armed",
         "exit_status"]
    ),
    _json | st.just({"lifetime": "2026-01-01T00:00:00+00:00", "dead-man": 1e308})
    | st.just("9999-12-31T23:59:59+00:00"),
)  # fmt: skip
_records = (
    st.binary(max_size=60)
    | _json.map(lambda value: json.dumps(value).encode())
    | _fields.map(lambda fields: json.dumps({**fields, "request_id": LIFE}).encode())
)
_names = ("machine.json", "supervisor.json", "engine.json", "stop.json", "stopped.json", "key")


@pytest.fixture(scope="module")
def littered(tmp_path_factory: pytest.TempPathFactory) -> Local:
    local = Local(tmp_path_factory.mktemp("littered") / "state")
    local.directory.mkdir(parents=True)
    return local


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    contents=st.fixed_dictionaries({}, optional=dict.fromkeys(_names, _records)),
    alive=st.booleans(),
)
def test_litter_in_the_directory_is_observed_and_never_raises(
    littered: Local, contents: dict[str, bytes], alive: bool
) -> None:
    for name in _names:
        (littered.directory / name).unlink(missing_ok=True)
    for name, content in contents.items():
        (littered.directory / name).write_bytes(content)
    with held_lock(littered) if alive else contextlib.nullcontext():
        seen = littered.observe()
    alive_states = {
        MachineState.PROVISIONING, MachineState.RUNNING, MachineState.STOPPING,
        MachineState.UNKNOWN,
    }  # fmt: skip
    assert (seen.state in alive_states) == alive


def test_a_directory_where_a_record_belongs_is_no_record(local: Local) -> None:
    for name in _names:
        (local.directory / name).mkdir(parents=True)
    assert local.observe().state is MachineState.ABSENT


def test_a_reboot_is_a_lost_supervisor(local: Local) -> None:
    local.up()
    (supervisor,) = local.supervisors()
    os.kill(supervisor, signal.SIGKILL)
    local.gone()
    record = json.loads((local.directory / "supervisor.json").read_text())
    (local.directory / "supervisor.json").write_text(json.dumps({**record, "boot_id": "before"}))
    seen = local.observe()
    assert (seen.state, seen.stop_cause) == (MachineState.STOPPED, StopCause.SUPERVISOR_LOST)
    local.up(NEXT_LIFE)
