"""Reads the header of a safetensors file, so that a corrupt or hostile one is never staged.

Format: https://github.com/huggingface/safetensors, README.md, "Format": eight bytes that give the
length of a JSON object, little-endian; the object, perhaps padded with spaces; the tensors' bytes.
The rules are those of the format's reference reader (`safetensors/src/tensor.rs`): at most 100 MB
of header, tensors back to back, from the data's start to the file's end. No I/O.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, NoReturn

MAX_HEADER_BYTES: Final = 100_000_000  # tensor.rs, MAX_HEADER_SIZE
LENGTH_BYTES: Final = 8
MAX_TENSORS: Final = 1 << 18  # the largest published models have some 100,000, in all files
# Commas: what is parsed takes ten times its own size, so that it is bounded before it is parsed.
MAX_VALUES: Final = 10 * MAX_TENSORS
MAX_DIMS: Final = 64
MAX_BYTES: Final = 2**63 - 1

# Bits of an element (tensor.rs, Dtype::bitsize).
DTYPE_BITS: Final = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


class SafetensorsError(ValueError):
    """The bytes are not a safetensors file that could be loaded; the text says why."""


class SafetensorsHeader(NamedTuple):
    """What a header says. Sizes are bytes."""

    tensors: tuple[str, ...]  # in the order of their data
    weight_bytes: int
    header_bytes: int  # of all that comes before the tensors' data
    dtype: str  # the one that most bytes have; "" without tensors


def header_bytes(first: bytes, file_bytes: int) -> int:
    """How many bytes of the file, from its start, `parse_safetensors` needs.

    `first` are the file's first eight bytes.

    Raises:
        SafetensorsError: no such file.
    """
    if len(first) < LENGTH_BYTES:
        raise SafetensorsError(f"a file of {len(first)} bytes, too short for a header")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise SafetensorsError(f"a header of {length} bytes, at most {MAX_HEADER_BYTES}")
    if LENGTH_BYTES + length > file_bytes:
        raise SafetensorsError(f"a header of {length} bytes in a file of {file_bytes}")
    return LENGTH_BYTES + length


def parse_safetensors(buf: bytes, file_bytes: int) -> SafetensorsHeader:
    """Read the header at the start of a file of `file_bytes` bytes.

    Raises:
        SafetensorsError: it is not one, or the file is shorter or longer than its tensors.
    """
    end = header_bytes(buf[:LENGTH_BYTES], file_bytes)
    if len(buf) < end:
        raise SafetensorsError(f"header ends early: {len(buf)} of {end} bytes")
    fields = json_object(buf[LENGTH_BYTES:end], "the header")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(type(text) is not str for text in metadata.values()):
        raise SafetensorsError("__metadata__ is not a map of text to text")
    if len(fields) > MAX_TENSORS:
        raise SafetensorsError(f"{len(fields)} tensors, at most {MAX_TENSORS}")
    spans: list[tuple[int, int, str]] = []
    dtype_bytes: dict[str, int] = {}
    for name, tensor in fields.items():
        dtype, start, stop = _tensor(name, tensor)
        spans.append((start, stop, name))
        dtype_bytes[dtype] = dtype_bytes.get(dtype, 0) + stop - start
    spans.sort()
    at = 0
    for start, stop, name in spans:
        if start != at:
            raise SafetensorsError(f"tensor {_shown(name)} does not follow the one before it")
        at = stop
    if end + at != file_bytes:
        raise SafetensorsError(f"{end + at} bytes expected, the file has {file_bytes}")
    most = max(dtype_bytes, key=lambda dtype: (dtype_bytes[dtype], dtype), default="")
    return SafetensorsHeader(tuple(name for _, _, name in spans), at, end, most)


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object without a key twice, NaN or infinities.

    Raises:
        SafetensorsError.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise SafetensorsError(f"{what} holds a key twice")
        return fields

    def refused(constant: str) -> NoReturn:
        raise SafetensorsError(f"{what} holds {constant}")

    if data.count(b",") > MAX_VALUES:
        raise SafetensorsError(f"{what} holds more than {MAX_VALUES} values")
    if not data.startswith(b"{"):
        raise SafetensorsError(f"{what} is not a JSON object")
    try:
        fields = json.loads(data.decode(), object_pairs_hook=once, parse_constant=refused)
    except SafetensorsError:
        raise
    except (ValueError, RecursionError) as error:
        raise SafetensorsError(f"{what} is not JSON: {type(error).__name__}") from error
    if not isinstance(fields, dict):
        raise SafetensorsError(f"{what} is not a JSON object")
    return fields


def _tensor(name: str, tensor: object) -> tuple[str, int, int]:
    """Type, and where its bytes begin and end."""
    what = f"tensor {_shown(name)}"
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsError(f"{what} has not the fields dtype, shape and data_offsets alone")
    dtype, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise SafetensorsError(f"{what} has an unknown type")
    if not isinstance(shape, list) or len(shape) > MAX_DIMS:
        raise SafetensorsError(f"{what} has no shape of at most {MAX_DIMS} dimensions")
    if not isinstance(offsets, list) or len(offsets) != 2:
        raise SafetensorsError(f"{what} has not two offsets")
    start, stop = (_whole(offset, what) for offset in offsets)
    bits = DTYPE_BITS[dtype]
    for length in shape:
        # Looked at after each factor: a product of many is a number that takes minutes.
        bits *= _whole(length, what)
        if bits > 8 * MAX_BYTES:
            raise SafetensorsError(f"{what} has too many elements")
    if bits % 8 or stop - start != bits // 8:
        raise SafetensorsError(f"{what} has {stop - start} bytes for {bits} bits")
    return dtype, start, stop


def _whole(value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_BYTES:
        raise SafetensorsError(f"{what} holds a size that is no whole number")
    return value


def _shown(name: str) -> str:
    return ascii(name[:64])
