"""The manifest's document: one form, read strictly, the same for ever."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_samples import BUNDLE, GOLDEN, digest_of, manifests, stored

from yoyo.config.key import NAME_PATTERN as CONFIGURED
from yoyo.core import manifest as format_
from yoyo.core.manifest import (
    NAME_PATTERN,
    ManifestError,
    check_name,
    check_path,
    decode,
    digest,
    encode,
    same_bytes,
)
from yoyo.model.store import CHUNK_BYTES, Manifest, Source, StoredFile

FILE = Path(__file__).parents[1] / "golden" / "manifest-v1.json"


def test_the_document_of_version_1_is_what_it_was() -> None:
    """Stores hold such documents, and the ledger their digests: this file never changes."""
    data = FILE.read_bytes()
    assert encode(GOLDEN) == data
    assert decode(data) == GOLDEN
    assert digest(GOLDEN) == sha256(data).hexdigest()
    assert digest(GOLDEN) == "489c2f319967b1f4085ed065e8cc67e2f897550d8e7b6b2f2efd37c06f508f35"


@given(manifests())
def test_what_is_written_is_what_is_read(manifest: Manifest) -> None:
    data = encode(manifest)
    assert decode(data) == manifest
    assert encode(decode(data)) == data


def test_a_bundle_too() -> None:
    assert decode(encode(BUNDLE)) == BUNDLE


def test_awk_reads_what_a_node_needs(tmp_path: Path) -> None:
    """The promise to the shell: a line a value, three spaces, chunks before the path."""
    path = tmp_path / "m.json"
    path.write_bytes(encode(GOLDEN))
    script = """
        /^   "path": / { split($0, part, "\\""); path = part[4] }
        /^    "[0-9a-f]+",?$/ { chunks++ }
        /^   "sha256": / { split($0, part, "\\""); sum = part[4] }
        /^   "size": / { print chunks + 0, $2, sum, path; chunks = 0 }
    """
    made = subprocess.run(["awk", script, path], capture_output=True, text=True, check=True)
    wanted = [f"{len(f.chunks)} {f.size} {f.sha256} {f.path}" for f in GOLDEN.files]
    assert made.stdout.splitlines() == wanted


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The golden document with one change, in the right form."""
    tree = json.loads(FILE.read_bytes())
    change(tree)
    return json.dumps(tree, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def put(*keys: str | int, to: object) -> bytes:
    def change(tree: Any) -> None:
        for key in keys[:-1]:
            tree = tree[key]
        tree[keys[-1]] = to

    return changed(change)


WHOLE = FILE.read_bytes()
CHUNK = digest_of("q4/modèle-00001-of-00002.gguf 0")
REFUSED = {
    "empty": (b"", "not a JSON document"),
    "cut off": (WHOLE[:-2], "not a JSON document"),
    "no UTF-8": (WHOLE.replace("è".encode(), b"\xe8"), "not a JSON document"),
    "a list": (b"[]\n", "not an object"),
    "deep": (b"[" * 100_000, "not a JSON document"),
    "deep in a field": (put("schema", to=[[[[[[]]]]]]), "schema something of type list"),
    "no newline": (WHOLE[:-1], "one form"),
    "two newlines": (WHOLE + b"\n", "one form"),
    "other spaces": (json.dumps(json.loads(WHOLE)).encode(), "one form"),
    "escaped": (WHOLE.replace("è".encode(), b"\\u00e8"), "one form"),
    "a key twice": (WHOLE.replace(b'{\n "', b'{\n "kind": "bytes",\n "', 1), "twice"),
    "schema 2": (put("schema", to=2), "schema"),
    "schema true": (put("schema", to=True), "schema"),
    "unknown key": (put("more", to=1), "unknown key 'more'"),
    "missing key": (changed(lambda tree: tree.pop("licence")), "has no licence"),
    "unknown key of a file": (put("files", 0, "mode", to=1), "a file has the unknown key"),
    "missing key of a file": (changed(lambda tree: tree["files"][0].pop("size")), "no size"),
    "unknown key of the source": (put("source", "token", to="x"), "source has the unknown key"),
    "files as object": (put("files", to={}), "not a list"),
    "no files": (put("files", to=[]), "0 files"),
    "chunks as text": (put("files", 0, "chunks", to="x"), "not a list"),
    "chunk as number": (put("files", 0, "chunks", to=[1]), "a chunk is not text"),
    "negative": (put("files", 0, "size", to=-1), "whole number"),
    "absurd": (put("files", 0, "size", to=2**63), "whole number"),
    "float": (put("files", 0, "size", to=1.5), "1.5 is no number"),
    "round float": (put("files", 0, "size", to=11343.0), "11343.0 is no number"),
    "NaN": (WHOLE.replace(b": 11343", b": NaN"), "NaN is no number"),
    "Infinity": (WHOLE.replace(b": 11343", b": -Infinity"), "-Infinity is no number"),
    "many digits": (WHOLE.replace(b": 11343", b": " + b"9" * 5000), "not a JSON document"),
    "size true": (put("files", 0, "size", to=True), "whole number"),
    "size text": (put("files", 0, "size", to="11343"), "whole number"),
    "one chunk too few": (put("files", 2, "chunks", to=[CHUNK] * 2), "2 chunks for"),
    "one chunk too many": (put("files", 2, "chunks", to=[CHUNK] * 4), "4 chunks for"),
    "size of fewer chunks": (put("files", 2, "size", to=2 * CHUNK_BYTES), "3 chunks for"),
    "chunk of nothing": (put("files", 1, "chunks", to=[CHUNK]), "1 chunks for 0"),
    "another whole": (put("files", 0, "sha256", to=CHUNK), "another digest than the whole"),
    "not empty": (put("files", 1, "sha256", to=CHUNK), "digest of something else"),
    "upper case": (put("files", 2, "sha256", to="A" * 64), "64 lowercase"),
    "63 digits": (put("files", 2, "sha256", to="a" * 63), "64 lowercase"),
    "newline in a digest": (put("files", 2, "sha256", to="a" * 64 + "\n"), "control"),
    "chunk in upper case": (put("files", 2, "chunks", 0, to="A" * 64), "64 lowercase"),
    "one digest, two sizes": (
        changed(lambda tree: tree["files"][2].update(sha256=tree["files"][3]["sha256"])),
        "two sizes",
    ),
    "a path twice": (put("files", 2, "path", to="q4/modèle-00002-of-00002.gguf"), "twice"),
    "wrong order": (changed(lambda tree: tree["files"].reverse()), "order"),
    "file and folder": (put("files", 1, "path", to="LICENSE/x"), "a file and a folder"),
    "partial": (put("files", 1, "path", to="LICENSE.part"), "would be overwritten"),
    "traversal": (put("files", 0, "path", to="../LICENSE"), "unsafe path"),
    "media type": (put("files", 0, "media_type", to="text"), "no media type"),
    "media type upper": (put("files", 0, "media_type", to="Text/plain"), "no media type"),
    "kind": (put("kind", to="adapter"), "kind"),
    "name": (put("name", to="A"), "is no name"),
    "name with a path": (put("name", to="../x"), "is no name"),
    "control": (put("licence", to="MIT\x1b[2J"), "control character"),
    "long": (put("source", "url", to="x" * 5000), "5000 characters"),
    "number as text": (put("created_by", to=1), "not text"),
    "time with a fraction": (put("created", to="2026-11-01T12:00:00.5Z"), "not a time"),
    "time elsewhere": (put("created", to="2026-11-01T12:00:00+00:00"), "not a time"),
    "no such day": (put("created", to="2026-02-30T12:00:00Z"), "no time"),
    "other digits": (put("created", to="\uff12\uff10\uff12\uff16-11-01T12:00:00Z"), "not a time"),
    "model elsewhere": (put("model", "path", to="x.gguf"), "not in the set"),
    "model of bytes": (put("kind", to="bytes"), "kind weights"),
    "model without a field": (changed(lambda tree: tree["model"].pop("heads")), "no heads"),
    "model with a text": (put("model", "layers", to="64"), "whole number"),
    "model with nothing": (put("model", "layers", to=None), "whole number"),
    "model with a list": (put("model", "vocabulary", to=[]), "whole number"),
    "model as text": (put("model", to="x"), "not an object"),
    "engine of weights": (put("engine", to=json.loads(encode(BUNDLE))["engine"]), "kind engine"),
    "engine without": (changed(lambda t: t.update(kind="engine", model=None)), "kind engine"),
    "engine with text as list": (
        put("engine", to={**json.loads(encode(BUNDLE))["engine"], "sm": "89"}),
        "not a list",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_with_the_reason(case: str) -> None:
    data, reason = REFUSED[case]
    with pytest.raises(ManifestError) as caught:
        decode(data)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_document_that_is_too_large_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_, "MAX_DOCUMENT_BYTES", len(WHOLE) - 1)
    with pytest.raises(ManifestError, match="at most"):
        decode(WHOLE)
    with pytest.raises(ManifestError, match="at most"):
        encode(GOLDEN)


def test_a_document_of_too_many_values_is_not_parsed() -> None:
    with pytest.raises(ManifestError, match="commas"):
        decode(b"[" + b"0," * 2_097_153 + b"0]")


def test_no_more_than_ten_thousand_files() -> None:
    one = stored("x", 1)
    files = tuple(one._replace(path=f"f{n:05}") for n in range(10_001))
    assert len(decode(encode(BUNDLE._replace(files=files[:-1]))).files) == 10_000
    with pytest.raises(ManifestError, match="10001 files"):
        encode(BUNDLE._replace(files=files))


@pytest.mark.parametrize(
    "manifest",
    [
        GOLDEN._replace(created=datetime(2026, 11, 1, 12)),  # noqa: DTZ001
        GOLDEN._replace(created=datetime(2026, 11, 1, tzinfo=timezone(timedelta(hours=1)))),
        GOLDEN._replace(created=datetime(2026, 11, 1, 12, 0, 0, 1, tzinfo=UTC)),
        GOLDEN._replace(files=GOLDEN.files[::-1]),
        GOLDEN._replace(source=Source("hf://x\n", "")),
        GOLDEN._replace(created_by="\ud800"),
    ],
)
def test_nothing_is_written_that_would_not_be_read(manifest: Manifest) -> None:
    with pytest.raises(ManifestError):
        encode(manifest)


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_document_is_refused(data: st.DataObject) -> None:
    """Or it is one in the right form, of something else: no two documents of one manifest."""
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        if data.draw(st.booleans()):
            damaged[at] = data.draw(st.integers(0, 255))
        else:
            del damaged[at : at + data.draw(st.integers(1, 80))]
    try:
        read = decode(bytes(damaged))
    except ManifestError:
        return
    assert encode(read) == bytes(damaged)
    assert (read == GOLDEN) == (bytes(damaged) == WHOLE)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode(data)


BAD_PATHS = (
    "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/../b", "./a", "a/.", "-a", "a/-b", "--",
    "a\\b", "..\\a", 'a"b', "a\nb", "a\0b", "a\x7fb", "a\x85b", "a\u2028b", "a\u202eb", "\ud800",
    "x" * 256, "é" * 128, "/".join(["x" * 100] * 11),
)  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(ManifestError):
        check_path(path)


@pytest.mark.parametrize(
    "path",
    ["a", "a b", "a/b/c.gguf", "...", "a-b", ".gitattributes", "x" * 255, "漢/字", "a'b$(c)"],
)
def test_other_paths_are_given_back(path: str) -> None:
    assert check_path(path) == path


@given(st.text(max_size=40))
def test_a_path_that_passes_stays_inside(path: str) -> None:
    try:
        check_path(path)
    except ManifestError:
        return
    inside = Path("/set") / path
    assert Path("/set") in inside.parents
    assert ".." not in inside.parts
    assert inside.relative_to("/set").as_posix() == path


@pytest.mark.parametrize("name", ["a", "qwen2.5-32b", "a@1", "0_x@v1.2-rc"])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", ".a", "a@", "a@b@c", "a/b", "a\n", "a b", "x" * 64])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ManifestError):
        check_name(name)


def test_the_configuration_has_the_same_pattern() -> None:
    assert NAME_PATTERN == CONFIGURED


def test_same_bytes() -> None:
    other = GOLDEN._replace(name="x", licence="", model=None, created_by="somebody")
    assert same_bytes(GOLDEN, other)
    assert not same_bytes(GOLDEN, GOLDEN._replace(files=GOLDEN.files[1:]))
    first: StoredFile = GOLDEN.files[0]
    moved = (first._replace(path="COPYING"), *GOLDEN.files[1:])
    assert not same_bytes(GOLDEN, GOLDEN._replace(files=moved))
    rest = GOLDEN.files[1:]
    edited = (first._replace(sha256=CHUNK), *rest)
    assert not same_bytes(GOLDEN, GOLDEN._replace(files=edited))
