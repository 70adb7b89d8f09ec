"""Does it fit: the sums, the largest context, and the buffers that llama.cpp printed."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.accelerators import L4, MACHINE_TYPES, of_machine_type
from yoyo.core.fit import CUDA_CONTEXT_BYTES, FORMULA, fit
from yoyo.core.roofline import CACHE_TYPE_BYTES
from yoyo.model.machine import ModelFacts
from yoyo.model.settings import EngineSettings

MIB = 2**20


def model(
    vocabulary: int | None, embedding: int | None, layers: int, kv: int | None, weights: int = 0
) -> ModelFacts:
    return ModelFacts(
        name="m", path="m.gguf", architecture="qwen2", file_bytes=weights, weight_bytes=weights,
        layers=layers, kv_bytes_per_token=kv, context_length=32_768, vocabulary=vocabulary,
        embedding_length=embedding, heads=40,
    )  # fmt: skip


def engine(
    ctx: int, cache: str = "f16", parallel: int = 1, flags: tuple[str, ...] = ()
) -> EngineSettings:
    return EngineSettings(
        model="m", server="s", ctx=ctx, parallel=parallel, cache_type_k=cache, cache_type_v=cache,
        port=0, extra_flags=flags, api_key=None,
    )  # fmt: skip


QWEN_32B = model(152_064, 5_120, 64, 262_144, 19_841_000_000)  # Qwen 2.5 32B, Q4_K_M

# Vocabulary, embedding, layers, KV bytes, context, cache, MiB that llama.cpp printed.
PRINTED = {
    "Llama 3 8B": (128_256, 4_096, 32, 131_072, 512, "f16", "258.50"),
    "Qwen 3 4B": (151_936, 2_560, 36, 147_456, 4_096, "f16", "301.75"),
    "Qwen 3.6 27B": (248_320, 5_120, 64, 65_536, 131_072, "q8_0", "495.00"),
    "Qwen 3.6 27B, f16": (248_320, 5_120, 64, 65_536, 262_144, "f16", "756"),
    "Qwen 3.5 9B": (248_320, 4_096, 32, 32_768, 262_144, "q8_0", "808.02"),
}


@pytest.mark.parametrize("name", PRINTED)
def test_compute_buffers_are_above_what_was_printed_and_not_far(name: str) -> None:
    vocabulary, embedding, layers, kv, context, cache, printed = PRINTED[name]
    sums = fit(model(vocabulary, embedding, layers, kv), engine(context, cache), 0)
    measured = Decimal(printed) * MIB
    assert measured <= sums.compute <= measured * Decimal("1.75")


def test_the_table_in_the_text_is_the_truth() -> None:
    import yoyo.core.fit as module

    rows = re.findall(r"^\| (\w[^|]+) \| ([\d,]+) \| (\w+) \| ([\d.]+) \| ([\d,]+) \|$",
                      module.__doc__ or "", re.MULTILINE)  # fmt: skip
    assert len(rows) == len(PRINTED)
    for row, (vocabulary, embedding, layers, kv, context, cache, printed) in zip(
        rows, PRINTED.values(), strict=True
    ):
        sums = fit(model(vocabulary, embedding, layers, kv), engine(context, cache), 0)
        assert row[1:4] == (f"{context:,}", cache, printed)
        assert row[4] == f"{round(sums.compute / MIB):,}"


def test_the_reference_node() -> None:
    """A 32B model at Q4_K_M on one L4: by hand."""
    sums = fit(QWEN_32B, engine(16_384, "q8_0"), L4.memory_bytes)
    assert sums.weights == 19_841_000_000
    assert sums.kv_cache == 16_384 * 262_144 * 34 // 64
    ubatch, mask, layer = 512 * 4 * (152_064 + 12 * 5_120), 2 * 512, 262_144 // 64
    assert sums.compute == ubatch + 16_384 * (mask + layer)
    assert sums.overhead == CUDA_CONTEXT_BYTES
    assert sums.total == sums.weights + sums.kv_cache + sums.compute + sums.overhead
    assert sums.fits is True
    assert sums.spare == L4.memory_bytes - sums.total
    assert sums.largest_context == 18_944
    assert fit(QWEN_32B, engine(16_384), L4.memory_bytes).fits is False
    assert fit(QWEN_32B, engine(16_384), L4.memory_bytes).largest_context == 10_240


CACHES = sorted(CACHE_TYPE_BYTES)


@given(
    ctx=st.integers(1, 300_000),
    parallel=st.integers(1, 16),
    cache=st.sampled_from(CACHES),
    memory=st.integers(0, 200 * 2**30),
    kv=st.integers(1, 2**20),
    weights=st.integers(0, 100 * 2**30),
    gpus=st.integers(0, 8),
)
def test_the_largest_context_fits_and_the_next_does_not(
    ctx: int, parallel: int, cache: str, memory: int, kv: int, weights: int, gpus: int
) -> None:
    facts = model(150_000, 5_000, 40, kv, weights)
    sums = fit(facts, engine(ctx, cache, parallel), memory, gpus=gpus)
    largest, step = sums.largest_context, 256 * parallel
    if largest is not None:
        assert largest > 0
        assert largest % step == 0
        assert fit(facts, engine(largest, cache, parallel), memory, gpus=gpus).fits
    above = engine((largest or 0) + step, cache, parallel)
    assert fit(facts, above, memory, gpus=gpus).fits is False
    assert sums.fits == (largest is not None and ctx // parallel <= largest // parallel)


@given(ctx=st.integers(256, 100_000), more=st.integers(0, 100_000))
def test_more_context_never_needs_less(ctx: int, more: int) -> None:
    small, large = (fit(QWEN_32B, engine(n, "q8_0"), 0).total for n in (ctx, ctx + more))
    assert small is not None
    assert large is not None
    assert small <= large


def test_weights_that_do_not_fit() -> None:
    sums = fit(QWEN_32B, engine(256), 16 * 2**30)
    assert (sums.fits, sums.largest_context) == (False, None)
    assert sums.spare is not None
    assert sums.spare < 0


def test_a_cache_of_unknown_size_is_not_guessed() -> None:
    unknown = QWEN_32B._replace(kv_bytes_per_token=None)
    sums = fit(unknown, engine(4_096), L4.memory_bytes)
    assert (sums.kv_cache, sums.total, sums.spare, sums.fits) == (None, None, None, None)
    assert sums.largest_context is None
    assert fit(unknown, engine(4_096), 16 * 2**30).fits is False  # the rest alone is too much


def test_what_a_header_leaves_out_is_taken_as_the_most() -> None:
    bare = QWEN_32B._replace(vocabulary=None, embedding_length=None)
    assert fit(bare, engine(256), 0).compute > fit(QWEN_32B, engine(256), 0).compute


def test_without_a_gpu_there_is_no_cuda_context() -> None:
    sums = fit(QWEN_32B, engine(4_096, "q8_0"), 0, gpus=0)
    assert sums.overhead == 0
    assert sums.compute < fit(QWEN_32B, engine(4_096, "q8_0"), 0).compute


def test_each_gpu_has_its_own_buffers() -> None:
    one, two = (fit(QWEN_32B, engine(4_096), 0, gpus=n) for n in (1, 2))
    assert (two.overhead, two.compute) == (2 * one.overhead, 2 * one.compute)
    assert (two.weights, two.kv_cache) == (one.weights, one.kv_cache)


@pytest.mark.parametrize("flag", ["-ub", "--ubatch-size"])
def test_the_step_that_is_asked_for_counts(flag: str) -> None:
    asked = fit(QWEN_32B, engine(4_096, flags=("-ub", "64", flag, "1024")), 0)
    assert asked.compute == 2 * fit(QWEN_32B, engine(4_096), 0).compute


def test_slots_are_rounded_up_each() -> None:
    assert fit(QWEN_32B, engine(1_000, parallel=2), 0).kv_cache == 1_024 * 262_144
    assert fit(QWEN_32B, engine(1, parallel=4), 0).kv_cache == 1_024 * 262_144


def test_the_formula_names_what_is_summed() -> None:
    for word in ("weights", "KV", "compute", "CUDA context", "vocabulary", "embedding"):
        assert word in FORMULA


def test_machine_types() -> None:
    node = of_machine_type("g2-standard-4")
    assert node is not None
    assert (node.each, node.gpus, node.memory_bytes) == (L4, 1, L4.memory_bytes)
    assert L4.memory_bytes < 23_034 * MIB
    assert (L4.bandwidth_gb_s, L4.sm) == (Decimal(300), "89")
    assert of_machine_type("e2-standard-4") is None
    assert all(name.split("-")[0] in {"g2", "g4", "a2", "a3"} for name in MACHINE_TYPES)
    both = of_machine_type("g2-standard-24")
    assert both is not None
    assert both.memory_bytes == 2 * L4.memory_bytes
