"""The GGUF header reader, against files that the `gguf` package writes and against rubbish."""

from __future__ import annotations

import mmap
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.gguf import (
    MAX_ARRAY_STRINGS,
    TENSOR_TYPES,
    GgufError,
    GgufHeader,
    model_facts,
    parse_header,
)


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, content: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + content


ARCHITECTURE = key(b"general.architecture", 8, string(b"llama"))


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + dims + struct.pack("<IQ", kind, offset)


def raw(*keys: bytes, tensors: tuple[bytes, ...] = (), version: int = 3, data: int = 64) -> bytes:
    """A header by hand, with `data` bytes after it (padded roughly, as nobody checks them)."""
    head = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(keys))
    return head + b"".join(keys) + b"".join(tensors) + bytes(data)


def written(path: Path, fill: Callable[[Any], None], *, arch: str = "llama") -> bytes:
    """A file by the independent author."""
    writer = gguf.GGUFWriter(path, arch)
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def small_llama(writer: Any) -> None:
    writer.add_name("small")
    writer.add_context_length(4096)
    writer.add_embedding_length(64)
    writer.add_block_count(3)
    writer.add_head_count(8)
    writer.add_head_count_kv(2)
    writer.add_chat_template("{{ messages }}")
    writer.add_token_list(["a", "bc", ""])
    writer.add_token_scores([0.0, -1.0, -2.0])
    writer.add_add_bos_token(True)
    writer.add_tensor("one", np.zeros((3, 64), dtype=np.float32))
    writer.add_tensor("two", np.zeros(7, dtype=np.float16))


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("gguf") / "valid.gguf", small_llama)


def facts_or_reason(content: bytes) -> GgufHeader | None:
    """The whole check that a model file goes through; anything but GgufError fails the test."""
    try:
        header = parse_header(content)
        model_facts(header, path="m.gguf", file_bytes=len(content))
    except GgufError:
        return None
    return header


def test_type_sizes_are_those_of_the_gguf_package() -> None:
    assert {int(k): v for k, v in gguf.constants.GGML_QUANT_SIZES.items()} == TENSOR_TYPES


def test_reads_what_the_gguf_package_wrote(valid: bytes, tmp_path: Path) -> None:
    header = parse_header(valid)
    path = tmp_path / "copy.gguf"
    path.write_bytes(valid)
    reader = gguf.GGUFReader(path)
    assert header.version == 3
    assert header.architecture == "llama"
    assert header.name == "small"
    assert (header.layers, header.context_length, header.embedding_length) == (3, 4096, 64)
    assert (header.heads, header.kv_heads) == ((8,), (2,))
    assert (header.key_length, header.value_length) == (8, 8)
    assert header.vocabulary == 3
    assert header.tensors == len(reader.tensors)
    assert header.data_offset == reader.data_offset
    assert header.weight_bytes == sum(each.n_bytes for each in reader.tensors)
    last = reader.tensors[-1]
    assert header.data_end == last.data_offset + last.n_bytes
    # 3 layers x 2 heads x (8 + 8) numbers x 2 bytes
    assert header.kv_bytes_per_token == 192


def test_facts_of_a_written_file(valid: bytes) -> None:
    facts = model_facts(parse_header(valid), path="/m/x.gguf", file_bytes=len(valid))
    assert facts.name == "small"
    assert facts.path == "/m/x.gguf"
    assert facts.architecture == "llama"
    assert facts.file_bytes == len(valid)
    assert facts.weight_bytes == 3 * 64 * 4 + 7 * 2
    assert (facts.layers, facts.kv_bytes_per_token, facts.context_length) == (3, 192, 4096)


@pytest.mark.parametrize("kind", sorted(TENSOR_TYPES))
def test_every_tensor_type_has_the_size_that_gguf_gives_it(kind: int, tmp_path: Path) -> None:
    block, size = gguf.constants.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    writer = gguf.GGUFWriter(tmp_path / "t.gguf", "llama")
    writer.add_tensor_info(
        "t", (5, block * 3), np.dtype(np.float32), 15 * size, gguf.GGMLQuantizationType(kind)
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header = parse_header((tmp_path / "t.gguf").read_bytes())
    assert header.weight_bytes == 15 * size
    assert header.data_end - header.data_offset == 15 * size


@pytest.mark.parametrize("alignment", [1, 16, 64, 4096])
def test_alignment_moves_the_data(alignment: int, tmp_path: Path) -> None:
    def fill(writer: Any) -> None:
        writer.add_custom_alignment(alignment)
        writer.add_tensor("a", np.zeros(3, dtype=np.float16))
        writer.add_tensor("b", np.zeros(5, dtype=np.float32))

    content = written(tmp_path / "a.gguf", fill)
    header = parse_header(content)
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    assert header.alignment == alignment
    assert header.data_offset == reader.data_offset
    assert header.data_end == reader.tensors[-1].data_offset + 20


def test_heads_may_be_a_list_one_a_layer(tmp_path: Path) -> None:
    def fill(writer: Any) -> None:
        writer.add_block_count(3)
        writer.add_head_count([8, 8, 4])
        writer.add_head_count_kv([2, 0, 4])
        writer.add_key_length(16)
        writer.add_value_length(32)

    header = parse_header(written(tmp_path / "l.gguf", fill))
    assert header.kv_heads == (2, 0, 4)
    assert header.kv_bytes_per_token == 6 * (16 + 32) * 2


def only_layers(writer: Any) -> None:
    writer.add_block_count(2)


def list_of_another_length(writer: Any) -> None:
    small_llama(writer)
    writer.add_head_count_kv([1, 1])


def compressed_cache(writer: Any) -> None:
    small_llama(writer)
    writer.add_kv_lora_rank(512)


def partly_recurrent(writer: Any) -> None:
    small_llama(writer)
    writer.add_ssm_state_size(16)


@pytest.mark.parametrize(
    "fill", [only_layers, list_of_another_length, compressed_cache, partly_recurrent]
)
def test_an_unknown_cache_layout_is_not_guessed(
    fill: Callable[[Any], None], tmp_path: Path
) -> None:
    assert parse_header(written(tmp_path / "u.gguf", fill)).kv_bytes_per_token is None


def test_the_name_falls_back_to_the_file() -> None:
    blocks = key(b"llama.block_count", 4, struct.pack("<I", 1))
    header = parse_header(raw(ARCHITECTURE, blocks, tensors=(tensor(b"t", (1,)),)))
    assert model_facts(header, path="/models/q.gguf", file_bytes=10**6).name == "q.gguf"


def test_version_2_and_the_architecture_last() -> None:
    blocks = key(b"llama.block_count", 10, struct.pack("<Q", 7))
    header = parse_header(raw(blocks, ARCHITECTURE, version=2))
    assert (header.version, header.layers) == (2, 7)


def test_reads_a_mapped_file_and_lets_go_of_it(valid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(valid)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert parse_header(mapped) == parse_header(valid)
        with pytest.raises(GgufError):
            parse_header(memoryview(mapped)[: len(valid) // 4])
    # Closing a map that somebody still refers to raises BufferError.


BIG = (1 << 64) - 1
REFUSED = {
    "empty": (b"", "not a GGUF file"),
    "other magic": (b"GGML" + bytes(60), "not a GGUF file"),
    "version 1": (raw(ARCHITECTURE, version=1), "version 1"),
    "big-endian": (raw(ARCHITECTURE, version=3 << 24), "big-endian"),
    "many keys": (struct.pack("<4sIQQ", b"GGUF", 3, 0, BIG), f"{BIG} keys"),
    "many tensors": (struct.pack("<4sIQQ", b"GGUF", 3, BIG, 0), f"{BIG} tensors"),
    "long key": (raw(struct.pack("<Q", BIG)), "key of"),
    "long string": (raw(key(b"k", 8, struct.pack("<Q", BIG))), "ends early"),
    "long numbers": (raw(key(b"k", 9, array(4, BIG, b""))), "ends early"),
    "long strings": (raw(key(b"k", 9, array(8, BIG, b""))), f"more than {MAX_ARRAY_STRINGS}"),
    "short strings": (raw(key(b"k", 9, array(8, 99, b""))), "inside an array of 99"),
    "long element": (raw(key(b"k", 9, array(8, 1, struct.pack("<Q", BIG)))), "inside an array"),
    "nested array": (raw(key(b"k", 9, array(9, 1, b""))), "array of arrays"),
    "odd array": (raw(key(b"k", 9, array(13, 1, b""))), "element type 13"),
    "odd value": (raw(key(b"k", 13, b"")), "value type 13"),
    "twice": (raw(ARCHITECTURE, ARCHITECTURE), "duplicate key"),
    "nameless": (raw(), "no general.architecture"),
    "number as name": (raw(key(b"general.architecture", 0, b"x")), "no general.architecture"),
    "alignment 0": (raw(key(b"general.alignment", 4, bytes(4))), "power of two"),
    "alignment 3": (raw(key(b"general.alignment", 4, b"\3\0\0\0")), "power of two"),
    "negative layers": (
        raw(ARCHITECTURE, key(b"llama.block_count", 5, b"\xff" * 4)),
        "'llama.block_count'",
    ),
    "layers as text": (
        raw(ARCHITECTURE, key(b"llama.block_count", 8, string(b"2"))),
        "'llama.block_count'",
    ),
    "heads as text": (
        raw(ARCHITECTURE, key(b"llama.attention.head_count", 9, array(8, 0, b""))),
        "'llama.attention.head_count'",
    ),
    "negative heads": (
        raw(ARCHITECTURE, key(b"llama.attention.head_count_kv", 9, array(5, 1, b"\xff" * 4))),
        "'llama.attention.head_count_kv'",
    ),
    "five dimensions": (raw(ARCHITECTURE, tensors=(tensor(b"t", (1,) * 5),)), "5 dimensions"),
    "overflow": (raw(ARCHITECTURE, tensors=(tensor(b"t", (1 << 32, 1 << 32)),)), "elements"),
    "removed type": (raw(ARCHITECTURE, tensors=(tensor(b"t", (32,), 4),)), "unknown type 4"),
    "half a block": (raw(ARCHITECTURE, tensors=(tensor(b"t", (33,), 2),)), "whole blocks"),
    "long name": (raw(ARCHITECTURE, tensors=(tensor(b"t" * 64, (1,)),)), "tensor name of 64"),
    "same name": (
        raw(ARCHITECTURE, tensors=(tensor(b"t", (8,)), tensor(b"t", (8,), offset=32))),
        "duplicate tensor",
    ),
    "gap": (
        raw(ARCHITECTURE, tensors=(tensor(b"t", (8,)), tensor(b"u", (8,), offset=64))),
        "does not follow",
    ),
    "overlap": (
        raw(ARCHITECTURE, tensors=(tensor(b"t", (8,)), tensor(b"u", (8,)))),
        "does not follow",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_with_the_reason(case: str) -> None:
    content, reason = REFUSED[case]
    with pytest.raises(GgufError) as caught:
        parse_header(content)
    assert reason in str(caught.value)


def test_a_vocabulary_is_not_a_model(tmp_path: Path) -> None:
    content = written(tmp_path / "v.gguf", lambda w: w.add_block_count(1))
    with pytest.raises(GgufError, match="no tensors"):
        model_facts(parse_header(content), path="v.gguf", file_bytes=len(content))


def test_a_model_without_layers_is_not_one() -> None:
    content = raw(ARCHITECTURE, tensors=(tensor(b"t", (1,)),))
    with pytest.raises(GgufError, match=r"no llama\.block_count"):
        model_facts(parse_header(content), path="v.gguf", file_bytes=len(content))


def test_every_truncation_is_refused(valid: bytes) -> None:
    end = parse_header(valid).data_end
    assert facts_or_reason(valid[:end]) is not None
    for length in range(end):
        assert facts_or_reason(valid[:length]) is None, length


def test_a_truncated_file_says_by_how_much(valid: bytes) -> None:
    header = parse_header(valid)
    with pytest.raises(GgufError) as caught:
        model_facts(header, path="m", file_bytes=header.data_end - 1)
    assert str(caught.value) == f"truncated: {header.data_end - 1} of {header.data_end} bytes"


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused(content: bytes, with_magic: bool) -> None:
    facts_or_reason((b"GGUF\3\0\0\0" if with_magic else b"") + content)


EDGES = st.sampled_from([0, 1, 2, 7, 8, 9, 255, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, BIG])


@settings(max_examples=400)
@given(data=st.data())
def test_a_damaged_header_is_read_or_refused(valid: bytes, data: st.DataObject) -> None:
    damaged = bytearray(valid)
    header_end = parse_header(valid).data_offset
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, header_end - 8))
        if data.draw(st.booleans()):
            damaged[at] = data.draw(st.integers(0, 255))
        else:
            damaged[at : at + 8] = struct.pack("<Q", data.draw(EDGES))
    facts_or_reason(bytes(damaged))


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_allocated_for_what_is_not_there(case: str) -> None:
    content, _ = REFUSED[case]
    tracemalloc.start()
    try:
        with pytest.raises(GgufError):
            parse_header(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_a_large_vocabulary_is_skipped_without_a_copy(tmp_path: Path) -> None:
    words = [f"token-{number}" for number in range(150_000)]
    content = written(tmp_path / "big.gguf", lambda w: w.add_token_list(words))
    tracemalloc.start()
    try:
        assert parse_header(content).vocabulary == 150_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@given(
    layers=st.integers(1, 6),
    heads=st.integers(1, 64),
    width=st.integers(1, 256),
    shapes=st.lists(st.integers(0, 40), max_size=5),
    name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=80),
)
def test_what_is_written_is_what_is_read(
    layers: int,
    heads: int,
    width: int,
    shapes: list[int],
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def fill(writer: Any) -> None:
        writer.add_name(name)
        writer.add_block_count(layers)
        writer.add_head_count(heads)
        writer.add_embedding_length(heads * width)
        for number, length in enumerate(shapes):
            writer.add_tensor(f"t{number}", np.zeros((2, length), dtype=np.float32))

    content = written(tmp_path_factory.mktemp("rt") / "r.gguf", fill, arch="qwen2")
    header = parse_header(content)
    assert header.name == name
    assert header.architecture == "qwen2"
    assert header.weight_bytes == sum(8 * length for length in shapes)
    assert header.kv_bytes_per_token == layers * heads * 2 * width * 2
    assert len(content) - 32 < header.data_end <= len(content)
