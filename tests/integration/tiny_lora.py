"""Tiny LoRAs by the independent `gguf` package: good ones, and ones broken in each way there is."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np

TENSORS: Final = ("blk.0.attn_q", "blk.0.ffn_up")
EMBEDDING: Final = "token_embd"

# Each breakage of a file for the smoke model, and what the engine makes of it. "dies": it ends its
# own process over it; "loads": it answers with the file as if nothing were wrong with it.
BREAKAGES: Final = {
    "general type": "refuses",
    "adapter type": "refuses",
    "no alpha": "loads",
    "alpha is zero": "loads",
    "alpha is not a number": "loads",
    "alpha is infinite": "loads",
    "alpha is negative": "loads",
    "alpha is text": "dies",
    "alpha is a double": "dies",
    "activated": "loads",
    "one side": "refuses",
    "norm": "loads",
    "stray tensor": "refuses",
    "unknown tensor": "refuses",
    "wrong inputs": "refuses",
    "wrong outputs": "refuses",
    "ranks differ": "refuses",
    "transposed": "refuses",
    "experts": "dies",
    "whole numbers": "dies",
    "no tensors": "loads",
    "truncated data": "refuses",
    "truncated header": "refuses",
    "not GGUF": "refuses",
    "embedding flipped": "refuses",
    "embedding's ranks differ": "dies",
    "architecture": "refuses",
    "absurd rank": "loads",
}

_LOAD: Final = """
import os, resource, sys, urllib.request
import xllamacpp
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
base, adapter = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = base
params.n_ctx, params.n_parallel, params.warmup = 64, 1, False
params.hostnames, params.port = ["127.0.0.1"], 0
info = xllamacpp.CommonAdapterLoraInfo()
info.path, info.scale = adapter, 1.0
params.lora_adapters = [info]
try:
    server = xllamacpp.Server(params)
except RuntimeError:
    os._exit(3)
asked = urllib.request.Request(
    server.listening_address + "/completion", b'{"prompt": "hello", "n_predict": 2}',
    {"Content-Type": "application/json"},
)
urllib.request.urlopen(asked, timeout=60).read()
os._exit(0)  # the server's own end waits for its main loop
"""


def write_lora(
    path: Path,
    base: Path,
    *,
    seed: int,
    rank: int = 4,
    alpha: float = 8.0,
    tensors: Sequence[str] = TENSORS,
    architecture: str = "llama",
    breakage: str = "",
) -> Path:
    """A LoRA for the model at `base` with random weights; `breakage` is a key of BREAKAGES."""
    assert not breakage or breakage in BREAKAGES
    if breakage.startswith("embedding"):
        tensors = (*tensors, EMBEDDING)
    rank = 1024 if breakage == "absurd rank" else rank
    weights = _weights(base, seed, rank, () if breakage == "no tensors" else tensors)
    _break_weights(weights, breakage, rank)
    writer = gguf.GGUFWriter(path, "gemma" if breakage == "architecture" else architecture)
    try:
        writer.add_type("model" if breakage == "general type" else "adapter")
        kind = "control_vector" if breakage == "adapter type" else "lora"
        writer.add_string(gguf.Keys.Adapter.TYPE, kind)
        _add_alpha(writer, alpha, breakage)
        if breakage == "activated":
            kinds = gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT32
            writer.add_key_value(gguf.Keys.Adapter.ALORA_INVOCATION_TOKENS, [5, 6], *kinds)
        for name, weight in weights.items():
            writer.add_tensor(name, weight)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    if breakage == "truncated data":
        os.truncate(path, path.stat().st_size - 64)
    elif breakage == "truncated header":
        os.truncate(path, 100)
    elif breakage == "not GGUF":
        path.write_bytes(b"GGML" + path.read_bytes()[4:])
    return path


def engine_verdict(base: Path, adapter: Path) -> str:
    """What the embedded engine makes of that adapter when it loads it and answers with it.

    "loads", "refuses" or "dies"; in a process of its own, which may end.
    """
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(base), str(adapter)],
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # its debugger takes seconds
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode < 0:
        return "dies"
    assert done.returncode in (0, 3), done.stderr[-2000:]
    return "loads" if done.returncode == 0 else "refuses"


@functools.cache
def _shapes(base: Path) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the base's tensors, in GGUF's order."""
    return {
        tensor.name: (int(tensor.shape[0]), int(tensor.shape[1]))
        for tensor in gguf.GGUFReader(base).tensors
        if len(tensor.shape) == 2
    }


def _weights(base: Path, seed: int, rank: int, tensors: Sequence[str]) -> dict[str, Any]:
    random = np.random.default_rng(seed)

    def drawn(rows: int, columns: int) -> Any:
        return random.standard_normal((rows, columns)).astype("<f4")

    weights: dict[str, Any] = {}
    for tensor in tensors:
        name = f"{tensor}.weight"
        first, second = _shapes(base)[name]
        if tensor == EMBEDDING:  # A: (rank, tokens), B: (rank, width), in GGUF's order
            weights[f"{name}.lora_a"] = drawn(second, rank)
            weights[f"{name}.lora_b"] = drawn(first, rank)
        else:  # A: (inputs, rank), B: (rank, outputs)
            weights[f"{name}.lora_a"] = drawn(rank, first)
            weights[f"{name}.lora_b"] = drawn(second, rank)
    return weights


def _break_weights(weights: dict[str, Any], breakage: str, rank: int) -> None:
    a = next(iter(weights), "")
    b = a.replace(".lora_a", ".lora_b")
    ones = np.ones((rank, rank), dtype="<f4")
    if breakage == "one side":
        del weights[b]
    elif breakage == "norm":
        weights["blk.0.attn_norm.weight"] = ones[0]
    elif breakage == "stray tensor":
        weights["blk.0.attn_q.bias"] = ones
    elif breakage == "unknown tensor":
        for name in (a, b):
            weights[name.replace("blk.0", "blk.99")] = weights.pop(name)
    elif breakage == "wrong inputs":
        weights[a] = np.hstack([weights[a], weights[a]])
    elif breakage == "wrong outputs":
        weights[b] = np.vstack([weights[b], weights[b]])
    elif breakage == "ranks differ":
        weights[b] = np.hstack([weights[b], weights[b]])
    elif breakage == "transposed":
        weights[a], weights[b] = weights[a].T.copy(), weights[b].T.copy()
    elif breakage == "experts":
        weights[a], weights[b] = np.stack([weights[a]] * 2), np.stack([weights[b]] * 2)
    elif breakage == "whole numbers":
        weights[a] = np.ones(weights[a].shape, dtype="<i4")
    elif breakage.startswith("embedding"):
        _break_embedding(weights, breakage)


def _break_embedding(weights: dict[str, Any], breakage: str) -> None:
    a, b = (f"{EMBEDDING}.weight.lora_{side}" for side in "ab")
    if breakage == "embedding flipped":
        weights[a] = weights[a].T.copy()
    else:
        weights[b] = np.hstack([weights[b], weights[b]])


def _add_alpha(writer: Any, alpha: float, breakage: str) -> None:
    key = gguf.Keys.Adapter.LORA_ALPHA
    others = {
        "alpha is zero": 0.0, "alpha is not a number": float("nan"),
        "alpha is infinite": float("inf"), "alpha is negative": -8.0,
    }  # fmt: skip
    if breakage == "no alpha":
        return
    if breakage == "alpha is text":
        writer.add_string(key, "8")
    elif breakage == "alpha is a double":
        writer.add_float64(key, alpha)
    else:
        writer.add_float32(key, others.get(breakage, alpha))
