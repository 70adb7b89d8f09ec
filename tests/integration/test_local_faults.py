"""The local driver when things go wrong, and its guards with nobody else alive."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from llama_server_stand_in import write_program
from local_parts import LIFE, Local, await_end, local_node

from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.drivers.local.embedded import parameters
from yoyo.drivers.local.smoke_model import ensure
from yoyo.errors import EngineUnavailable, ModelInvalid, NodeBusy, PortTaken, StateUnwritable
from yoyo.model.engine import Health
from yoyo.model.machine import MachineState, StopCause
from yoyo.model.settings import SMOKE_MODEL


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    with local_node(tmp_path) as node:
        yield node


def test_a_server_of_one_s_own_runs_behind_its_real_flags(local: Local, tmp_path: Path) -> None:
    local.engine(server=str(write_program(tmp_path / "llama-server")))
    endpoint = local.up()
    client = LlamaServerClient()
    while client.health(endpoint) is not Health.OK:
        assert local.observe().state is MachineState.RUNNING
    assert client.load(endpoint).slots is not None
    (supervisor,) = local.supervisors()
    os.kill(supervisor, signal.SIGKILL)
    for pid in local.engines():
        await_end(pid)
    assert client.health(endpoint) is Health.UNREACHABLE


def test_a_bad_flag_ends_the_server_and_its_words_are_shown(local: Local, tmp_path: Path) -> None:
    local.engine(
        server=str(write_program(tmp_path / "llama-server")), extra_flags=("--no-such-flag",)
    )
    local.create()
    seen = local.gone()
    assert seen.stop_cause is StopCause.ENGINE_EXITED
    assert "exit code 2" in seen.detail
    assert any("--no-such-flag" in line for line in seen.log_tail)


def test_a_port_taken_between_plan_and_bind_is_told(local: Local) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        local.engine(port=holder.getsockname()[1])
        with pytest.raises(PortTaken) as refusal:
            local.machines.plan(local.node)
        assert str(holder.getsockname()[1]) in refusal.value.what
        local.create()
        seen = local.gone()
    assert seen.stop_cause is StopCause.ENGINE_EXITED
    assert seen.log_tail


def test_a_server_that_hangs_in_loading_has_an_endpoint_and_can_be_stopped(
    local: Local, tmp_path: Path
) -> None:
    local.engine(server=str(write_program(tmp_path / "llama-server.hangs")))
    endpoint = local.up()
    assert LlamaServerClient().health(endpoint, timeout=0.1) is Health.UNREACHABLE
    assert local.observe().state is MachineState.RUNNING
    local.machines.stop(local.node)
    assert local.gone().stop_cause is StopCause.ORDERED


def test_an_engine_that_ignores_sigterm_is_killed_after_the_grace(
    local: Local, tmp_path: Path
) -> None:
    local.engine(server=str(write_program(tmp_path / "llama-server.stubborn")))
    local.guards(stop_grace_s=1)
    endpoint = local.up()
    while LlamaServerClient().health(endpoint) is not Health.OK:
        assert local.observe().state is MachineState.RUNNING
    local.machines.stop(local.node)
    assert local.observe().state is MachineState.STOPPING
    with pytest.raises(NodeBusy):
        local.machines.delete(local.node)
    assert local.gone().stop_cause is StopCause.ORDERED
    assert '"exit_status": -9' in (local.directory / "stopped.json").read_text()


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all", b"\0" * 4096])
def test_what_is_no_model_is_refused(local: Local, tmp_path: Path, content: bytes) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(content)
    local.engine(model=str(model))
    with pytest.raises(ModelInvalid) as refusal:
        local.machines.plan(local.node)
    assert str(model) in refusal.value.what
    assert refusal.value.why
    assert refusal.value.fix


def test_missing_and_truncated_models_are_refused(local: Local, tmp_path: Path) -> None:
    good = ensure(tmp_path / "models").read_bytes()
    model = tmp_path / "model.gguf"
    for place, content in ((model, good[:-1]), (tmp_path, None), (tmp_path / "none", None)):
        if content is not None:
            model.write_bytes(content)
        local.engine(model=str(place))
        with pytest.raises(ModelInvalid) as refusal:
            local.machines.plan(local.node)
        assert refusal.value.why.endswith(".")
    model.write_bytes(good)
    local.engine(model=str(model))
    facts = local.machines.plan(local.node).model
    local.engine(model=SMOKE_MODEL)
    smoke = local.machines.plan(local.node).model
    assert facts is not None
    assert smoke is not None
    assert (facts.name, facts.weight_bytes) == (smoke.name, smoke.weight_bytes)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--no-such-flag",), "--no-such-flag"),
        (("--threads", "many"), "--threads"),
        (("-fa", "--threads", "2"), "-fa"),
        (("--threads",), "--threads"),
        (("--no-warmup=yes",), "--no-warmup"),
    ],
)
def test_flags_the_embedded_server_cannot_take_are_named(
    local: Local, flags: tuple[str, ...], named: str
) -> None:
    local.engine(extra_flags=flags)
    with pytest.raises(EngineUnavailable) as refusal:
        local.machines.plan(local.node)
    assert named in refusal.value.why
    assert "llama-server" in refusal.value.fix


def test_flags_the_embedded_server_takes_reach_it() -> None:
    flags = ["-t", "1", "-fa", "on", "--batch-size=256", "-ub", "64", "--seed=7", "--no-warmup"]
    engine = {"model": "m", "ctx": 4096, "parallel": 2, "cache_type_k": "q8_0",
              "cache_type_v": "f16", "port": 1234, "extra_flags": flags}  # fmt: skip
    params = parameters(engine, "the key")
    assert (params.cpuparams.n_threads, params.n_batch, params.n_ubatch) == (1, 256, 64)
    assert (params.sampling.seed, params.warmup) == (7, False)
    assert params.flash_attn_type.name.endswith("ENABLED")
    assert (params.cache_type_k.name, params.cache_type_v.name) == (
        "GGML_TYPE_Q8_0", "GGML_TYPE_F16")  # fmt: skip
    assert (params.n_ctx, params.n_parallel, params.port) == (4096, 2, 1234)
    assert (params.hostnames, params.api_keys) == (["127.0.0.1"], ["the key"])
    assert params.endpoint_metrics
    assert params.endpoint_slots


def test_a_server_that_is_not_there_or_not_executable(local: Local, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    for server in ("no-such-llama-server", str(tmp_path / "none"), str(tmp_path / "plain")):
        local.engine(server=server)
        with pytest.raises(EngineUnavailable) as refusal:
            local.machines.plan(local.node)
        assert server in refusal.value.what


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    local = Local(tmp_path / "state")
    with pytest.raises(StateUnwritable):
        local.machines.plan(local.node)
    with pytest.raises(StateUnwritable):
        local.create()
    assert local.observe().state is MachineState.UNKNOWN


def test_following_the_log_ends_with_the_machine(local: Local) -> None:
    local.up()
    lines: list[str] = []
    first = threading.Event()

    def follow() -> None:
        for line in local.machines.logs(local.node, lines=3, follow=True):
            lines.append(line)
            first.set()

    reader = threading.Thread(target=follow)
    reader.start()
    assert first.wait(60)
    with (local.directory / "engine.log").open("a") as log:
        log.write("the last words\n")
    local.machines.stop(local.node)
    reader.join(60)
    assert not reader.is_alive()
    assert "the last words" in lines
    assert lines[-3:] == list(local.machines.logs(local.node, lines=3, follow=False))


def test_logs_of_what_is_not_there(local: Local) -> None:
    assert list(local.machines.logs(local.node, lines=9, follow=True)) == []


def test_prerequisites_are_examined_one_by_one(local: Local) -> None:
    found = local.machines.prerequisites(local.node)
    assert all(ok and not remedy for _, ok, _, remedy in found), found
    local.engine(server="no-such-llama-server", model="/no/such/model")
    failed = {name: remedy for name, ok, _, remedy in local.machines.prerequisites(local.node)
              if not ok}  # fmt: skip
    assert set(failed) == {"engine", "model"}
    assert all(failed.values())


def test_the_unreachable_rule_ends_a_silent_engine_after_its_lease(
    local: Local, tmp_path: Path
) -> None:
    local.engine(server=str(write_program(tmp_path / "llama-server.hangs")))
    local.guards(lease_s=1, unreachable_after_s=1)
    local.create()
    assert local.gone().stop_cause is StopCause.UNREACHABLE


def test_the_dead_man_waits_for_work_and_then_fires(local: Local) -> None:
    local.engine(ctx=65_536, parallel=1)  # room for an answer of many seconds
    local.guards(lease_s=1)
    endpoint = local.up()
    answer = LlamaServerClient().complete(endpoint, "on and on", max_tokens=60_000, timeout=60)
    next(answer)
    guards = local.observe().guards
    fires_at = next(guard.fires_at for guard in guards if guard.name == "dead-man")
    assert fires_at is not None
    # Long enough for the two idle looks that would have ended it, twice over.
    spared_until = fires_at + timedelta(seconds=4)
    for _ in answer:
        if datetime.now(UTC) > spared_until:
            break
    assert local.observe().state is MachineState.RUNNING
    assert isinstance(answer, Generator)
    answer.close()
    seen = local.gone()
    assert seen.stop_cause is StopCause.DEAD_MAN
    assert seen.stopped_at is not None
    assert seen.stopped_at > spared_until


def test_the_lifetime_cap_fires_at_its_time_whatever_the_engine_does(
    local: Local, tmp_path: Path
) -> None:
    local.engine(server=str(write_program(tmp_path / "llama-server.hangs")))
    local.guards(lifetime_s=1)
    local.create(LIFE)
    seen = local.gone()
    assert seen.stop_cause is StopCause.LIFETIME
    assert seen.started_at is not None
    assert seen.stopped_at is not None
    assert (seen.stopped_at - seen.started_at).total_seconds() >= 1
