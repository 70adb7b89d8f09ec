"""A node that takes its model from the store: by digest, with the source switched off."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from cli import Place as Directory
from cloud import GCE
from sample_node import NODE
from store_parts import Place, context, put

from yoyo.core import store_keys
from yoyo.core.manifest import encode
from yoyo.drivers.local.smoke_model import ensure
from yoyo.errors import (
    ArtefactInUse,
    ArtefactMissing,
    ConfigInvalid,
    EngineTooOld,
    EngineUnavailable,
    ManifestInvalid,
    ModelInvalid,
    ModelTooLarge,
)
from yoyo.model.settings import BuildSettings, BundleSettings, NodeSettings
from yoyo.model.store import EngineBuild, Manifest, Source, StoredFile
from yoyo.ops import shelf
from yoyo.ops.context import Context
from yoyo.ops.provide import forget, provided, take
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_stage import StageRequest, stage

CONFIG = """\
version: 1
operator: tester
store: file://{root}/store
nodes:
  local:
    moduleId: demo
    driver: local
    engine: {{model: "store:tiny", ctx: {ctx}, parallel: 1}}
    hardware: {{memory_gb: {memory}, memory_bandwidth_gb_s: 20}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return ensure(tmp_path_factory.mktemp("model")).read_bytes()


CTX = 4_000_000


def configure(here: Directory, ctx: int = 4096, memory: str = "4") -> None:
    text = CONFIG.format(root=here.root, ctx=ctx, memory=memory)
    (here.root / "yoyo.yaml").write_text(text)


def staged(here: Directory, model: bytes) -> Any:
    """Stage the model, and take away where it came from."""
    source = here.root / "tiny.gguf"
    source.write_bytes(model)
    done = here.json("weights", "stage", "tiny", source.as_uri())
    source.unlink()
    return done["manifest"]


def test_up_from_the_store_with_the_source_gone(here: Directory, model: bytes) -> None:
    configure(here)
    here.run("up", code=ArtefactMissing.exit_code)
    manifest = staged(here, model)
    plan = here.json("plan")
    assert plan["fit"]["fits"] is True
    assert plan["roofline"]["tokens_per_second"] is not None
    assert plan["from_store"][0]["manifest"] == manifest["digest"]
    assert not (here.root / "store" / "nodes").exists()  # a plan changes nothing
    assert here.json("up")["state"] == "ready"
    told = json.loads((here.root / "store" / "nodes" / "local.json").read_text())
    assert told == {
        "artefacts": [manifest["files"][0]["sha256"]], "manifests": [manifest["digest"]],
    }  # fmt: skip
    answer = here.json("ask", "Say something", "--max-tokens", "4")
    assert answer["completion"]["completion_tokens"] == 4
    assert here.json("weights", "ls")["names"][0]["used_by"] == ["local"]
    here.run("weights", "rm", "tiny", code=ArtefactInUse.exit_code)
    assert here.json("weights", "gc", "--apply", "--older-than", "0")["waste"] == []
    here.run("down", "--delete")
    assert not (here.root / "store" / "nodes").exists()
    assert here.json("ledger", "verify", "--strict")["ok"]


def test_a_file_that_was_changed_is_mended_before_the_engine_loads_it(
    here: Directory, model: bytes
) -> None:
    configure(here)
    staged(here, model)
    here.run("up")
    here.run("down", "--now", "--delete")
    [path] = [path for path in here.root.rglob("tiny.gguf") if path.is_file()]
    path.write_bytes(b"GGUF" + bytes(len(model) - 4))
    assert here.json("up")["state"] == "ready"
    assert path.read_bytes() == model


@pytest.mark.parametrize("how", ["byte", "document"])
def test_a_tampered_name_is_refused_before_anything_is_spent(
    here: Directory, model: bytes, how: str
) -> None:
    configure(here)
    staged(here, model)
    name = here.root / "store" / "names" / "weights" / "tiny.json"
    data = name.read_text()
    name.write_text(data.replace("tester", "taster") if how == "document" else data[:-9])
    for command in ("plan", "up"):
        done = here.run(command, "--json", code=ManifestInvalid.exit_code)
        assert json.loads(done.stdout)["error"]["fix"]
    assert not any(event.startswith("BOOT") for event in here.events())
    assert here.processes() == []


def test_a_model_too_large_is_refused_with_sums(here: Directory, model: bytes) -> None:
    configure(here, memory="1", ctx=CTX)  # 512 bytes of cache a token
    source = here.root / "tiny.gguf"
    source.write_bytes(model)
    here.run("weights", "stage", "tiny", source.as_uri(), code=ModelTooLarge.exit_code)
    assert not (here.root / "store").exists()
    here.run("weights", "stage", "tiny", source.as_uri(), "--no-fit")
    done = here.run("up", "--json", code=ModelTooLarge.exit_code)
    error = json.loads(done.stdout)["error"]
    assert any("KV cache" in line for line in error["details"])
    assert not any(event.startswith("BOOT") for event in here.events())


class Cloudy:
    """A directory that says it is a bucket."""

    url = "gs://bucket/prefix"

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


REMOTE = NODE._replace(
    driver="gce",
    gce=GCE._replace(service_account="node@acme.iam.gserviceaccount.com"),
    engine=NODE.engine._replace(model="store:tiny", ctx=2048),
)
BUILT = EngineBuild(
    commit="", source_sha256="0" * 64, flags=(), compiler="gcc 12.2.0", cuda="12.9", sm=("89",),
    glibc="2.34", machine="x86_64", architectures=("llama",), licences=("MIT",),
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, model: bytes) -> StoreContext:
    """A bucket with the model."""
    ctx = context(Place(tmp_path))
    source = tmp_path / "tiny.gguf"
    source.write_bytes(model)
    stage(ctx, StageRequest("weights", "tiny", source.as_uri()))
    cloudy: Any = Cloudy(ctx.store)
    return ctx._replace(store=cloudy)


def of(store: StoreContext, node: NodeSettings) -> Context:
    nothing: Any = None
    return Context(
        node, "tester", nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing,
        nothing, lambda: store,
    )  # fmt: skip


def publish(store: StoreContext, name: str, **changed: Any) -> None:
    file = StoredFile("bundle.tar.zst", 5, "1" * 64, ("1" * 64,), "application/zstd")
    manifest = Manifest(
        "engine", name, (file,), Source("file:///bundle", ""), "MIT",
        datetime(2026, 11, 1, tzinfo=UTC), "tester", engine=BUILT._replace(**changed),
    )  # fmt: skip
    shelf.write(store.store, manifest, 0)
    store.store.put(store_keys.artefact("1" * 64), b"12345")


def architecture(store: StoreContext) -> str:
    model = shelf.need(store.store, "weights", "tiny").manifest.model
    assert model is not None
    return model.architecture


def test_a_remote_node_gets_digests(store: StoreContext) -> None:
    publish(store, "bundle", architectures=(architecture(store),))
    ctx = provided(of(store, REMOTE))
    assert store.store.stat("nodes/local.json") is None
    take(ctx)
    node = ctx.node
    assert node.from_store is not None
    assert node.engine_from_store is not None
    tiny = shelf.need(store.store, "weights", "tiny")
    assert (node.from_store.name, node.from_store.manifest) == ("tiny", tiny.digest)
    assert node.from_store.files[0][0] == "tiny.gguf"
    assert node.engine_from_store.name == "bundle"
    assert store.store.stat("nodes/local.json") is not None
    forget(of(store, REMOTE))
    assert store.store.stat("nodes/local.json") is None


def test_no_machine_is_paid_for_whose_bytes_are_not_there(store: StoreContext) -> None:
    publish(store, "bundle", architectures=(architecture(store),))
    ctx = provided(of(store, REMOTE))
    store.store.delete(store_keys.artefact("1" * 64))
    with pytest.raises(ArtefactMissing, match="lacks bytes of bundle"):
        take(ctx)


def test_a_remote_node_without_an_identity_could_not_fetch(store: StoreContext) -> None:
    publish(store, "bundle", architectures=(architecture(store),))
    with pytest.raises(ConfigInvalid, match="no identity"):
        provided(of(store, REMOTE._replace(gce=GCE._replace(service_account=None))))


def test_a_plan_tells_the_store_nothing(store: StoreContext) -> None:
    publish(store, "bundle", architectures=(architecture(store),))
    provided(of(store, REMOTE))
    assert store.store.stat("nodes/local.json") is None


def test_without_a_bundle_it_builds_only_if_told_to(store: StoreContext) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        provided(of(store, REMOTE))
    assert "--build" in caught.value.fix
    publish(store, "old", architectures=("none",))
    with pytest.raises(EngineTooOld):
        provided(of(store, REMOTE))
    told = REMOTE._replace(build=BuildSettings(on_node=True))
    node = provided(of(store, told)).node
    assert node.engine_from_store is None
    assert node.from_store is not None
    none = REMOTE._replace(bundle=BundleSettings(name="none"))
    assert provided(of(store, none)).node.engine_from_store is None  # config refuses it, unless
    # the node may build its own.


def test_a_bundle_that_is_named_and_not_there(store: StoreContext) -> None:
    publish(store, "bundle", architectures=(architecture(store),))
    named = REMOTE._replace(bundle=BundleSettings(name="other"))
    with pytest.raises(EngineUnavailable):
        provided(of(store, named))


def test_a_remote_node_and_a_directory(store: StoreContext, tmp_path: Path) -> None:
    local = context(Place(tmp_path))
    with pytest.raises(ConfigInvalid, match="cannot fetch from file://") as caught:
        provided(of(local, REMOTE))
    assert "gs://" in caught.value.fix
    own = REMOTE._replace(engine=NODE.engine, build=BuildSettings(on_node=True))
    assert provided(of(local, own)).node == own
    with pytest.raises(ConfigInvalid):
        provided(of(local, own._replace(build=BuildSettings())))


def test_a_node_that_takes_nothing_opens_no_store() -> None:
    def never() -> StoreContext:
        raise AssertionError

    ctx = of(cast("Any", None), NODE)._replace(on_store=never)
    assert provided(ctx) is ctx
    forget(ctx)


def test_a_set_without_a_gguf(store: StoreContext) -> None:
    put(store, "text", "x", kind="weights")
    node = NODE._replace(engine=NODE.engine._replace(model="store:text"))
    with pytest.raises(ModelInvalid, match="no one GGUF"):
        provided(of(store, node))
    assert store.store.stat("nodes/local.json") is None


def test_another_manifest_than_the_ledger_s(store: StoreContext) -> None:
    tiny = shelf.need(store.store, "weights", "tiny").manifest
    evil = encode(tiny._replace(created_by="other"))
    store.store.put("names/weights/tiny.json", evil)
    with pytest.raises(ManifestInvalid, match="not what the ledger says"):
        provided(of(store, REMOTE))
