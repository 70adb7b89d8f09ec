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

from yoyo.core.gguf_cursor import (
    MAX_ARRAY_STRINGS,
    MAX_HEADER_BYTES,
    U32,
    U64,
    Cursor,
    GgufError,
    HeaderIncomplete,
)
from yoyo.core.gguf_types import TENSOR_TYPES, quantisation
from yoyo.core.manifest_fields import cleaned
from yoyo.model.machine import ModelFacts

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "MAX_ARRAY_STRINGS", "MAX_HEADER_BYTES", "TENSOR_TYPES", "GgufError", "GgufHeader",
    "HeaderIncomplete", "model_facts", "parse_header",
]  # fmt: skip

# Far above any real file (the largest published ones have a few thousand tensors, under 200
# keys and about half a million merges), and small enough that a hostile one is refused fast.
MAX_KEYS = 65_536
MAX_TENSORS = 65_536
MAX_KEY_BYTES = 65_535  # docs/gguf.md, gguf_metadata_kv_t.key
MAX_TENSOR_NAME_BYTES = 63  # ggml.h, GGML_MAX_NAME less the closing zero
MAX_DIMS = 4  # ggml.h, GGML_MAX_DIMS
MAX_ALIGNMENT = 1 << 20
MAX_SPLITS = 65_535  # split.count is a uint16
MAX_LAYERS = 4_096  # llama.cpp takes 512 (LLAMA_MAX_LAYERS)
MAX_NAME_CHARS = 256
DEFAULT_ALIGNMENT = 32  # docs/gguf.md, general.alignment
F16_BYTES = 2

_STRING, _ARRAY = 8, 9
_FLOATS = frozenset({6, 12})
_BOOL = 7
# docs/gguf.md, gguf_metadata_value_type.
_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: U32, 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<B"),
    10: U64, 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip


class GgufHeader(NamedTuple):
    """What a header says. Sizes are bytes; a field is None where the header does not say.

    `heads` and `kv_heads` hold one number for every layer, or a single one that is true of
    all. `data_end` is the least size of a complete file; `split_count` is above 1 for one
    part of a model that was split into several files, `split_no` is its number from 0 and
    `split_tensors` the tensors of all parts. A part after the first has no architecture ("").
    `type_bytes` gives the bytes of all tensors of each type.
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
    file_type: int | None
    type_bytes: tuple[tuple[int, int], ...]
    split_no: int
    split_tensors: int | None


class _Array(NamedTuple):
    length: int
    numbers: tuple[int, ...] | None  # read for per-layer counts alone


_Value = int | str | _Array


def parse_header(buf: ReadableBuffer, file_bytes: int | None = None) -> GgufHeader:
    """Read the header at the start of `buf`: bytes, or a whole file mapped into memory.

    `buf` may be a prefix of the file, whose size `file_bytes` is, where it is known. Looks at the
    header's bytes alone, holds no reference to `buf` afterwards, and allocates for keys and
    tensors that really are there. Whether the tensors' bytes are there, `model_facts` says.

    Raises:
        HeaderIncomplete: more bytes are needed; never more than MAX_HEADER_BYTES of them.
        GgufError: anything else than a well-formed header.
    """
    with memoryview(buf) as raw, raw.cast("B") as view:
        cursor = Cursor(view, file_bytes)
        magic = bytes(view[:4])
        if magic != b"GGUF":
            if magic and file_bytes is not None and b"GGUF".startswith(magic):
                cursor.ends(4, "its first letters")
            raise GgufError("not a GGUF file: it does not start with the letters GGUF")
        cursor.at = 4
        version = cursor.number(U32)
        if version not in (2, 3):
            swapped = version != 0 and version & 0xFFFF == 0
            raise GgufError("big-endian file" if swapped else f"GGUF version {version}, not 2 or 3")
        tensors = cursor.count(MAX_TENSORS, 24, "tensors")  # name, dims, type and offset
        keys = cursor.count(MAX_KEYS, 13, "keys")  # name, type and at least one byte
        values = _values(cursor, keys)
        alignment = _alignment(values)
        type_bytes, used = _tensors(cursor, tensors, alignment)
        data_offset = _padded(cursor.at, alignment)
        return _header(values, version, tensors, alignment, type_bytes, data_offset, used)


def model_facts(header: GgufHeader, *, path: str, file_bytes: int) -> ModelFacts:
    """Facts about the model in the file at `path` (used for display, and as its name if it has
    none), which is `file_bytes` long. Raises GgufError when the file is shorter than its
    tensors need, or can hold no model at all."""
    if file_bytes < header.data_end:
        raise GgufError(f"truncated: {file_bytes} of {header.data_end} bytes")
    if header.tensors == 0 and header.split_count < 2:
        raise GgufError("no tensors in it: a vocabulary, not a model")
    if header.split_no:
        raise GgufError(f"part {header.split_no + 1} of a split model, not the first")
    if header.layers is None:
        raise GgufError(f"no {header.architecture}.block_count in it: not a language model")
    return ModelFacts(
        name=cleaned(header.name) or path.rsplit("/", 1)[-1],
        path=path,
        architecture=header.architecture,
        file_bytes=file_bytes,
        weight_bytes=header.weight_bytes,
        layers=header.layers,
        kv_bytes_per_token=header.kv_bytes_per_token,
        context_length=header.context_length,
        quantisation=quantisation(header.file_type, dict(header.type_bytes)),
        vocabulary=header.vocabulary,
        embedding_length=header.embedding_length,
        heads=header.heads[0] if header.heads else None,
    )


def _values(cursor: Cursor, keys: int) -> dict[bytes, _Value | None]:
    """Every key once, with its value where that is of a kind which is ever asked for."""
    values: dict[bytes, _Value | None] = {}
    for _ in range(keys):
        key = cursor.string(MAX_KEY_BYTES, "key")
        if key in values:
            raise GgufError(f"duplicate key {_shown(key)}")
        values[key] = _value(cursor, key, cursor.number(U32))
    return values


def _value(cursor: Cursor, key: bytes, kind: int) -> _Value | None:
    if kind == _STRING:
        length = cursor.number(U64)
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


def _array(cursor: Cursor, key: bytes) -> _Array:
    kind, length = cursor.number(U32), cursor.number(U64)
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


def _tensors(cursor: Cursor, count: int, alignment: int) -> tuple[dict[int, int], int]:
    """Bytes of the tensors by type, and bytes from the data's start to the last one's end."""
    seen: set[bytes] = set()
    type_bytes: dict[int, int] = {}
    used = 0
    for _ in range(count):
        name = cursor.string(MAX_TENSOR_NAME_BYTES, "tensor name")
        if name in seen:
            raise GgufError(f"duplicate tensor {_shown(name)}")
        seen.add(name)
        dims = cursor.number(U32)
        if dims > MAX_DIMS:
            raise GgufError(f"tensor {_shown(name)} has {dims} dimensions, at most {MAX_DIMS}")
        shape = [cursor.number(U64) for _ in range(dims)]
        kind = cursor.number(U32)
        size = _tensor_bytes(name, shape, kind)
        offset = cursor.number(U64)
        if offset != _padded(used, alignment):
            raise GgufError(f"tensor {_shown(name)} does not follow the one before it")
        type_bytes[kind] = type_bytes.get(kind, 0) + size
        used = offset + size
    return type_bytes, used


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
    type_bytes: dict[int, int],
    data_offset: int,
    used: int,
) -> GgufHeader:
    architecture, name = values.get(b"general.architecture"), values.get(b"general.name")
    split_count = _integer(values, b"split.count", MAX_SPLITS) or 1
    split_no = _integer(values, b"split.no", MAX_SPLITS) or 0
    if split_no >= split_count:
        raise GgufError(f"part {split_no + 1} of a model with {split_count} parts")
    if architecture is None and split_no:
        architecture = ""  # llama-gguf-split writes it into the first part alone
    elif not isinstance(architecture, str) or not architecture:
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
        split_count=split_count,
        kv_bytes_per_token=(
            None if _unusual_cache(values, arch, kv_heads) else _kv(layers, kv_heads, key, value)
        ),
        alignment=alignment,
        weight_bytes=sum(type_bytes.values()),
        data_offset=data_offset,
        data_end=data_offset + used,
        file_type=_file_type(values),
        type_bytes=tuple(sorted(type_bytes.items())),
        split_no=split_no,
        split_tensors=_integer(values, b"split.tensors.count"),
    )


def _file_type(values: dict[bytes, _Value | None]) -> int | None:
    # It is for people alone: rubbish in it makes no file unfit, as it makes none for the engine.
    value = values.get(b"general.file_type")
    return value if isinstance(value, int) and 0 <= value < 2**31 else None


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
