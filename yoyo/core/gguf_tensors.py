"""Reads names and shapes of the tensors in a GGUF file: what an adapter changes, and in what.

The header is checked by `core.gguf.parse_header` first, with every rule that it has. What is
walked here a second time is known to be well-formed, so that no rule stands in two places. No I/O.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.core.gguf import MAX_DIMS, MAX_KEY_BYTES, MAX_TENSOR_NAME_BYTES, parse_header
from yoyo.core.gguf_cursor import U32, U64, Cursor

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# docs/gguf.md of ggml, gguf_metadata_value_type.
_UINT32, _FLOAT32, _STRING, _ARRAY = 4, 6, 8, 9
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_F32: Final = struct.Struct("<f")
# What is ever asked for: a header may hold thousands of keys, and megabytes in one of them.
_KEPT: Final = frozenset(
    {
        b"general.type", b"general.architecture", b"general.name", b"adapter.type",
        b"adapter.lora.alpha", b"adapter.alora.invocation_tokens",
    }
)  # fmt: skip
_MAX_TEXT_BYTES: Final = 256


class GgufTensors(NamedTuple):
    """What the header of a GGUF file says of its tensors."""

    architecture: str  # "" in a part after the first of a split model
    # Of general.type, .architecture, .name, adapter.type, adapter.lora.alpha and
    # adapter.alora.invocation_tokens, where they are there: strings (their first 256 bytes),
    # 32-bit numbers (uint32, finite float32), of an array its length; "" for any other type.
    values: dict[str, str | int | float]
    shapes: dict[str, tuple[int, ...]]  # in GGUF's order: ne[0], the row's length, first
    types: dict[str, int]  # ggml.h, enum ggml_type
    data_end: int  # bytes, the least size of the complete file


def read_tensors(buf: ReadableBuffer, file_bytes: int) -> GgufTensors:
    """Read the header at the start of `buf`, a prefix of a file of `file_bytes` bytes or all of it.

    Whether the tensors' bytes are there, is for the caller to say: `file_bytes >= data_end`.

    Raises:
        HeaderIncomplete: more bytes are needed; never more than MAX_HEADER_BYTES of them.
        GgufError: anything else than a well-formed header.
    """
    header = parse_header(buf, file_bytes)
    with memoryview(buf) as raw, raw.cast("B") as view:
        cursor = Cursor(view, file_bytes)
        cursor.skip(8)  # GGUF, version
        tensors, keys = cursor.number(U64), cursor.number(U64)
        values: dict[str, str | int | float] = {}
        for _ in range(keys):
            key = cursor.string(MAX_KEY_BYTES, "key")
            value = _value(cursor, cursor.number(U32))
            if key in _KEPT:
                values[key.decode()] = value
        shapes: dict[str, tuple[int, ...]] = {}
        types: dict[str, int] = {}
        for _ in range(tensors):
            # Not UTF-8 stays distinct; such a name is none of any base model.
            name = cursor.string(MAX_TENSOR_NAME_BYTES, "tensor name").decode(
                errors="backslashreplace"
            )
            dims = min(cursor.number(U32), MAX_DIMS)
            shapes[name] = tuple(cursor.number(U64) for _ in range(dims))
            types[name] = cursor.number(U32)
            cursor.number(U64)  # offset
    return GgufTensors(header.architecture, values, shapes, types, header.data_end)


def _value(cursor: Cursor, kind: int) -> str | int | float:
    if kind == _STRING:
        length = cursor.number(U64)
        start = cursor.skip(length)
        text = bytes(cursor.view[start : start + min(length, _MAX_TEXT_BYTES)])
        return text.decode(errors="replace")
    if kind == _ARRAY:
        kind, length = cursor.number(U32), cursor.number(U64)
        if kind == _STRING:
            cursor.skip_strings(length)
        else:
            cursor.skip(length * _SIZES[kind])
        return length
    if kind == _UINT32:
        return cursor.number(U32)
    if kind == _FLOAT32:
        value = _F32.unpack_from(cursor.view, cursor.skip(4))[0]
        return float(value) if math.isfinite(value) else ""
    cursor.skip(_SIZES[kind])
    return ""
