"""Names of adapters, versions, tasks and base models."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.adapters.base import base_digest
from yoyo.core.adapters.names import (
    MAX_VERSION_CHARS,
    InvalidAdapter,
    check_id,
    check_task,
    check_version,
    parse_name,
    version_key,
)
from yoyo.model.adapter import SHARED_MODULE
from yoyo.model.ids import ModuleId

ACME = ModuleId("acme")

NUMBERS = st.integers(0, 10**6).map(str)
WORDS = st.from_regex(r"[0-9A-Za-z-]{1,6}", fullmatch=True).filter(
    lambda word: not word.isdigit() or word == "0" or word[0] != "0"
)
VERSIONS = st.builds(
    lambda core, pre: ".".join(core) + ("-" + ".".join(pre) if pre else ""),
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    st.lists(WORDS, max_size=3),
)


@pytest.mark.parametrize(
    ("text", "module"),
    [("acme-legal", "acme"), ("acme-a", "acme"), ("acme-eu-x", "acme"), ("dka-style", "dka")],
)
def test_ids(text: str, module: str) -> None:
    assert check_id(text, ModuleId(module)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "acme", "acme-", "acmelegal", "other-legal", "Acme-legal", "acme-legal\n", "acme_legal",
        "acme-" + "x" * 59, "acme-é", "acme-x/../y", "acme-x-", "acme-x@1",
    ],
)  # fmt: skip
def test_ids_that_are_none(text: str) -> None:
    with pytest.raises(InvalidAdapter):
        check_id(text, ACME)


def test_only_shared_adapters_look_shared() -> None:
    with pytest.raises(InvalidAdapter, match="is for shared ones"):
        check_id("dka-x-style", ModuleId("dka-x"))
    assert check_id("dka-x-style", SHARED_MODULE)


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-a..b", "1.2.3-01", "1.2.3+build",
        "1.2.3-a+b", "v1.2.3", "1.2.3\n", "1.2.3-a\n", "\u0661.2.3", "1.2.3-é", "1.2.3-a_b",
        " 1.2.3", "-1.2.3", "1.2.3-" + "a" * MAX_VERSION_CHARS,
    ],
)  # fmt: skip
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises(InvalidAdapter):
        check_version(text)


def test_the_longest_version() -> None:
    assert check_version("1.2.3-".ljust(MAX_VERSION_CHARS, "a"))


def test_precedence_is_that_of_the_specification() -> None:
    """semver.org, item 11, both of its chains."""
    ascending = [
        "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
        "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1", "10.0.0",
    ]  # fmt: skip
    keys = [version_key(version) for version in ascending]
    assert all(keys[at] < keys[at + 1] for at in range(len(keys) - 1))


def precedence(one: str, two: str) -> int:
    """Item 11 once more, word for word."""
    (core, dash, pre), (other_core, other_dash, other_pre) = one.partition("-"), two.partition("-")
    for left, right in zip(core.split("."), other_core.split("."), strict=True):
        if int(left) != int(right):
            return -1 if int(left) < int(right) else 1
    if dash != other_dash:
        return -1 if dash else 1
    words, other_words = pre.split("."), other_pre.split(".")
    for left, right in zip(words, other_words, strict=False):
        if left == right:
            continue
        if left.isdigit() and right.isdigit():
            return -1 if int(left) < int(right) else 1
        if left.isdigit() != right.isdigit():
            return -1 if left.isdigit() else 1
        return -1 if left.encode() < right.encode() else 1
    return (len(words) > len(other_words)) - (len(words) < len(other_words))


@settings(deadline=None)
@given(st.lists(VERSIONS, max_size=6))
def test_versions_sort_by_precedence(versions: list[str]) -> None:
    by_rule = sorted(versions, key=functools.cmp_to_key(precedence))
    assert sorted(versions, key=version_key) == by_rule


@settings(deadline=None)
@given(VERSIONS, VERSIONS)
def test_keys_are_equal_for_equal_versions_alone(one: str, two: str) -> None:
    assert (version_key(one) == version_key(two)) == (one == two)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_whatever_passes_as_a_version_is_a_tag(text: str) -> None:
    try:
        check_version(text)
    except InvalidAdapter as error:
        said = str(error)
    else:
        said = text
        assert text.isascii()
        assert set(text) <= set("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-")
    assert said.isprintable()


def test_tasks() -> None:
    assert check_task("contract-review") == "contract-review"
    for text in ("", "a,b", "A", "-a", "a" * 64, "a\n"):
        with pytest.raises(InvalidAdapter):
            check_task(text)


def test_name_and_version() -> None:
    assert parse_name("acme-legal@1.2.0-rc.1") == ("acme-legal", "1.2.0-rc.1")
    for text in ("", "acme-legal", "@1.0.0", "acme-legal@", "a@b@1.0.0", "acme@1.0.0;b@1.0.0"):
        with pytest.raises(InvalidAdapter):
            parse_name(text)


def test_base_of_one_file_is_its_digest() -> None:
    assert base_digest([("/x/any.gguf", "a" * 64)]) == "sha256:" + "a" * 64


def test_base_of_several_files_is_what_the_tools_print(tmp_path: Path) -> None:
    names = ["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"]
    for name in names:
        (tmp_path / name).write_text(name)
    files = [
        (f"models/{name}", hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        for name in names
    ]
    printed = subprocess.run(
        ["/bin/sh", "-c", "sha256sum *.gguf | LC_ALL=C sort | sha256sum"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()[0]
    assert base_digest(files) == base_digest(files[::-1]) == f"sha256:{printed}"


@pytest.mark.parametrize(
    "files",
    [
        [],
        [("a", "A" * 64)],
        [("a", "a" * 63)],
        [("a", "a" * 64 + "\n")],
        [("x/a", "a" * 64), ("y/a", "b" * 64)],
        [("a\nb", "a" * 64), ("b", "b" * 64)],
        [("a/", "a" * 64), ("b", "b" * 64)],
        [("a\\", "a" * 64), ("b", "b" * 64)],
        [("a\ud800", "a" * 64), ("b", "b" * 64)],
    ],
)
def test_files_that_are_no_base(files: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidAdapter):
        base_digest(files)
