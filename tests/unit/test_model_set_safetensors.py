"""The safetensors header reader, against files by hand and against rubbish."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core import safetensors
from yoyo.core.safetensors import (
    DTYPE_BITS,
    MAX_HEADER_BYTES,
    SafetensorsError,
    SafetensorsHeader,
    header_bytes,
    parse_safetensors,
)

TWO = {
    "b": {"dtype": "F16", "shape": [2, 3], "data_offsets": [4, 16]},
    "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
}


def packed(header: object, data: int = 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def parsed(content: bytes) -> SafetensorsHeader:
    return parse_safetensors(content, len(content))


def test_reads_a_header() -> None:
    content = packed({"__metadata__": {"format": "pt"}, **TWO})
    header = parsed(content)
    assert header.tensors == ("a", "b")
    assert (header.weight_bytes, header.dtype) == (16, "F16")
    assert header.header_bytes == len(content) - 16
    # The header's bytes are enough.
    assert parse_safetensors(content[: header.header_bytes], len(content)) == header
    assert header_bytes(content[:8], len(content)) == header.header_bytes


def test_spaces_after_it_and_tensors_of_nothing() -> None:
    empty = {"dtype": "F32", "shape": [0, 7], "data_offsets": [4, 4]}
    assert parsed(packed(json.dumps({**TWO, "e": empty}).encode() + b"   ")).weight_bytes == 16
    assert parsed(packed({}, 0)).tensors == ()


def tensor(**changed: object) -> bytes:
    return packed({"a": TWO["a"], "b": {**TWO["b"], **changed}})


HUGE = 2**63 - 1
REFUSED = {
    "empty": (b"", "too short"),
    "seven bytes": (bytes(7), "too short"),
    "no header": (bytes(8), "not a JSON object"),
    "large": ((MAX_HEADER_BYTES + 1).to_bytes(8, "little"), "at most"),
    "largest number": (b"\xff" * 8, "at most"),
    "past the end": ((9).to_bytes(8, "little") + b"{}      ", "in a file of"),
    "no JSON": (packed(b"{"), "not JSON"),
    "a list": (packed(b"[]"), "not a JSON object"),
    "spaces before": (packed(b" {}"), "not a JSON object"),
    "no UTF-8": (packed(b'{"\xff": 1}'), "not JSON"),
    "deep": (packed(b'{"a":' * 50_000), "not JSON"),
    "many values": (packed(b'{"a":[' + b"0," * 3_000_000 + b"0]}"), "more than"),
    "twice": (packed(b'{"a": 1, "a": 1}'), "twice"),
    "NaN": (packed(b'{"a": NaN}'), "NaN"),
    "Infinity": (packed(b'{"a": -Infinity}'), "-Infinity"),
    "many digits": (packed(b'{"a": ' + b"9" * 5000 + b"}"), "not JSON"),
    "metadata": (packed({"__metadata__": {"a": 1}, **TWO}), "__metadata__"),
    "metadata as list": (packed({"__metadata__": [], **TWO}), "__metadata__"),
    "a number": (packed({"a": 1}), "fields"),
    "another field": (tensor(more=1), "fields"),
    "unknown type": (tensor(dtype="F12"), "unknown type"),
    "type as list": (tensor(dtype=["F16"]), "unknown type"),
    "no shape": (tensor(shape=6), "no shape"),
    "many dimensions": (tensor(shape=[1] * 65), "no shape"),
    "negative": (tensor(shape=[-2, -3]), "no whole number"),
    "float": (tensor(shape=[2.0, 3]), "no whole number"),
    "true": (tensor(shape=[True, 6]), "no whole number"),
    "absurd": (tensor(shape=[HUGE, HUGE]), "too many elements"),
    "absurd and nothing": (tensor(shape=[HUGE, HUGE, 0]), "too many elements"),
    "one offset": (tensor(data_offsets=[4]), "two offsets"),
    "negative offset": (tensor(data_offsets=[-8, 4]), "no whole number"),
    "backwards": (tensor(data_offsets=[16, 4]), "bytes for"),
    "too short": (tensor(data_offsets=[4, 15]), "bytes for"),
    "half a byte": (tensor(dtype="F4", shape=[3], data_offsets=[4, 5]), "bytes for"),
    "hole": (tensor(data_offsets=[5, 17]), "does not follow"),
    "overlap": (tensor(data_offsets=[0, 12]), "does not follow"),
    "one byte more": (packed(TWO, 17), "bytes expected"),
    "one byte less": (packed(TWO, 15), "bytes expected"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_with_the_reason(case: str) -> None:
    content, reason = REFUSED[case]
    with pytest.raises(SafetensorsError) as caught:
        parsed(content)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_cut_header_is_refused() -> None:
    content = packed(TWO)
    for length in range(len(content) - 16):
        with pytest.raises(SafetensorsError):
            parse_safetensors(content[:length], len(content))


def test_no_more_tensors_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "MAX_TENSORS", 1)
    with pytest.raises(SafetensorsError, match="2 tensors"):
        parsed(packed(TWO))


def test_a_lie_about_the_length_allocates_nothing() -> None:
    content = MAX_HEADER_BYTES.to_bytes(8, "little") + b"{"
    tracemalloc.start()
    try:
        with pytest.raises(SafetensorsError):
            parse_safetensors(content, 1 << 40)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=20).filter(lambda n: n != "__metadata__"),
        st.tuples(st.sampled_from(sorted(DTYPE_BITS)), st.lists(st.integers(0, 9), max_size=4)),
        max_size=8,
    )
)
def test_what_is_written_is_what_is_read(
    tensors: dict[str, tuple[str, list[int]]],
) -> None:
    header: dict[str, object] = {}
    at = 0
    for name, (dtype, shape) in tensors.items():
        bits = DTYPE_BITS[dtype]
        for length in [*shape, 8]:  # whole bytes, whatever the type
            bits *= length
        header[name] = {
            "dtype": dtype, "shape": [*shape, 8], "data_offsets": [at, at + bits // 8],
        }  # fmt: skip
        at += bits // 8
    read = parsed(packed(header, at))
    assert set(read.tensors) == set(tensors)
    assert read.weight_bytes == at


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_header_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(packed(TWO))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        read = parsed(bytes(content))
    except SafetensorsError:
        return
    assert read.header_bytes + read.weight_bytes == len(content)
