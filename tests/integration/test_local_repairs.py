"""What the local driver once did wrong."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_server_stand_in import write_program
from local_parts import Local, creator, local_node

from yoyo.core.gguf import parse_header
from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.drivers.local.lock import open_lock
from yoyo.drivers.local.process import identity, is_same
from yoyo.drivers.local.smoke_model import ensure
from yoyo.errors import ModelInvalid
from yoyo.model.engine import Health
from yoyo.model.machine import MachineState, Observation, StopCause


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    with local_node(tmp_path) as node:
        yield node


def test_a_model_the_engine_refuses_is_told_with_the_engine_s_words(
    local: Local, tmp_path: Path
) -> None:
    good = ensure(tmp_path / "models").read_bytes()
    model = tmp_path / "strange.gguf"
    # As long as before, so that the header holds; but no engine knows that architecture.
    key = b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0"
    assert good.count(key + b"llama") == 1
    strange = good.replace(key + b"llama", key + b"lhama").replace(b"llama.block", b"lhama.block")
    model.write_bytes(strange)
    assert parse_header(strange).architecture == "lhama"
    local.engine(model=str(model))
    local.machines.plan(local.node)
    local.create()
    seen = local.gone()
    assert seen.stop_cause is StopCause.ENGINE_EXITED
    assert any("lhama" in line for line in seen.log_tail)


def test_a_full_disk_does_not_keep_a_machine_running(local: Local) -> None:
    local.up()
    (local.directory / "stop.json").mkdir()  # stands for any reason why it cannot be written
    local.machines.stop(local.node)
    assert local.gone().stop_cause is StopCause.UNKNOWN


def test_a_pipe_for_a_model_is_refused_and_not_waited_for(local: Local, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    local.engine(model=str(tmp_path / "model.gguf"))
    with pytest.raises(ModelInvalid) as refusal:
        local.machines.plan(local.node)
    assert "regular file" in refusal.value.why


def test_a_server_named_by_a_relative_path_is_found(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "llama-server")
    monkeypatch.chdir(tmp_path)
    local.engine(server="./llama-server")
    endpoint = local.up()
    while LlamaServerClient().health(endpoint) is not Health.OK:
        assert local.observe().state is MachineState.RUNNING


def test_a_last_line_without_an_end_is_shown_too(local: Local) -> None:
    local.up()
    follower = local.machines.logs(local.node, lines=1, follow=True)
    next(follower)
    local.machines.stop(local.node)
    local.gone()
    with (local.directory / "engine.log").open("a") as log:
        log.write("cut off in mid-sen")
    assert list(follower)[-1] == "cut off in mid-sen"


def test_what_the_shell_left_open_is_not_held_by_the_node(local: Local) -> None:
    reader, writer = os.pipe()
    try:
        with creator(local, pass_fds=(writer,)) as process:
            os.close(writer)
            assert process.wait(60) == 0
        local.until(lambda seen: seen.endpoint is not None)
        assert select.select([reader], [], [], 0)[0], "somebody still holds the writing end"
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_a_former_life_s_records_are_not_taken_for_a_machine_being_made(local: Local) -> None:
    local.up()
    (supervisor,) = local.supervisors()
    os.kill(supervisor, signal.SIGKILL)
    local.gone()
    # What a creator has done before its first record: it has taken the lock.
    descriptor, taken = open_lock(local.directory / "supervisor.lock")
    try:
        assert taken
        assert local.observe() == Observation(MachineState.PROVISIONING)
    finally:
        os.close(descriptor)


def test_a_lock_that_was_deleted_is_not_held_by_anybody(local: Local) -> None:
    local.directory.mkdir(parents=True)
    path = local.directory / "supervisor.lock"
    stale, taken = open_lock(path)
    assert taken
    try:
        path.unlink()
        fresh, taken = open_lock(path)
        os.close(fresh)
        assert taken
    finally:
        os.close(stale)


def test_a_dead_process_that_nobody_has_waited_for_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record = identity(process.pid)
        assert is_same(record)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_same(record)
