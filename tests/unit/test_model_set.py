"""Sets of files that make one model: what belongs together, and what the engine is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_gguf_growing import shards

from yoyo.core.gguf import GgufHeader, parse_header
from yoyo.core.model_set import (
    ModelSetError,
    check_safetensors,
    check_set,
    facts_of,
    gguf_shards,
    indexed_files,
    main_gguf,
    media_type,
)
from yoyo.core.safetensors import SafetensorsHeader

Headers = dict[str, tuple[GgufHeader, int | None]]


def names(count: int, stem: str = "q4/m") -> list[str]:
    return [f"{stem}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1)]


def test_the_shards_of_a_name() -> None:
    assert gguf_shards("q4/m-00002-of-00003.gguf") == tuple(names(3))
    assert gguf_shards("m.gguf") is None
    assert gguf_shards("m-1-of-3.gguf") is None
    assert gguf_shards("m-00001-of-00003.gguf.part") is None
    assert gguf_shards("m-\uff10\uff10\uff10\uff10\uff11-of-00003.gguf") is None


@pytest.mark.parametrize("path", ["m-00000-of-00003.gguf", "m-00004-of-00003.gguf"])
def test_a_number_past_the_count_is_refused(path: str) -> None:
    with pytest.raises(ModelSetError, match="of 3"):
        gguf_shards(path)


def test_a_complete_set() -> None:
    check_set([*names(3), *names(2, "other"), "README.md"])
    check_set([])


@given(st.integers(2, 6), st.data())
def test_a_missing_shard_is_named(count: int, data: st.DataObject) -> None:
    paths = names(count)
    gone = data.draw(st.sampled_from(paths))
    with pytest.raises(ModelSetError) as caught:
        check_set([*[path for path in paths if path != gone], *["x"] * data.draw(st.just(1))])
    assert gone in str(caught.value)


def test_a_file_twice_is_refused() -> None:
    with pytest.raises(ModelSetError, match="twice"):
        check_set(["a", "a"])


def test_an_absurd_count_is_refused_without_a_list_of_it() -> None:
    paths = [f"{n}-00001-of-65535.gguf" for n in range(2_000)]
    with pytest.raises(ModelSetError, match="more shards than there are files"):
        check_set(paths)


def test_what_the_engine_is_given() -> None:
    assert main_gguf([*reversed(names(3)), "config.json"]) == names(3)[0]
    assert main_gguf(["m.gguf", "LICENSE"]) == "m.gguf"
    assert main_gguf(["mmproj-f16.gguf", "m.gguf"]) == "m.gguf"
    assert main_gguf(["mmproj-f16.gguf"]) == "mmproj-f16.gguf"
    assert main_gguf(["model.safetensors"]) is None


@pytest.mark.parametrize("paths", [["a.gguf", "b.gguf"], [*names(2), "b.gguf"]])
def test_two_models_are_refused(paths: list[str]) -> None:
    with pytest.raises(ModelSetError, match="2 models"):
        main_gguf(paths)


@pytest.fixture
def headers(tmp_path: Path) -> Headers:
    return {
        f"q4/{path.name}": (parse_header(path.read_bytes()), path.stat().st_size)
        for path in shards(tmp_path)
    }


def test_facts_are_sums_over_the_shards(headers: Headers) -> None:
    facts = facts_of(dict(reversed(headers.items())))
    assert facts.path == "q4/m-00001-of-00003.gguf"
    assert facts.file_bytes == sum(size or 0 for _, size in headers.values())
    assert facts.weight_bytes == 3 * 2 * 32 * 4
    assert (facts.architecture, facts.layers, facts.quantisation) == ("llama", 2, "F32")


def test_an_unknown_size_is_the_least(headers: Headers) -> None:
    facts = facts_of({path: (header, None) for path, (header, _) in headers.items()})
    assert facts.file_bytes == sum(header.data_end for header, _ in headers.values())


def test_a_projector_beside_it_is_no_part(headers: Headers) -> None:
    first = headers[min(headers)]
    assert facts_of({**headers, "mmproj.gguf": first}) == facts_of(headers)


def test_a_shard_cut_short_is_refused(headers: Headers) -> None:
    last = max(headers)
    header, _ = headers[last]
    with pytest.raises(ModelSetError, match="truncated"):
        facts_of({**headers, last: (header, header.data_end - 1)})


def test_shards_with_each_others_names_are_refused(headers: Headers) -> None:
    first, second, third = sorted(headers)
    mixed = {first: headers[first], second: headers[third], third: headers[second]}
    with pytest.raises(ModelSetError, match="part 3 of 3 by its header and 2 of 3 by its name"):
        facts_of(mixed)


def test_a_renamed_first_shard_is_refused(headers: Headers) -> None:
    with pytest.raises(ModelSetError, match="the first of 3 parts by its header and of 1"):
        facts_of({"m.gguf": headers[min(headers)]})


def test_tensors_that_are_missing_are_refused(headers: Headers) -> None:
    first = min(headers)
    header, size = headers[first]
    with pytest.raises(ModelSetError, match="4 tensors expected, there are 3"):
        facts_of({**headers, first: (header._replace(split_tensors=4), size)})


def test_no_model_at_all() -> None:
    with pytest.raises(ModelSetError, match="no GGUF"):
        facts_of({})


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/config.JSON", "application/json"),
        ("m.gguf", "application/octet-stream"),
        ("LICENSE", "application/octet-stream"),
        ("b.tar.zst", "application/zstd"),
        ("json/x", "application/octet-stream"),
    ],
)
def test_media_types(path: str, kind: str) -> None:
    assert media_type(path) == kind


ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def index(weight_map: object) -> bytes:
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}).encode()


def part(*tensors: str) -> SafetensorsHeader:
    return SafetensorsHeader(tensors, 8 * len(tensors), 100, "F32")


def test_an_index_and_its_files() -> None:
    content = index({"a": ONE, "b": TWO, "c": ONE})
    assert indexed_files(content) == {ONE: ("a", "c"), TWO: ("b",)}
    assert check_safetensors(content, {ONE: part("a", "c"), TWO: part("b")}) == 24
    assert check_safetensors(None, {"model.safetensors": part("a")}) == 8


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (index({"a": "../x.safetensors"}), "unsafe path"),
        (index({"a": "/etc/x.safetensors"}), "unsafe path"),
        (index({"a": "..\\x.safetensors"}), "unsafe path"),
        (index({"a": "-x.safetensors"}), "unsafe path"),
        (index({"a": "pytorch_model.bin"}), "no safetensors file"),
        (index({"a": 1}), "no safetensors file"),
        (index({}), "no weight_map"),
        (index([]), "no weight_map"),
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b'{"weight_map": NaN}', "NaN"),
        (b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "twice"),
        (b'{"weight_map": ' + b"[" * 100_000, "not JSON"),
        (b'{"weight_map": "\xff"}', "not JSON"),
    ],
)
def test_an_index_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ModelSetError) as caught:
        indexed_files(content)
    assert reason in str(caught.value)


def test_an_index_that_says_something_else_is_refused() -> None:
    content = index({"a": ONE, "b": TWO})
    with pytest.raises(ModelSetError, match="not there"):
        check_safetensors(content, {ONE: part("a")})
    with pytest.raises(ModelSetError, match="has no tensor 'b'"):
        check_safetensors(content, {ONE: part("a", "b"), TWO: part("c")})
    with pytest.raises(ModelSetError, match=r"tensor 'a' is in .* and"):
        check_safetensors(content, {ONE: part("a"), TWO: part("a", "b")})
