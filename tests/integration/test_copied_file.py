"""The cache of what a second store has: believed for that store alone, and only as far as whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.drivers.files.checkpoints import FileCheckpoints
from yoyo.drivers.files.copied import COPIED_FILE, copied_to, remember

STORE = "gs://acme-evidence/gpu"
NAMES = [f"{size:020d}-c74f20a3.note" for size in range(1, 6)]
FILES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.checkpoints" / COPIED_FILE


def filled(path: Path) -> bytes:
    for name in NAMES:
        remember(path, STORE, name)
    return path.read_bytes()


def test_what_was_remembered_is_known_for_that_store_alone(path: Path) -> None:
    assert copied_to(path, STORE) == frozenset()
    filled(path)
    assert copied_to(path, STORE) == frozenset(NAMES)
    assert copied_to(path, STORE + "2") == frozenset()
    assert copied_to(path, STORE[:-1]) == frozenset()
    remember(path, "file:///srv/evidence", "one")
    assert copied_to(path, "file:///srv/evidence") == {"one"}
    assert copied_to(path, STORE) == frozenset(), "the other store's are forgotten"


def test_cut_anywhere_only_whole_names_are_known_and_it_goes_on(path: Path) -> None:
    whole = filled(path)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        known = copied_to(path, STORE)
        assert known <= frozenset(NAMES)
        remember(path, STORE, "next")
        assert known | {"next"} <= copied_to(path, STORE)


@given(files=st.lists(FILES, max_size=8), damage=st.binary(max_size=60), at=st.integers(0, 400))
def test_damage_is_no_error_and_what_is_added_after_it_is_known(
    tmp_path_factory: pytest.TempPathFactory, files: list[str], damage: bytes, at: int
) -> None:
    path = tmp_path_factory.mktemp("copied") / COPIED_FILE
    for name in files:
        remember(path, STORE, name)
    assert copied_to(path, STORE) == frozenset(files)
    content = path.read_bytes() if files else b""
    path.write_bytes(content[:at] + damage + content[at:])
    copied_to(path, STORE)
    remember(path, STORE, "added")
    assert "added" in copied_to(path, STORE)


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    path.parent.mkdir()
    path.symlink_to(victim)
    remember(path, STORE, NAMES[0])
    assert victim.read_bytes() == b"kept"
    assert copied_to(path, STORE) == frozenset()


@pytest.mark.parametrize("kind", ["directory", "pipe", "parent is a file"])
def test_what_is_no_file_is_no_error(path: Path, kind: str) -> None:
    if kind == "parent is a file":
        path.parent.write_bytes(b"")
    else:
        path.parent.mkdir()
        (os.mkfifo if kind == "pipe" else os.mkdir)(path)
    remember(path, STORE, NAMES[0])
    assert copied_to(path, STORE) == frozenset()


def test_it_is_no_checkpoint_and_no_key(path: Path) -> None:
    filled(path)
    kept = FileCheckpoints(path.parent)
    assert kept.names() == ()
    assert kept.keys() == ()
    assert kept.copied(STORE) == frozenset(NAMES)
