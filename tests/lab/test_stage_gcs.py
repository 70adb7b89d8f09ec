"""Staging and fetching through Cloud Storage: chunks sent once, faults on the way, kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fake_gcs import FakeGcs
from gcs_faults import Fault
from store_parts import (
    MIB,
    Fatal,
    Place,
    ask,
    cheap,
    context,
    digest,
    in_child,
    outcome,
    put,
    strict,
)

from yoyo.drivers.gcs.objects import GcsObjects
from yoyo.errors import ArtefactCorrupt, ManifestInvalid
from yoyo.model.fetch import RemoteFile, Resolved
from yoyo.model.store import CHUNK_BYTES
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_fetch import pull
from yoyo.ops.weights_gc import collect, remove
from yoyo.ops.weights_stage import stage
from yoyo.ops.weights_verify import fetcher, verify

BUCKET = "yoyo-store"
SIZE = 2 * CHUNK_BYTES + 3 * MIB


@pytest.fixture(autouse=True)
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have some."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeGcs]:
    with FakeGcs(tmp_path / "gcs", md5=False) as made:
        made.add_bucket(BUCKET)
        yield made


@pytest.fixture
def ctx(fake: FakeGcs, tmp_path: Path) -> Iterator[StoreContext]:
    objects = GcsObjects(f"gs://{BUCKET}/p", endpoint=fake.url)
    yield context(Place(tmp_path), store=objects)
    objects.close()


def keys(ctx: StoreContext, prefix: str = "") -> list[str]:
    return [info.key for info in ctx.store.list(prefix)]


def test_there_and_back(ctx: StoreContext, fake: FakeGcs, tmp_path: Path) -> None:
    source = tmp_path / "m.bin"
    sha256 = cheap(source, SIZE)
    fake.faults.add(Fault(status=503), times=2)
    fake.faults.add(Fault(reset=True), kind="upload*", times=1)
    staged = stage(ctx, ask("m", source.as_uri()))
    assert SIZE <= fake.received("upload*") < SIZE + CHUNK_BYTES + MIB
    assert keys(ctx) == [
        f"artefacts/sha256/{sha256[:2]}/{sha256}",
        f"manifests/sha256/{staged.digest}.json",
        "names/bytes/m.json",
    ]
    assert stage(ctx, ask("m", source.as_uri())).digest == staged.digest
    assert fake.received("upload*") < SIZE + CHUNK_BYTES + MIB  # it is read, and not sent again
    assert verify(ctx, "bytes", "m", deep=True).problems == ()
    fake.faults.add(Fault(cut_sent=5 * MIB), kind="*download*", times=1)
    [path] = pull(fetcher(ctx), staged.manifest, tmp_path / "to")
    assert digest(path) == sha256
    remove(ctx, "bytes", "m")
    assert len(collect(ctx, apply=True, grace=timedelta(0)).waste) == 1
    assert keys(ctx, "artefacts/") == []
    strict(ctx)


def test_a_wrong_checksum_leaves_nothing(ctx: StoreContext, tmp_path: Path) -> None:
    source = tmp_path / "m.bin"
    cheap(source, CHUNK_BYTES + 1)

    class Says:
        def resolve(self, *arguments: Any, **named: Any) -> Resolved:
            file = RemoteFile("m.bin", CHUNK_BYTES + 1, "0" * 64, local=source)
            return Resolved("file:///x", "", "", (file,))

    sources: Any = Says()
    with pytest.raises(ArtefactCorrupt):
        stage(ctx._replace(sources=sources), ask("m", "x"))
    assert keys(ctx) == []
    strict(ctx)


def test_a_manifest_that_was_tampered_with(ctx: StoreContext) -> None:
    put(ctx, "m", "bytes")
    name = "names/bytes/m.json"
    ctx.store.put(name, b"".join(ctx.store.read(name)).replace(b'"m"', b'"n"'))
    with pytest.raises(ManifestInvalid):
        verify(ctx, "bytes", "m", deep=False)
    put(ctx, "m", "bytes", replace=True)
    assert verify(ctx, "bytes", "m", deep=True).problems == ()


def test_killed_at_every_step_of_an_upload(
    ctx: StoreContext, fake: FakeGcs, tmp_path: Path
) -> None:
    source = tmp_path / "m.bin"
    sha256 = cheap(source, SIZE)
    place = Place(tmp_path)

    def work(at: int) -> None:
        objects = GcsObjects(f"gs://{BUCKET}/p", endpoint=fake.url)
        mine, counter = context(place), count()
        changed: Any = {
            "store": Fatal(objects, ("put", "upload", "delete"), counter, at),
            "ledger": Fatal(mine.ledger, ("append",), counter, at),
        }
        stage(mine._replace(**changed), ask("m", source.as_uri()))

    kills = 0
    for at in count():
        code = outcome(in_child(lambda at=at: work(at)))  # type: ignore[misc]
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        for each in shelf.names(ctx.store):
            assert isinstance(each, shelf.Named)
            assert keys(ctx, "artefacts/") == [f"artefacts/sha256/{sha256[:2]}/{sha256}"]
        if code == 0:
            break
    assert kills >= 8
    # Three chunks, and at most two of them were on their way when it was killed amid them.
    assert fake.received("upload*") < 2 * SIZE
    stage(ctx, ask("m", source.as_uri()))
    assert verify(ctx, "bytes", "m", deep=True).problems == ()
    assert keys(ctx, "staging/") == []
    assert not list(place.workplace.rglob("*.part*")), os.listdir(place.workplace)  # noqa: PTH208
    strict(ctx)
