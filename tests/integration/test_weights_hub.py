"""Models of a hub: the commit is kept, a moved branch is seen and never followed in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import Hub
from store_parts import Place, ask, context, rows, strict

from yoyo.drivers.local.smoke_model import ensure
from yoyo.drivers.sources.resolve import WeightSources
from yoyo.errors import ArtefactExists, ModelInvalid, ModelTooLarge, SourceFailed
from yoyo.model.machine import ModelFacts
from yoyo.model.store import BYTES, ENGINE, EngineBuild, Source
from yoyo.ops.engine_publish import name_of, publish
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_stage import stage
from yoyo.ops.weights_verify import verify

REPO = "org/tiny-GGUF"
URL = f"hf://{REPO}/tiny.gguf@main"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as made:
        yield made


@pytest.fixture
def ctx(hub: Hub, tmp_path: Path) -> StoreContext:
    sources = WeightSources(
        hub=hub.url,
        hub_mirrors=(),
        storage_endpoint=None,
        storage_credentials=None,
        env={"HOME": str(tmp_path)},
    )
    return context(Place(tmp_path / "place"), sources=sources)


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return ensure(tmp_path / "model").read_bytes()


def test_the_commit_the_licence_and_the_header_are_kept(
    hub: Hub, ctx: StoreContext, model: bytes
) -> None:
    commit = hub.add(REPO, "main", {"tiny.gguf": model, "README.md": b"x"}, licence="mit")
    looked: list[ModelFacts] = []

    def look(facts: ModelFacts) -> tuple[str, ...]:
        looked.append(facts)
        return ("a remark",)

    result = stage(ctx, ask("tiny", URL, kind="weights"), look)
    assert result.notes == ("a remark",)
    assert result.manifest.source == Source(f"hf://{REPO}/tiny.gguf@main", commit)
    assert result.manifest.licence == "mit"
    assert looked == [result.manifest.model]
    assert looked[0].architecture == "llama"
    before = hub.bytes_served
    assert stage(ctx, ask("tiny", URL, kind="weights"), look).already
    assert hub.bytes_served == before
    assert verify(ctx, "weights", "tiny", deep=True).problems == ()
    strict(ctx)


def test_a_moved_branch_is_refused_before_a_transfer(
    hub: Hub, ctx: StoreContext, model: bytes
) -> None:
    old = hub.add(REPO, "main", {"tiny.gguf": model})
    first = stage(ctx, ask("tiny", URL, kind="weights"))
    new = hub.add(REPO, "main", {"tiny.gguf": model + bytes(32)})
    before = hub.bytes_served
    with pytest.raises(ArtefactExists, match="other bytes") as caught:
        stage(ctx, ask("tiny", URL, kind="weights"))
    assert old in caught.value.why
    assert hub.bytes_served == before
    assert len(rows(ctx)) == 2
    pinned = URL.replace("main", old)
    assert stage(ctx, ask("tiny", pinned, kind="weights")).digest == first.digest
    moved = stage(ctx, ask("tiny", URL, kind="weights", replace=True))
    assert moved.manifest.source.revision == new
    strict(ctx)


def test_a_model_that_was_renamed_or_removed(hub: Hub, ctx: StoreContext, model: bytes) -> None:
    hub.add(REPO, "main", {"tiny.gguf": model})
    hub.rename(REPO, "org/other")
    with pytest.raises(SourceFailed, match="renamed"):
        stage(ctx, ask("tiny", URL, kind="weights"))
    hub.remove("org/other")
    with pytest.raises(SourceFailed):
        stage(ctx, ask("tiny", URL, kind="weights"))
    assert rows(ctx) == []


def test_what_the_look_refuses_is_not_fetched(hub: Hub, ctx: StoreContext, model: bytes) -> None:
    hub.add(REPO, "main", {"tiny.gguf": model, "bad.gguf": b"GGUF" + b"\xff" * 200_000})

    def look(facts: ModelFacts) -> tuple[str, ...]:
        raise ModelTooLarge("Too large.", fix="Take another.")

    with pytest.raises(ModelTooLarge):
        stage(ctx, ask("tiny", URL, kind="weights"), look)
    with pytest.raises(ModelInvalid):
        stage(ctx, ask("tiny", URL.replace("tiny.gguf", "bad.gguf"), kind="weights"))
    assert rows(ctx) == []
    assert not ctx.workplace.joinpath("0.part").exists()


BUILD = EngineBuild(
    commit="", source_sha256="0" * 64, flags=("-DGGML_NATIVE=OFF",), compiler="gcc 12.2.0",
    cuda="12.9", sm=("89",), glibc="2.34", machine="x86_64", architectures=("llama",),
    licences=("MIT", "Apache-2.0"),
)  # fmt: skip


def test_a_bundle_is_published_under_the_name_of_what_it_is(
    ctx: StoreContext, tmp_path: Path
) -> None:
    path = tmp_path / "a bundle %41#?.tar.zst"
    path.write_bytes(b"bundle")
    seen: list[Path] = []

    def inspect(given: Path) -> EngineBuild:
        seen.append(given)
        return BUILD

    first = publish(ctx, path, inspect)
    assert seen == [path]
    assert first.manifest.name == name_of(BUILD)
    assert (first.manifest.kind, first.manifest.engine) == (ENGINE, BUILD)
    assert first.manifest.licence == "MIT AND Apache-2.0"
    assert publish(ctx, path, inspect).digest == first.digest
    path.write_bytes(b"other!")
    with pytest.raises(ArtefactExists):
        publish(ctx, path, inspect)
    second = publish(ctx, path, inspect, name="mine@2")
    assert second.manifest.name == "mine@2"
    assert publish(ctx, path, inspect, replace=True).digest != first.digest
    strict(ctx)


def test_kinds_do_not_share_names(ctx: StoreContext) -> None:
    one = stage(ctx, ask("same", "inline:1"))
    two = stage(ctx, ask("same", "inline:2", kind="tokenizer"))
    assert (one.manifest.kind, two.manifest.kind) == (BYTES, "tokenizer")
    assert one.digest != two.digest
    strict(ctx)
