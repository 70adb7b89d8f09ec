"""PEFT adapters: what their configuration and header say, and which ones must not be converted."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.adapters.peft import MAX_CONFIG_BYTES, UNSUPPORTED, PeftFacts, read_peft
from yoyo.core.safetensors import SafetensorsError
from yoyo.model.adapter import LoraTensor

# What PEFT 0.18 writes for a plain LoRA; keys and values are its defaults.
CONFIG: dict[str, Any] = {
    "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None,
    "auto_mapping": None, "base_model_name_or_path": "acme/base-7b", "bias": "none",
    "corda_config": None, "ensure_weight_tying": False, "eva_config": None,
    "exclude_modules": None, "fan_in_fan_out": False, "inference_mode": True,
    "init_lora_weights": True, "layer_replication": None, "layers_pattern": None,
    "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 16, "lora_bias": False,
    "lora_dropout": 0.05, "megatron_config": None, "megatron_core": "megatron.core",
    "modules_to_save": None, "peft_type": "LORA", "peft_version": "0.18.0",
    "qalora_group_size": 16, "r": 8, "rank_pattern": {}, "revision": None,
    "target_modules": ["q_proj"], "target_parameters": None, "task_type": "CAUSAL_LM",
    "trainable_token_indices": None, "use_dora": False, "use_qalora": False, "use_rslora": False,
}  # fmt: skip

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
EMBEDDING = "base_model.model.model.embed_tokens"
SHAPES = {f"{LAYER}.lora_A.weight": [8, 64], f"{LAYER}.lora_B.weight": [128, 8]}


def weights(shapes: dict[str, list[int]], dtype: str = "F32") -> tuple[bytes, int]:
    """The header of a safetensors file with those tensors, and the file's size."""
    at, fields = 0, {}
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        fields[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **fields}).encode()
    return struct.pack("<Q", len(text)) + text, 8 + len(text) + at


def read(config: object = CONFIG, shapes: dict[str, list[int]] = SHAPES) -> PeftFacts:
    return read_peft(json.dumps(config, indent=2).encode(), *weights(shapes))


def test_a_plain_lora() -> None:
    assert read() == PeftFacts(
        rank=8,
        alpha=Decimal(16),
        base_name="acme/base-7b",
        tensors=(LoraTensor(LAYER, inputs=64, outputs=128, rank=8),),
    )


def test_an_embedding() -> None:
    shapes = {f"{EMBEDDING}.lora_embedding_A": [8, 512], f"{EMBEDDING}.lora_embedding_B": [64, 8]}
    assert read(shapes=shapes).tensors == (LoraTensor(EMBEDDING, inputs=512, outputs=64, rank=8),)


def test_several_ranks_with_one_alpha_each() -> None:
    """PEFT scales each tensor by alpha over its own rank, and so does the engine."""
    other = LAYER.replace("q_proj", "v_proj")
    shapes = {**SHAPES, f"{other}.lora_A.weight": [4, 64], f"{other}.lora_B.weight": [64, 4]}
    found = read({**CONFIG, "rank_pattern": {"v_proj": 4}}, shapes)
    assert [tensor.rank for tensor in found.tensors] == [8, 4]
    with pytest.raises(InvalidAdapter, match=r"v_proj' has rank 4, adapter_config.json says 8"):
        read(shapes=shapes)


@pytest.mark.parametrize("rank", [1, 512])
def test_ranks_within_the_limits(rank: int) -> None:
    shapes = {"b.lora_A.weight": [rank, 512], "b.lora_B.weight": [512, rank]}
    both = {name.replace("b.", "a."): shape for name, shape in shapes.items()}
    found = read({**CONFIG, "r": rank}, {**shapes, **both})
    assert [(tensor.name, tensor.rank) for tensor in found.tensors] == [("a", rank), ("b", rank)]


@pytest.mark.parametrize("name", [None, "", "/home/me/base", "a" * 1024])
def test_names_of_the_base(name: str | None) -> None:
    assert read({**CONFIG, "base_model_name_or_path": name}).base_name == (name or "")


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal"])
def test_starts_that_leave_the_base_as_it_is(start: object) -> None:
    assert read({**CONFIG, "init_lora_weights": start}).rank == 8


@pytest.mark.parametrize("alpha", [16.5, 0.1, 1, 1000000])
def test_alphas(alpha: float) -> None:
    assert read({**CONFIG, "lora_alpha": alpha}).alpha == Decimal(str(alpha))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True), ("use_rslora", True), ("use_qalora", True),
        ("alpha_pattern", {"q_proj": 8}), ("fan_in_fan_out", True), ("lora_bias", True),
        ("modules_to_save", ["lm_head"]), ("layer_replication", [[0, 4], [2, 5]]),
        ("trainable_token_indices", [1]), ("target_parameters", ["mlp.experts.down_proj"]),
        ("alora_invocation_tokens", [5]), ("invocation_string", "<s>"), ("arrow_config", {"a": 1}),
    ],
)  # fmt: skip
def test_what_the_converter_would_not_carry_over(key: str, value: object) -> None:
    with pytest.raises(InvalidAdapter) as refused:
        read({**CONFIG, key: value})
    assert str(refused.value) == f"adapter_config.json sets {key}: {UNSUPPORTED[key]}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "ADALORA"}, "its peft_type is 'ADALORA', not 'LORA'"),
        ({"peft_type": None}, "its peft_type is not a text"),
        ({"bias": "all"}, "sets bias"),
        ({"bias": None}, "sets bias"),
        ({"init_lora_weights": "pissa_niter_16"}, "a base changed for it"),
        ({"init_lora_weights": "olora"}, "a base changed for it"),
        ({"init_lora_weights": "corda"}, "a base changed for it"),
        ({"init_lora_weights": "loftq"}, "a base changed for it"),
        ({"r": 0}, "r is not a whole number from 1 to 512"),
        ({"r": 513}, "r is not a whole number"),
        ({"r": True}, "r is not a whole number"),
        ({"r": 8.0}, "r is not a whole number"),
        ({"r": None}, "r is not a whole number"),
        ({"r": 16}, "has rank 8, adapter_config.json says 16"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern is not an object"),
        ({"rank_pattern": {"q_proj": 9999}}, "a rank of rank_pattern is not a whole number"),
        ({"lora_alpha": 0}, "lora_alpha is not a number"),
        ({"lora_alpha": -1}, "lora_alpha is not a number"),
        ({"lora_alpha": 1e300}, "lora_alpha is not a number"),
        ({"lora_alpha": True}, "lora_alpha is not a number"),
        ({"lora_alpha": "16"}, "lora_alpha is not a number"),
        ({"lora_alpha": None}, "lora_alpha is not a number"),
        ({"base_model_name_or_path": 5}, "base_model_name_or_path is no name"),
        ({"base_model_name_or_path": "a\nb"}, "base_model_name_or_path is no name"),
        ({"base_model_name_or_path": "a" * 1025}, "base_model_name_or_path is no name"),
    ],
)
def test_configurations_that_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidAdapter, match=reason):
        read({**CONFIG, **changes})


@pytest.mark.parametrize(
    "config",
    [b"", b"[]", b"{", b'{"r": NaN}', b'{"r": 1, "r": 2}', b"[" * 99_999, b"\xff", b"{}",
     b'{"lora_alpha": 1e999, "peft_type": "LORA", "r": 8}'],
)  # fmt: skip
def test_documents_that_are_refused(config: bytes) -> None:
    with pytest.raises(InvalidAdapter):
        read_peft(config, *weights(SHAPES))


def test_a_configuration_has_a_largest_size() -> None:
    padded = json.dumps(CONFIG).encode().ljust(MAX_CONFIG_BYTES)
    assert read_peft(padded, *weights(SHAPES)).rank == 8
    with pytest.raises(InvalidAdapter, match="too many"):
        read_peft(padded + b" ", *weights(SHAPES))


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({}, "it has no tensors"),
        ({f"{LAYER}.lora_A.weight": [8, 64]}, "has not one A and one B"),
        ({**SHAPES, "lm_head.weight": [8, 8]}, "'lm_head.weight' is neither side"),
        ({**SHAPES, f"{LAYER}.lora_magnitude_vector": [64]}, "is neither side"),
        ({**SHAPES, ".lora_A.weight": [8, 8]}, "is neither side"),
        ({**SHAPES, f"{LAYER}.lora_A.weight": [8, 64, 1]}, "has not 2 dimensions"),
        ({**SHAPES, f"{LAYER}.lora_B.weight": [128, 4]}, "A has rank 8, B has rank 4"),
        ({**SHAPES, f"{LAYER}.lora_A.weight": [8, 4]}, "rank 8 for 4 inputs"),
        (
            {f"{LAYER}.lora_A.weight": [8, 64], f"{LAYER}.lora_embedding_B": [64, 8]},
            "has not one A and one B",
        ),
    ],
)
def test_weights_that_are_refused(shapes: dict[str, list[int]], reason: str) -> None:
    with pytest.raises(InvalidAdapter, match=reason):
        read(shapes=shapes)


def test_the_smallest_alpha() -> None:
    config = json.dumps(CONFIG).replace('"lora_alpha": 16', '"lora_alpha": 0.000001').encode()
    assert read_peft(config, *weights(SHAPES)).alpha == Decimal("0.000001")


def test_a_file_that_was_cut_off() -> None:
    header, size = weights(SHAPES)
    with pytest.raises(SafetensorsError):
        read_peft(json.dumps(CONFIG).encode(), header, size - 1)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_raises_nothing_else(data: st.DataObject) -> None:
    config, (header, size) = json.dumps(CONFIG).encode(), weights(SHAPES)
    broken = []
    for whole in (config, header):
        part = bytearray(whole)
        for at in data.draw(st.lists(st.integers(0, len(part) - 1), max_size=4)):
            part[at] = data.draw(st.integers(0, 255))
        broken.append(bytes(part))
    try:
        found = read_peft(broken[0], broken[1], size)
    except (InvalidAdapter, SafetensorsError) as error:
        said = str(error)
    else:
        said = found.base_name
    assert said.isprintable()
