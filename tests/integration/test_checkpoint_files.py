"""Checkpoints beside the ledger: written once, whole, and never believed for being there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from yoyo.core.audit.merkle import Tree
from yoyo.drivers.files.checkpoints import FileCheckpoints
from yoyo.errors import CheckpointFailed, CheckpointInvalid
from yoyo.model.audit import Frontier
from yoyo.ports.checkpoints import Checkpoints

NAME = f"{7:020d}-c74f20a3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "ledger.checkpoints"


@pytest.fixture
def kept(folder: Path) -> Checkpoints:
    return FileCheckpoints(folder)


def test_a_note_is_kept_as_it_is(kept: Checkpoints, folder: Path) -> None:
    assert kept.names() == ()
    assert kept.keys() == ()
    kept.keep(NAME, b"note\n")
    kept.keep(NAME, b"note\n")
    assert kept.read(NAME) == b"note\n"
    assert stat.S_IMODE((folder / f"{NAME}.note").stat().st_mode) == 0o444
    assert sorted(entry.name for entry in folder.iterdir()) == [f"{NAME}.note"]


def test_names_are_in_the_order_of_their_sizes(kept: Checkpoints, folder: Path) -> None:
    names = [f"{size:020d}-{key}" for size in (2, 10, 100) for key in ("00000001", "ffffffff")]
    for name in reversed(names):
        kept.keep(name, name.encode())
    for other in ("x.note", ".x.part", "tree.json", f"{NAME}.txt", "1-c74f20a3.note"):
        (folder / other).write_bytes(b"")
    assert kept.names() == tuple(names)


def test_what_is_there_is_never_changed(kept: Checkpoints, folder: Path) -> None:
    kept.keep(NAME, b"note\n")
    with pytest.raises(CheckpointFailed, match="other content"):
        kept.keep(NAME, b"another\n")
    assert kept.read(NAME) == b"note\n"
    assert len(list(folder.iterdir())) == 1


def test_a_writer_that_was_killed_leaves_nothing_in_the_way(
    kept: Checkpoints, folder: Path
) -> None:
    """Killed between giving the note its name and taking the other name away."""
    script = f"""
import os, signal, sys
from pathlib import Path
from yoyo.drivers.files.checkpoints import FileCheckpoints
Path.unlink = lambda *args, **words: os.kill(os.getpid(), signal.SIGKILL)
FileCheckpoints(Path({str(folder)!r})).keep({NAME!r}, b"note")
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == -9
    assert len(list(folder.iterdir())) == 2
    kept.keep(NAME, b"note")
    with pytest.raises(CheckpointFailed):
        kept.keep(NAME, b"other")
    assert kept.read(NAME) == b"note"
    assert kept.names() == (NAME,)


def test_many_writers_of_one_note(folder: Path) -> None:
    script = """
import sys
from pathlib import Path
from yoyo.drivers.files.checkpoints import FileCheckpoints
from yoyo.errors import CheckpointFailed
sys.stdin.read()
try:
    FileCheckpoints(Path(sys.argv[1])).keep(sys.argv[2], sys.argv[3].encode() * 5000)
except CheckpointFailed:
    sys.exit(7)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder), NAME, letter], stdin=subprocess.PIPE
        )
        for letter in "aabb"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    codes = [writer.wait(60) for writer in writers]
    found = FileCheckpoints(folder).read(NAME)
    assert found in (b"a" * 5000, b"b" * 5000)
    assert codes == ([0, 0, 7, 7] if found[:1] == b"a" else [7, 7, 0, 0])


@pytest.mark.parametrize("name", ["", "x", "../" + NAME, NAME + "\n", NAME.upper(), f"{NAME}.note"])
def test_names_that_are_none(kept: Checkpoints, name: str) -> None:
    with pytest.raises(CheckpointInvalid):
        kept.keep(name, b"note")
    with pytest.raises(CheckpointInvalid):
        kept.read(name)


def test_what_cannot_be_read(kept: Checkpoints, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="could not be read"):
        kept.read(NAME)
    folder.mkdir(parents=True)
    note = folder / f"{NAME}.note"
    (tmp_path / "secret").write_bytes(b"secret")
    note.symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointInvalid):
        kept.read(NAME)
    with pytest.raises(CheckpointFailed):
        kept.keep(NAME, b"secret")
    note.unlink()
    os.mkfifo(note)
    with pytest.raises(CheckpointInvalid, match="could not be read"):
        kept.read(NAME)
    note.unlink()
    note.write_bytes(b"x" * 65_537)
    with pytest.raises(CheckpointInvalid):
        kept.read(NAME)


def test_what_cannot_be_kept(kept: Checkpoints, folder: Path) -> None:
    with pytest.raises(CheckpointFailed, match="could not be kept"):
        kept.keep(NAME, b"x" * 65_537)
    folder.parent.mkdir(exist_ok=True)
    if folder.exists():
        folder.rmdir()
    folder.write_bytes(b"a file")
    with pytest.raises(CheckpointFailed, match="could not be kept"):
        kept.keep(NAME, b"note")


def test_keys(kept: Checkpoints, folder: Path) -> None:
    kept.keep_key("c74f20a3", b"vkey one\n")
    kept.keep_key("c74f20a3", b"vkey one\n")
    kept.keep_key("a0000000", b"vkey two\n")
    (folder / "linked.vkey").symlink_to(folder / "c74f20a3.vkey")
    (folder / ".hidden.vkey").write_bytes(b"x")
    assert kept.keys() == (b"vkey two\n", b"vkey one\n")
    with pytest.raises(CheckpointFailed):
        kept.keep_key("c74f20a3", b"another")
    for name in ("", "../x", ".x", "a/b"):
        with pytest.raises(CheckpointInvalid):
            kept.keep_key(name, b"x")


def test_the_cache_of_the_tree(kept: Checkpoints, folder: Path) -> None:
    assert kept.cached_frontier() is None
    tree = Tree()
    for size in range(12):
        frontier = tree.frontier("ab" * 32 if size else "")
        kept.cache_frontier(frontier)
        assert kept.cached_frontier() == frontier
        tree.extend([b"row"])
    good = (folder / "tree.json").read_bytes()
    for at in range(len(good)):
        (folder / "tree.json").write_bytes(good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :])
        found = kept.cached_frontier()
        # A row_hash that was changed is the caller's to notice, by the ledger's own row.
        assert found is None or found._replace(row_hash="") == frontier._replace(row_hash="")
        (folder / "tree.json").write_bytes(good[:at])
        assert kept.cached_frontier() is None
    kept.cache_frontier(frontier)
    assert kept.cached_frontier() == frontier


def test_a_cache_that_cannot_be_written_is_no_error(kept: Checkpoints, folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_bytes(b"a file")
    kept.cache_frontier(Frontier(0, (), ""))
    assert kept.cached_frontier() is None
