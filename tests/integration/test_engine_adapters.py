"""Adapters in the real engine: what they change, and that nothing of one leaks into another."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from llama_server_stand_in import write_program
from local_parts import Local, local_node
from tiny_lora import write_lora

from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.drivers.local.embedded import parameters
from yoyo.drivers.local.engine_host import check_loras
from yoyo.drivers.local.smoke_model import ensure
from yoyo.errors import AdapterRefused, EngineFailed, EngineUnavailable
from yoyo.model.engine import Completion, Health
from yoyo.model.machine import Endpoint, MachineState
from yoyo.model.settings import LoraFile

CLIENT = LlamaServerClient()
STYLE, LEGAL = "dka-style@1.2.0", "acme-legal@0.3.0-rc.1"
# Long enough that most of one prompt would be taken from a cache.
LONG, OTHER = "hello there " * 10, "quite another thing to say " * 8
# A prompt that is read in other portions gives other last bits, 2e-4 here without any adapter; one
# that goes on from other scales is off by 1e-2 and more within these eight tokens.
LAST_BITS = 1e-3


class Answer(NamedTuple):
    """What an engine said, and the log probability of each token."""

    text: str
    logprobs: tuple[float, ...]

    def same_as(self, other: Answer) -> bool:
        """To the token, and in its figures but for their last bits."""
        pairs = zip(self.logprobs, other.logprobs, strict=True)
        return self.text == other.text and all(abs(a - b) < LAST_BITS for a, b in pairs)


def lora_file(directory: Path, base: Path, name: str, seed: int) -> LoraFile:
    path = write_lora(directory / f"{name}.gguf", base, seed=seed)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return LoraFile(name, f"sha256:{'0' * 64}", digest, len(data), Decimal(1), str(path))


@contextmanager
def node_with(directory: Path, *names: str, **engine: Any) -> Iterator[Local]:
    """A node whose engine is to load these adapters: of one name always the same bytes."""
    with local_node(directory) as local:
        base = ensure(local.state_dir / "models")
        seeds = {STYLE: 1, LEGAL: 2}
        loras = tuple(lora_file(directory, base, name, seeds[name]) for name in names)
        local.node = local.node._replace(loras=loras)
        # A seed: what yoyo asks for itself is drawn, and would be another answer each time.
        local.engine(**{"extra_flags": ("--no-warmup", "-s", "1"), **engine})
        yield local


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An engine with both adapters."""
    with node_with(tmp_path_factory.mktemp("both"), STYLE, LEGAL) as local:
        yield local.up()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float, float, str], Answer]:
    """What an engine answers that never saw another prompt, nor other scales."""
    known: dict[tuple[float, float, str], Answer] = {}

    def answer(style: float, legal: float, text: str) -> Answer:
        asked = (style, legal, text)
        if asked not in known:
            with node_with(tmp_path_factory.mktemp("fresh"), STYLE, LEGAL) as local:
                endpoint = local.up()
                post(endpoint, "/lora-adapters", [each(0, style), each(1, legal)])
                known[asked] = ask(endpoint, text)
        return known[asked]

    return answer


def names(endpoint: Endpoint) -> tuple[tuple[int, str, float], ...]:
    return tuple((e.number, e.name, e.scale) for e in CLIENT.adapters(endpoint, 30))


def each(number: int, scale: float) -> dict[str, float]:
    return {"id": number, "scale": scale}


def post(endpoint: Endpoint, path: str, body: object) -> Any:
    """As any client may ask the engine."""
    headers = {"Authorization": f"Bearer {endpoint.key.reveal()}"}
    request = urllib.request.Request(endpoint.url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read())


def ask(endpoint: Endpoint, text: str = LONG, **more: object) -> Answer:
    """The likeliest answer, with its figures; without `lora` in `more` none is named."""
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 8,
        "temperature": 0,
        "logprobs": True,
        **more,
    }
    choice = post(endpoint, "/v1/chat/completions", body)["choices"][0]
    tokens = choice["logprobs"]["content"]
    return Answer(choice["message"]["content"], tuple(token["logprob"] for token in tokens))


def under(endpoint: Endpoint, style: float, legal: float, text: str = LONG) -> Answer:
    """A request that names its own scales, as yoyo's do."""
    return ask(endpoint, text, lora=[each(0, style), each(1, legal)])


def test_they_are_loaded_in_order_and_none_is_applied(both: Endpoint, tmp_path: Path) -> None:
    assert names(both) == ((0, STYLE, 0.0), (1, LEGAL, 0.0))
    with local_node(tmp_path) as plain:
        endpoint = plain.up()
        assert CLIENT.adapters(endpoint, 30) == ()
        assert ask(both).same_as(ask(endpoint))
        CLIENT.rescale(endpoint, {}, 30)


def test_a_loaded_adapter_changes_the_answer_and_a_rescale_to_0_gives_the_base_back(
    both: Endpoint, fresh: Callable[[float, float, str], Answer]
) -> None:
    base = fresh(0, 0, LONG)
    CLIENT.rescale(both, {0: 1.0}, 30)
    assert names(both) == ((0, STYLE, 1.0), (1, LEGAL, 0.0))
    changed = ask(both)
    assert changed.text != base.text
    assert changed.same_as(fresh(1, 0, LONG))
    CLIENT.rescale(both, {}, 30)
    assert [adapter.scale for adapter in CLIENT.adapters(both, 30)] == [0.0, 0.0]
    assert ask(both).same_as(base)


def test_after_a_rescale_no_slot_goes_on_from_what_it_cached(
    both: Endpoint, fresh: Callable[[float, float, str], Answer]
) -> None:
    for slot in (0, 1):
        ask(both, LONG, id_slot=slot, lora=[each(0, 1.0), each(1, 0.0)])
        # Moved out of the slot, and into a cache of prompts where there is one.
        ask(both, OTHER, id_slot=slot, lora=[each(0, 1.0), each(1, 0.0)])
        ask(both, LONG, id_slot=slot, lora=[each(0, 1.0), each(1, 0.0)])
    CLIENT.rescale(both, {1: 0.5}, 30)
    for slot in (0, 1):
        for text in (LONG, OTHER):
            assert ask(both, text, id_slot=slot).same_as(fresh(0, 0.5, text)), (slot, text)
    CLIENT.rescale(both, {}, 30)


def test_scales_of_one_request_touch_no_other(
    both: Endpoint, fresh: Callable[[float, float, str], Answer]
) -> None:
    # Each prompt comes under each pair of scales after the other one: from a cache that does not
    # tell adapters apart it would be taken as it was read before.
    turns = [(1.0, 0.0, LONG), (0.0, 1.0, OTHER), (0.0, 1.0, LONG), (1.0, 0.0, OTHER)]
    for style, legal, text in turns * 2:
        assert under(both, style, legal, text).same_as(fresh(style, legal, text)), (
            style,
            legal,
            text,
        )
    assert under(both, 0, 0).same_as(fresh(0, 0, LONG))
    assert [adapter.scale for adapter in CLIENT.adapters(both, 30)] == [0.0, 0.0]


def test_a_client_that_names_no_scales_never_goes_on_from_another_s_prompt(
    both: Endpoint, fresh: Callable[[float, float, str], Answer]
) -> None:
    """It gets the engine's scales, whoever used the slot before; and leaves it clean."""
    CLIENT.rescale(both, {0: 1.0}, 30)
    expected = fresh(1, 0, LONG)
    for _ in range(3):  # round the slots
        other, own = [each(0, 0), each(1, 1)], [each(0, 1), each(1, 0)]
        assert not ask(both, lora=other, cache_prompt=True).same_as(expected)
        assert ask(both).same_as(expected)
        assert ask(both, lora=own, cache_prompt=True).same_as(expected)


def test_a_completion_is_under_the_scales_that_it_names(both: Endpoint) -> None:
    def say(scales: dict[int, float] | None) -> str:
        *_, end = CLIENT.complete(both, LONG, max_tokens=8, timeout=60, scales=scales)
        assert isinstance(end, Completion)
        return end.text

    CLIENT.rescale(both, {}, 30)
    base = say(None)
    style, back, legal = say({0: 1.0, 1: 0.0}), say({1: 0.0, 0: 0.0}), say({1: 1.0, 0: 0.0})
    assert len({base, style, legal}) == 3
    assert back == base
    with pytest.raises(EngineFailed):
        say({0: float("nan")})


def test_a_rescale_refuses_what_it_cannot_do_before_it_does_anything(both: Endpoint) -> None:
    CLIENT.rescale(both, {0: 0.25}, 30)
    before = CLIENT.adapters(both, 30)
    for scales, why in (
        ({2: 1.0}, "not number 2"),
        ({0: 1.0, -1: 1.0}, "-1"),
        ({0: float("inf")}, "finite"),
    ):
        with pytest.raises(EngineFailed) as refused:
            CLIENT.rescale(both, scales, 30)
        assert why in refused.value.why
    assert CLIENT.adapters(both, 30) == before
    CLIENT.rescale(both, {}, 30)


def test_what_runs_goes_on_under_its_scales_and_its_slot_is_cleaned_after_it(
    both: Endpoint, fresh: Callable[[float, float, str], Answer]
) -> None:
    at_work = CLIENT.complete(both, LONG, max_tokens=1000, timeout=60, scales={0: 1.0})
    next(at_work)
    CLIENT.rescale(both, {1: 0.5}, 60)
    *_, end = at_work
    assert isinstance(end, Completion)
    assert end.finish_reason == "length"
    for slot in (0, 1):
        assert ask(both, id_slot=slot).same_as(fresh(0, 0.5, LONG))
    CLIENT.rescale(both, {}, 30)


def test_a_llama_server_gets_them_by_flags_and_keeps_no_prompts_in_memory(
    tmp_path: Path, fresh: Callable[[float, float, str], Answer]
) -> None:
    server = str(write_program(tmp_path / "llama-server"))
    # One slot: each prompt has to leave it for the next one.
    changes = {"server": server, "extra_flags": ("-s", "1"), "parallel": 1}
    with node_with(tmp_path, STYLE, LEGAL, **changes) as local:
        endpoint = local.up()
        while CLIENT.health(endpoint) is not Health.OK:  # its log is no part of this
            assert local.observe().state is MachineState.RUNNING
        assert [a.name for a in CLIENT.adapters(endpoint, 30)] == [STYLE, LEGAL]
        assert under(endpoint, 0, 0).same_as(fresh(0, 0, LONG))
        under(endpoint, 1, 0, LONG)
        under(endpoint, 0, 1, OTHER)
        assert under(endpoint, 0, 1, LONG).same_as(fresh(0, 1, LONG))


def test_a_file_that_changed_after_its_verification_is_not_loaded(tmp_path: Path) -> None:
    with node_with(tmp_path, STYLE) as local:
        path = Path(local.node.loras[0].path)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        # As in a race with the look that `plan` takes.
        local.create()
        seen = local.until(lambda seen: seen.state is MachineState.STOPPED)
        assert any("was changed since it was verified" in line for line in seen.log_tail)
        path.unlink()
        with pytest.raises(SystemExit, match="cannot be read"):
            check_loras({"loras": [[str(path), "0" * 64]]})


def test_a_record_of_an_older_yoyo_names_no_adapters() -> None:
    engine = {
        "model": "/m.gguf", "ctx": 2048, "parallel": 1, "cache_type_k": "f16",
        "cache_type_v": "f16", "port": 0, "extra_flags": ["--cache-ram", "7"],
    }  # fmt: skip
    check_loras(engine)
    params = parameters(engine, "key")
    assert (list(params.lora_adapters), params.cache_ram_mib) == ([], 7)


def flipped(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (flipped, "sha256"),
        (longer, "bytes"),
        (Path.unlink, "No such file"),
        (a_pipe, "not a regular file"),
        (a_folder, "directory"),
    ],
)
def test_a_plan_refuses_a_file_that_is_not_the_verified_one(
    tmp_path: Path, change: Callable[[Path], None], why: str
) -> None:
    with node_with(tmp_path, STYLE) as local:
        plan = local.machines.plan(local.node)
        assert [r.name for r in plan.resources if r.kind == "adapter"] == [STYLE]
        assert ("adapters", True) in [row[:2] for row in local.machines.prerequisites(local.node)]
        change(Path(local.node.loras[0].path))
        with pytest.raises(AdapterRefused) as refused:
            local.machines.plan(local.node)
        assert why in refused.value.why
        assert STYLE in refused.value.what
        assert ("adapters", False) in [row[:2] for row in local.machines.prerequisites(local.node)]


def test_a_file_under_another_name_is_refused(tmp_path: Path) -> None:
    with node_with(tmp_path, STYLE) as local:
        (lora,) = local.node.loras
        local.node = local.node._replace(loras=(lora._replace(name=LEGAL),))
        with pytest.raises(AdapterRefused, match="cannot be loaded"):
            local.machines.plan(local.node)


def test_a_path_that_a_llama_server_would_split_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "one,two"
    place.mkdir()
    with node_with(place, STYLE) as local:
        local.machines.plan(local.node)  # the embedded server splits nothing
        local.engine(server=str(write_program(tmp_path / "llama-server")), extra_flags=())
        with pytest.raises(AdapterRefused) as refused:
            local.machines.plan(local.node)
        assert "comma" in refused.value.why


@pytest.mark.parametrize("flags", [("--cache-ram", "64"), ("--cache-ram=64",)])
def test_a_cache_of_prompts_in_memory_is_refused_with_adapters(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with node_with(tmp_path, STYLE, extra_flags=flags) as local:
        with pytest.raises(EngineUnavailable) as refused:
            local.machines.plan(local.node)
        assert "--cache-ram" in refused.value.fix
        local.machines.plan(local.node._replace(loras=()))
