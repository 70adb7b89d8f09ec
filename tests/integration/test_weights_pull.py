"""Files out of the store: resumed, checked, repaired, and left alone where they are intact."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from store_parts import (
    Fatal,
    Place,
    ask,
    cheap,
    context,
    digest,
    in_child,
    outcome,
    put,
)

from yoyo.errors import ArtefactCorrupt, ArtefactMissing, StoreFull, YoyoError
from yoyo.model.store import CHUNK_BYTES, Manifest
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_fetch import STAMPS, Fetcher, pull
from yoyo.ops.weights_stage import stage
from yoyo.ops.weights_verify import fetcher

SIZE = 2 * CHUNK_BYTES + 7


class Counting:
    """A store that notes which ranges are read."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.starts: list[int] = []

    def read(self, key: str, **named: Any) -> Iterator[bytes]:
        self.starts.append(named["start"])
        found: Iterator[bytes] = self._real.read(key, **named)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Blind:
    """A disk that counts how often a file is read."""

    def __init__(self, real: Any) -> None:
        self._real, self.reads = real, 0

    def feed(self, *arguments: Any) -> int:
        self.reads += 1
        return int(self._real.feed(*arguments))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Set:
    """One staged file of three chunks, and what fetches it."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root / "place")
        self.ctx: StoreContext = context(self.place)
        source = root / "m.bin"
        self.sha256 = cheap(source, SIZE)
        self.manifest: Manifest = stage(self.ctx, ask("m", source.as_uri())).manifest
        self.artefact = self.place.artefact(self.sha256)
        self.store = Counting(self.ctx.store)
        self.disk = Blind(self.ctx.disk)
        changed: Any = {"store": self.store, "disk": self.disk}
        self.parts: Fetcher = fetcher(self.ctx)._replace(**changed)
        self.to = root / "to"
        self.path = self.to / "m.bin"

    def pull(self) -> list[int]:
        """Fetch; which chunks were asked for."""
        self.store.starts.clear()
        self.disk.reads = 0
        assert pull(self.parts, self.manifest, self.to) == (self.path,)
        assert digest(self.path) == self.sha256
        assert sorted(path.name for path in self.to.iterdir()) == [STAMPS, "m.bin"]
        return sorted(start // CHUNK_BYTES for start in self.store.starts)


@pytest.fixture
def one(tmp_path: Path) -> Set:
    return Set(tmp_path)


def flip(path: Path, at: int) -> None:
    """Change one byte and nothing else that `stat` would show, as a bad disk does."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_all_then_nothing_then_what_was_changed(one: Set) -> None:
    assert one.pull() == [0, 1, 2]
    assert one.pull() == []
    assert one.disk.reads == 0  # by its stamp alone
    flip(one.path, CHUNK_BYTES + 3)
    assert one.pull() == [1]
    one.path.touch()
    assert one.pull() == []
    assert one.disk.reads == 3  # looked at once, as it might have changed
    assert one.pull() == []
    assert one.disk.reads == 0
    one.path.write_bytes(b"other")
    assert one.pull() == [0, 1, 2]
    one.path.unlink()
    assert one.pull() == [0, 1, 2]


def test_a_part_is_gone_on_with(one: Set) -> None:
    one.pull()
    part = one.path.with_name("m.bin.part")
    one.path.rename(part)
    flip(part, 5)
    with part.open("r+b") as file:
        file.truncate(2 * CHUNK_BYTES + 3)
    assert one.pull() == [0, 2]
    one.path.rename(part)
    with part.open("ab") as file:
        file.write(b"too much")
    assert one.pull() == []


def test_killed_at_any_write(one: Set) -> None:
    def work(at: int) -> None:
        disk: Any = Fatal(one.ctx.disk, ("write_at", "settle", "write_text"), count(), at)
        pull(one.parts._replace(disk=disk), one.manifest, one.to)

    # Writes of 1 MiB: the first, some in the middle, and each one around the end. How many are left
    # after a kill in the middle hangs on which chunks were whole by then: 300 is past the last.
    for at in (0, 1, 100, 200, 300, 1, 0, 1, 0, 2, 3, 4, 5):
        code = outcome(in_child(lambda at=at: work(at)))  # type: ignore[misc]
        assert code == (0 if at == 300 else -signal.SIGKILL), at
        if one.path.exists():
            assert digest(one.path) == one.sha256
            one.path.rename(one.path.with_name("m.bin.part"))
    one.pull()


def test_two_at_once_into_one_directory(one: Set) -> None:
    pids = [in_child(lambda: void(pull(one.parts, one.manifest, one.to))) for _ in range(3)]
    assert [outcome(pid) for pid in pids] == [0, 0, 0]
    assert digest(one.path) == one.sha256
    assert one.pull() == []


def void(_: object) -> None:
    return


def test_a_damaged_chunk_in_the_store_is_named_and_nothing_is_put_in_place(one: Set) -> None:
    flip(one.artefact, CHUNK_BYTES)
    with pytest.raises(ArtefactCorrupt, match="Chunk 1 of m") as caught:
        pull(one.parts, one.manifest, one.to)
    assert one.manifest.files[0].chunks[1] in caught.value.why
    assert not one.path.exists()
    flip(one.artefact, CHUNK_BYTES)
    assert one.pull() == [1] or one.store.starts  # goes on with what is missing
    assert one.pull() == []


def test_swapped_chunks_are_found(one: Set) -> None:
    data = one.artefact.read_bytes()
    one.artefact.chmod(0o644)
    middle = data[CHUNK_BYTES : 2 * CHUNK_BYTES] + data[:CHUNK_BYTES]
    one.artefact.write_bytes(middle + data[2 * CHUNK_BYTES :])
    with pytest.raises(ArtefactCorrupt):
        pull(one.parts, one.manifest, one.to)
    assert not one.path.exists()


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES + 1])
def test_an_artefact_cut_short(one: Set, size: int) -> None:
    one.artefact.chmod(0o644)
    os.truncate(one.artefact, size)
    with pytest.raises(ArtefactCorrupt):
        pull(one.parts, one.manifest, one.to)
    assert not one.path.exists()


def test_an_artefact_that_is_gone(one: Set) -> None:
    one.artefact.unlink()
    with pytest.raises(ArtefactMissing):
        pull(one.parts, one.manifest, one.to)
    assert not one.path.exists()


def test_a_link_at_the_target_is_replaced_and_what_it_points_to_is_left_alone(
    one: Set, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    one.to.mkdir()
    one.path.symlink_to(victim)
    one.pull()
    assert victim.read_text() == "mine"
    assert not one.path.is_symlink()


def test_a_link_at_the_part_is_not_followed(one: Set, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    one.to.mkdir()
    one.path.with_name("m.bin.part").symlink_to(victim)
    with pytest.raises(YoyoError):
        pull(one.parts, one.manifest, one.to)
    assert victim.read_text() == "mine"


def test_stamps_that_somebody_wrote_are_of_no_use_for_other_bytes(one: Set) -> None:
    one.to.mkdir()
    (one.to / STAMPS).write_text(f"{one.sha256} 1.2.3.4 m.bin\nrubbish\n\n a b c d\n")
    one.path.write_bytes(b"other")
    assert one.pull() == [0, 1, 2]


def test_no_room_is_said_beforehand(one: Set) -> None:
    class Full(Blind):
        def room(self, directory: Path) -> int:
            return SIZE

    disk: Any = Full(one.ctx.disk)
    with pytest.raises(StoreFull):
        pull(one.parts._replace(disk=disk), one.manifest, one.to)
    assert one.store.starts == []


def test_a_directory_in_the_way_is_an_error_with_a_remedy(one: Set) -> None:
    one.path.mkdir(parents=True)
    with pytest.raises(YoyoError) as caught:
        pull(one.parts, one.manifest, one.to)
    assert caught.value.fix


def test_two_sets_in_one_directory(one: Set) -> None:
    one.pull()
    other = put(one.ctx, "other", "text").manifest
    pull(one.parts, other, one.to)
    assert (one.to / "inline").read_text() == "text"
    assert pull(one.parts, one.manifest, one.to) == (one.path,)
    one.disk.reads = 0
    pull(one.parts, other, one.to)
    assert one.disk.reads == 0
