"""What is removed from a store, and what never is."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sample_node import NODE
from store_parts import Place, context, put, rows, strict

from yoyo.core.staging import lock_of
from yoyo.errors import ArtefactInUse, ArtefactMissing, ManifestInvalid, NodeBusy
from yoyo.model.ids import NodeName
from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.ops.store_context import StoreContext
from yoyo.ops.store_rows import book, settle
from yoyo.ops.weights_gc import GcResult, collect, pin, release, remove, unpin
from yoyo.ops.weights_stage import Staged

NOW = timedelta(0)
USED = {"manifests": ["a" * 64], "artefacts": ["b" * 64]}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def ctx(place: Place) -> StoreContext:
    return context(place)


def sha(staged: Staged) -> str:
    return staged.manifest.files[0].sha256


def waste(result: GcResult) -> list[str]:
    return sorted(each.key.rpartition("/")[2] for each in result.waste)


def uses(ctx: StoreContext, document: Any, node: str = "gpu") -> None:
    ctx.store.put(f"nodes/{node}.json", json.dumps(document).encode())


def test_a_removed_name_leaves_bytes_to_gc_which_shows_before_it_acts(
    ctx: StoreContext, place: Place
) -> None:
    one, two = put(ctx, "one", "1"), put(ctx, "two", "2")
    assert collect(ctx, apply=False, grace=NOW) == GcResult((), 2, False)
    remove(ctx, "bytes", "one")
    shown = collect(ctx, apply=False, grace=NOW)
    assert (waste(shown), shown.kept, shown.size, shown.applied) == ([sha(one)], 1, 1, False)
    assert len(place.artefacts()) == 2
    done = collect(ctx, apply=True, grace=NOW)
    assert (waste(done), done.applied) == ([sha(one)], True)
    assert place.artefacts() == [sha(two)]
    assert rows(ctx)[4:] == [
        "CHECKPOINT stage/bytes/one success ARTEFACT_REMOVED",
        "JOB_START gc pending",
        "JOB_COMPLETE gc success ARTEFACTS_COLLECTED",
    ]
    assert collect(ctx, apply=True, grace=NOW).waste == ()
    assert len(rows(ctx)) == 7  # nothing to do is nothing to book
    strict(ctx)


def test_bytes_with_two_names_stay_with_the_second(ctx: StoreContext, place: Place) -> None:
    put(ctx, "one", "same")
    put(ctx, "two", "same")
    remove(ctx, "bytes", "one")
    assert collect(ctx, apply=True, grace=NOW).waste == ()
    assert len(place.artefacts()) == 1


def test_what_is_young_is_left_alone(ctx: StoreContext, place: Place) -> None:
    staged = put(ctx, "one", "1")
    remove(ctx, "bytes", "one")
    assert collect(ctx, apply=True).waste == ()
    old = time.time() - 25 * 3600
    os.utime(place.artefact(sha(staged)), (old, old))
    assert waste(collect(ctx, apply=True)) == [sha(staged)]


def test_a_staging_that_was_given_up_goes_after_a_week(ctx: StoreContext, place: Place) -> None:
    source = place.root / "bytes"
    source.write_bytes(b"x")
    put(ctx, "keep", "x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert place.artefacts() == [digest]
    upload = ctx.store.upload("given-up", 1)
    upload.put(0, source, 0, 1, digest)
    for hours, there in ((6 * 24, True), (8 * 24, False)):
        for path in (place.store / "staging").rglob("*"):
            os.utime(path, (time.time() - hours * 3600,) * 2)
        collect(ctx, apply=True, grace=NOW)
        assert bool(place.leftovers()) is there
    assert place.artefacts() == [digest]
    strict(ctx)


def test_pinned_names_stay(ctx: StoreContext) -> None:
    put(ctx, "one", "1")
    pin(ctx, "bytes", "one")
    pin(ctx, "bytes", "one")
    with pytest.raises(ArtefactInUse, match="pinned by tester"):
        remove(ctx, "bytes", "one")
    unpin(ctx, "bytes", "one")
    unpin(ctx, "bytes", "one")
    remove(ctx, "bytes", "one")
    with pytest.raises(ArtefactMissing):
        pin(ctx, "bytes", "one")
    with pytest.raises(ArtefactMissing):
        remove(ctx, "bytes", "one")


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"[" * 100_000, b'{"operator": ""}'])
def test_a_pin_that_cannot_be_read_is_a_pin(ctx: StoreContext, content: bytes) -> None:
    put(ctx, "one", "1")
    ctx.store.put("pins/bytes/one.json", content)
    with pytest.raises(ArtefactInUse, match="pinned by unknown"):
        remove(ctx, "bytes", "one")


def test_what_a_node_was_started_with_stays(ctx: StoreContext, place: Place) -> None:
    staged = put(ctx, "one", "1")
    uses(ctx, {"manifests": [staged.digest], "artefacts": [sha(staged)]})
    with pytest.raises(ArtefactInUse, match="in use by gpu"):
        remove(ctx, "bytes", "one")
    put(ctx, "one", "2", replace=True)  # the node still runs from what it was started with
    assert collect(ctx, apply=True, grace=NOW).waste == ()
    ctx.store.delete("nodes/gpu.json")
    assert waste(collect(ctx, apply=True, grace=NOW)) == [sha(staged)]
    assert len(place.artefacts()) == 1


def test_what_the_configuration_names_stays(ctx: StoreContext) -> None:
    put(ctx, "one", "1", kind="weights")
    node = NODE._replace(
        name=NodeName.parse("gpu-7"), engine=NODE.engine._replace(model="store:one")
    )
    with pytest.raises(ArtefactInUse, match="gpu-7"):
        remove(ctx._replace(nodes=(node,)), "weights", "one")
    remove(ctx, "weights", "one")


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        5,
        {"manifests": [], "artefacts": []},
        {"manifests": "a" * 64, "artefacts": ["b" * 64]},
        {"manifests": ["a" * 64], "artefacts": [{}]},
        {"manifests": [["a"]], "artefacts": ["b" * 64]},
        {"manifests": ["a" * 64], "artefacts": []},
        {"manifests": ["a" * 64], "artefacts": ["B" * 64]},
        {"manifests": {"a": 1}, "artefacts": 7},
    ],
)
def test_nothing_is_collected_while_it_is_unknown_what_a_node_runs_from(
    ctx: StoreContext, place: Place, document: Any
) -> None:
    put(ctx, "one", "1")
    remove(ctx, "bytes", "one")
    uses(ctx, document)
    for apply in (False, True):
        with pytest.raises(ManifestInvalid, match="unknown what gpu runs from"):
            collect(ctx, apply=apply, grace=NOW)
    assert len(place.artefacts()) == 1
    uses(ctx, USED)
    assert len(collect(ctx, apply=True, grace=NOW).waste) == 1
    strict(ctx)


def test_nothing_is_collected_while_a_name_cannot_be_read(ctx: StoreContext, place: Place) -> None:
    put(ctx, "one", "1")
    put(ctx, "two", "2")
    remove(ctx, "bytes", "one")
    good = b"".join(ctx.store.read("names/bytes/two.json"))
    ctx.store.put("names/bytes/two.json", good.replace(b'"two"', b'"owt"'))
    with pytest.raises(ManifestInvalid, match="while a name cannot be read"):
        collect(ctx, apply=True, grace=NOW)
    assert len(place.artefacts()) == 2


def test_a_name_that_comes_while_it_works_is_respected(ctx: StoreContext, place: Place) -> None:
    put(ctx, "one", "1")
    remove(ctx, "bytes", "one")
    other = context(place)

    class Late:
        """Somebody names the bytes between the look and the removal."""

        def hold(self, *arguments: Any, **named: Any) -> Any:
            put(other, "late", "1")
            return ctx.locks.hold(*arguments, **named)

    assert collect(ctx._replace(locks=Late()), apply=True, grace=NOW).waste == ()
    assert len(place.artefacts()) == 1
    strict(ctx)


def test_two_do_not_collect_at_once(ctx: StoreContext) -> None:
    put(ctx, "one", "1")
    remove(ctx, "bytes", "one")
    with (
        context(Place(ctx.workplace.parents[1])).locks.hold(
            "gc", operator="x", command="gc", wait_s=0
        ),
        pytest.raises(NodeBusy),
    ):
        collect(ctx, apply=True, grace=NOW)


@pytest.mark.parametrize("name", ["../x", "..", "-x", "x" * 300, "a\x1bb", "a/b"])
def test_hostile_names_are_refused(ctx: StoreContext, place: Place, name: str) -> None:
    for operation in (pin, unpin, remove):
        with pytest.raises(ManifestInvalid):
            operation(ctx, "bytes", name)
    assert not place.store.exists()


def test_a_node_that_is_gone_for_good_is_released(ctx: StoreContext, place: Place) -> None:
    staged = put(ctx, "one", "1")
    uses(ctx, {"manifests": [staged.digest], "artefacts": [sha(staged)]}, "gone")
    with pytest.raises(ArtefactInUse, match="in use by gone") as refused:
        remove(ctx, "bytes", "one")
    assert "yoyo weights release" in refused.value.fix
    boot = Entry(
        EventType.BOOT_REQUEST, "acme", "gone", "a-life", CompletionStatus.PENDING, "tester"
    )
    ctx.ledger.append(boot)
    with pytest.raises(ArtefactInUse, match="gone is up"):
        release(ctx, "gone")
    ctx.ledger.append(
        boot._replace(
            event_type=EventType.TEARDOWN_COMPLETE, completion_status=CompletionStatus.SUCCESS
        )
    )
    release(ctx, "gone")
    release(ctx, "gone")
    remove(ctx, "bytes", "one")
    assert waste(collect(ctx, apply=True, grace=NOW)) == [sha(staged)]
    assert place.artefacts() == []


def test_a_job_whose_command_was_killed_is_settled_by_the_next_look(ctx: StoreContext) -> None:
    for left in ("stage/bytes/one", "gc"):
        book(ctx, EventType.JOB_START, left, CompletionStatus.PENDING)
    hold = ctx.locks.hold(lock_of("bytes", "one"), operator="ann", command="stage", wait_s=0)
    with hold:
        settle(ctx)  # somebody stages it: that one is at work
    assert rows(ctx)[2:] == ["JOB_COMPLETE gc error INTERRUPTED"]
    settle(ctx)
    settle(ctx)
    assert rows(ctx)[3:] == ["JOB_COMPLETE stage/bytes/one error INTERRUPTED"]
    strict(ctx)
