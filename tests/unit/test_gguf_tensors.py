"""Names and shapes from a GGUF header, against the `gguf` package's own reader and rubbish."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_lora import write_lora

from yoyo.core.gguf import GgufError, HeaderIncomplete
from yoyo.core.gguf_tensors import GgufTensors, read_tensors
from yoyo.drivers.local.smoke_model import ensure


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def lora(base: Path) -> bytes:
    return write_lora(base.with_name("lora.gguf"), base, seed=1).read_bytes()


def read(data: bytes) -> GgufTensors:
    return read_tensors(data, len(data))


def test_a_model_as_its_independent_reader_has_it(base: Path) -> None:
    found = read(base.read_bytes())
    theirs = gguf.GGUFReader(base).tensors
    assert found.shapes == {each.name: tuple(int(n) for n in each.shape) for each in theirs}
    assert found.types == {each.name: int(each.tensor_type) for each in theirs}
    assert list(found.shapes) == [each.name for each in theirs]
    assert found.shapes["blk.0.ffn_up.weight"] == (128, 256)
    assert found.architecture == found.values["general.architecture"] == "llama"
    assert found.data_end == base.stat().st_size


def test_an_adapter(lora: bytes) -> None:
    found = read(lora)
    assert found.values == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }
    assert found.shapes["blk.0.attn_q.weight.lora_a"] == (128, 4)
    assert found.shapes["blk.0.ffn_up.weight.lora_b"] == (4, 256)


@pytest.mark.parametrize(
    ("breakage", "value"),
    [
        ("alpha is text", "8"),
        ("alpha is a double", ""),
        ("alpha is not a number", ""),
        ("alpha is infinite", ""),
        ("alpha is negative", -8.0),
        ("no alpha", None),
    ],
)
def test_values_of_other_types_are_told_apart(
    tmp_path: Path, base: Path, breakage: str, value: object
) -> None:
    data = write_lora(tmp_path / "lora.gguf", base, seed=1, breakage=breakage).read_bytes()
    found = read(data).values.get("adapter.lora.alpha")
    assert found == value
    assert type(found) is type(value)


def test_arrays_give_their_length(tmp_path: Path, base: Path) -> None:
    data = write_lora(tmp_path / "lora.gguf", base, seed=1, breakage="activated").read_bytes()
    assert read(data).values["adapter.alora.invocation_tokens"] == 2


def test_values_of_every_type_are_passed_over(tmp_path: Path) -> None:
    """Alone and in arrays: what comes after them is where it is looked for."""
    writer = gguf.GGUFWriter(tmp_path / "all.gguf", "llama")
    for kind in gguf.GGUFValueType:
        sample: object = "some text" if kind == gguf.GGUFValueType.STRING else 1
        if kind != gguf.GGUFValueType.ARRAY:
            writer.add_key_value(f"one.{kind.name}", sample, kind)
            several = [sample, sample, sample]
            writer.add_key_value(f"more.{kind.name}", several, gguf.GGUFValueType.ARRAY, kind)
    writer.add_uint32("general.name", 7)
    writer.add_tensor("x.weight", np.ones((3, 5), dtype="<f2"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read((tmp_path / "all.gguf").read_bytes())
    assert found.values == {"general.architecture": "llama", "general.name": 7}
    assert found.shapes == {"x.weight": (5, 3)}
    assert found.types == {"x.weight": 1}


def test_a_later_part_of_a_split_model_has_no_architecture(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama")
    writer.kv_data[0].clear()  # as llama-gguf-split writes it
    for key, value in (("split.no", 1), ("split.count", 2)):
        writer.add_uint16(key, value)
    writer.add_tensor("y.weight", np.ones((3, 5), dtype="<f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read((tmp_path / "part.gguf").read_bytes())
    assert (found.architecture, found.shapes) == ("", {"y.weight": (5, 3)})


def test_a_file_mapped_into_memory_is_let_go(base: Path) -> None:
    with base.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert read_tensors(mapped, len(mapped)).architecture == "llama"


def test_every_prefix_asks_for_more(lora: bytes) -> None:
    end = lora.index(b"blk.0.ffn_up.weight.lora_b") + 60
    whole = read(lora)
    for size in range(end):
        try:
            assert read_tensors(lora[:size], len(lora)) == whole
        except HeaderIncomplete as short:
            assert size < short.needed <= len(lora)  # noqa: PT017 - both ends are right ones
        except GgufError:
            assert size < 4  # not even the letters


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_raises_nothing_else(lora: bytes, data: st.DataObject) -> None:
    header = bytearray(lora[: 600 + 64])
    for at in data.draw(st.lists(st.integers(0, len(header) - 1), min_size=1, max_size=6)):
        header[at] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(0, len(lora)))
    try:
        found = read_tensors(bytes(header), max(size, len(header)))
    except GgufError:
        return
    assert all(len(shape) <= 4 for shape in found.shapes.values())


def test_names_that_are_no_text_stay_apart() -> None:
    """Two names that differ only in bytes that are no UTF-8."""

    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    tensors = b"".join(
        text(name) + struct.pack("<IQIQ", 1, 8, 0, offset)
        for name, offset in ((b"\xff", 0), (b"\xfe", 32))
    )
    key = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    data = struct.pack("<4sIQQ", b"GGUF", 3, 2, 1) + key + tensors + bytes(200)
    assert len(read(data).shapes) == 2
