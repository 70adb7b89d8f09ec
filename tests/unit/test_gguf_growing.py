"""The GGUF header reader on a prefix that grows, on shards, and what it tells of quantisation."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gguf_header import ARCHITECTURE, array, key, raw, small_llama, string, tensor, written

from yoyo.core.gguf import (
    MAX_HEADER_BYTES,
    GgufError,
    HeaderIncomplete,
    model_facts,
    parse_header,
)
from yoyo.core.gguf_types import FILE_TYPE_NAMES, TENSOR_TYPE_NAMES, TENSOR_TYPES, quantisation

BLOCKS = key(b"llama.block_count", 4, struct.pack("<I", 1))
BIG = (1 << 64) - 1


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("gguf") / "valid.gguf", small_llama)


def test_every_prefix_asks_for_more_until_the_header_is_there(valid: bytes) -> None:
    whole = parse_header(valid)
    complete = [
        length for length in range(4, whole.data_offset + 1) if _parses(valid[:length], len(valid))
    ]
    first = complete[0]
    assert whole.data_offset - whole.alignment < first <= whole.data_offset
    assert complete == list(range(first, whole.data_offset + 1))
    assert parse_header(valid[:first], len(valid)) == whole


def _parses(prefix: bytes, file_bytes: int) -> bool:
    try:
        parse_header(prefix, file_bytes)
    except HeaderIncomplete as short:
        needed = short.needed
    else:
        return True
    # A reader that fetches what is asked for gets on, and never past the file.
    assert len(prefix) < needed <= file_bytes
    return False


def test_a_reader_that_fetches_what_is_asked_for_arrives(valid: bytes) -> None:
    have, rounds = 24, 0
    while True:
        try:
            header = parse_header(valid[:have], len(valid))
            break
        except HeaderIncomplete as short:
            have = short.needed
            rounds += 1
    assert header == parse_header(valid)
    assert 0 < rounds < 200


def test_a_prefix_of_a_file_of_unknown_size_asks_for_more_too(valid: bytes) -> None:
    with pytest.raises(HeaderIncomplete):
        parse_header(valid[:60])


def test_the_end_of_the_file_is_no_reason_to_ask_for_more(valid: bytes) -> None:
    with pytest.raises(GgufError) as caught:
        parse_header(valid[:60], 60)
    assert not isinstance(caught.value, HeaderIncomplete)
    assert "in a file of 60 bytes" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<4sIQQ", b"GGUF", 3, 0, BIG),
        struct.pack("<4sIQQ", b"GGUF", 3, 60_000, 0),  # 24 bytes each would not fit the file
        raw(key(b"k", 8, struct.pack("<Q", BIG))),
        raw(key(b"k", 8, struct.pack("<Q", 1_000_000))),
        raw(key(b"k", 9, array(4, BIG, b""))),
        raw(key(b"k", 9, array(8, 200_000, b""))),
        raw(key(b"k", 9, array(8, 1, struct.pack("<Q", BIG)))),
    ],
)
def test_counts_that_the_file_cannot_hold_are_refused_at_once(content: bytes) -> None:
    with pytest.raises(GgufError) as caught:
        parse_header(content, 1_000_000)
    assert not isinstance(caught.value, HeaderIncomplete)


def test_no_header_makes_a_reader_fetch_without_end() -> None:
    content = raw(key(b"k", 8, struct.pack("<Q", MAX_HEADER_BYTES)))
    with pytest.raises(GgufError, match="at most") as caught:
        parse_header(content, 1 << 50)
    assert not isinstance(caught.value, HeaderIncomplete)


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_prefix_never_asks_for_too_much(valid: bytes, data: st.DataObject) -> None:
    damaged = bytearray(valid[: data.draw(st.integers(0, len(valid)))])
    if damaged:
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + 8] = struct.pack("<Q", data.draw(st.integers(0, BIG)))
    size = data.draw(st.sampled_from([len(damaged), len(valid), 10**6, 10**12]))
    needed = None
    try:
        parse_header(bytes(damaged), size)
    except HeaderIncomplete as short:
        needed = short.needed
    except GgufError:
        pass
    assert needed is None or len(damaged) < needed <= min(size, MAX_HEADER_BYTES)


def test_facts_of_a_whole_file(valid: bytes) -> None:
    facts = model_facts(parse_header(valid), path="m.gguf", file_bytes=len(valid))
    assert (facts.vocabulary, facts.embedding_length, facts.heads) == (3, 64, 8)
    assert facts.quantisation == "F32"  # by bytes: 768 of F32, 14 of F16


def test_the_names_are_those_of_the_gguf_package() -> None:
    types = {int(kind): kind.name for kind in gguf.GGMLQuantizationType}
    assert types == TENSOR_TYPE_NAMES
    assert set(TENSOR_TYPE_NAMES) == set(TENSOR_TYPES)
    files = {
        int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for kind in gguf.LlamaFileType
        if kind.name != "GUESSED"
    }
    assert files == FILE_TYPE_NAMES


@pytest.mark.parametrize(
    ("file_type", "type_bytes", "name"),
    [
        (15, {0: 10**9}, "Q4_K_M"),
        (15 | 1024, {}, "Q4_K_M"),  # llama.cpp guessed it
        (0, {12: 5}, "F32"),
        (4, {12: 5, 14: 4}, "Q4_K"),  # no such type any more
        (None, {12: 5, 14: 4}, "Q4_K"),
        (None, {}, ""),
        (9999, {}, ""),
    ],
)
def test_quantisation(file_type: int | None, type_bytes: dict[int, int], name: str) -> None:
    assert quantisation(file_type, type_bytes) == name


def test_rubbish_as_file_type_is_passed_over() -> None:
    for value in (
        key(b"general.file_type", 8, string(b"x")),
        key(b"general.file_type", 5, b"\xff" * 4),
    ):
        header = parse_header(raw(ARCHITECTURE, BLOCKS, value, tensors=(tensor(b"t", (1,)),)))
        assert header.file_type is None


def test_a_name_is_shown_without_what_a_terminal_would_obey() -> None:
    name = key(b"general.name", 8, string(b"a\x1b[2J\nb"))
    content = raw(ARCHITECTURE, BLOCKS, name, tensors=(tensor(b"t", (1,)),))
    facts = model_facts(parse_header(content), path="m.gguf", file_bytes=len(content))
    assert facts.name == "a\ufffd[2J\ufffdb"


def shards(folder: Path) -> list[Path]:
    """A model in three parts, as the gguf package splits it."""
    writer = gguf.GGUFWriter(folder / "m.gguf", "llama", split_max_tensors=1)
    writer.add_block_count(2)
    for number in range(3):
        writer.add_tensor(f"t{number}", np.zeros((2, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("*.gguf"))


def test_shards_say_which_they_are(tmp_path: Path) -> None:
    headers = [parse_header(path.read_bytes()) for path in shards(tmp_path)]
    assert [header.split_no for header in headers] == [0, 1, 2]
    assert {header.split_count for header in headers} == {3}
    assert {header.split_tensors for header in headers} == {3}
    assert [header.architecture for header in headers] == ["llama", "", ""]


def test_a_later_shard_alone_is_no_model(tmp_path: Path) -> None:
    second = shards(tmp_path)[1].read_bytes()
    with pytest.raises(GgufError, match="part 2 of a split model"):
        model_facts(parse_header(second), path="x", file_bytes=len(second))


@pytest.mark.parametrize(("number", "count"), [(3, 3), (1, 1), (1, 0)])
def test_a_shard_past_the_last_is_refused(number: int, count: int) -> None:
    content = raw(
        ARCHITECTURE,
        key(b"split.no", 2, struct.pack("<H", number)),
        key(b"split.count", 2, struct.pack("<H", count)),
    )
    with pytest.raises(GgufError, match=f"part {number + 1} of a model"):
        parse_header(content)


def test_only_later_shards_may_lack_an_architecture(tmp_path: Path) -> None:
    content: Any = raw(key(b"split.count", 2, struct.pack("<H", 2)))
    with pytest.raises(GgufError, match=r"no general\.architecture"):
        parse_header(content)
