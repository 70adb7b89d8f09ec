"""Whether the store still holds what was staged, and who notices when it does not."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from store_parts import Place, ask, cheap, context, put

from yoyo.core.manifest import decode, encode
from yoyo.errors import ArtefactCorrupt, ArtefactMissing, ManifestInvalid
from yoyo.model.store import CHUNK_BYTES
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_stage import stage
from yoyo.ops.weights_verify import corruption, listed, verify

NAME = "names/bytes/m.json"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def ctx(place: Place) -> StoreContext:
    return context(place)


def stored(ctx: StoreContext) -> bytes:
    return b"".join(ctx.store.read(NAME))


def test_what_is_intact(ctx: StoreContext) -> None:
    staged = put(ctx, "m", "bytes")
    for deep in (False, True):
        result = verify(ctx, "bytes", "m", deep=deep)
        assert (result.digest, result.files, result.size) == (staged.digest, 1, 5)
        assert result.problems == result.notes == ()
        assert corruption(result) is None
    [row], bad = listed(ctx)
    assert (row.name, row.digest, row.pinned_by, row.used_by, bad) == (
        "m", staged.digest, "", (), [],
    )  # fmt: skip


def test_only_deep_reads_bytes(ctx: StoreContext, place: Place, tmp_path: Path) -> None:
    source = tmp_path / "m.bin"
    sha = cheap(source, CHUNK_BYTES + 9)
    stage(ctx, ask("m", source.as_uri()))
    path = place.artefact(sha)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(CHUNK_BYTES + 1)
        file.write(b"?")
    assert verify(ctx, "bytes", "m", deep=False).problems == ()
    result = verify(ctx, "bytes", "m", deep=True)
    assert [problem.partition(" ")[0] for problem in result.problems] == ["m.bin:"] * 2
    assert any("chunk 1 should be" in problem for problem in result.problems)
    assert any(f"should be {sha}" in problem for problem in result.problems)
    trouble = corruption(result)
    assert trouble is not None
    assert trouble.details == result.problems
    data = path.read_bytes()
    path.write_bytes(data[1:] + data[:1])  # all of it is there, in another order
    assert len(verify(ctx, "bytes", "m", deep=True).problems) == 3


@pytest.mark.parametrize("size", [None, 0, 4, 6])
def test_another_size_or_none(ctx: StoreContext, place: Place, size: int | None) -> None:
    path = place.artefact(put(ctx, "m", "bytes").manifest.files[0].sha256)
    path.chmod(0o644)
    if size is None:
        path.unlink()
    else:
        os.truncate(path, size)
    [problem] = verify(ctx, "bytes", "m", deep=False).problems
    assert ("missing" if size is None else f"{size} bytes, 5 are right") in problem


def test_another_manifest_with_its_own_document_is_against_the_ledger(ctx: StoreContext) -> None:
    staged = put(ctx, "m", "bytes")
    other = put(ctx, "evil", "other bytes")
    data = encode(other.manifest._replace(name="m", created_by="tester"))
    digest = sha256(data).hexdigest()
    ctx.store.put(f"manifests/sha256/{digest}.json", data)
    ctx.store.put(NAME, data)
    assert verify(ctx, "bytes", "m", deep=True).problems == (
        f"the ledger says manifest {staged.digest}, the store has {digest}",
    )


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_any_byte_of_a_manifest_that_is_changed_is_noticed(ctx: StoreContext, at: int) -> None:
    put(ctx, "m", "bytes")
    data = bytearray(stored(ctx))
    at %= len(data)
    data[at] ^= 1
    ctx.store.put(NAME, bytes(data))
    with pytest.raises((ManifestInvalid, ArtefactCorrupt)):
        raise corruption(verify(ctx, "bytes", "m", deep=False)) or AssertionError


def test_a_document_that_is_gone(ctx: StoreContext) -> None:
    staged = put(ctx, "m", "bytes")
    ctx.store.delete(f"manifests/sha256/{staged.digest}.json")
    [problem] = verify(ctx, "bytes", "m", deep=False).problems
    assert staged.digest in problem


def test_what_somebody_else_staged_is_a_note(ctx: StoreContext, place: Place) -> None:
    put(ctx, "m", "bytes")
    other = context(Place(place.root / "elsewhere"), store=ctx.store)
    result = verify(other, "bytes", "m", deep=True)
    assert result.problems == ()
    assert "somebody else staged it" in result.notes[0]


def test_a_name_that_is_another_names_manifest(ctx: StoreContext) -> None:
    put(ctx, "m", "bytes")
    put(ctx, "n", "other")
    ctx.store.put(NAME, b"".join(ctx.store.read("names/bytes/n.json")))
    with pytest.raises(ManifestInvalid):
        verify(ctx, "bytes", "m", deep=False)
    found, bad = listed(ctx)
    assert [each.name for each in found] == ["n"]
    assert [each.key for each in bad] == [NAME]


def test_a_name_that_is_not_there_names_what_comes_close(ctx: StoreContext) -> None:
    with pytest.raises(ArtefactMissing, match="no weights qwen") as caught:
        verify(ctx, "weights", "qwen", deep=False)
    assert "none at all" in caught.value.why
    put(ctx, "qwen3-32b", "x", kind="tokenizer")
    with pytest.raises(ArtefactMissing) as caught:
        verify(ctx, "tokenizer", "qwen3-32", deep=False)
    assert "qwen3-32b" in caught.value.why


def test_listing_survives_anything_that_lies_under_names_pins_and_nodes(ctx: StoreContext) -> None:
    put(ctx, "m", "bytes")
    deep = b"[" * 100_000
    for number, data in enumerate((b"", b"{}", b"\xff", deep, b"null", b'{"operator": 5}')):
        ctx.store.put(f"names/bytes/bad{number}.json", data)
        ctx.store.put(f"pins/bytes/bad{number}.json", data)
        ctx.store.put(f"nodes/bad{number}.json", data)
    ctx.store.put("pins/bytes/m.json", json.dumps({"operator": "\x1b[31m"}).encode())
    found, bad = listed(ctx)
    assert [(each.name, each.pinned_by) for each in found] == [("m", "\x1b[31m")]
    assert len(bad) == 6


def test_the_document_is_the_manifest(ctx: StoreContext) -> None:
    staged = put(ctx, "m", "bytes")
    data = b"".join(ctx.store.read(f"manifests/sha256/{staged.digest}.json"))
    assert data == stored(ctx)
    assert sha256(data).hexdigest() == staged.digest
    assert decode(data) == staged.manifest == shelf.need(ctx.store, "bytes", "m").manifest
