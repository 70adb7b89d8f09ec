"""LoRA files: what is accepted, what is refused and why, and what the engine makes of them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import gguf
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_lora import BREAKAGES, EMBEDDING, TENSORS, engine_verdict, write_lora

from yoyo.core.adapters.lora import MAX_PADDING, MAX_RANK, check_fit, plain, read_lora
from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.gguf import GgufError, HeaderIncomplete
from yoyo.core.gguf_tensors import GgufTensors, read_tensors
from yoyo.drivers.local.smoke_model import ensure
from yoyo.model.adapter import LoraFacts, LoraTensor

REASONS = {
    "general type": "its general.type is 'model', not 'adapter'",
    "adapter type": "its adapter.type is 'control_vector', not 'lora'",
    "no alpha": "no adapter.lora.alpha that is a finite 32-bit float",
    "alpha is zero": "an alpha of 0, not from",
    "alpha is not a number": "no adapter.lora.alpha that is a finite 32-bit float",
    "alpha is infinite": "no adapter.lora.alpha that is a finite 32-bit float",
    "alpha is negative": "an alpha of -8, not from",
    "alpha is text": "no adapter.lora.alpha that is a finite 32-bit float",
    "alpha is a double": "no adapter.lora.alpha that is a finite 32-bit float",
    "activated": "an activated LoRA",
    "one side": "tensor 'blk.0.attn_q.weight.lora_b' is missing",
    "norm": "tensor 'blk.0.attn_norm.weight' is neither side of a LoRA pair",
    "stray tensor": "tensor 'blk.0.attn_q.bias' is neither side of a LoRA pair",
    "unknown tensor": "it changes 'blk.99.attn_q.weight', which the base has not",
    "wrong inputs": r"of shape \(256, 128\), the base's has \(128, 128\)",
    "wrong outputs": r"of shape \(128, 256\), the base's has \(128, 128\)",
    "ranks differ": "A has rank 4, B has rank 8",
    "transposed": "rank 128 for 4 inputs and 4 outputs",
    "experts": "has 3 dimensions, not 2",
    "whole numbers": "is not of type F32, F16, BF16 or Q8_0",
    "no tensors": "it has no tensors",
    "truncated data": "truncated: 10624 of 10688 bytes",
    "truncated header": "header ends early",
    "not GGUF": "not a GGUF file",
    "embedding flipped": "A has rank 512, B has rank 4",
    "embedding's ranks differ": "A has rank 4, B has rank 8",
    "architecture": "made for a gemma model, and the base is a 'llama'",
    "absurd rank": "rank 1024 for 128 inputs and 128 outputs, at most 128",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def base_tensors(base: Path) -> GgufTensors:
    return read_tensors(base.read_bytes(), base.stat().st_size)


@pytest.fixture(scope="module")
def good(base: Path) -> bytes:
    return write_lora(base.with_name("good.gguf"), base, seed=1).read_bytes()


def read(data: bytes) -> LoraFacts:
    return read_lora(data, len(data))


def test_what_a_lora_is(good: bytes, base_tensors: GgufTensors) -> None:
    lora = read(good)
    assert lora == LoraFacts(
        architecture="llama",
        rank=4,
        alpha=Decimal(8),
        tensors=(
            LoraTensor("blk.0.attn_q.weight", inputs=128, outputs=128, rank=4),
            LoraTensor("blk.0.ffn_up.weight", inputs=128, outputs=256, rank=4),
        ),
        file_bytes=len(good),
    )
    check_fit(lora, base_tensors.architecture, base_tensors.shapes)


def test_the_header_alone_is_enough(good: bytes) -> None:
    assert read_lora(good[:700], len(good)) == read(good)


@pytest.mark.parametrize("tensors", [TENSORS, ("output",), (EMBEDDING, "blk.1.ffn_down")])
def test_good_ones_pass_here_and_in_the_engine(
    tmp_path: Path, base: Path, base_tensors: GgufTensors, tensors: tuple[str, ...]
) -> None:
    path = write_lora(tmp_path / "lora.gguf", base, seed=2, tensors=tensors, rank=8)
    lora = read(path.read_bytes())
    check_fit(lora, base_tensors.architecture, base_tensors.shapes)
    assert {tensor.name for tensor in lora.tensors} == {f"{name}.weight" for name in tensors}
    assert engine_verdict(base, path) == "loads"


def test_an_embedding_goes_from_tokens_to_the_width(tmp_path: Path, base: Path) -> None:
    path = write_lora(tmp_path / "lora.gguf", base, seed=2, tensors=(EMBEDDING,))
    [tensor] = read(path.read_bytes()).tensors
    assert tensor == LoraTensor("token_embd.weight", inputs=512, outputs=128, rank=4)


@pytest.mark.slow
@pytest.mark.parametrize("breakage", BREAKAGES)
def test_broken_ones_are_refused_whatever_the_engine_does(
    tmp_path: Path, base: Path, base_tensors: GgufTensors, breakage: str
) -> None:
    path = write_lora(tmp_path / "lora.gguf", base, seed=1, breakage=breakage)

    def verdict() -> None:
        lora = read(path.read_bytes())
        check_fit(lora, base_tensors.architecture, base_tensors.shapes)

    with pytest.raises((InvalidAdapter, GgufError), match=REASONS[breakage]):
        verdict()
    # If this changes, the engine has: docs/formats/adapter.md tells what it does.
    assert engine_verdict(base, path) == BREAKAGES[breakage]


@pytest.mark.parametrize(
    ("alpha", "text"),
    [(16.0, "16"), (0.1, "0.1"), (1e-6, "0.000001"), (1e6, "1000000"), (22.627417, "22.627417"),
     (1 / 3, "0.33333334"), (100000.0, "100000"), (16777.217, "16777.217")],
)  # fmt: skip
def test_alpha_is_the_shortest_decimal(tmp_path: Path, base: Path, alpha: float, text: str) -> None:
    path = write_lora(tmp_path / "lora.gguf", base, seed=1, alpha=alpha)
    assert str(read(path.read_bytes()).alpha) == text


@pytest.mark.parametrize("alpha", [0.9e-6, 1.1e6, 3.4e38, 1e-45])
def test_alpha_has_bounds(tmp_path: Path, base: Path, alpha: float) -> None:
    path = write_lora(tmp_path / "lora.gguf", base, seed=1, alpha=alpha)
    with pytest.raises(InvalidAdapter, match="an alpha of"):
        read(path.read_bytes())


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_plain_numbers_are_read_as_they_were(number: float) -> None:
    written = plain(Decimal(number))
    assert "E" not in written
    assert Decimal(written) == Decimal(number)
    assert plain(Decimal(written)) == written


def test_the_largest_of_several_ranks(tmp_path: Path, base: Path) -> None:
    ranks = {"blk.0.attn_q": 2, "blk.0.attn_k": 16}
    writer = gguf.GGUFWriter(tmp_path / "lora.gguf", "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for name, rank in ranks.items():
        one = write_lora(tmp_path / "one.gguf", base, seed=1, rank=rank, tensors=(name,))
        for tensor in gguf.GGUFReader(one).tensors:
            writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    lora = read((tmp_path / "lora.gguf").read_bytes())
    assert [(tensor.name, tensor.rank) for tensor in lora.tensors] == [
        ("blk.0.attn_k.weight", 16),
        ("blk.0.attn_q.weight", 2),
    ]
    assert lora.rank == 16


def fact(**changes: object) -> LoraFacts:
    tensor = LoraTensor("a.weight", 10, 20, 2)._replace(**changes)  # type: ignore[arg-type]
    return LoraFacts("llama", 2, Decimal(1), (tensor,), 100)


def test_fit_needs_the_whole_shape() -> None:
    check_fit(fact(), "llama", {"a.weight": (10, 20)})
    for shape in ((20, 10), (10, 20, 8), (10,), (10, 21), (10, 20, 1)):
        with pytest.raises(InvalidAdapter, match="of shape"):
            check_fit(fact(), "llama", {"a.weight": shape})
    with pytest.raises(InvalidAdapter, match="which the base has not"):
        check_fit(fact(), "llama", {"b.weight": (10, 20)})
    with pytest.raises(InvalidAdapter, match="made for a llama model"):
        check_fit(fact(), "llama4", {"a.weight": (10, 20)})


Shape = tuple[int, int]


def by_hand(
    tensors: dict[str, Shape],
    *,
    kind: int = 0,
    architecture: str = "llama",
    general: str = "adapter",
) -> bytes:
    """A header with those tensors (GGUF's order), all of one type."""

    def number(value: int, size: int = 8) -> bytes:
        return value.to_bytes(size, "little")

    def text(value: str) -> bytes:
        return number(len(value)) + value.encode()

    values = {
        "general.architecture": architecture, "general.type": general, "adapter.type": "lora",
    }  # fmt: skip
    keys = [text(key) + number(8, 4) + text(value) for key, value in values.items()]
    keys.append(text("adapter.lora.alpha") + number(6, 4) + b"\0\0\x80\x3f")  # 1.0
    bytes_a_block, block = {0: (4, 1), 1: (2, 1), 30: (2, 1), 8: (34, 32), 2: (18, 32)}[kind]
    at, infos = 0, []
    for name, (first, second) in tensors.items():
        dims = number(2, 4) + number(first) + number(second)
        infos.append(text(name) + dims + number(kind, 4) + number(at))
        at += -(-first * second // block * bytes_a_block // 32) * 32
    head = b"GGUF" + number(3, 4) + number(len(tensors)) + number(len(keys))
    return head + b"".join(keys) + b"".join(infos)


def pair(rank: int, width: int = 4096) -> dict[str, Shape]:
    return {"x.lora_a": (width, rank), "x.lora_b": (rank, width)}


def read_whole(header: bytes, extra: int = 0) -> LoraFacts:
    """Read it as the beginning of a file that has all of its tensors, and so many bytes more."""
    return read_lora(header, read_tensors(header, 1 << 30).data_end + extra)


def test_bytes_that_belong_to_no_tensor() -> None:
    header = by_hand(pair(4))
    assert read_whole(header, MAX_PADDING).rank == 4
    with pytest.raises(InvalidAdapter, match=f"^{MAX_PADDING + 1} bytes belong to no tensor"):
        read_whole(header, MAX_PADDING + 1)


@pytest.mark.parametrize("alignment", [32, 64, 4096])
def test_what_a_writer_pads_with_is_no_stray_byte(tmp_path: Path, alignment: int) -> None:
    writer = gguf.GGUFWriter(tmp_path / "padded.gguf", "llama")
    writer.add_custom_alignment(alignment)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for name, shape in (("x.lora_a", (3, 5)), ("x.lora_b", (5, 3))):  # as numpy orders them
        writer.add_tensor(name, numpy.ones(shape, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = (tmp_path / "padded.gguf").read_bytes()
    assert read(data).rank == 3
    assert read_tensors(data, len(data)).data_end < len(data)


@pytest.mark.parametrize("rank", [1, MAX_RANK])
def test_ranks_within_the_limits(rank: int) -> None:
    """Where the base is wide enough, so that nothing else refuses them."""
    assert read_whole(by_hand(pair(rank))).rank == rank
    assert read_whole(by_hand(pair(rank, width=rank))).rank == rank


@pytest.mark.parametrize("rank", [0, MAX_RANK + 1])
def test_ranks_beyond_the_limits(rank: int) -> None:
    with pytest.raises(InvalidAdapter, match=f"rank {rank} for .* at most {MAX_RANK}"):
        read_lora(by_hand(pair(rank)), 1 << 30)


@pytest.mark.parametrize("kind", [0, 1, 8, 30])
def test_the_types_that_the_converter_writes(kind: int) -> None:
    assert read_whole(by_hand(pair(32), kind=kind)).rank == 32


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"x.lora_b": (4, 64)}, "'x.lora_a' is missing"),
        ({"x.lora_a": (64, 4)}, "'x.lora_b' is missing"),
        ({".lora_a": (64, 4), ".lora_b": (4, 64)}, "'.lora_a' is neither side"),
        ({"x.lora_a.lora_a": (64, 4)}, "is neither side"),
        ({"x.lora_b.y.lora_a": (64, 4)}, "is neither side"),
        ({"x": (64, 4)}, "'x' is neither side"),
    ],
)
def test_names_that_are_no_pair(tensors: dict[str, Shape], reason: str) -> None:
    with pytest.raises(InvalidAdapter, match=reason):
        read_lora(by_hand(tensors), 1 << 30)


def test_types_that_the_converter_does_not_write() -> None:
    with pytest.raises(InvalidAdapter, match=r"'x\.lora_a' is not of type F32"):
        read_lora(by_hand(pair(32), kind=2), 1 << 30)


def test_architectures_are_names() -> None:
    for name in ("t", "a" * 64, "jina-bert-v2"):
        found = read_whole(by_hand(pair(4), architecture=name))
        assert found.architecture == name
    for name in ("a" * 65, "a b", "-a", "a\n"):
        with pytest.raises(InvalidAdapter, match="is no name"):
            read_lora(by_hand(pair(4), architecture=name), 1 << 30)


def test_what_is_shown_of_a_value_is_short() -> None:
    with pytest.raises(InvalidAdapter, match=f"general.type is '{'x' * 80}', not") as refused:
        read_lora(by_hand(pair(4), general="x" * 200), 1 << 30)
    assert len(str(refused.value)) < 120


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_raises_nothing_else(good: bytes, data: st.DataObject) -> None:
    header = bytearray(good[:700])
    for at in data.draw(st.lists(st.integers(0, len(header) - 1), min_size=1, max_size=6)):
        header[at] = data.draw(st.integers(0, 255))
    try:
        lora = read_lora(bytes(header), len(good))
    except (InvalidAdapter, GgufError) as error:
        said = str(error)
    else:
        said = lora.architecture
        assert 1 <= lora.rank <= MAX_RANK
        assert lora.alpha > 0
    assert said.isprintable()


def test_a_short_prefix_asks_for_more(good: bytes) -> None:
    with pytest.raises(HeaderIncomplete):
        read_lora(good[:100], len(good))
