"""`ExistingPath`: files that are adopted where they lie, on a real disk and a real store."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from weights_apply_parts import INLINE, Bench, condition, content, path_document

from yoyo.core import store_keys
from yoyo.drivers.local import smoke_model
from yoyo.errors import (
    CacheNotReady,
)
from yoyo.model.cache import Phase, Verb
from yoyo.ops import shelf
from yoyo.ops.weights_adopt import adopted_files
from yoyo.ops.weights_apply import require_ready, status
from yoyo.ops.weights_stage import StageRequest


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def artefacts(bench: Bench) -> list[str]:
    return [info.key for info in bench.ctx.store.list(store_keys.ARTEFACTS)]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    path.mkdir()
    (path / "a.bin").write_bytes(b"a" * 100_000)
    (path / "b.txt").write_bytes(b"")
    return path


def test_a_directory_is_adopted_without_a_copy(bench: Bench, models: Path) -> None:
    (adopted,) = bench.apply(path_document(models))
    assert (adopted.action.verb, adopted.status.phase) == (Verb.ADOPT, Phase.READY)
    assert not artefacts(bench)
    manifest = shelf.need(bench.ctx.store, "bytes", "mine").manifest
    assert manifest.source.url == f"existing://{models}"
    assert [(each.path, each.size, each.sha256) for each in manifest.files] == [
        ("a.bin", 100_000, sha256(b"a" * 100_000).hexdigest()),
        ("b.txt", 0, sha256(b"").hexdigest()),
    ]
    assert [len(each.chunks) for each in manifest.files] == [1, 0]
    assert adopted_files(bench.ctx, manifest) == (models / "a.bin", models / "b.txt")
    assert bench.codes() == ["JOB_START:pending:", "JOB_COMPLETE:success:"]
    assert adopted.status.hydration_seconds is not None
    before = bench.snapshot()
    (again,) = bench.apply(path_document(models))
    assert (again.action.verb, bench.snapshot()) == (Verb.NONE, before)
    assert not bench.staged
    assert bench.ledger.verify().ok


def test_one_file_is_adopted_by_its_own_path(bench: Bench, models: Path) -> None:
    assert bench.one(path_document(models / "a.bin")).phase is Phase.READY
    manifest = shelf.need(bench.ctx.store, "bytes", "mine").manifest
    assert adopted_files(bench.ctx, manifest) == (models / "a.bin",)
    bench.one(INLINE)
    stored = shelf.need(bench.ctx.store, "bytes", "template").manifest
    assert adopted_files(bench.ctx, stored) is None


def test_many_looks_at_a_ready_cache_do_not_disturb_each_other(bench: Bench) -> None:
    bench.one(INLINE)
    about = sha256(b"bytes/template").hexdigest()[:32]
    with bench.ctx.locks.hold(f"name-{about}", operator="x", command="y", wait_s=0):
        require_ready(bench.ctx, "template", "bytes")


def test_a_touched_file_is_read_again_and_ready(bench: Bench, models: Path) -> None:
    bench.one(path_document(models))
    os.utime(models / "a.bin", (1, 1))
    (seen,) = status(bench.ctx)
    assert condition(seen, "Ready") == ("False", "FilesTouched")
    with pytest.raises(CacheNotReady, match="Pending"):
        require_ready(bench.ctx, "mine", "bytes")
    (applied,) = bench.apply(path_document(models))
    assert (applied.action.verb, applied.status.phase) == (Verb.VERIFY, Phase.READY)
    require_ready(bench.ctx, "mine", "bytes")


@pytest.mark.parametrize("change", ["same size", "grown", "gone"])
def test_adopted_bytes_that_changed_are_failed_until_asked(
    bench: Bench, models: Path, change: str
) -> None:
    bench.one(path_document(models))
    old = shelf.need(bench.ctx.store, "bytes", "mine").digest
    if change == "gone":
        (models / "a.bin").unlink()
    else:
        (models / "a.bin").write_bytes(b"b" * (100_000 + (change == "grown")))
    found = bench.one(path_document(models))
    assert found.phase is Phase.FAILED
    with pytest.raises(CacheNotReady, match="Failed"):
        require_ready(bench.ctx, "mine", "bytes")
    assert shelf.need(bench.ctx.store, "bytes", "mine").digest == old
    asked = bench.one(path_document(models, refetch="1"))
    assert asked.phase is Phase.READY
    assert shelf.need(bench.ctx.store, "bytes", "mine").digest != old
    assert "CHECKPOINT:success:ARTEFACT_REPLACED" in bench.codes()


def test_adoption_of_what_is_not_there_or_hostile(bench: Bench, models: Path) -> None:
    missing = bench.one(path_document(models / "none"))
    assert condition(missing, "Ready") == ("False", "SourceFailed")
    (models / "link").symlink_to("/etc/passwd")
    hostile = bench.one(path_document(models))
    assert condition(hostile, "Ready") == ("False", "SourceFailed")
    (models / "link").unlink()
    assert bench.one(path_document(models)).phase is Phase.READY


def test_adoption_does_not_take_a_name_from_others(bench: Bench, models: Path) -> None:
    bench.stage(StageRequest("bytes", "mine", "inline:first"))
    found = bench.one(path_document(models))
    assert condition(found, "Ready") == ("False", "ArtefactExists")
    assert content(bench, "bytes", "mine") == b"first"


def test_from_adopted_to_stored_and_back(bench: Bench, models: Path) -> None:
    bench.one(path_document(models))
    stored = INLINE.replace("template}", "mine}").replace(
        'inline: {text: "{{ bos }}"}', f"configMap: {{path: {models}}}"
    )
    assert bench.one(stored).phase is Phase.READY
    assert content(bench, "bytes", "mine") == b"a" * 100_000
    (models / "a.bin").write_bytes(b"b")
    assert bench.one(path_document(models)).phase is Phase.READY
    manifest = shelf.need(bench.ctx.store, "bytes", "mine").manifest
    assert manifest.source.url == f"existing://{models}"


def test_an_adopted_model_s_header_is_in_its_manifest(bench: Bench, tmp_path: Path) -> None:
    model = smoke_model.ensure(tmp_path / "smoke")
    assert bench.one(path_document(model, kind="Weights")).phase is Phase.READY
    manifest = shelf.need(bench.ctx.store, "weights", "mine").manifest
    assert manifest.model is not None
    assert manifest.model.layers > 0
    assert adopted_files(bench.ctx, manifest) == (model,)
