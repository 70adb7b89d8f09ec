"""Sources that lie, refuse, break off or have moved: nothing is named, and the message says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nginx_parts import Nginx
from store_parts import MIB, Place, ask, cheap, context, digest, put, rows, strict

from yoyo.errors import SourceFailed
from yoyo.model.fetch import Address, RemoteFile, Resolved
from yoyo.model.store import CHUNK_BYTES
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_stage import stage


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("web")) as served:
        yield served


@pytest.fixture(scope="module")
def small(web: Nginx) -> str:
    return cheap(web.files / "small.bin", 3 * MIB + 1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def nothing_stayed(ctx: StoreContext, place: Place) -> None:
    assert place.artefacts() == []
    assert list(shelf.names(ctx.store)) == []
    strict(ctx)


class Says:
    """A source that says something else of its files than a server does."""

    def __init__(self, ctx: StoreContext, *files: RemoteFile) -> None:
        self._resolved = Resolved("https://models.example/x", "", "", files)
        self.read = ctx.sources.read

    def resolve(
        self, source: str, *, sha256: str | None = None, mirrors: tuple[str, ...] = ()
    ) -> Resolved:
        return self._resolved


@pytest.mark.parametrize("off_by", [-1, 1, -2 * MIB, 100 * MIB])
def test_a_size_that_is_a_lie(web: Nginx, small: str, place: Place, off_by: int) -> None:
    ctx = context(place)
    file = RemoteFile("x", 3 * MIB + 1 + off_by, small, (Address(f"{web.url}/small.bin"),))
    with pytest.raises(SourceFailed):
        stage(ctx._replace(sources=Says(ctx, file)), ask("x", "x"))
    nothing_stayed(ctx, place)
    assert rows(ctx)[-1] == "JOB_COMPLETE stage/bytes/x error STAGE_FAILED"


def test_a_server_that_ignores_ranges(web: Nginx, place: Place) -> None:
    sha256 = cheap(web.files / "whole.bin", CHUNK_BYTES + 1)
    ctx = context(place)
    result = stage(ctx, ask("x", f"{web.url}/noranges/whole.bin", sha256=sha256))
    assert len(result.manifest.files[0].chunks) == 2
    assert digest(place.artefact(sha256)) == sha256
    strict(ctx)


@pytest.mark.parametrize("status", ["403", "404", "429", "500", "cut"])
def test_a_refusal_moves_nothing_and_says_what_it_was(
    web: Nginx, small: str, place: Place, status: str
) -> None:
    ctx = context(place)
    with pytest.raises(SourceFailed) as caught:
        stage(ctx, ask("x", f"{web.url}/{status}/small.bin?token=secret", sha256=small))
    error = caught.value
    said = " ".join((error.what, error.why, error.fix, *error.details))
    assert "secret" not in said
    assert status == "cut" or status in said
    assert not place.ledger.exists()  # refused before there was an intent
    assert place.leftovers() == []


def test_a_mirror_stands_in(web: Nginx, small: str, place: Place) -> None:
    ctx = context(place)
    mirrors = (f"{web.url}/small.bin",)
    stage(ctx, ask("x", f"{web.url}/404/small.bin", sha256=small, mirrors=mirrors))
    assert digest(place.artefact(small)) == small
    strict(ctx)


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/../b", "-x", "a\nb", "a\\b"])
def test_a_path_that_leads_out_is_refused(web: Nginx, small: str, place: Place, path: str) -> None:
    ctx = context(place)
    file = RemoteFile(path, 3 * MIB + 1, small, (Address(f"{web.url}/small.bin"),))
    with pytest.raises(SourceFailed):
        stage(ctx._replace(sources=Says(ctx, file)), ask("x", "x"))
    assert not place.ledger.exists()


def test_no_files_and_the_same_file_twice_are_refused(small: str, place: Place) -> None:
    ctx = context(place)
    file = RemoteFile("x", 1, None, data=b"x")
    for files in ((), (file, file)):
        with pytest.raises(SourceFailed):
            stage(ctx._replace(sources=Says(ctx, *files)), ask("x", "x"))
    assert not place.ledger.exists()


def test_files_that_would_lie_over_each_other_are_refused(place: Place) -> None:
    ctx = context(place)
    pairs = (("x", "x/y"), ("x", "x.part"))
    for pair in pairs:
        files = (RemoteFile(path, 1, None, data=b"x") for path in pair)
        with pytest.raises(SourceFailed):
            stage(ctx._replace(sources=Says(ctx, *files)), ask("x", "x"))


def test_a_failed_staging_can_be_repeated_by_another_source(
    web: Nginx, small: str, place: Place
) -> None:
    ctx = context(place)
    with pytest.raises(SourceFailed):
        stage(ctx, ask("x", "file:///nowhere/at/all"))
    put(ctx, "x", "text")
    strict(ctx)
