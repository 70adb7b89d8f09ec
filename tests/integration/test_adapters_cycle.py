"""The whole life of an adapter by the real commands, with a real registry and the real engine."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters_parts import ROLES, TONE, AdapterPlace, Snapshot, adapter_place

NEXT, STYLE = "acme-tone@1.1.0", "dka-style@2.0.0"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AdapterPlace, Snapshot]]:
    """A directory with keys, a registry and one promoted adapter, and how it was at first."""
    home = tmp_path_factory.mktemp("adapters")
    with adapter_place(home) as made:
        made.key_mode()
        made.publish(TONE)
        yield made, Snapshot(made, home)


@pytest.fixture
def world(kept: tuple[AdapterPlace, Snapshot]) -> Iterator[AdapterPlace]:
    """The same, as if no other test had been there."""
    place, snapshot = kept
    yield place
    snapshot.restore()


def loads(place: AdapterPlace) -> list[tuple[str, str]]:
    """Adapters and proof of each load that was booked."""
    return [
        (row["adapter_versions"], row["input_hash"])
        for row in place.rows()
        if row["event_type"] == "ADAPTER_LOAD" and row["completion_status"] == "success"
    ]


def jobs(place: AdapterPlace) -> list[tuple[str, str]]:
    """Kind and adapters of the rows of the last request."""
    rows = [row for row in place.rows() if row["node_id"] == "local"]
    last = [row for row in rows if row["event_type"].startswith("JOB_")][-2:]
    assert len({row["job_id"] for row in last}) == 1
    return [(row["event_type"], row["adapter_versions"]) for row in last]


def check_proof(place: AdapterPlace, proof: str, digests: dict[str, str]) -> None:
    """The record names what was loaded, and by whom each statement was signed."""
    path = place.proofs / f"{proof.removeprefix('sha256:')}.json"
    assert path in place.load_decisions()
    said = json.loads(path.read_bytes())
    subjects = {each["name"]: f"sha256:{each['digest']['sha256']}" for each in said["subject"]}
    assert subjects == digests
    for each in said["predicate"]["urn:yoyo:signers:v1"]:
        roles = {signer["role"]: signer["identity"] for signer in each["signers"]}
        assert set(roles) == {"signature", "provenance", "sign-off"}
        assert len(set(roles.values())) == len(ROLES)


def test_from_a_file_to_an_answer_and_back(tmp_path: Path) -> None:
    with adapter_place(tmp_path) as world:
        world.key_mode()
        whole_cycle(world)


def whole_cycle(world: AdapterPlace) -> None:
    """Each step once, each by who has to take it."""
    layout = world.pack(TONE)
    pushed = world.adapters("push", str(layout))
    assert not pushed["already"]
    said = world.vouch(TONE)
    assert len({each["identity"]["subject"] for each in said.values()}) == len(ROLES)
    assert world.adapters("register", TONE)["adapter"]["stage"] == "eval_ok"
    assert world.adapters("promote", TONE)["adapter"]["stage"] == "promoted"
    assert TONE in world.run("plan").stdout

    world.run("up")
    assert [(each["id"], each["scale"]) for each in world.engine("/lora-adapters")] == [(0, 1.0)]
    (names, proof), = loads(world)  # fmt: skip
    assert names == TONE
    check_proof(world, proof, {TONE: pushed["digest"]})
    active = world.adapters("active")
    assert active["proof"] == proof
    assert [(each["name"], each["scale"]) for each in active["adapters"]] == [(TONE, 1.0)]
    assert active["adapters"][0]["digest"] == pushed["digest"]
    assert {each["role"] for each in active["adapters"][0]["signers"]} == {
        "signature",
        "provenance",
        "sign-off",
    }

    with_it, without = world.tokens({0: 1.0}), world.tokens({0: 0.0})
    assert with_it != without
    assert world.tokens(None) == with_it
    world.run("ask", "hello", "--max-tokens", "4")
    assert jobs(world) == [("JOB_START", TONE), ("JOB_COMPLETE", TONE)]

    world.adapters("retire", TONE)
    assert world.adapters("activate")["adapters"] == []
    assert world.engine("/lora-adapters")[0]["scale"] == 0.0
    assert world.tokens(None) == without
    assert loads(world)[-1] == ("", "")
    world.run("ask", "hello", "--max-tokens", "4")
    assert jobs(world) == [("JOB_START", ""), ("JOB_COMPLETE", "")]
    world.run("down")
    assert base_alone(world) == without
    world.sound()


def base_alone(place: AdapterPlace) -> list[int]:
    """What the node says that was started without any adapter."""
    place.settle_on(more="adapters: none")
    place.run("up")
    assert place.engine("/lora-adapters") == []
    tokens = place.tokens(None)
    place.run("down")
    return tokens


def test_a_new_version_comes_with_a_restart_and_goes_with_a_rollback(world: AdapterPlace) -> None:
    world.run("up")
    life = loads(world)
    digest = world.publish(NEXT, seed=2)
    before = len(world.rows())
    refused = world.adapters("activate", code=92)
    assert refused["error"]["code"] == "AdapterNotLoaded"
    assert NEXT in refused["error"]["what"]
    assert "--restart" in refused["error"]["fix"]
    assert len(world.rows()) == before  # refused before anything was done
    assert world.adapters("active")["adapters"][0]["name"] == TONE

    asking = world.start("ask", "hello", "--max-tokens", "3000")
    assert asking.stdout is not None
    assert asking.stdout.read(1)  # it is being answered
    done = world.adapters("activate", "--restart")
    assert (done["adapters"], done["restarted"]) == ([NEXT], True)
    asking.communicate(timeout=60)
    assert asking.returncode == 0  # drained, not cut off
    assert jobs(world) == [("JOB_START", TONE), ("JOB_COMPLETE", TONE)]
    assert loads(world)[: len(life)] == life
    names, proof = loads(world)[-1]
    assert (names, proof) == (NEXT, done["proof"])
    check_proof(world, proof, {NEXT: digest})

    back = world.adapters("rollback", "acme-tone")
    assert (back["adapter"]["version"], back["replaced"]) == ("1.0.0", NEXT)
    assert world.adapters("activate", "--restart")["adapters"] == [TONE]
    assert loads(world)[-1][0] == TONE
    world.run("down")
    world.sound()


def test_two_adapters_of_different_tasks(world: AdapterPlace) -> None:
    first = world.adapters("ls")["adapters"][0]["ref"].partition("@")[2]
    second = world.publish(STYLE, seed=2, tasks=("summaries",), module="dka")
    world.run("up")
    assert [each["name"] for each in world.adapters("active")["adapters"]] == [STYLE, TONE]
    names, proof = loads(world)[-1]
    assert names == f"{STYLE};{TONE}"
    check_proof(world, proof, {STYLE: second, TONE: first})
    said = {}
    for task, name in (("chat", TONE), ("summaries", STYLE)):
        done = world.json("ask", "hello", "--max-tokens", "16", "--task", task)
        assert done["adapters"] == [name]
        assert jobs(world) == [("JOB_START", name), ("JOB_COMPLETE", name)]
        said[task] = done["completion"]["text"]
    said["both"] = world.json("ask", "hello", "--max-tokens", "16")["completion"]["text"]
    assert jobs(world)[0][1] == f"{STYLE};{TONE}"
    assert len(set(said.values())) == 3, said  # what is booked is what weighed in
    assert world.adapters("activate", "--task", "chat")["adapters"] == [TONE]
    scales = {each["name"]: each["scale"] for each in world.adapters("active")["adapters"]}
    assert scales == {STYLE: 0.0, TONE: 1.0}
    assert world.json("ask", "hello", "--max-tokens", "16")["completion"]["text"] == said["chat"]
    world.run("down")
    world.sound()


def test_without_its_registry_nothing_is_started(world: AdapterPlace) -> None:
    """Who signed is asked at each start; the bytes that are here are not fetched again."""
    world.run("up")
    kept = next((world.root / ".yoyo/adapters").glob("*/*.gguf"))
    stamp = kept.stat().st_mtime_ns
    world.run("down")
    blob = world.adapters("inspect", TONE)["files"][0]["digest"]
    world.registry.blob_file(blob).unlink()
    world.run("up")  # the registry lost the weights; they are here, and intact
    assert kept.stat().st_mtime_ns == stamp
    world.run("down")
    world.registry.stop()
    rows = world.rows()
    waiting = world.start("up")
    assert waiting.stderr is not None
    assert any("verifying" in line for line in waiting.stderr)  # it asks again for a minute
    assert world.rows() == rows
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=120)
    assert waiting.returncode == 130
    assert world.rows() == rows
    assert world.processes() == []
    world.registry.start()
    world.run("up")
    world.run("down")
    world.sound()


def test_up_without_waiting_and_then_with(world: AdapterPlace) -> None:
    first = world.json("up", "--no-wait")
    again = world.json("up")
    assert again["request_id"] == first["request_id"]
    assert [name for name, _ in loads(world)] == [TONE]
    assert world.adapters("active")["adapters"][0]["scale"] == 1.0
    world.run("up")
    assert len(loads(world)) == 1
    world.run("down")
    world.sound()


@pytest.mark.parametrize("settler", [("up",), ("status",)])
def test_up_killed_before_the_load_is_booked(world: AdapterPlace, settler: tuple[str, ...]) -> None:
    process = world.start("up")
    deadline = time.monotonic() + 60
    while not world.engines():  # intent is booked and the engine is there
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    world.run(*settler)
    done = world.json("up")
    assert done["state"] == "ready"
    assert [name for name, _ in loads(world)] == [TONE]
    assert world.adapters("active")["adapters"][0]["scale"] == 1.0
    world.run("ask", "hello", "--max-tokens", "4")
    assert jobs(world)[0] == ("JOB_START", TONE)
    world.run("down")
    world.sound()


def test_who_built_it_is_told_by_inspect_and_proved_by_verify(world: AdapterPlace) -> None:
    shown: dict[str, Any] = world.adapters("inspect", TONE)
    assert not shown["verified"]
    assert len(shown["bundles"]) == len(ROLES)
    proved = world.run("adapters", "verify", TONE, "--explain", "--base", "node").stdout
    for words in ("ok     signature", "ok     provenance", "ok     sign-off", "ok     registry"):
        assert words in proved
