"""The uploading half of the objects port's contract. Every driver passes these tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from objects_contract import CHUNK, RIGS, Rig, source

from yoyo.errors import StoreConflict, StoreUnavailable
from yoyo.ports.objects import Objects


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def objects(rig: Rig) -> Objects:
    return rig.objects()


def content(objects: Objects, key: str) -> bytes:
    return b"".join(objects.read(key))


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 33 * CHUNK + 7], ids=str
)
def test_an_upload_becomes_the_object(rig: Rig, tmp_path: Path, size: int) -> None:
    src = source(tmp_path, size)
    upload = rig.objects().upload("s1", size)
    src.put_all(upload, threads=8)
    assert upload.done() == dict(enumerate(src.chunks))
    assert rig.objects().stat(src.key) is None
    info = upload.finish(src.key, src.chunks)
    assert info == rig.objects().stat(src.key)
    assert (info.key, info.size) == (src.key, size)
    assert content(rig.objects(), src.key) == src.data
    assert [each.key for each in rig.objects().list("")] == [src.key]
    assert rig.objects().upload("s1", size).done() == {}


@pytest.mark.slow
def test_more_chunks_than_can_be_joined_twice_over(rig: Rig, tmp_path: Path) -> None:
    """1057 chunks: three levels where 32 can be joined at once."""
    size = 1056 * CHUNK + 1
    src = source(tmp_path, size)
    upload = rig.objects().upload("s1", size)
    src.put_all(upload, threads=8)
    assert upload.finish(src.key, src.chunks).size == size
    digest = hashlib.sha256()
    for piece in rig.objects().read(src.key):
        digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(src.data).hexdigest()
    assert [each.key for each in rig.objects().list("")] == [src.key]


def test_finishing_twice_is_finishing_once(rig: Rig, tmp_path: Path) -> None:
    src = source(tmp_path, 3 * CHUNK)
    upload = rig.objects().upload("s1", len(src.data))
    src.put_all(upload)
    info = upload.finish(src.key, src.chunks)
    assert upload.finish(src.key, src.chunks) == info
    assert rig.objects().upload("s1", len(src.data)).finish(src.key, src.chunks) == info
    assert [each.key for each in rig.objects().list("")] == [src.key]


def test_many_finish_at_once_and_all_get_the_object(rig: Rig, tmp_path: Path) -> None:
    for number in range(3):
        src = source(tmp_path, 3 * CHUNK, number)
        src.put_all(rig.objects().upload("s1", len(src.data)))

        def finish(_: int, src: object = src) -> object:
            return rig.objects().upload("s1", 3 * CHUNK).finish(src.key, src.chunks)  # type: ignore[attr-defined]

        with ThreadPoolExecutor(6) as pool:
            assert len(set(pool.map(finish, range(6)))) == 1
        assert content(rig.objects(), src.key) == src.data
        assert list(rig.objects().list("staging/")) == []


def test_an_object_that_is_there_is_left_as_it_is(rig: Rig, tmp_path: Path) -> None:
    src = source(tmp_path, 2 * CHUNK)
    there = rig.objects().put(src.key, b"first")
    upload = rig.objects().upload("s1", len(src.data))
    src.put(upload, 0)
    assert upload.finish(src.key, src.chunks) == there
    assert content(rig.objects(), src.key) == b"first"
    assert [each.key for each in rig.objects().list("")] == [src.key]


def test_nothing_is_made_of_chunks_that_are_not_there(rig: Rig, tmp_path: Path) -> None:
    src = source(tmp_path, 3 * CHUNK)
    upload = rig.objects().upload("s1", len(src.data))
    with pytest.raises(StoreConflict):
        upload.finish(src.key, src.chunks)
    src.put(upload, 0)
    src.put(upload, 2)
    with pytest.raises(StoreConflict, match="not complete") as refusal:
        upload.finish(src.key, src.chunks)
    assert "1" in refusal.value.why
    src.put(upload, 1)
    with pytest.raises(StoreConflict):
        upload.finish(src.key, (src.chunks[1], src.chunks[0], src.chunks[2]))
    with pytest.raises(ValueError, match="chunks"):
        upload.finish(src.key, src.chunks[:2])
    assert rig.objects().stat(src.key) is None
    assert upload.finish(src.key, src.chunks).size == len(src.data)
    assert content(rig.objects(), src.key) == src.data


def test_a_chunk_that_is_sent_again_counts_as_it_was_sent_last(rig: Rig, tmp_path: Path) -> None:
    old, new = source(tmp_path, 2 * CHUNK, 1), source(tmp_path, 2 * CHUNK, 2)
    upload = rig.objects().upload("s1", len(old.data))
    old.put_all(upload)
    old.put(upload, 0)
    new.put(upload, 1)
    assert upload.done() == {0: old.chunks[0], 1: new.chunks[1]}
    new.put(upload, 0)
    upload.finish(new.key, new.chunks)
    assert content(rig.objects(), new.key) == new.data


def test_sessions_do_not_mix(rig: Rig, tmp_path: Path) -> None:
    a, b = source(tmp_path, 2 * CHUNK, 1), source(tmp_path, 2 * CHUNK, 2)
    first = rig.objects().upload("s1", len(a.data))
    second = rig.objects().upload("s11", len(b.data))
    a.put_all(first)
    b.put(second, 0)
    assert second.done() == {0: b.chunks[0]}
    first.finish(a.key, a.chunks)
    assert second.done() == {0: b.chunks[0]}


def test_what_is_abandoned_is_gone(rig: Rig, tmp_path: Path) -> None:
    src = source(tmp_path, 3 * CHUNK)
    upload = rig.objects().upload("s1", len(src.data))
    src.put_all(upload)
    for _ in range(2):
        upload.abandon()
        assert upload.done() == {}
        assert list(rig.objects().list("")) == []
    src.put_all(upload)
    assert upload.finish(src.key, src.chunks).size == len(src.data)


def test_what_a_session_holds_is_listed_with_its_age(rig: Rig, tmp_path: Path) -> None:
    src = source(tmp_path, 3 * CHUNK)
    src.put_all(rig.objects().upload("s1", len(src.data)))
    staged = list(rig.objects().list("staging/s1/"))
    assert staged
    for info in staged:
        assert abs((info.updated - datetime.now(UTC)).total_seconds()) < 60
        rig.objects().delete(info.key)
    assert rig.objects().upload("s1", len(src.data)).done() == {}


def test_a_chunk_of_another_length_is_a_mistake(rig: Rig, tmp_path: Path) -> None:
    src = source(tmp_path, 2 * CHUNK)
    upload = rig.objects().upload("s1", len(src.data))
    for index, length in ((0, CHUNK - 1), (0, 0), (1, CHUNK + 1), (2, CHUNK), (-1, CHUNK)):
        with pytest.raises(ValueError, match="not"):
            upload.put(index, src.path, 0, length, src.chunks[0])
    with pytest.raises(ValueError, match="no sha256"):
        upload.put(0, src.path, 0, CHUNK, "../../etc")
    assert upload.done() == {}


def test_a_file_that_is_shorter_or_gone_is_not_taken_for_whole(rig: Rig, tmp_path: Path) -> None:
    src = source(tmp_path, 2 * CHUNK)
    upload = rig.objects().upload("s1", len(src.data))
    with src.path.open("r+b") as file:
        file.truncate(CHUNK + 5)
    with pytest.raises(StoreUnavailable, match="source"):
        src.put(upload, 1)
    src.path.unlink()
    with pytest.raises(StoreUnavailable, match="source"):
        src.put(upload, 0)
    assert upload.done() == {}


PUTTING = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
chunk, path, *hashes = sys.argv[1:]
size = Path(path).stat().st_size
upload = objects(int(chunk)).upload("s1", size)
def put(index):
    start = index * int(chunk)
    upload.put(index, Path(path), start, min(int(chunk), size - start), hashes[index])
    sys.stdout.write(f"{index}\\n")
    sys.stdout.flush()
with ThreadPoolExecutor(4) as pool:
    list(pool.map(put, range(len(hashes))))
"""


@pytest.mark.parametrize("after", [1, 7, 20])
def test_killed_in_the_middle_everything_that_was_acknowledged_is_there(
    rig: Rig, tmp_path: Path, after: int
) -> None:
    src = source(tmp_path, 40 * CHUNK - 3)
    with rig.run(PUTTING, CHUNK, src.path, *src.chunks) as child:
        assert child.stdout
        acknowledged = [int(child.stdout.readline()) for _ in range(after)]
        child.kill()
        # What the pipe still holds was acknowledged as well; a cut number has no newline.
        rest = child.stdout.read().rpartition("\n")[0]
        acknowledged += [int(line) for line in rest.split()]
    upload = rig.objects().upload("s1", len(src.data))
    done = upload.done()
    assert set(acknowledged) <= set(done)
    assert all(src.chunks[index] == digest for index, digest in done.items())
    missing = [index for index in range(len(src.chunks)) if index not in done]
    for index in missing:
        src.put(upload, index)
    upload.finish(src.key, src.chunks)
    assert content(rig.objects(), src.key) == src.data
    assert list(rig.objects().list("staging/")) == []
