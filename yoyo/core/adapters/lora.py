"""What a LoRA file in GGUF is, and whether it fits a base: asked before the engine ever sees it.

The rules are the engine's own (llama.cpp, src/llama-adapter.cpp) and some that it lacks: it does
not look at the ranks of a pair of `token_embd`, ignores tensors of norms, ends itself over a value
of another type than it expects, and takes an alpha of 0 for "not scaled at all".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.gguf_tensors import GgufTensors, read_tensors
from yoyo.model.adapter import LoraFacts, LoraTensor

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Published adapters have ranks of 4 to 256.
MAX_RANK: Final = 512
# alpha is a small multiple of the rank; outside of these bounds the file is broken or hostile.
MIN_ALPHA, MAX_ALPHA = Decimal("0.000001"), Decimal(1_000_000)
# Bytes after the last tensor's: a writer pads to the file's alignment, 32 by default. More could
# be anything, carried along under the signature.
MAX_PADDING: Final = 4096
# What the engine's converter writes: F32, F16, Q8_0, BF16 (ggml.h, enum ggml_type).
TYPES: Final = frozenset({0, 1, 8, 30})
# As it is written into annotations and compared; llama-arch.cpp's names are all of this form.
ARCHITECTURE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")

_SIDE_A, _SIDE_B = ".lora_a", ".lora_b"
_EMBEDDING: Final = "token_embd.weight"


def read_lora(buf: ReadableBuffer, file_bytes: int) -> LoraFacts:
    """Read the header of the LoRA at the start of `buf`; its file has `file_bytes` bytes.

    Of a pair, A is (inputs, rank) and B (rank, outputs) in GGUF's order. The token embedding's A
    is stored the other way round, (rank, inputs), where inputs are the vocabulary's tokens.

    Raises:
        HeaderIncomplete: `buf` is a prefix of the file, and too short.
        GgufError: not a GGUF file.
        InvalidAdapter: a GGUF file, but no LoRA that may be loaded.
    """
    found = read_tensors(buf, file_bytes)
    kind, form = found.values.get("general.type"), found.values.get("adapter.type")
    if kind in (None, "model"):  # without one, the engine takes it for a model
        raise InvalidAdapter(
            f"this is a model, not an adapter: its general.type is {_shown(kind)}, not 'adapter'"
        )
    if kind != "adapter":
        raise InvalidAdapter(f"its general.type is {_shown(kind)}, not 'adapter'")
    if form != "lora":
        raise InvalidAdapter(f"its adapter.type is {_shown(form)}, not 'lora'")
    if not ARCHITECTURE.match(found.architecture):
        raise InvalidAdapter(f"its architecture {_shown(found.architecture)} is no name")
    if "adapter.alora.invocation_tokens" in found.values:
        raise InvalidAdapter("an activated LoRA, which works only after certain tokens")
    alpha = _alpha(found.values.get("adapter.lora.alpha"))
    tensors = _pairs(found)
    if file_bytes < found.data_end:
        raise InvalidAdapter(f"truncated: {file_bytes} of {found.data_end} bytes")
    if file_bytes - found.data_end > MAX_PADDING:
        raise InvalidAdapter(f"{file_bytes - found.data_end} bytes belong to no tensor")
    rank = max(tensor.rank for tensor in tensors)
    return LoraFacts(found.architecture, rank, alpha, tensors, file_bytes)


def check_fit(lora: LoraFacts, architecture: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Whether the adapter fits the base with this architecture and these tensors (GGUF's order).

    Raises:
        InvalidAdapter: it does not; the text names the first misfit.
    """
    if lora.architecture != architecture:
        raise InvalidAdapter(
            f"made for a {lora.architecture} model, and the base is a {_shown(architecture)}"
        )
    for tensor in lora.tensors:
        shape = shapes.get(tensor.name)
        if shape is None:
            raise InvalidAdapter(f"it changes {_shown(tensor.name)}, which the base has not")
        wanted = (tensor.inputs, tensor.outputs)
        if tensor.name.endswith(_EMBEDDING):
            wanted = (tensor.outputs, tensor.inputs)
        if shape != wanted:
            raise InvalidAdapter(
                f"it changes {_shown(tensor.name)} of shape {wanted}, the base's has {shape}"
            )


def _alpha(value: str | int | float | None) -> Decimal:
    # The engine reads a 32-bit float, and ends itself over any other type.
    if not isinstance(value, float):
        raise InvalidAdapter("it has no adapter.lora.alpha that is a finite 32-bit float")
    # Before it is rounded, as the largest ones would leave the range of their type.
    if not 0 < value < 2 * MAX_ALPHA:
        raise InvalidAdapter(f"an alpha of {value:g}, not from {MIN_ALPHA} to {MAX_ALPHA}")
    alpha = Decimal(_shortest(value))
    if not MIN_ALPHA <= alpha <= MAX_ALPHA:
        raise InvalidAdapter(f"an alpha of {value:g}, not from {MIN_ALPHA} to {MAX_ALPHA}")
    return Decimal(plain(alpha))


def _shortest(value: float) -> str:
    """The shortest decimal that is this 32-bit float: 0.1, not 0.100000001490116."""
    for digits in range(1, 9):
        text = f"{value:.{digits}g}"
        if struct.unpack("<f", struct.pack("<f", float(text)))[0] == value:
            return text
    return f"{value:.9g}"  # always enough (IEEE 754, 5.12.2)


def plain(number: Decimal) -> str:
    """The number in the one way it is written: no exponent, no zeros at the end."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _pairs(found: GgufTensors) -> tuple[LoraTensor, ...]:
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in found.shapes.items():
        base, side = name[: -len(_SIDE_A)], name[-len(_SIDE_A) :]
        # The engine strips the endings wherever they stand, and would look for another tensor.
        if side not in (_SIDE_A, _SIDE_B) or not base or _SIDE_A in base or _SIDE_B in base:
            raise InvalidAdapter(f"tensor {_shown(name)} is neither side of a LoRA pair")
        if found.types[name] not in TYPES:
            raise InvalidAdapter(f"tensor {_shown(name)} is not of type F32, F16, BF16 or Q8_0")
        if len(shape) != 2:
            raise InvalidAdapter(f"tensor {_shown(name)} has {len(shape)} dimensions, not 2")
        sides.setdefault(base, {})[side] = shape
    if not sides:
        raise InvalidAdapter("it has no tensors")
    return tuple(_pair(base, pair) for base, pair in sorted(sides.items()))


def _pair(name: str, pair: dict[str, tuple[int, ...]]) -> LoraTensor:
    if len(pair) != 2:
        missing = _SIDE_B if _SIDE_A in pair else _SIDE_A
        raise InvalidAdapter(f"tensor {_shown(name + missing)} is missing")
    side_a, (rank, outputs) = pair[_SIDE_A], pair[_SIDE_B]
    inputs, rank_a = side_a[::-1] if name.endswith(_EMBEDDING) else side_a
    if rank_a != rank:
        raise InvalidAdapter(f"{_shown(name)}: A has rank {rank_a}, B has rank {rank}")
    if not 1 <= rank <= min(MAX_RANK, inputs, outputs):
        raise InvalidAdapter(
            f"{_shown(name)}: rank {rank} for {inputs} inputs and {outputs} outputs, at most "
            f"{min(MAX_RANK, inputs, outputs)} makes sense"
        )
    return LoraTensor(name, inputs, outputs, rank)


def _shown(value: object) -> str:
    return ascii(value[:80]) if isinstance(value, str) else "not a text"
