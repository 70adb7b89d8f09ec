"""The objects port's contract. Every driver passes these tests as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from objects_contract import CHUNK, RIGS, Rig, source

from yoyo.errors import ArtefactMissing, StoreConflict
from yoyo.ports.objects import Objects

PIECE = 1024 * 1024
SAME_RIG = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
part = st.from_regex(r"[A-Za-z0-9._@-]{1,20}", fullmatch=True).filter(
    lambda text: text not in (".", "..")
)
key = st.lists(part, min_size=1, max_size=4).map("/".join)


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def objects(rig: Rig) -> Objects:
    return rig.objects()


def content(objects: Objects, key: str) -> bytes:
    return b"".join(objects.read(key))


def test_an_empty_store_has_nothing_and_says_so(objects: Objects) -> None:
    assert objects.stat("names/weights/a.json") is None
    assert list(objects.list("")) == []
    objects.delete("names/weights/a.json")
    objects.delete("names/weights/a.json", generation=7)
    objects.upload("nobody", 5).abandon()
    assert objects.upload("nobody", 5).done() == {}
    for length in (None, 0, 3):
        with pytest.raises(ArtefactMissing) as refusal:
            list(objects.read("names/weights/a.json", length=length))
        assert objects.address("names/weights/a.json") in refusal.value.what
        assert refusal.value.fix


def test_addresses_are_those_of_the_store(objects: Objects) -> None:
    assert not objects.url.endswith("/")
    assert objects.address("a/b") == f"{objects.url}/a/b"


@pytest.mark.parametrize(
    "bad", ["", "/a", "a/", "a//b", "..", "../a", "a/../b", ".", "a/.", "a b", "a\n", "~a", "ä"]
)
def test_what_is_no_key_is_refused(objects: Objects, bad: str) -> None:
    for call in (objects.stat, objects.delete, lambda key: objects.put(key, b"")):
        with pytest.raises(ValueError, match="no key"):
            call(bad)
    with pytest.raises(ValueError, match="no key"):
        list(objects.read(bad))
    with pytest.raises(ValueError, match=r"no session|no key"):
        objects.upload(bad, 1)


def test_what_was_written_is_there_for_others(rig: Rig) -> None:
    before = datetime.now(UTC)
    info = rig.objects().put("names/a.json", b"{}")
    assert (info.key, info.size) == ("names/a.json", 2)
    assert info.generation > 0
    assert info.updated.tzinfo is not None
    assert abs((info.updated - before).total_seconds()) < 60
    other = rig.objects()
    assert other.stat("names/a.json") == info
    assert list(other.list("")) == [info]
    assert content(other, "names/a.json") == b"{}"


def test_every_write_changes_the_generation(objects: Objects) -> None:
    seen = [objects.put("a", b"same").generation for _ in range(5)]
    objects.delete("a")
    seen.append(objects.put("a", b"same").generation)
    assert seen == sorted(set(seen))


def test_a_write_under_a_generation_is_refused_if_it_is_not_that(objects: Objects) -> None:
    first = objects.put("a", b"1", if_generation=0)
    with pytest.raises(StoreConflict):
        objects.put("a", b"2", if_generation=0)
    second = objects.put("a", b"3", if_generation=first.generation)
    for stale in (first.generation, 0):
        with pytest.raises(StoreConflict):
            objects.put("a", b"4", if_generation=stale)
    with pytest.raises(StoreConflict):
        objects.put("b", b"5", if_generation=second.generation)
    assert objects.stat("b") is None
    assert content(objects, "a") == b"3"
    assert objects.put("a", b"6").generation != second.generation


def test_of_many_writers_of_a_new_key_one_wins(rig: Rig) -> None:
    for number in range(5):
        barrier = Barrier(8)

        def write(n: int, key: str = f"pins/{number}", barrier: Barrier = barrier) -> int | None:
            objects = rig.objects()
            objects.stat(key)
            barrier.wait()
            try:
                objects.put(key, f"{n}".encode(), if_generation=0)
            except StoreConflict:
                return None
            return n

        with ThreadPoolExecutor(8) as pool:
            won = [n for n in pool.map(write, range(8)) if n is not None]
        assert len(won) == 1
        assert content(rig.objects(), f"pins/{number}") == f"{won[0]}".encode()


def test_nobody_overwrites_another_in_silence(rig: Rig) -> None:
    """Each of 4 writers adds to a number 5 times, as an operator's commands do."""
    rig.objects().put("n", b"0")

    def add(_: int) -> None:
        objects = rig.objects()
        for _ in range(5):
            while True:
                info = objects.stat("n")
                assert info is not None
                try:
                    now = b"".join(objects.read("n", generation=info.generation))
                    objects.put("n", b"%d" % (int(now) + 1), if_generation=info.generation)
                    break
                except StoreConflict:
                    continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    assert content(rig.objects(), "n") == b"20"


def test_deleting_under_a_generation(objects: Objects) -> None:
    first = objects.put("x/a", b"1")
    second = objects.put("x/a", b"2")
    with pytest.raises(StoreConflict):
        objects.delete("x/a", generation=first.generation)
    assert objects.stat("x/a") == second
    objects.delete("x/a", generation=second.generation)
    assert objects.stat("x/a") is None
    objects.delete("x/a", generation=second.generation)
    objects.delete("x/a")
    assert list(objects.list("")) == []
    objects.put("x/a", b"3", if_generation=0)


def test_reading_under_a_generation(objects: Objects) -> None:
    first = objects.put("a", b"old")
    second = objects.put("a", b"new")
    for length in (None, 0, 2):
        with pytest.raises(StoreConflict):
            list(objects.read("a", generation=first.generation, length=length))
    assert b"".join(objects.read("a", generation=second.generation)) == b"new"
    objects.delete("a")
    with pytest.raises(ArtefactMissing):
        list(objects.read("a", generation=second.generation))


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(objects: Objects) -> None:
    old, new = b"o" * (5 * PIECE), b"n" * (5 * PIECE)
    objects.put("a", old)
    pieces = objects.read("a")
    found = next(pieces)
    objects.put("a", new)
    try:
        found += b"".join(pieces)
    except StoreConflict:
        return
    assert found == old


@SAME_RIG
@given(data=st.binary(max_size=300), start=st.integers(0, 310), length=st.integers(0, 310))
def test_any_range_is_read(rig: Rig, data: bytes, start: int, length: int) -> None:
    objects = rig.objects()
    objects.put("a", data)
    assert b"".join(objects.read("a", start=start, length=length)) == data[start : start + length]
    assert b"".join(objects.read("a", start=start)) == data[start:]


def test_pieces_are_small_and_never_empty(objects: Objects) -> None:
    data = bytes(range(256)) * (4096 * 3) + b"end"
    objects.put("a", data)
    pieces = list(objects.read("a"))
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    assert b"".join(pieces) == data
    assert (
        b"".join(objects.read("a", start=PIECE - 1, length=PIECE + 2))
        == data[PIECE - 1 :][: PIECE + 2]
    )
    for wrong in ({"start": -1}, {"length": -1}):
        with pytest.raises(ValueError, match="range"):
            list(objects.read("a", **wrong))


def test_many_read_at_once(objects: Objects) -> None:
    data = bytes(range(256)) * 8192
    objects.put("a", data)

    def read(n: int) -> bool:
        return (
            b"".join(objects.read("a", start=n * 1000, length=500_000))
            == data[n * 1000 :][:500_000]
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(32)))


@SAME_RIG
@given(keys=st.lists(key, max_size=8), begin=st.text("aA-./@0", max_size=4), deeper=st.booleans())
def test_listing_is_by_key_and_by_prefix(
    rig: Rig, keys: list[str], begin: str, deeper: bool
) -> None:
    objects = rig.objects()
    # A directory cannot have a file and a directory of one name.
    wanted = {k for k in keys if not any(other.startswith(f"{k}/") for other in keys)}
    for each in wanted:
        objects.put(each, each.encode())
    prefix = min(wanted, default="")[: len(begin)] if deeper else begin
    found = list(objects.list(prefix))
    assert [info.key for info in found] == sorted(k for k in wanted if k.startswith(prefix))
    assert found == [objects.stat(info.key) for info in found]
    for info in objects.list(""):
        objects.delete(info.key)
    assert list(objects.list("")) == []


def test_a_slash_sorts_among_the_other_characters(objects: Objects) -> None:
    keys = ["a-b", "a.b", "a/b", "a/c/d", "a0", "aA/x", "a-/z"]
    for each in keys:
        objects.put(each, b"")
    assert [info.key for info in objects.list("")] == sorted(keys)
    assert [info.key for info in objects.list("a/")] == ["a/b", "a/c/d"]
    assert [info.key for info in objects.list("a/c")] == ["a/c/d"]
    assert [info.key for info in objects.list("a-")] == ["a-/z", "a-b"]


def test_more_than_a_page_is_listed(objects: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: objects.put(f"names/{n:04}", b""), range(1100)))
    found = [info.key for info in objects.list("names/")]
    assert found == [f"names/{n:04}" for n in range(1100)]


READING = """
import resource, sys
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
key, chunk = sys.argv[1:]
store = objects(int(chunk))
next(store.read(key))  # what is imported is no part of it
before = peak()
print(sum(len(piece) for piece in store.read(key)), peak() - before)
"""


@pytest.mark.slow
def test_reading_100_mb_takes_little_memory(rig: Rig, tmp_path: Path) -> None:
    size = 1000 * CHUNK
    src = source(tmp_path, size)
    upload = rig.objects().upload("s1", size)
    src.put_all(upload, threads=4)
    upload.finish(src.key, src.chunks)
    with rig.run(READING, src.key, CHUNK) as child:
        assert child.stdout
        count, grown = map(int, child.stdout.read().split())
    assert count == size
    assert grown < 12 * 1024, f"{grown} KiB"
