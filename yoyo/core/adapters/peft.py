"""What a PEFT adapter says of itself: checked before it is converted, as the converter asks little.

llama.cpp's converter (convert_lora_to_gguf.py) takes one alpha for all tensors and nothing else
from `adapter_config.json`. An adapter whose effect is scaled or composed in any other way would
become a GGUF file that loads and does something else than was trained; such ones are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from yoyo.core.adapters.lora import MAX_ALPHA, MAX_RANK, MIN_ALPHA, plain
from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.safetensors import LENGTH_BYTES, SafetensorsError, json_object, parse_safetensors
from yoyo.model.adapter import LoraTensor

MAX_CONFIG_BYTES: Final = 1024 * 1024
MAX_BASE_CHARS: Final = 1024

# Keys of PEFT's LoraConfig (src/peft/tuners/lora/config.py) that must be unset, and why.
UNSUPPORTED: Final = {
    "use_dora": "DoRA has magnitudes, which the converter refuses",
    "use_rslora": "rank-stabilised scaling, which the converter would drop",
    "use_qalora": "QALoRA pools the inputs, which the engine does not",
    "alpha_pattern": "several alphas, and a GGUF file has one",
    "fan_in_fan_out": "transposed weights, which the converter mixes up",
    "lora_bias": "biases, which the converter refuses",
    "modules_to_save": "whole modules, which are no LoRA",
    "layer_replication": "repeated layers, which the base has not",
    "trainable_token_indices": "retrained tokens, which are no LoRA",
    "target_parameters": "bare parameters, whose names the converter does not know",
    "alora_invocation_tokens": "an activated LoRA, which works only after certain tokens",
    "invocation_string": "an activated LoRA, which works only after certain tokens",
    "arrow_config": "a router between adapters",
}
# Ways of starting that change the base: the adapter is the difference to a base nobody has.
_CHANGED_BASE: Final = ("pissa", "corda", "olora", "loftq")
_UNFIT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# How PEFT ends the names in a file (utils/save_and_load.py): linear layers, and embeddings.
_LINEAR = (".lora_A.weight", ".lora_B.weight")
_EMBEDDING = (".lora_embedding_A", ".lora_embedding_B")


class PeftFacts(NamedTuple):
    """What a PEFT LoRA is. The tensors' names are those of PEFT, not of the engine."""

    rank: int  # `r`; single tensors may have another one (rank_pattern)
    alpha: Decimal
    base_name: str  # what its author calls the base: a claim; "" where he does not
    tensors: tuple[LoraTensor, ...]  # by name


def read_peft(config: bytes, header: bytes, file_bytes: int) -> PeftFacts:
    """Read `adapter_config.json` and the header of `adapter_model.safetensors`.

    `header` are the first bytes of that file (at least `core.safetensors.header_bytes` of them),
    which has `file_bytes` in all.

    Raises:
        SafetensorsError: not a safetensors file.
        InvalidAdapter: no LoRA, or one that the converter would not carry over as it is.
    """
    if len(config) > MAX_CONFIG_BYTES:
        raise InvalidAdapter(f"adapter_config.json has {len(config)} bytes, too many")
    try:
        fields = json_object(config.strip(), "adapter_config.json")
    except SafetensorsError as error:
        raise InvalidAdapter(str(error)) from error
    _supported(fields)
    rank = _rank(fields.get("r"), "r")
    ranks = {rank} | _pattern(fields.get("rank_pattern"))
    base = fields.get("base_model_name_or_path") or ""
    if not isinstance(base, str) or len(base) > MAX_BASE_CHARS or _UNFIT.search(base):
        raise InvalidAdapter("adapter_config.json: base_model_name_or_path is no name")
    tensors = _tensors(header, file_bytes)
    for tensor in tensors:
        if tensor.rank not in ranks:
            raise InvalidAdapter(
                f"{_shown(tensor.name)} has rank {tensor.rank}, adapter_config.json says {rank}"
            )
    return PeftFacts(rank, _alpha(fields.get("lora_alpha")), base, tensors)


def _supported(fields: Mapping[str, Any]) -> None:
    if fields.get("peft_type") != "LORA":
        raise InvalidAdapter(f"its peft_type is {_shown(fields.get('peft_type'))}, not 'LORA'")
    for key, reason in UNSUPPORTED.items():
        if fields.get(key):
            raise InvalidAdapter(f"adapter_config.json sets {key}: {reason}")
    if fields.get("bias", "none") != "none":
        raise InvalidAdapter("adapter_config.json sets bias: trained biases are no LoRA")
    start = fields.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
        raise InvalidAdapter(
            f"adapter_config.json sets init_lora_weights to {_shown(start)}: it was trained on a "
            "base changed for it (save it with path_initial_model_for_weight_conversion)"
        )


def _rank(value: object, what: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_RANK:
        raise InvalidAdapter(
            f"adapter_config.json: {what} is not a whole number from 1 to {MAX_RANK}"
        )
    return value


def _pattern(value: object) -> set[int]:
    if not value:
        return set()
    if not isinstance(value, dict):
        raise InvalidAdapter("adapter_config.json: rank_pattern is not an object")
    return {_rank(rank, "a rank of rank_pattern") for rank in value.values()}


def _alpha(value: object) -> Decimal:
    if type(value) is int or type(value) is float:
        number = Decimal(str(value))
        if number.is_finite() and MIN_ALPHA <= number <= MAX_ALPHA:
            return Decimal(plain(number))
    raise InvalidAdapter(
        f"adapter_config.json: lora_alpha is not a number from {MIN_ALPHA} to {MAX_ALPHA}"
    )


def _tensors(header: bytes, file_bytes: int) -> tuple[LoraTensor, ...]:
    end = parse_safetensors(header, file_bytes).header_bytes
    fields = json_object(header[LENGTH_BYTES:end], "the header")
    fields.pop("__metadata__", None)
    sides: dict[str, dict[str, list[int]]] = {}
    for name, tensor in fields.items():
        ending = next((each for each in _LINEAR + _EMBEDDING if name.endswith(each)), None)
        if ending is None or len(name) == len(ending):
            raise InvalidAdapter(f"tensor {_shown(name)} is neither side of a LoRA pair")
        if len(tensor["shape"]) != 2:
            raise InvalidAdapter(f"tensor {_shown(name)} has not 2 dimensions")
        sides.setdefault(name.removesuffix(ending), {})[ending] = tensor["shape"]
    if not sides:
        raise InvalidAdapter("it has no tensors")
    return tuple(_pair(name, pair) for name, pair in sorted(sides.items()))


def _pair(name: str, pair: dict[str, list[int]]) -> LoraTensor:
    for side_a, side_b in (_LINEAR, _EMBEDDING):
        if set(pair) == {side_a, side_b}:
            # PyTorch's order, rows first: A is (rank, inputs), B is (outputs, rank).
            (rank, inputs), (outputs, rank_b) = pair[side_a], pair[side_b]
            if rank != rank_b:
                raise InvalidAdapter(f"{_shown(name)}: A has rank {rank}, B has rank {rank_b}")
            if not 1 <= rank <= min(MAX_RANK, inputs, outputs):
                raise InvalidAdapter(
                    f"{_shown(name)}: rank {rank} for {inputs} inputs and {outputs} outputs"
                )
            return LoraTensor(name, inputs, outputs, rank)
    raise InvalidAdapter(f"{_shown(name)} has not one A and one B")


def _shown(value: object) -> str:
    return ascii(value[:80]) if isinstance(value, str) else "not a text"
