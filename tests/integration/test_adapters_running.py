"""A node that runs while the registry file changes, or while somebody sets its engine's scales."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters_parts import TONE, AdapterPlace, Snapshot, adapter_place

# Entered and not promoted: whoever needs them promotes them.
NEXT, STYLE = "acme-tone@1.1.0", "dka-style@2.0.0"
# The same version of the same adapter, with everything in order, and other weights.
TWIN = "twin.yaml"
RESTART = "`yoyo adapters activate --restart`"
DIFFERS = "its engine does not use the adapters that are booked: run `yoyo up`"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AdapterPlace, Snapshot]]:
    """One promoted adapter, two that could be, and a second registry file with another `TONE`."""
    home = tmp_path_factory.mktemp("running")
    with adapter_place(home) as made:
        made.key_mode()
        make_twin(made)
        made.publish(TONE)
        made.publish(NEXT, seed=2, promote=False)
        made.publish(STYLE, seed=3, promote=False, tasks=("summaries",), module="dka")
        yield made, Snapshot(made, home)


@pytest.fixture
def world(kept: tuple[AdapterPlace, Snapshot]) -> Iterator[AdapterPlace]:
    """The same, as if no other test had been there."""
    place, snapshot = kept
    yield place
    snapshot.restore()


def make_twin(place: AdapterPlace) -> None:
    layout = place.pack(TONE, seed=9)
    ref = f"{place.registry.host}/elsewhere/acme-tone:1.0.0"
    place.adapters("push", str(layout), ref)
    place.vouch(ref)
    book = ("--set", f"adapters.registry={place.book.with_name(TWIN)}")
    place.adapters("register", ref, *book)
    place.adapters("promote", TONE, *book)
    shutil.rmtree(layout)


def swap_registry(place: AdapterPlace) -> None:
    place.book.with_name(TWIN).replace(place.book)


def loads(place: AdapterPlace) -> list[str]:
    """The adapters of each load that was booked."""
    return [
        row["adapter_versions"]
        for row in place.rows()
        if row["event_type"] == "ADAPTER_LOAD" and row["completion_status"] == "success"
    ]


def scales(place: AdapterPlace) -> dict[str, float]:
    """What the engine says itself."""
    return {Path(each["path"]).stem: each["scale"] for each in place.engine("/lora-adapters")}


def set_scales(place: AdapterPlace, *wanted: float) -> None:
    """What a stranger who has the key may do; in the engine's order."""
    field: Any = [{"id": number, "scale": scale} for number, scale in enumerate(wanted)]
    place.engine("/lora-adapters", field)


def notes(place: AdapterPlace) -> str:
    return "\n".join(place.status()["notes"])


def refused(place: AdapterPlace, *arguments: str, code: int = 92) -> Any:
    """The error of a command that books nothing and leaves the node as it is."""
    rows, before = place.rows(), scales(place)
    error = place.json(*arguments, code=code)["error"]
    assert place.rows() == rows
    assert scales(place) == before
    return error


def ask(place: AdapterPlace) -> list[str]:
    """What the answer names as having weighed in; the rows name the same."""
    done: list[str] = place.json("ask", "hello", "--max-tokens", "2")["adapters"]
    assert [row["adapter_versions"] for row in place.rows()[-2:]] == [";".join(done)] * 2
    return done


def test_other_bytes_under_the_same_name_are_not_what_is_loaded(world: AdapterPlace) -> None:
    world.run("up")
    (old,) = world.adapters("active")["adapters"]
    said = world.tokens(None)
    swap_registry(world)
    error = refused(world, "adapters", "activate")
    assert error["code"] == "AdapterNotLoaded"
    assert TONE in error["what"]
    assert "--restart" in error["fix"]
    assert world.adapters("active")["adapters"] == [old]
    assert world.tokens(None) == said

    set_scales(world, 0.0)  # as after an end of the engine, which starts anew by itself
    error = refused(world, "up")
    assert error["code"] == "AdapterNotLoaded"
    assert "--restart" in error["fix"]

    assert world.adapters("activate", "--restart")["restarted"]
    (new,) = world.adapters("active")["adapters"]
    assert (new["name"], new["scale"]) == (TONE, 1.0)
    assert new["weights"] != old["weights"]
    assert new["digest"] != old["digest"]
    assert new["digest"] in world.book.read_text()
    assert world.tokens(None) not in (said, world.tokens({0: 0.0}))
    assert loads(world) == [TONE, TONE]
    world.run("down")
    world.sound()


def test_ask_looks_at_the_engine_even_where_there_is_no_registry_file(world: AdapterPlace) -> None:
    world.run("up")
    world.adapters("retire", TONE)
    assert world.adapters("activate")["adapters"] == []
    assert ask(world) == []
    world.book.rename(world.root / "away.yaml")
    set_scales(world, 2.0)
    error = refused(world, "ask", "hello")
    assert error["code"] == "AdapterNotLoaded"
    assert "does not know" in error["what"]
    assert TONE in error["why"]
    set_scales(world, 0.0)
    assert ask(world) == []


@pytest.mark.parametrize("change", ["a second one", "a rollback"])
def test_a_boot_is_finished_with_what_its_engine_has(world: AdapterPlace, change: str) -> None:
    if change == "a rollback":
        world.adapters("promote", NEXT)
    first = world.json("up", "--no-wait")
    has, later, stays = {
        "a second one": (TONE, STYLE, True),
        "a rollback": (NEXT, TONE, False),
    }[change]
    step = ("rollback", "acme-tone") if change == "a rollback" else ("promote", later)
    world.adapters(*step)

    done = world.json("up")
    assert (done["state"], done["request_id"]) == ("ready", first["request_id"])
    (note,) = done["notes"]
    assert later in note
    assert RESTART in note
    assert scales(world) == {has: 1.0 if stays else 0.0}
    assert loads(world) == [has if stays else ""]
    assert ask(world) == ([has] if stays else [])
    assert DIFFERS not in notes(world)
    world.adapters("activate", "--restart")
    assert scales(world) == ({STYLE: 1.0, TONE: 1.0} if stays else {later: 1.0})
    world.run("down")
    world.sound()


def test_promoted_since_a_start_without_any(world: AdapterPlace) -> None:
    world.adapters("retire", TONE)
    assert world.json("up")["notes"] == []
    world.adapters("promote", STYLE)
    rows = world.rows()
    (note,) = world.json("up")["notes"]
    assert STYLE in note
    assert RESTART in note
    assert world.rows() == rows
    assert scales(world) == {}
    assert DIFFERS not in notes(world)
    assert ask(world) == []


@pytest.mark.parametrize("bar", ["freeze", "budget"])
def test_a_restart_that_could_not_start_stops_nothing(world: AdapterPlace, bar: str) -> None:
    world.settle_on(more="prices: {hourly_usd: 0.71}")
    request = world.json("up")["request_id"]
    world.adapters("promote", NEXT)
    if bar == "freeze":
        world.run("freeze", "--reason", "trial")
    else:
        world.settle_on(more="prices: {hourly_usd: 0.71}\n    budget: {day_usd: 5}")
    code, name = {"freeze": (20, "Frozen"), "budget": (21, "OverBudget")}[bar]
    assert refused(world, "adapters", "activate", "--restart", code=code)["code"] == name
    status = world.status()
    assert (status["state"], status["engine"]["healthy"]) == ("ready", True)
    boots = [row["job_id"] for row in world.rows() if row["event_type"] == "BOOT_COMPLETE"]
    assert boots == [request]
    assert ask(world) == [TONE]


def test_promoted_for_another_base_is_told_as_left_out(world: AdapterPlace) -> None:
    other = world.root / "other.gguf"
    other.write_bytes(world.base.read_bytes() + bytes(32))
    config = world.root / "yoyo.yaml"
    config.write_text(config.read_text().replace("model: smoke", f"model: {other}"))
    (left_out,) = world.json("plan")["left_out"]
    assert left_out.startswith(f"{TONE} is promoted and left out: it is for the base sha256:")
    assert left_out in world.run("plan").stdout
    checks = world.json("doctor", code=None)["nodes"][0]["checks"]
    (check,) = [each for each in checks if each["name"] == "adapters"]
    assert (check["level"], check["finding"]) == ("warn", left_out)
    assert "--explain" in check["remedy"]
    for _ in range(2):  # started, and up already
        assert world.json("up")["notes"] == [left_out]
    assert left_out in world.run("up").stdout
    assert scales(world) == {}
    assert loads(world) == []


def test_a_boot_that_status_settled_is_mended_by_up(world: AdapterPlace) -> None:
    world.run("up", "--no-wait")
    deadline = time.monotonic() + 60
    while (status := world.status())["state"] != "ready":
        assert time.monotonic() < deadline, status
    assert status["notes"].count(DIFFERS) == 1
    assert loads(world) == []
    assert scales(world) == {TONE: 0.0}
    assert world.json("up")["notes"] == []
    assert loads(world) == [TONE]
    assert scales(world) == {TONE: 1.0}
    assert DIFFERS not in notes(world)
    assert ask(world) == [TONE]


def test_what_is_rejected_answers_nobody(world: AdapterPlace) -> None:
    world.run("up")
    assert ask(world) == [TONE]
    world.adapters("reject", TONE)
    error = refused(world, "ask", "hello")
    assert error["code"] == "AdapterNotLoaded"
    assert f"{TONE} was rejected" in error["what"]
    assert "activate" in error["fix"]
    assert f"{TONE} is rejected and still in use" in notes(world)
    assert world.adapters("activate")["adapters"] == []
    assert "rejected" not in notes(world)
    assert scales(world) == {TONE: 0.0}
    assert ask(world) == []
    assert loads(world) == [TONE, ""]


def test_what_is_retired_is_told_and_still_answers(world: AdapterPlace) -> None:
    world.run("up")
    world.adapters("retire", TONE)
    assert f"{TONE} is retired and still in use" in notes(world)
    assert ask(world) == [TONE]
    assert loads(world) == [TONE]


def test_up_takes_back_what_a_stranger_set(world: AdapterPlace) -> None:
    """Retired and then set again: it is put back to 0."""
    world.run("up")
    world.adapters("retire", TONE)
    world.adapters("activate")
    assert DIFFERS not in notes(world)
    set_scales(world, 1.0)
    assert DIFFERS in notes(world)
    assert world.json("up")["notes"] == []
    assert scales(world) == {TONE: 0.0}
    assert loads(world) == [TONE, "", ""]
    assert DIFFERS not in notes(world)
    assert ask(world) == []


def test_up_goes_back_to_what_is_booked_and_not_to_more(world: AdapterPlace) -> None:
    """An operator chose one of two; a stranger sets both; the operator's choice holds."""
    world.adapters("promote", STYLE)
    world.run("up")
    assert scales(world) == {STYLE: 1.0, TONE: 1.0}
    assert world.adapters("activate", "--task", "chat")["adapters"] == [TONE]
    set_scales(world, 2.0, 1.0)
    assert DIFFERS in notes(world)
    world.run("up")
    assert scales(world) == {STYLE: 0.0, TONE: 1.0}
    assert loads(world) == [f"{STYLE};{TONE}", TONE, TONE]
    assert ask(world) == [TONE]


def test_up_brings_back_what_was_chosen_for_another_task(world: AdapterPlace) -> None:
    world.adapters("promote", STYLE)
    world.settle_on(more="task: chat")
    world.run("up")
    assert world.adapters("activate", "--task", "summaries", "--restart")["adapters"] == [STYLE]
    set_scales(world, 0.0)
    assert DIFFERS in notes(world)
    world.run("up")
    assert scales(world) == {STYLE: 1.0}
    assert loads(world) == [TONE, STYLE, STYLE]
    assert ask(world) == [STYLE]


def test_an_unreadable_registry_file_is_no_end_of_a_healthy_node(world: AdapterPlace) -> None:
    world.run("up")
    rows = world.rows()
    world.book.write_text("schema: 99\n")
    (note,) = world.json("up")["notes"]
    assert note.startswith("what is promoted for it is not known: ")
    assert "99" in note
    assert world.rows() == rows
    set_scales(world, 0.0)
    assert refused(world, "up", code=90)["code"] == "AdapterBookInvalid"


def test_up_again_on_a_healthy_node_asks_no_registry(world: AdapterPlace) -> None:
    world.run("up")
    rows = world.rows()
    world.registry.stop()
    try:
        again = world.run("up")
        assert "was up already" in again.stdout
        assert "verifying" not in again.stderr
    finally:
        world.registry.start()
    assert world.rows() == rows
    assert loads(world) == [TONE]


def test_without_its_registry_file_nothing_is_started_in_silence(world: AdapterPlace) -> None:
    world.book.rename(world.book.with_suffix(".away"))
    before = world.rows()
    error = world.json("up", code=90)["error"]
    assert "adapters.registry" in error["why"]
    assert "adapters=none" in error["fix"]
    assert world.rows() == before
    assert world.json("plan")["actions"] == ["refuse: there is no registry file of adapters"]
    alone = ("--set", "nodes.local.adapters=none")
    world.run("up", *alone)
    refused(world, "adapters", "activate", code=90)
    assert ask(world) == []


def test_a_broken_registry_file_does_not_keep_an_adapter_in_use(world: AdapterPlace) -> None:
    world.run("up")
    world.book.write_text("<<<<<<< HEAD\n" + world.book.read_text())
    refused(world, "adapters", "activate", code=90)
    world.json("adapters", "activate", "--set", "nodes.local.adapters=none")
    assert scales(world) == {TONE: 0.0}
    result = world.json("up", "--set", "nodes.local.adapters=none")
    assert result["notes"] == []
