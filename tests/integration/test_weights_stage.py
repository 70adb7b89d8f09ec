"""What a staging leaves: bytes, digests, a name and rows; what it refuses and what it spares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nginx_parts import Nginx
from store_parts import (
    MIB,
    OPERATOR,
    Place,
    ask,
    cheap,
    chunk_digests,
    consistent,
    context,
    digest,
    hashes,
    in_child,
    outcome,
    put,
    rows,
    strict,
)

from yoyo.core import store_keys
from yoyo.errors import (
    ArtefactCorrupt,
    ArtefactExists,
    ManifestInvalid,
    SourceFailed,
    StoreConflict,
)
from yoyo.model.store import CHUNK_BYTES
from yoyo.ops import shelf
from yoyo.ops.weights_stage import stage

ZEROS = "0" * 64


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("web"), rate="8m") as served:
        yield served


@pytest.fixture(scope="module")
def large(web: Nginx) -> str:
    """The digest of large.bin: two chunks and five bytes."""
    return cheap(web.files / "large.bin", 2 * CHUNK_BYTES + 5)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def sent(web: Nginx, name: str) -> int:
    """Bytes of the file's body that the server gave away so far."""
    return sum(each.sent for each in web.requests(f"/{name}"))


def test_from_a_web_server_into_the_store(web: Nginx, large: str, place: Place) -> None:
    ctx = context(place)
    result = stage(ctx, ask("large", f"{web.url}/large.bin", sha256=large))
    [file] = result.manifest.files
    assert not result.already
    assert (file.path, file.size, file.sha256) == ("large.bin", 2 * CHUNK_BYTES + 5, large)
    assert file.chunks == chunk_digests(web.files / "large.bin")
    assert digest(place.artefact(large)) == large
    assert result.manifest.created_by == OPERATOR
    assert result.manifest.source.url == f"{web.url}/large.bin"
    named = shelf.need(ctx.store, "bytes", "large")
    assert (named.manifest, named.digest) == (result.manifest, result.digest)
    assert ctx.store.stat(store_keys.document(result.digest)) is not None
    assert rows(ctx) == ["JOB_START stage/bytes/large pending", _COMPLETE.format("large")]
    assert hashes(ctx) == ["", f"sha256:{result.digest}"]
    assert place.leftovers() == []
    strict(ctx)


_COMPLETE = "JOB_COMPLETE stage/bytes/{} success"


def test_the_same_again_changes_nothing(web: Nginx, large: str, place: Place) -> None:
    request = ask("large", f"{web.url}/large.bin", sha256=large)
    first = stage(context(place), request)
    before = sent(web, "large.bin")
    ctx = context(place)
    again = stage(ctx, request)
    assert again.already
    assert (again.manifest, again.digest) == (first.manifest, first.digest)
    assert sent(web, "large.bin") - before < MIB
    assert len(rows(ctx)) == 2
    with_replace = stage(ctx, request._replace(replace=True))
    assert with_replace.already
    assert len(rows(ctx)) == 2


def test_another_name_for_the_same_bytes_costs_no_transfer(
    web: Nginx, large: str, place: Place
) -> None:
    ctx = context(place)
    stage(ctx, ask("one", f"{web.url}/large.bin", sha256=large))
    before = sent(web, "large.bin")
    result = stage(ctx, ask("two", f"{web.url}/large.bin", sha256=large))
    assert not result.already
    assert sent(web, "large.bin") - before < MIB
    assert place.artefacts() == [large]
    strict(ctx)


@pytest.mark.parametrize("names", [("same", "same"), ("one", "two")])
def test_two_at_once_are_one_transfer(
    web: Nginx, large: str, place: Place, names: tuple[str, str]
) -> None:
    before = sent(web, "large.bin")

    def work(name: str) -> None:
        stage(context(place), ask(name, f"{web.url}/large.bin", sha256=large))

    pids = [in_child(lambda name=name: work(name)) for name in names]  # type: ignore[misc]
    assert [outcome(pid) for pid in pids] == [0, 0]
    fetched = sent(web, "large.bin") - before
    assert 2 * CHUNK_BYTES <= fetched < 2 * CHUNK_BYTES + 20 * MIB
    ctx = context(place)
    assert {each.name for each in shelf.names(ctx.store)} == set(names)  # type: ignore[union-attr]
    assert len(rows(ctx)) == 2 * len(set(names))
    assert place.leftovers() == []
    consistent(ctx, place)
    strict(ctx)


def test_a_wrong_checksum_leaves_nothing(web: Nginx, large: str, place: Place) -> None:
    ctx = context(place)
    with pytest.raises(ArtefactCorrupt) as caught:
        stage(ctx, ask("large", f"{web.url}/large.bin", sha256=ZEROS))
    assert ZEROS in caught.value.why
    assert large in caught.value.why
    assert place.leftovers() == place.artefacts() == []
    assert list(shelf.names(ctx.store)) == []
    assert rows(ctx)[-1] == "JOB_COMPLETE stage/bytes/large error STAGE_FAILED"
    strict(ctx)
    stage(ctx, ask("large", f"{web.url}/large.bin", sha256=large))
    strict(ctx)


def test_other_bytes_are_refused_before_the_transfer_where_the_digest_is_known(
    web: Nginx, large: str, place: Place
) -> None:
    ctx = context(place)
    put(ctx, "name", "first")
    before = sent(web, "large.bin")
    with pytest.raises(ArtefactExists, match="other bytes"):
        stage(ctx, ask("name", f"{web.url}/large.bin", sha256=large))
    assert sent(web, "large.bin") - before < MIB
    assert len(rows(ctx)) == 2


def test_other_bytes_are_refused_after_the_transfer_where_it_is_not(
    place: Place, tmp_path: Path
) -> None:
    source = tmp_path / "file.bin"
    source.write_bytes(b"one")
    ctx = context(place)
    first = stage(ctx, ask("name", source.as_uri()))
    assert stage(ctx, ask("name", source.as_uri())).digest == first.digest
    source.write_bytes(b"two")
    with pytest.raises(ArtefactExists):
        stage(ctx, ask("name", source.as_uri()))
    assert shelf.need(ctx.store, "bytes", "name").digest == first.digest
    assert rows(ctx)[-1] == "JOB_COMPLETE stage/bytes/name error STAGE_FAILED"
    strict(ctx)


def test_replace_is_booked_with_what_was_there(place: Place) -> None:
    ctx = context(place)
    first = put(ctx, "name", "one")
    second = put(ctx, "name", "two", replace=True)
    assert second.digest != first.digest
    assert rows(ctx)[2:] == [
        "JOB_START stage/bytes/name pending",
        "CHECKPOINT stage/bytes/name success ARTEFACT_REPLACED",
        _COMPLETE.format("name"),
    ]
    assert hashes(ctx)[3:] == [f"sha256:{first.digest}", f"sha256:{second.digest}"]
    assert ctx.store.stat(store_keys.document(first.digest)) is not None
    strict(ctx)


def test_replace_mends_a_name_that_cannot_be_read(place: Place) -> None:
    ctx = context(place)
    first = put(ctx, "name", "one")
    ctx.store.put("names/bytes/name.json", b"{}")
    with pytest.raises(ManifestInvalid):
        put(ctx, "name", "two")
    put(ctx, "name", "two", replace=True)
    assert shelf.need(ctx.store, "bytes", "name").manifest.size == len("two")
    assert f"sha256:{first.digest}" in hashes(ctx)[3:]
    assert "CHECKPOINT stage/bytes/name success ARTEFACT_REPLACED" in rows(ctx)
    strict(ctx)


@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
def test_replace_mends_damaged_bytes(place: Place, damage: str) -> None:
    ctx = context(place)
    first = put(ctx, "name", "some bytes")
    path = place.artefact(first.manifest.files[0].sha256)
    if damage == "gone":
        path.unlink()
    else:
        path.chmod(0o600)
        path.write_bytes(b"some bites" if damage == "flipped" else b"some")
    again = put(ctx, "name", "some bytes", replace=True)
    assert path.read_bytes() == b"some bytes"
    assert again.digest == first.digest
    strict(ctx)
    consistent(ctx, place)


def test_a_name_that_another_writer_took_meanwhile_is_not_overwritten(place: Place) -> None:
    ctx = context(place)
    other = context(Place(place.root / "elsewhere"), store=ctx.store)

    class Slow(type(ctx.progress)):  # type: ignore[misc]
        def phase(self, name: str, detail: str = "") -> None:
            if name == "staging":
                put(other, "name", "theirs")

    with pytest.raises(StoreConflict):
        put(ctx._replace(progress=Slow()), "name", "ours")
    assert shelf.need(ctx.store, "bytes", "name").manifest.size == len("theirs")
    strict(ctx)
    strict(other)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 300, "-x", "A", "a@", "a\n", "a@b/../c"])
def test_a_hostile_name_is_refused_before_anything_is_asked(place: Place, name: str) -> None:
    ctx = context(place)
    with pytest.raises(ManifestInvalid):
        put(ctx, name, "x")
    with pytest.raises(ManifestInvalid):
        shelf.need(ctx.store, "bytes", name)
    assert not place.store.exists()
    assert not place.ledger.exists()


def test_a_file_that_changes_while_it_is_read_is_refused(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "file.bin"
    cheap(source, CHUNK_BYTES + 1)
    ctx = context(place)

    class Writer(type(ctx.progress)):  # type: ignore[misc]
        def bytes(self, name: str, done: int, total: int | None) -> None:
            with source.open("r+b") as file:
                file.write(b"other")

    with pytest.raises(SourceFailed, match="changed"):
        stage(ctx._replace(progress=Writer()), ask("name", source.as_uri()))
    assert place.leftovers() == place.artefacts() == []
    strict(ctx)


def test_an_empty_file(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "empty.bin"
    source.touch()
    ctx = context(place)
    [file] = stage(ctx, ask("empty", source.as_uri())).manifest.files
    assert (file.size, file.chunks) == (0, ())
    assert place.artefact(file.sha256).read_bytes() == b""
    strict(ctx)
