"""The memory-bandwidth roofline: the most tokens a second a node can produce.

Generating one token reads every weight once, plus the KV cache of the sequence so far, so
no more than bandwidth / bytes tokens can be made in a second (S. Williams et al.,
"Roofline", CACM 52(4), 2009, with decoding's arithmetic intensity of about one). Slots
that decode together share one reading of the weights. Real engines reach 60 to 90 %.
For a sparse (mixture-of-experts) model fewer weights are read, so the bound is too low.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from yoyo.model.machine import ModelFacts
from yoyo.model.settings import EngineSettings

# Bytes an element takes in the cache: ggml's block bytes / block elements (ggml-common.h).
CACHE_TYPE_BYTES = {
    "f32": Decimal(4),
    "f16": Decimal(2),
    "bf16": Decimal(2),
    "q8_0": Decimal(34) / 32,
    "q5_1": Decimal(24) / 32,
    "q5_0": Decimal(22) / 32,
    "q4_1": Decimal(20) / 32,
    "q4_0": Decimal(18) / 32,
    "iq4_nl": Decimal(18) / 32,
}

FORMULA = "slots x bandwidth / (weight bytes + slots x context per slot x KV bytes per token)"


class Roofline(NamedTuple):
    """Upper bounds in tokens a second."""

    one_stream: Decimal  # one slot, short context
    one_stream_full: Decimal | None  # one slot, its context full
    all_slots_full: Decimal | None  # every slot busy, every context full
    kv_bytes_per_token: Decimal | None  # at the configured cache types


def roofline(
    model: ModelFacts, engine: EngineSettings, bandwidth_gb_s: Decimal | None
) -> Roofline | None:
    """Bounds for that model on a machine of that memory bandwidth; None where it is unknown."""
    if bandwidth_gb_s is None or model.weight_bytes <= 0:
        return None
    bandwidth = bandwidth_gb_s * 10**9
    weights = Decimal(model.weight_bytes)
    kv: Decimal | None = None
    full = every = None
    if model.kv_bytes_per_token is not None:
        # The header's figure is for f16 keys and f16 values, half of the bytes each.
        share = (CACHE_TYPE_BYTES[engine.cache_type_k] + CACHE_TYPE_BYTES[engine.cache_type_v]) / 4
        kv = model.kv_bytes_per_token * share
        slot = Decimal(engine.ctx // engine.parallel)
        full = bandwidth / (weights + slot * kv)
        every = engine.parallel * bandwidth / (weights + engine.parallel * slot * kv)
    return Roofline(bandwidth / weights, full, every, kv)
