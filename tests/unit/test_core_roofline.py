"""The roofline against figures worked by hand from the design's facts."""

from decimal import Decimal

from sample_node import ENGINE

from yoyo.core.roofline import roofline
from yoyo.model.machine import ModelFacts
from yoyo.model.settings import EngineSettings


def engine(cache: str = "f16", ctx: int = 8192, parallel: int = 1) -> EngineSettings:
    return ENGINE._replace(ctx=ctx, parallel=parallel, cache_type_k=cache, cache_type_v=cache)


# A 32B model at Q4_K_S: 18.5 GB; 64 layers x 8 KV heads x 128 x 2 (K, V) x 2 bytes.
MODEL = ModelFacts("m", "m.gguf", "qwen2", 18_500_000_000, 18_500_000_000, 64, 262_144, 32768)


def test_one_stream_on_an_l4_cannot_pass_sixteen_tokens_a_second() -> None:
    roof = roofline(MODEL, engine(), Decimal(300))
    assert roof is not None
    assert round(roof.one_stream, 1) == Decimal("16.2")


def test_a_full_context_reads_its_cache_too() -> None:
    roof = roofline(MODEL, engine(), Decimal(300))
    assert roof is not None
    assert roof.one_stream_full is not None
    assert round(roof.one_stream_full, 3) == round(
        Decimal(300_000_000_000) / (18_500_000_000 + 8192 * 262_144), 3
    )


def test_slots_share_one_reading_of_the_weights() -> None:
    one = roofline(MODEL, engine(ctx=8192, parallel=1), Decimal(300))
    four = roofline(MODEL, engine(ctx=8192, parallel=4), Decimal(300))
    assert one is not None
    assert four is not None
    assert one.all_slots_full is not None
    assert four.all_slots_full is not None
    assert round(four.all_slots_full / one.all_slots_full, 6) == 4


def test_a_quantised_cache_is_smaller() -> None:
    roof = roofline(MODEL, engine("q8_0"), Decimal(300))
    assert roof is not None
    assert roof.kv_bytes_per_token == Decimal(262_144) * 34 / 64


def test_unknown_bandwidth_gives_no_figure() -> None:
    assert roofline(MODEL, engine(), None) is None
