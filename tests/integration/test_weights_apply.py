"""`yoyo weights apply` on a real store, ledger, locks and disk, with the real staging."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
from weights_apply_parts import INLINE, Bench, condition, content, hub_document

from yoyo.config.model_cache import load_caches
from yoyo.core import store_keys
from yoyo.errors import (
    ArtefactMissing,
    CacheNotReady,
    Interrupted,
    ManifestInvalid,
    SourceFailed,
    StoreConflict,
)
from yoyo.model.cache import Phase, Verb
from yoyo.ops import shelf
from yoyo.ops.weights_apply import apply, forget, require_all, require_ready, status
from yoyo.ops.weights_gc import remove
from yoyo.ops.weights_stage import StageRequest


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_documents_are_staged_and_a_second_time_changes_nothing(bench: Bench) -> None:
    bench.hub.branches["main"] = ("1" * 40, b"one")
    text = hub_document() + "---" + INLINE
    first = bench.apply(text)
    assert [each.action.verb for each in first] == [Verb.STAGE, Verb.STAGE]
    assert [each.status.phase for each in first] == [Phase.READY, Phase.READY]
    assert content(bench, "bytes", "words") == b"one"
    assert content(bench, "bytes", "template") == b"{{ bos }}"
    digest = shelf.need(bench.ctx.store, "bytes", "words").digest
    assert first[0].status.digest == f"sha256:{digest}"
    took = first[0].status.hydration_seconds
    assert took is not None
    assert Decimal(0) <= took < Decimal(600)

    before, staged = bench.snapshot(), len(bench.staged)
    second = bench.apply(text)
    assert [each.action.verb for each in second] == [Verb.NONE, Verb.NONE]
    assert [each.status for each in second] == [each.status for each in first]
    assert bench.snapshot() == before
    assert len(bench.staged) == staged


def test_a_dry_run_says_what_and_does_nothing(bench: Bench) -> None:
    (planned,) = bench.apply(INLINE, dry_run=True)
    assert (planned.action.verb, planned.status.phase) == (Verb.STAGE, Phase.PENDING)
    assert not list((bench.place / "store").rglob("*.json"))
    assert not bench.codes()


def test_a_failure_is_kept_with_its_reason_and_later_ready(bench: Bench) -> None:
    bench.hub.branches["main"] = ("1" * 40, b"one")
    bench.hub.failure = SourceFailed("The hub says 404.", why="It was renamed.", fix="Look.")
    applied = bench.apply(hub_document() + "---" + INLINE)
    assert [each.status.phase for each in applied] == [Phase.FAILED, Phase.READY]
    with pytest.raises(CacheNotReady) as caught:
        require_all(each.status for each in applied)
    assert "SourceFailed: The hub says 404. It was renamed." in caught.value.why

    (kept,) = status(bench.ctx, ("words",), ask=False)
    assert kept.phase is Phase.FAILED
    assert condition(kept, "Ready") == ("False", "SourceFailed")
    assert condition(kept, "Stalled") == ("True", "SourceFailed")
    again = bench.one(hub_document())
    assert [each.since for each in again.conditions if each.type == "Ready"] == [
        each.since for each in kept.conditions if each.type == "Ready"
    ]

    bench.hub.failure = None
    assert bench.one(hub_document()).phase is Phase.READY
    require_ready(bench.ctx, "words", "bytes")


def test_a_moved_tag_is_seen_and_followed_only_when_asked(bench: Bench) -> None:
    bench.hub.branches["main"] = ("1" * 40, b"one")
    first = bench.one(hub_document())
    assert condition(first, "Drifted") == ("False", "Unchanged")
    bench.hub.branches["main"] = ("2" * 40, b"two")
    (seen,) = bench.apply(hub_document())
    assert (seen.action.verb, seen.status.phase) == (Verb.NONE, Phase.READY)
    assert condition(seen.status, "Drifted") == ("True", "RevisionMoved")
    assert content(bench, "bytes", "words") == b"one"
    require_ready(bench.ctx, "words", "bytes")

    followed = bench.one(hub_document(refetch="1"))
    assert (followed.phase, condition(followed, "Drifted")[0]) == (Phase.READY, "False")
    assert content(bench, "bytes", "words") == b"two"
    assert [code for code in bench.codes() if "REPLACED" in code] == [
        "CHECKPOINT:success:ARTEFACT_REPLACED"
    ]
    staged = len(bench.staged)
    (once,) = bench.apply(hub_document(refetch="1"))
    assert once.action.verb is Verb.NONE
    assert len(bench.staged) == staged


def test_another_revision_in_the_document_replaces(bench: Bench) -> None:
    bench.hub.branches |= {"v1": ("1" * 40, b"one"), "v2": ("2" * 40, b"two")}
    assert bench.one(hub_document("v1")).phase is Phase.READY
    bench.hub.failure = SourceFailed("The hub is down.")
    assert bench.one(hub_document("v2")).phase is Phase.FAILED
    with pytest.raises(CacheNotReady):
        require_ready(bench.ctx, "words", "bytes")
    assert content(bench, "bytes", "words") == b"one"
    bench.hub.failure = None
    assert bench.one(hub_document("v2")).phase is Phase.READY
    assert content(bench, "bytes", "words") == b"two"


def test_what_was_staged_by_hand_is_taken_over_but_never_overwritten(bench: Bench) -> None:
    bench.hub.branches["main"] = ("1" * 40, b"one")
    bench.stage(StageRequest("bytes", "words", "hf://org/words/f.txt@main"))
    (same,) = bench.apply(hub_document())
    assert (same.action.verb, same.status.phase) == (Verb.RECORD, Phase.READY)
    assert [each.already for each in bench.staged] == [False, True]

    bench.stage(StageRequest("bytes", "template", "inline:mine"))
    other = bench.one(INLINE)
    assert condition(other, "Ready") == ("False", "ArtefactExists")
    assert content(bench, "bytes", "template") == b"mine"


def test_a_name_that_was_replaced_by_hand_is_a_drift(bench: Bench) -> None:
    bench.hub.branches["main"] = ("1" * 40, b"one")
    bench.one(hub_document())
    bench.stage(StageRequest("bytes", "words", "inline:other", replace=True))
    (seen,) = bench.apply(hub_document())
    assert (seen.action.verb, seen.status.phase) == (Verb.NONE, Phase.READY)
    assert condition(seen.status, "Drifted") == ("True", "ManifestReplaced")
    assert condition(bench.one(hub_document(refetch="1")), "Drifted")[0] == "False"
    assert content(bench, "bytes", "words") == b"one"


def test_what_was_removed_comes_back(bench: Bench) -> None:
    bench.one(INLINE)
    remove(bench.ctx, "bytes", "template")
    (gone,) = status(bench.ctx)
    assert condition(gone, "Ready") == ("False", "NotStaged")
    with pytest.raises(CacheNotReady):
        require_ready(bench.ctx, "template", "bytes")
    assert bench.one(INLINE).phase is Phase.READY


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_apply_is_finished_by_the_next(bench: Bench, moment: str) -> None:
    bench.hub.branches |= {"v1": ("1" * 40, b"one"), "v2": ("2" * 40, b"two")}
    bench.one(hub_document("v1"))

    def killed(request: StageRequest) -> None:
        if moment == "after":
            bench.stage(request)
        raise Interrupted("killed")

    documents = load_caches("-", stdin=io.BytesIO(hub_document("v2").encode()))
    with pytest.raises(Interrupted):
        apply(documents, bench.ctx, killed)
    (left,) = status(bench.ctx)
    assert left.phase is Phase.PENDING
    staged = len(bench.staged)
    assert bench.one(hub_document("v2")).phase is Phase.READY
    assert content(bench, "bytes", "words") == b"two"
    assert bench.staged[staged].already == (moment == "after")


def test_somebody_at_it_is_populating_and_left_alone(bench: Bench) -> None:
    seen: list[tuple[Verb, Phase]] = []

    def refused(request: StageRequest) -> None:
        raise AssertionError(f"{request.name} was staged twice at the same time")

    def meanwhile(request: StageRequest) -> None:
        about = sha256(f"{request.kind}/{request.name}".encode()).hexdigest()[:32]
        hold = bench.ctx.locks.hold(f"name-{about}", operator="x", command="stage", wait_s=0)
        with hold:
            (found,) = status(bench.ctx)
            (step,) = apply(documents, bench.ctx, refused)
            seen.append((step.action.verb, found.phase))
        bench.stage(request)

    documents = load_caches("-", stdin=io.BytesIO(INLINE.encode()))
    (applied,) = apply(documents, bench.ctx, meanwhile)
    assert seen == [(Verb.WAIT, Phase.POPULATING)]
    assert applied.status.phase is Phase.READY


def test_two_applies_of_one_document_do_not_overwrite_each_other(bench: Bench) -> None:
    bench.hub.branches |= {"v1": ("1" * 40, b"one"), "v2": ("2" * 40, b"two")}

    def overtaken(request: StageRequest) -> None:
        bench.one(hub_document("v1"))

    documents = load_caches("-", stdin=io.BytesIO(hub_document("v2").encode()))
    with pytest.raises(StoreConflict):
        apply(documents, bench.ctx, overtaken)
    assert content(bench, "bytes", "words") == b"one"


def test_a_cache_keeps_its_kind(bench: Bench) -> None:
    bench.hub.branches["main"] = ("1" * 40, b"one")
    bench.one(hub_document())
    with pytest.raises(ManifestInvalid, match=r"artifact\.kind"):
        bench.apply(hub_document(kind="Tokenizer"))


def test_a_corrupt_model_is_failed_before_it_is_staged(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "m.gguf").write_bytes(b"GGUF" + b"\xff" * 60)
    source = f"configMap: {{path: {tmp_path / 'templates'}, key: m.gguf}}"
    text = INLINE.replace('inline: {text: "{{ bos }}"}', source)
    found = bench.one(text.replace("kind: Bytes", "kind: Weights"))
    assert condition(found, "Ready") == ("False", "ModelInvalid")
    assert bench.one(text.replace("template}", "raw}")).phase is Phase.READY


def test_labels_and_mount_path_change_without_a_fetch(bench: Bench) -> None:
    bench.one(INLINE)
    text = INLINE.replace("/templates", "/other").replace("}\nspec", ", labels: {a: b}}\nspec")
    (changed,) = bench.apply(text)
    assert changed.action.verb is Verb.NONE
    (found,) = status(bench.ctx)
    assert (found.cache.mount_path, found.cache.labels) == ("/other", (("a", "b"),))
    assert len(bench.staged) == 1


def test_a_name_without_a_document_starts_and_another_kind_does_not_count(bench: Bench) -> None:
    require_ready(bench.ctx, "unheard-of")
    bench.hub.failure = SourceFailed("down")
    bench.one(hub_document())
    require_ready(bench.ctx, "words", "weights")
    with pytest.raises(CacheNotReady):
        require_ready(bench.ctx, "words", "bytes")


def test_records_that_were_tampered_with(bench: Bench) -> None:
    bench.one(INLINE)
    key = store_keys.cache("template")
    good = b"".join(bench.ctx.store.read(key))
    for bad in (b"", b"{}", good.replace(b'"template"', b'"other"'), good + b" x"):
        bench.ctx.store.put(key, bad)
        with pytest.raises(ManifestInvalid):
            status(bench.ctx)
        with pytest.raises(ManifestInvalid):
            require_ready(bench.ctx, "template", "bytes")
        with pytest.raises(ManifestInvalid):
            bench.apply(INLINE)
    forget(bench.ctx, "template")
    assert bench.one(INLINE).phase is Phase.READY
    with pytest.raises(ArtefactMissing):
        status(bench.ctx, ("no",))


def test_references_are_the_nodes_that_were_started_with_it(bench: Bench) -> None:
    bench.one(INLINE)
    digest = shelf.need(bench.ctx.store, "bytes", "template").digest
    use = {"manifests": [digest], "artefacts": []}
    bench.ctx.store.put(store_keys.node("n1"), json.dumps(use).encode())
    assert status(bench.ctx)[0].references == ("n1",)
