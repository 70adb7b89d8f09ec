"""Which models a node is refused, and which engine bundle it takes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from cloud import GCE
from manifest_samples import BUNDLE, GOLDEN
from sample_node import NODE
from store_parts import context

from yoyo.errors import EngineTooOld, EngineUnavailable, ModelTooLarge
from yoyo.model.settings import BundleSettings, HardwareSettings, NodeSettings
from yoyo.model.store import EngineBuild, Manifest
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.suits import (
    bandwidth_of,
    choose_bundle,
    fit_of,
    memory_of,
    refuse_without_bundle,
    require_fit,
    suits,
)

MODEL = GOLDEN.model
assert MODEL is not None
BUILD = cast("EngineBuild", BUNDLE.engine)
REMOTE = NODE._replace(driver="gce", gce=GCE)


def with_memory(gigabytes: str | None, node: NodeSettings = NODE) -> NodeSettings:
    given = None if gigabytes is None else Decimal(gigabytes)
    return node._replace(hardware=HardwareSettings(None, given))


def bundle(name: str, days: int = 0, **changed: Any) -> Manifest:
    """One published so many days after the first."""
    created = BUNDLE.created + timedelta(days=days)
    return BUNDLE._replace(name=name, created=created, engine=BUILD._replace(**changed))


def store(tmp_path: Path, *bundles: Manifest) -> StoreContext:
    ctx = context(tmp_path)
    for each in bundles:
        shelf.write(ctx.store, each, 0)
    return ctx


def test_memory_is_the_configuration_s_before_the_table_s() -> None:
    assert memory_of(NODE) is None
    assert memory_of(with_memory("1.5")) == (1_500_000_000, 0)
    told = memory_of(REMOTE)
    assert told is not None
    assert told.gpus == 1
    assert 20e9 < told.bytes < 26e9  # an L4 has 24 GB
    assert memory_of(with_memory("7", REMOTE)) == (7_000_000_000, 1)
    unknown = REMOTE._replace(gce=GCE._replace(machine_type="n9-none"))
    assert memory_of(unknown) is None


def test_bandwidth_is_the_configuration_s_before_the_table_s() -> None:
    assert bandwidth_of(NODE) is None
    assert bandwidth_of(REMOTE) == 300  # GB/s, of an L4
    own = NODE._replace(hardware=HardwareSettings(Decimal(17)))
    assert bandwidth_of(own) == 17


def test_what_does_not_fit_is_refused_with_its_sums() -> None:
    assert MODEL is not None
    assert require_fit(MODEL, NODE) is None  # unknown is not refused
    roomy = require_fit(MODEL, with_memory("100"))
    assert roomy is not None
    assert roomy.fits
    tight = with_memory("0.1")
    found = fit_of(MODEL, tight)
    assert found is not None
    with pytest.raises(ModelTooLarge, match="does not fit into the memory of local") as caught:
        require_fit(MODEL, tight)
    said = "\n".join(caught.value.details)
    for line in ("weights", "KV cache", "compute buffers", "in all"):
        assert line in said
    assert f"{(found.total or 0) / 1e9:.2f} GB are needed and 0.10 GB are there" in caught.value.why
    assert "smaller quantisation" in caught.value.fix


def test_the_largest_context_that_fits_is_told() -> None:
    assert MODEL is not None
    wide = NODE._replace(engine=NODE.engine._replace(ctx=1_000_000))
    with pytest.raises(ModelTooLarge) as caught:
        require_fit(MODEL, with_memory("20", wide))
    found = fit_of(MODEL, with_memory("20", wide))
    assert found is not None
    most = found.largest_context
    assert most
    assert f"Set engine.ctx to {most} or less" in caught.value.fix
    fits = NODE._replace(engine=NODE.engine._replace(ctx=most))
    assert require_fit(MODEL, with_memory("20", fits)) is not None
    more = NODE._replace(engine=NODE.engine._replace(ctx=most * 11 // 10))
    with pytest.raises(ModelTooLarge):
        require_fit(MODEL, with_memory("20", more))


def test_the_newest_that_matches_is_taken(tmp_path: Path) -> None:
    ctx = store(
        tmp_path,
        bundle("first"),
        bundle("second", 1),
        bundle("other-gpu", 2, sm=("75",)),
        bundle("cpu", 3, sm=(), cuda=""),
        bundle("arm", 4, machine="aarch64"),
        bundle("too-old", 5, architectures=("gpt2",)),
    )
    choice = choose_bundle(ctx, REMOTE, "qwen2")
    assert choice.chosen is not None
    assert choice.chosen.name == "second"
    refused = {name for name, _ in choice.refused}
    assert {"cpu", "arm", "too-old"} <= refused
    refuse_without_bundle(REMOTE, choice)
    named = REMOTE._replace(bundle=BundleSettings(name="first"))
    chosen = choose_bundle(ctx, named, "qwen2").chosen
    assert chosen is not None
    assert chosen.name == "first"


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        refuse_without_bundle(REMOTE, choose_bundle(store(tmp_path), REMOTE, "qwen2"))
    assert "none at all" in caught.value.why
    assert "yoyo engine publish" in caught.value.fix


def test_none_for_that_gpu_says_why_of_each(tmp_path: Path) -> None:
    ctx = store(tmp_path, bundle("hopper", sm=("90",)), bundle("arm", machine="aarch64"))
    with pytest.raises(EngineUnavailable) as caught:
        refuse_without_bundle(REMOTE, choose_bundle(ctx, REMOTE, "qwen2"))
    assert "2 bundle(s)" in caught.value.why
    assert [line.partition(":")[0] for line in caught.value.details] == ["arm", "hopper"]
    assert "90" in caught.value.details[1]


def test_one_that_does_not_know_the_model_is_too_old(tmp_path: Path) -> None:
    ctx = store(tmp_path, bundle("old", architectures=("llama",)), bundle("arm", machine="aarch64"))
    with pytest.raises(EngineTooOld, match="knows the model's architecture") as caught:
        refuse_without_bundle(REMOTE, choose_bundle(ctx, REMOTE, "qwen4"))
    assert "old" in caught.value.why
    assert choose_bundle(ctx, REMOTE, "llama").chosen is not None
    assert choose_bundle(ctx, REMOTE, "").chosen is not None  # no header says which


def test_the_look_before_a_staging(tmp_path: Path) -> None:
    assert MODEL is not None
    empty = store(tmp_path / "empty")
    [remark] = suits(empty, NODE)(MODEL)
    assert "hardware.memory_gb" in remark
    remarks = suits(empty, REMOTE)(MODEL)
    assert "is published yet" in remarks[-1]
    ctx = store(tmp_path / "one", bundle("old", architectures=("llama",)))
    with pytest.raises(EngineTooOld):
        suits(ctx, REMOTE)(MODEL)
    shelf.write(ctx.store, bundle("new", architectures=(MODEL.architecture,)), 0)
    assert suits(ctx, REMOTE)(MODEL)[-1] == f"engine new knows {MODEL.architecture}"
    with pytest.raises(ModelTooLarge):
        suits(ctx, with_memory("0.1", REMOTE))(MODEL)
