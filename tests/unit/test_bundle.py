"""What a bundle says of itself is read strictly, and decides which node takes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core import bundle
from yoyo.core.bundle import BundleDocument, BundleFile
from yoyo.core.manifest_fields import ManifestError
from yoyo.model.store import ENGINE, WEIGHTS, EngineBuild, Manifest, Source, StoredFile

BUILD = EngineBuild(
    commit="a" * 40,
    source_sha256="b" * 64,
    flags=("-DGGML_CUDA=ON",),
    compiler="g++ 12.2.0",
    cuda="13.0",
    sm=("89",),
    glibc="2.34",
    machine="x86_64",
    architectures=("llama", "qwen3"),
    licences=("MIT (llama.cpp)",),
)
FILES = (
    BundleFile("bin/llama-server", 10, "c" * 64, True),
    BundleFile("lib/libggml.so.0", 20, "d" * 64, False),
)
DOCUMENT = BundleDocument(BUILD, FILES)
NODE = {"machine": "x86_64", "sm": "89", "glibc": "2.39", "architecture": "qwen3"}
DAY = datetime(2026, 11, 1, tzinfo=UTC)


def made(name: str, build: EngineBuild = BUILD, *, days: int = 0, kind: str = ENGINE) -> Manifest:
    file = StoredFile("x.tar.zst", 1, "e" * 64, ("e" * 64,), "application/zstd")
    return Manifest(
        kind, name, (file,), Source("u", "r"), "", DAY + timedelta(days=days), "op",
        engine=build if kind == ENGINE else None,
    )  # fmt: skip


def changed(path: str, value: object) -> bytes:
    """The document with one value replaced; `path` is such as files.0.size."""
    fields: Any = json.loads(bundle.encode(DOCUMENT))
    at, *names = reversed(path.split("."))
    place = fields
    for name in reversed(names):
        place = place[int(name) if name.isdigit() else name]
    place[int(at) if at.isdigit() else at] = value
    return json.dumps(fields, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def test_a_document_comes_back_as_it_was() -> None:
    assert bundle.decode(bundle.encode(DOCUMENT)) == DOCUMENT


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 2), ("schema", True), ("files", {}), ("files", []), ("more", 1),
        ("files.0.path", "../bin/llama-server"), ("files.0.path", "/bin/llama-server"),
        ("files.0.path", "bin/a/b"), ("files.0.path", "etc/passwd"),
        ("files.0.path", "bundle.json"), ("files.0.path", "bin/-rf"),
        ("files.0.size", -1), ("files.0.size", 2**40), ("files.0.size", 1.5),
        ("files.0.size", True), ("files.0.sha256", "C" * 64), ("files.0.sha256", "c" * 63),
        ("files.0.executable", 1), ("files.0.executable", False), ("files.0.more", 1),
        ("files.1.path", "bin/llama-server"), ("files.1.path", "bin/a"),
        ("engine.sm", "89"), ("engine.sm", ["x"]), ("engine.sm", []), ("engine.glibc", "new"),
        ("engine.glibc", ""), ("engine.source_sha256", ""), ("engine.compiler", "a\nb"),
        ("engine.machine", 1), ("engine", None),
    ],
)  # fmt: skip
def test_a_document_that_breaks_a_rule_is_refused(path: str, value: object) -> None:
    with pytest.raises(ManifestError):
        bundle.decode(changed(path, value))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"nul", b'{"a":1,"a":1}', b"\xff", b"[" * 100_000, b'{"schema":NaN}'],
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        bundle.decode(data)


def test_another_form_of_the_same_content_is_refused() -> None:
    with pytest.raises(ManifestError, match="one form"):
        bundle.decode(json.dumps(json.loads(bundle.encode(DOCUMENT))).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_an_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        bundle.decode(data)


def test_a_bundle_for_the_node_has_nothing_against_it() -> None:
    assert bundle.matches(BUILD, **NODE) == ()
    assert bundle.matches(BUILD, **(NODE | {"glibc": "", "architecture": ""})) == ()


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        ({"machine": "aarch64"}, "built for x86_64, the node is aarch64"),
        ({"sm": ""}, "built for CUDA, the node has no GPU"),
        ({"sm": "90"}, "built for SM 89, the node's GPU is SM 90"),
        ({"glibc": "2.31"}, "needs glibc 2.34, the node has 2.31"),
        ({"architecture": "gemma9"}, "does not know the model architecture gemma9"),
    ],
)
def test_each_mismatch_is_named(differs: dict[str, str], reason: str) -> None:
    assert bundle.matches(BUILD, **(NODE | differs)) == (reason,)


def test_every_mismatch_is_named_at_once() -> None:
    node = {"machine": "arm", "sm": "70", "glibc": "2.1", "architecture": "x"}
    assert len(bundle.matches(BUILD, **node)) == 4


def test_a_node_with_a_gpu_wants_cuda() -> None:
    cpu = BUILD._replace(cuda="", sm=())
    assert bundle.matches(cpu, **NODE) == ("built without CUDA, the node has a GPU",)
    assert bundle.matches(cpu, **(NODE | {"sm": ""})) == ()


@pytest.mark.parametrize(
    ("built", "wanted", "runs"),
    [
        ("89", "89", True), ("86", "89", True), ("89", "86", False), ("80", "90", False),
        ("90a", "90a", True), ("90a", "90", False), ("120", "121", True), ("12", "120", False),
        ("120f", "121", True), ("120a", "121", False),
    ],
)  # fmt: skip
def test_machine_code_runs_upwards_within_a_generation(built: str, wanted: str, runs: bool) -> None:
    assert bundle.runs_on(built, wanted) is runs


def test_glibc_is_compared_by_numbers() -> None:
    assert bundle.matches(BUILD._replace(glibc="2.9"), **(NODE | {"glibc": "2.34"})) == ()


def test_the_newest_that_matches_is_chosen() -> None:
    other = BUILD._replace(sm=("90",))
    manifests = [
        made("old"), made("new", days=2), made("newest-but-90", other, days=3),
        made("weights", kind=WEIGHTS, days=9), made("middle", days=1),
    ]  # fmt: skip
    choice = bundle.newest(manifests, **NODE)
    assert choice.chosen is not None
    assert choice.chosen.name == "new"
    assert choice.refused == (("newest-but-90", ("built for SM 90, the node's GPU is SM 89",)),)


def test_where_none_matches_each_says_why() -> None:
    choice = bundle.newest([made("b"), made("a")], **(NODE | {"architecture": "new"}))
    assert choice.chosen is None
    assert [name for name, _ in choice.refused] == ["a", "b"]


def test_of_two_made_at_once_the_order_of_the_list_does_not_decide() -> None:
    pair = [made("a"), made("b")]
    assert bundle.newest(pair, **NODE).chosen == bundle.newest(pair[::-1], **NODE).chosen


def test_the_glibc_floor_is_the_highest_version_by_number() -> None:
    said = "Name: GLIBC_2.9  Flags\n Name: GLIBC_2.34\n GLIBC_2.3.4 GLIBCXX_3.4.30 GLIBC_PRIVATE"
    assert bundle.glibc_floor(said) == "2.34"
    assert bundle.glibc_floor("nothing") == ""


def test_architectures_are_read_from_the_table_alone() -> None:
    source = """
    static const std::map<llm_arch, const char *> LLM_ARCH_NAMES = {
        { LLM_ARCH_CLIP, "clip" }, // dummy
        { LLM_ARCH_LLAMA,   "llama" },
        { LLM_ARCH_BERT_V2, "jina-bert-v2" },
        { LLM_ARCH_UNKNOWN, "(unknown)" },
};
    static const std::map<llm_kv, const char *> OTHER = { { LLM_ARCH_X, "other" },
};
    """
    assert bundle.architectures(source) == ("jina-bert-v2", "llama")
    with pytest.raises(ManifestError, match="LLM_ARCH_NAMES"):
        bundle.architectures("int main() {}")


@pytest.mark.parametrize(
    ("cpus", "gib", "cuda", "jobs"),
    [
        (4, 15.3, True, 2), (8, 15.3, True, 2), (1, 15.3, True, 1), (4, 15.3, False, 4),
        (16, 125.0, True, 16), (4, 3.0, True, 1), (4, 0.0, False, 1),
    ],
)  # fmt: skip
def test_memory_bounds_the_compilers(cpus: int, gib: float, cuda: bool, jobs: int) -> None:
    assert bundle.jobs(cpus, int(gib * bundle.GIB), cuda) == jobs


def test_the_digest_of_a_tree_depends_on_names_and_content_not_on_order() -> None:
    tree = [("a", "1" * 64), ("b/c", "2" * 64)]
    assert bundle.tree_digest(tree) == bundle.tree_digest(tree[::-1])
    assert len({
        bundle.tree_digest(tree),
        bundle.tree_digest([("a", "2" * 64), ("b/c", "1" * 64)]),
        bundle.tree_digest([("a", "1" * 64)]),
    }) == 3  # fmt: skip
    # sha256sum's own lines: find . -type f | sort | xargs sha256sum | sha256sum
    assert bundle.tree_digest([("a", "1" * 64)]) == (
        "b20b2450888a576d3963b1a3ba95e4fb16674256d6793719b3e0da9fb6d2485b"
    )


def test_licences_name_each_part_and_what_is_unknown() -> None:
    found = bundle.licences(["libllama.so.0", "libssl.so.3", "libcublasLt.so.13", "libx.so.1"])
    assert found == (
        "Apache-2.0 (libssl)", "MIT (llama.cpp)", "NVIDIA CUDA EULA (libcublasLt)",
        "unknown (libx.so.1)",
    )  # fmt: skip


def test_flags_depend_on_what_is_asked_for_and_hold_no_path() -> None:
    cuda = bundle.flags(True, ("89", "90a"), False, True)
    assert "-DCMAKE_CUDA_ARCHITECTURES=89-real;90a-real" in cuda
    assert "-DGGML_NATIVE=OFF" in cuda
    assert not any("/" in flag for flag in cuda)
    assert not any("CUDA_ARCH" in flag for flag in bundle.flags(False, (), True, True))


def test_a_bundle_is_named_by_what_it_is() -> None:
    assert bundle.file_name(BUILD) == f"llama-server-{'a' * 12}-cuda13.0-sm89-x86_64.tar.zst"
    cpu = BUILD._replace(commit="", cuda="", sm=())
    assert bundle.file_name(cpu) == f"llama-server-{'b' * 12}-cpu-x86_64.tar.zst"
