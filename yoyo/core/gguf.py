"""Reads the header of a GGUF model file: what it is, how large it must be, what its cache costs.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, little-endian, version 2 and 3.
The input is hostile until proven otherwise: every length is compared with the bytes that are
left before anything is read or allocated, and the rules that the engine's own reader applies
(`ggml/src/gguf.cpp`: unique names, at most 4 dimensions, whole blocks, tensors back to back)
are applied here, so that a file which passes is not refused for its header later. No I/O.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from yoyo.model.machine import ModelFacts

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Far above any real file (the largest published ones have a few thousand tensors, under 200
# keys and about half a million merges), and small enough that a hostile one is refused fast.
MAX_KEYS = 65_536
MAX_TENSORS = 65_536
MAX_ARRAY_STRINGS = 1 << 22  # in all arrays together: they have to be walked one by one
MAX_KEY_BYTES = 65_535  # docs/gguf.md, gguf_metadata_kv_t.key
MAX_TENSOR_NAME_BYTES = 63  # ggml.h, GGML_MAX_NAME less the closing zero
MAX_DIMS = 4  # ggml.h, GGML_MAX_DIMS
MAX_ALIGNMENT = 1 << 20
MAX_LAYERS = 4_096  # llama.cpp takes 512 (LLAMA_MAX_LAYERS)
MAX_NAME_CHARS = 256
DEFAULT_ALIGNMENT = 32  # docs/gguf.md, general.alignment
F16_BYTES = 2

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_FLOATS = frozenset({6, 12})
_BOOL = 7
# docs/gguf.md, gguf_metadata_value_type.
_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: _U32, 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<B"),
    10: _U64, 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip

# Tensor type id: elements in a block, bytes of a block. Source: `type_traits` in ggml/src/ggml.c
# with the block structs of ggml-common.h; the same as GGML_QUANT_SIZES of gguf-py 0.19.
TENSOR_TYPES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip


class GgufError(ValueError):
    """The bytes are not a GGUF file that the engine could load; the text says why."""


class GgufHeader(NamedTuple):
    """What a header says. Sizes are bytes; a field is None where the header does not say.

    `heads` and `kv_heads` hold one number for every layer, or a single one that is true of
    all. `data_end` is the least size of a complete file; `split_count` is above 1 for one
    part of a model that was split into several files.
    """

    version: int
    architecture: str
    name: str
    tensors: int
    context_length: int | None
    layers: int | None
    embedding_length: int | None
    heads: tuple[int, ...] | None
    kv_heads: tuple[int, ...] | None
    key_length: int | None
    value_length: int | None
    vocabulary: int | None
    split_count: int
    kv_bytes_per_token: int | None
    alignment: int
    weight_bytes: int
    data_offset: int
    data_end: int


class _Array(NamedTuple):
    length: int
    numbers: tuple[int, ...] | None  # read for per-layer counts alone


_Value = int | str | _Array


class _Cursor:
    """A position in the buffer that never leaves it."""

    __slots__ = ("at", "size", "strings_left", "view")

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.size = view.nbytes
        self.at = 0
        self.strings_left = MAX_ARRAY_STRINGS

    def skip(self, count: int) -> int:
        """Move on by `count` bytes; returns the position before."""
        start = self.at
        if count > self.size - start:
            raise GgufError(f"header ends early: {count} bytes wanted at {start} of {self.size}")
        self.at = start + count
        return start

    def number(self, form: struct.Struct) -> int:
        start = self.skip(form.size)
        return int(form.unpack_from(self.view, start)[0])

    def string(self, limit: int, what: str) -> bytes:
        length = self.number(_U64)
        if length > limit:
            raise GgufError(f"{what} of {length} bytes, at most {limit} are allowed")
        start = self.skip(length)
        return bytes(self.view[start : self.at])

    def skip_strings(self, count: int) -> None:
        if count > self.strings_left:
            raise GgufError(f"arrays with more than {MAX_ARRAY_STRINGS} strings")
        self.strings_left -= count
        # Walked by hand: this loop is most of the time spent on a real vocabulary.
        view, at, last, unpack = self.view, self.at, self.size - 8, _U64.unpack_from
        for _ in range(count):
            if at > last:
                raise GgufError(f"header ends early: inside an array of {count} strings")
            at += 8 + unpack(view, at)[0]
        if at > self.size:
            raise GgufError(f"header ends early: inside an array of {count} strings")
        self.at = at


def parse_header(buf: ReadableBuffer) -> GgufHeader:
    """Read the header at the start of `buf`: bytes, or a whole file mapped into memory.

    Looks at the header's bytes alone, holds no reference to `buf` afterwards, and allocates
    for keys and tensors that really are there. Raises GgufError for anything else than a
    complete, well-formed header; whether the tensors' bytes are there, `model_facts` says.
    """
    with memoryview(buf) as raw, raw.cast("B") as view:
        cursor = _Cursor(view)
        if bytes(view[:4]) != b"GGUF":
            raise GgufError("not a GGUF file: it does not start with the letters GGUF")
        cursor.at = 4
        version = cursor.number(_U32)
        if version not in (2, 3):
            swapped = version != 0 and version & 0xFFFF == 0
            raise GgufError("big-endian file" if swapped else f"GGUF version {version}, not 2 or 3")
        tensors = _count(cursor, MAX_TENSORS, 24, "tensors")  # name, dims, type and offset
        keys = _count(cursor, MAX_KEYS, 13, "keys")  # name, type and at least one byte
        values = _values(cursor, keys)
        alignment = _alignment(values)
        weight_bytes, used = _tensors(cursor, tensors, alignment)
        data_offset = _padded(cursor.at, alignment)
        return _header(values, version, tensors, alignment, weight_bytes, data_offset, used)


def model_facts(header: GgufHeader, *, path: str, file_bytes: int) -> ModelFacts:
    """Facts about the model in the file at `path` (used for display, and as its name if it has
    none), which is `file_bytes` long. Raises GgufError when the file is shorter than its
    tensors need, or can hold no model at all."""
    if file_bytes < header.data_end:
        raise GgufError(f"truncated: {file_bytes} of {header.data_end} bytes")
    if header.tensors == 0 and header.split_count < 2:
        raise GgufError("no tensors in it: a vocabulary, not a model")
    if header.layers is None:
        raise GgufError(f"no {header.architecture}.block_count in it: not a language model")
    return ModelFacts(
        name=header.name or path.rsplit("/", 1)[-1],
        path=path,
        architecture=header.architecture,
        file_bytes=file_bytes,
        weight_bytes=header.weight_bytes,
        layers=header.layers,
        kv_bytes_per_token=header.kv_bytes_per_token,
        context_length=header.context_length,
    )


def _count(cursor: _Cursor, limit: int, least: int, what: str) -> int:
    count = cursor.number(_U64)
    if count > min(limit, cursor.size // least):
        raise GgufError(f"{count} {what} in a file of {cursor.size} bytes, at most {limit} allowed")
    return count


def _values(cursor: _Cursor, keys: int) -> dict[bytes, _Value | None]:
    """Every key once, with its value where that is of a kind which is ever asked for."""
    values: dict[bytes, _Value | None] = {}
    for _ in range(keys):
        key = cursor.string(MAX_KEY_BYTES, "key")
        if key in values:
            raise GgufError(f"duplicate key {_shown(key)}")
        values[key] = _value(cursor, key, cursor.number(_U32))
    return values


def _value(cursor: _Cursor, key: bytes, kind: int) -> _Value | None:
    if kind == _STRING:
        length = cursor.number(_U64)
        start = cursor.skip(length)
        if not key.startswith(b"general."):
            return None  # a chat template, say: skipped without a copy
        kept = bytes(cursor.view[start : start + min(length, 4 * MAX_NAME_CHARS)])
        return kept.decode(errors="replace")[:MAX_NAME_CHARS]
    if kind == _ARRAY:
        return _array(cursor, key)
    form = _SCALARS.get(kind)
    if form is None:
        raise GgufError(f"key {_shown(key)} has the unknown value type {kind}")
    start = cursor.skip(form.size)
    if kind in _FLOATS or kind == _BOOL:
        return None
    return int(form.unpack_from(cursor.view, start)[0])


def _array(cursor: _Cursor, key: bytes) -> _Array:
    kind, length = cursor.number(_U32), cursor.number(_U64)
    if kind == _STRING:
        cursor.skip_strings(length)
        return _Array(length, None)
    form = _SCALARS.get(kind)
    if form is None:
        reason = "an array of arrays" if kind == _ARRAY else f"the unknown element type {kind}"
        raise GgufError(f"key {_shown(key)} holds {reason}")
    start = cursor.skip(length * form.size)
    per_layer = key.endswith((b".attention.head_count", b".attention.head_count_kv"))
    if not per_layer or kind in _FLOATS or kind == _BOOL or length > MAX_LAYERS:
        return _Array(length, None)
    several = struct.Struct(f"<{length}{form.format[-1]}")
    return _Array(length, several.unpack_from(cursor.view, start))


def _alignment(values: dict[bytes, _Value | None]) -> int:
    alignment = values.get(b"general.alignment", DEFAULT_ALIGNMENT)
    if (
        not isinstance(alignment, int)
        or not 0 < alignment <= MAX_ALIGNMENT
        or alignment & (alignment - 1)
    ):
        raise GgufError("general.alignment is not a power of two of at most 1 MiB")
    return alignment


def _tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[int, int]:
    """Bytes of all tensors, and bytes from the data's start to the end of the last one."""
    seen: set[bytes] = set()
    total = used = 0
    for _ in range(count):
        name = cursor.string(MAX_TENSOR_NAME_BYTES, "tensor name")
        if name in seen:
            raise GgufError(f"duplicate tensor {_shown(name)}")
        seen.add(name)
        dims = cursor.number(_U32)
        if dims > MAX_DIMS:
            raise GgufError(f"tensor {_shown(name)} has {dims} dimensions, at most {MAX_DIMS}")
        shape = [cursor.number(_U64) for _ in range(dims)]
        size = _tensor_bytes(name, shape, cursor.number(_U32))
        offset = cursor.number(_U64)
        if offset != _padded(used, alignment):
            raise GgufError(f"tensor {_shown(name)} does not follow the one before it")
        total += size
        used = offset + size
    return total, used


def _tensor_bytes(name: bytes, shape: list[int], kind: int) -> int:
    if kind not in TENSOR_TYPES:
        raise GgufError(f"tensor {_shown(name)} has the unknown type {kind}")
    block, block_bytes = TENSOR_TYPES[kind]
    elements = 1
    for length in shape:
        elements *= length
    if elements >= 1 << 63:  # the engine counts them in an int64
        raise GgufError(f"tensor {_shown(name)} has {elements} elements")
    if (shape[0] if shape else 1) % block:
        raise GgufError(f"tensor {_shown(name)}: rows are not whole blocks of {block}")
    return elements // block * block_bytes


def _header(
    values: dict[bytes, _Value | None],
    version: int,
    tensors: int,
    alignment: int,
    weight_bytes: int,
    data_offset: int,
    used: int,
) -> GgufHeader:
    architecture, name = values.get(b"general.architecture"), values.get(b"general.name")
    if not isinstance(architecture, str) or not architecture:
        raise GgufError("no general.architecture in it")
    arch = architecture.encode() + b"."
    layers = _integer(values, arch + b"block_count", MAX_LAYERS)
    embedding = _integer(values, arch + b"embedding_length")
    heads = _per_layer(values, arch + b"attention.head_count")
    kv_heads = _per_layer(values, arch + b"attention.head_count_kv") or heads
    key = _integer(values, arch + b"attention.key_length")
    value = _integer(values, arch + b"attention.value_length")
    # llama.cpp's own default (llama-model.cpp, load_hparams): the embedding over the heads.
    default = embedding // heads[0] if embedding and heads and heads[0] else None
    key, value = default if key is None else key, default if value is None else value
    tokens = values.get(b"tokenizer.ggml.tokens")
    return GgufHeader(
        version=version,
        architecture=architecture,
        name=name if isinstance(name, str) else "",
        tensors=tensors,
        context_length=_integer(values, arch + b"context_length"),
        layers=layers,
        embedding_length=embedding,
        heads=heads,
        kv_heads=kv_heads,
        key_length=key,
        value_length=value,
        vocabulary=tokens.length if isinstance(tokens, _Array) else None,
        split_count=_integer(values, b"split.count") or 1,
        kv_bytes_per_token=(
            None if _unusual_cache(values, arch, kv_heads) else _kv(layers, kv_heads, key, value)
        ),
        alignment=alignment,
        weight_bytes=weight_bytes,
        data_offset=data_offset,
        data_end=data_offset + used,
    )


def _unusual_cache(
    values: dict[bytes, _Value | None], arch: bytes, kv_heads: tuple[int, ...] | None
) -> bool:
    """Whether keys and values are kept otherwise than per head and layer: compressed (MLA), or
    in some layers only (recurrent ones) without a list that says in which."""
    if any(
        arch + key in values for key in (b"attention.kv_lora_rank", b"attention.key_length_mla")
    ):
        return True
    recurrent = any(key.startswith((arch + b"ssm.", arch + b"wkv.")) for key in values)
    return recurrent and (kv_heads is None or len(kv_heads) == 1)


def _kv(
    layers: int | None, kv_heads: tuple[int, ...] | None, key: int | None, value: int | None
) -> int | None:
    """Cache bytes of one token at f16; the upper bound for layers with a sliding window."""
    if layers is None or kv_heads is None or key is None or value is None:
        return None
    if len(kv_heads) not in (1, layers):
        return None
    all_heads = kv_heads[0] * layers if len(kv_heads) == 1 else sum(kv_heads)
    return all_heads * (key + value) * F16_BYTES


def _integer(values: dict[bytes, _Value | None], key: bytes, limit: int = 2**31 - 1) -> int | None:
    if key not in values:
        return None
    value = values[key]
    if not isinstance(value, int) or not 0 <= value <= limit:
        raise GgufError(f"{_shown(key)} is not a whole number from 0 to {limit}")
    return value


def _per_layer(values: dict[bytes, _Value | None], key: bytes) -> tuple[int, ...] | None:
    value = values.get(key)
    if not isinstance(value, _Array):
        single = _integer(values, key, 65_535)
        return None if single is None else (single,)
    if not value.numbers or min(value.numbers) < 0 or max(value.numbers) > 65_535:
        raise GgufError(f"{_shown(key)} is not a list of whole numbers, one a layer")
    return value.numbers


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _shown(name: bytes) -> str:
    return repr(name[:64].decode(errors="replace"))
