"""Whether a model fits into a node's memory, by sums that an operator can follow.

An upper bound: a model that fits here is not refused by the engine for lack of memory. All layers
are on the GPU or none; nothing is offloaded in part. Left out: a draft model, a vision projector,
the state of recurrent layers, and that a model which keeps a cache in some layers alone turns more
of it back into f16 (see below) than the average layer's share.

Compute buffers hold the tensors of one step of `n_ubatch` tokens. llama.cpp reserves them for the
worst case (`sched_reserve` in llama-context.cpp), and a tensor's room is used again once nothing
needs it, so that their size does not grow with the layers. What is left are the logits in f32, the
attention mask in f16 (flash attention is on), and a few activations as wide as the embedding. A
quantised cache is turned back into f16 for one layer at a time (`fattn-common.cuh`).

Against buffers that llama.cpp printed, n_ubatch 512, one GPU (public logs, read 2026-11), MiB:

| model | context | cache | printed | here |
|---|---|---|---|---|
| Llama 3 8B | 512 | f16 | 258.50 | 347 |
| Qwen 3 4B | 4,096 | f16 | 301.75 | 361 |
| Qwen 3.6 27B | 131,072 | q8_0 | 495.00 | 861 |
| Qwen 3.6 27B | 262,144 | f16 | 756 | 861 |
| Qwen 3.5 9B | 262,144 | q8_0 | 808.02 | 1,093 |
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from typing import Final, NamedTuple

from yoyo.core.roofline import CACHE_TYPE_BYTES
from yoyo.model.machine import ModelFacts
from yoyo.model.settings import EngineSettings

FORMULA: Final = (
    "weights + context x KV bytes per token + compute buffers + CUDA context; compute buffers ="
    " ubatch x (4 x vocabulary + 48 x embedding + 2 x context)"
    " + context x f16 KV bytes of a layer where the cache is quantised"
)

# CUDA's context and the kernels that llama.cpp loads: 451 and 456 MiB on an RTX 4090 (its memory
# breakdown, pull request 15860). core.accelerators takes more off where a GPU needs more.
CUDA_CONTEXT_BYTES: Final = 512 * 2**20
UBATCH: Final = 512  # llama.cpp's default for --ubatch-size (common.h)
CONTEXT_STEP: Final = 256  # llama.cpp rounds each slot's context up to a multiple of it
ACTIVATIONS: Final = 12  # f32 tensors as wide as the embedding: 8.4 in the last row above
# Where a header does not say it: the most that published models have.
MOST_VOCABULARY: Final = 262_144
MOST_EMBEDDING: Final = 16_384
_F32, _F16 = 4, 2
_UNQUANTISED: Final = frozenset({"f16"})


class Fit(NamedTuple):
    """The sums, in bytes. None: the model's header does not say how large its cache is."""

    memory: int
    weights: int
    kv_cache: int | None
    compute: int
    overhead: int  # the CUDA context; 0 without a GPU
    total: int | None
    fits: bool | None
    # Tokens over all slots, a multiple of 256 for each; None: unknown, or not even the least fits.
    largest_context: int | None

    @property
    def spare(self) -> int | None:
        """What is left; negative: what is missing."""
        return None if self.total is None else self.memory - self.total


def fit(model: ModelFacts, engine: EngineSettings, memory_bytes: int, *, gpus: int = 1) -> Fit:
    """The sums for that model with these settings.

    `memory_bytes` is what `gpus` GPUs have together, or with `gpus` 0 what the machine's memory
    leaves for the engine. `largest_context` keeps slots and cache types as they are, and does not
    look at the context that the model was trained for.
    """
    parts = _Parts(model, engine, gpus)
    tokens = parts.rounded(engine.ctx)
    fixed = parts.weights + parts.overhead
    kv_cache, compute = parts.kv_cache(tokens), parts.compute(tokens)
    if kv_cache is None:
        fits = None if fixed + compute <= memory_bytes else False
        return Fit(memory_bytes, parts.weights, None, compute, parts.overhead, None, fits, None)
    total = fixed + kv_cache + compute
    return Fit(
        memory_bytes, parts.weights, kv_cache, compute, parts.overhead, total,
        total <= memory_bytes, parts.largest(memory_bytes),
    )  # fmt: skip


class _Parts:
    """Each sum as a function of the tokens over all slots."""

    def __init__(self, model: ModelFacts, engine: EngineSettings, gpus: int) -> None:
        self.weights = model.weight_bytes
        self.slots = max(engine.parallel, 1)
        self.overhead = gpus * CUDA_CONTEXT_BYTES
        self._devices = max(gpus, 1)  # each has its own buffers
        types = (engine.cache_type_k, engine.cache_type_v)
        # The header's figure is for f16 keys and f16 values, half of the bytes each.
        share = sum((CACHE_TYPE_BYTES[kind] for kind in types), Decimal(0)) / (2 * _F16)
        known = model.kv_bytes_per_token
        self._kv: Decimal | None = None if known is None else known * share
        ubatch = _ubatch(engine.extra_flags)
        vocabulary = MOST_VOCABULARY if model.vocabulary is None else model.vocabulary
        embedding = MOST_EMBEDDING if model.embedding_length is None else model.embedding_length
        self._step = ubatch * _F32 * (vocabulary + ACTIVATIONS * embedding)
        turned_back = gpus > 0 and any(kind not in _UNQUANTISED for kind in types)
        layer = -(-(known or 0) // max(model.layers, 1)) if turned_back else 0
        self._compute_per_token = ubatch * _F16 + layer

    def rounded(self, context: int) -> int:
        """The tokens that the engine really makes room for."""
        return self.slots * -(-max(context // self.slots, 1) // CONTEXT_STEP) * CONTEXT_STEP

    def kv_cache(self, tokens: int) -> int | None:
        if self._kv is None:
            return None
        return int((tokens * self._kv).to_integral_value(ROUND_CEILING))

    def compute(self, tokens: int) -> int:
        return self._devices * (self._step + tokens * self._compute_per_token)

    def largest(self, memory: int) -> int | None:
        assert self._kv is not None  # noqa: S101 - asked for where the cache is known
        left = memory - self.weights - self.overhead - self.compute(0)
        token = self._kv + self._devices * self._compute_per_token
        step = self.slots * CONTEXT_STEP
        steps = int(left / (token * step)) if left > 0 else 0
        return steps * step or None


def _ubatch(flags: tuple[str, ...]) -> int:
    """The last --ubatch-size among llama-server's flags."""
    found = UBATCH
    for flag, value in pairwise(flags):
        if flag in ("-ub", "--ubatch-size") and value.isascii() and value.isdigit():
            found = int(value)
    return found
