"""The directory store: what it leaves on the disk, and what it makes of a disk that was harmed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from pathlib import Path

import pytest

from yoyo.drivers.files import objects_tree
from yoyo.drivers.files.objects import FileObjects
from yoyo.drivers.files.objects_upload import FileUpload
from yoyo.errors import (
    ArtefactMissing,
    StoreConflict,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
)

CHUNK = 70_001
KEY = "artefacts/sha256/aa/bb"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "below" / "store"


@pytest.fixture
def objects(root: Path) -> FileObjects:
    return FileObjects(f"file://{root}", chunk_bytes=CHUNK)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3 * CHUNK))
    return path


def digest(source: Path, index: int) -> str:
    return hashlib.sha256(source.read_bytes()[index * CHUNK :][:CHUNK]).hexdigest()


def put(upload: FileUpload, source: Path, *indexes: int) -> None:
    for index in indexes:
        upload.put(index, source, index * CHUNK, CHUNK, digest(source, index))


def finish(upload: FileUpload, source: Path) -> None:
    upload.finish(KEY, tuple(digest(source, index) for index in range(3)))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_looking_makes_nothing(objects: FileObjects, root: Path) -> None:
    objects.stat("a")
    assert list(objects.list("")) == []
    objects.delete("a")
    objects.upload("s", 5).done()
    objects.upload("s", 5).abandon()
    assert not root.parent.exists()


def test_the_store_is_private_and_artefacts_are_read_only(
    objects: FileObjects, root: Path, source: Path
) -> None:
    before = os.umask(0o077)
    try:
        objects.put("names/a.json", b"{}")
        upload = objects.upload("s", 3 * CHUNK)
        put(upload, source, 0, 1, 2)
        finish(upload, source)
    finally:
        os.umask(before)
    assert mode(root) == 0o700
    assert mode(root / "names/a.json") == 0o644
    assert mode(root / KEY) == 0o444
    assert (root / KEY).read_bytes() == source.read_bytes()


def test_nothing_but_objects_is_left_and_empty_directories_go(
    objects: FileObjects, root: Path, source: Path
) -> None:
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 0, 1, 2)
    finish(upload, source)
    objects.put("names/weights/a.json", b"{}")
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert found == {KEY, "names/weights/a.json", "~lock"}
    objects.delete(KEY)
    objects.delete("names/weights/a.json")
    assert [path.name for path in root.iterdir()] == ["~lock"]


def test_what_a_killed_writer_left_is_not_listed_and_not_in_the_way(
    objects: FileObjects, root: Path
) -> None:
    objects.put("names/a", b"1")
    (root / "names/~part").write_bytes(b"half")
    (root / "names/~part").chmod(0o400)
    assert [info.key for info in objects.list("")] == ["names/a"]
    objects.put("names/b", b"2")
    (root / "names/~part").write_bytes(b"half")
    objects.delete("names/a")
    objects.delete("names/b")
    assert not (root / "names").exists()


def test_files_of_others_are_not_listed(objects: FileObjects, root: Path) -> None:
    objects.put("a/b", b"")
    (root / "a/notes of mine").write_text("")
    (root / "a/link").symlink_to("b")
    os.mkfifo(root / "a/pipe")
    assert [info.key for info in objects.list("")] == ["a/b"]
    assert objects.stat("a/pipe") is None
    with pytest.raises(ArtefactMissing):
        list(objects.read("a/pipe"))
    assert objects.stat("a") is None
    with pytest.raises(ArtefactMissing):
        list(objects.read("a"))


def test_no_link_leads_out_of_the_store(objects: FileObjects, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    objects.put("a/b", b"")
    (root / "dir").symlink_to(outside)
    (root / "a" / "file").symlink_to(outside / "secret")
    (root / "staging").symlink_to(outside)
    for key in ("dir/secret", "a/file"):
        for call in (objects.stat, objects.delete, lambda key: objects.put(key, b"x")):
            with pytest.raises(StoreDenied, match="not followed"):
                call(key)
        with pytest.raises(StoreDenied):
            list(objects.read(key))
    with pytest.raises(StoreDenied):
        objects.upload("s", 1)
    assert [info.key for info in objects.list("")] == ["a/b"]
    with pytest.raises(StoreDenied):
        list(objects.list("dir/"))
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "secret"


def test_the_store_itself_may_be_a_link(objects: FileObjects, root: Path, tmp_path: Path) -> None:
    objects.put("a", b"1")
    (tmp_path / "link").symlink_to(root)
    assert list(FileObjects(f"file://{tmp_path}/link/").read("a")) == [b"1"]


def test_an_object_cannot_have_others_below_it(objects: FileObjects) -> None:
    objects.put("a", b"")
    objects.put("b/c", b"")
    for key in ("a/b", "b"):
        assert objects.stat(key) is None
        with pytest.raises(StoreConflict):
            objects.put(key, b"")
        objects.delete(key)
    with pytest.raises(ArtefactMissing):
        list(objects.read("a/b"))
    assert [info.key for info in objects.list("")] == ["a", "b/c"]


def test_a_clock_that_goes_back_does_not_bring_a_generation_back(
    objects: FileObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = objects.put("a", b"1")
    objects.delete("a")
    monkeypatch.setattr("time.time_ns", lambda: first.generation)
    seen = [first.generation] + [objects.put("a", b"1").generation for _ in range(3)]
    assert seen == sorted(set(seen))


def test_a_lock_file_of_rubbish_is_written_anew(objects: FileObjects, root: Path) -> None:
    first = objects.put("a", b"1")
    (root / "~lock").write_bytes(b"\x00rubbish, and more than is ever read of it" * 3)
    assert objects.put("a", b"1").generation > first.generation


def test_a_store_that_stays_locked_is_said_to_be(
    objects: FileObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("a", b"1")
    monkeypatch.setattr(objects_tree, "_LOCK_WAIT_S", 0.02)
    with (root / "~lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="locked") as refusal:
            objects.put("a", b"2")
        assert "fuser" in refusal.value.fix
        assert list(objects.read("a")) == [b"1"]
    objects.put("a", b"2")


@pytest.mark.parametrize(
    "torn",
    [b"1", b"\n1 ", b"\n1 abcdef", b"\n1 %s" % (b"a" * 63), b"\x00" * 4096, b"\n9 -\n\xff\n"],
)
def test_a_torn_line_does_not_count_and_spoils_no_other(
    objects: FileObjects, root: Path, source: Path, torn: bytes
) -> None:
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 0)
    with (root / "staging/s/done").open("ab") as done:
        done.write(torn)
    assert upload.done() == {0: digest(source, 0)}
    put(upload, source, 2)
    assert upload.done() == {0: digest(source, 0), 2: digest(source, 2)}
    put(upload, source, 1)
    finish(upload, source)
    assert b"".join(objects.read(KEY)) == source.read_bytes()


def test_a_chunk_that_is_being_overwritten_is_not_done(
    objects: FileObjects, source: Path, tmp_path: Path
) -> None:
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 0, 1)
    short = tmp_path / "short"
    short.write_bytes(b"x" * 10)
    with pytest.raises(StoreUnavailable):
        upload.put(0, short, 0, CHUNK, "0" * 64)
    assert upload.done() == {1: digest(source, 1)}
    put(upload, source, 0, 2)
    finish(upload, source)
    assert b"".join(objects.read(KEY)) == source.read_bytes()


def test_a_finish_that_was_cut_off_leaves_no_chunks_that_are_not_there(
    objects: FileObjects, root: Path, source: Path
) -> None:
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 0, 1, 2)
    (root / "staging/s/data").rename(root / "moved")
    assert upload.done() == {}
    put(upload, source, 0)
    assert upload.done() == {0: digest(source, 0)}


def test_bytes_that_were_cut_off_the_file_are_missed(
    objects: FileObjects, root: Path, source: Path
) -> None:
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 0, 1, 2)
    os.truncate(root / "staging/s/data", 3 * CHUNK - 1)
    with pytest.raises(StoreConflict, match="not complete"):
        finish(upload, source)
    assert objects.stat(KEY) is None


def test_a_chunk_on_its_way_is_waited_for(
    objects: FileObjects, root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 0, 1, 2)
    monkeypatch.setattr(objects_tree, "_LOCK_WAIT_S", 0.02)
    with (root / "staging/s/data").open() as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        put(upload, source, 1)
        with pytest.raises(StoreUnavailable):
            finish(upload, source)
    assert objects.stat(KEY) is None
    finish(upload, source)


@pytest.mark.parametrize(
    "answer", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, "nothing", "little"]
)
def test_a_file_system_that_cannot_join_files_is_no_hindrance(
    objects: FileObjects, source: Path, monkeypatch: pytest.MonkeyPatch, answer: int | str
) -> None:
    real = os.copy_file_range

    def copy(src: int, dst: int, count: int, at: int, to: int) -> int:
        if answer == "little":
            return real(src, dst, min(count, 999), at, to)
        if answer == "nothing":
            return 0
        assert isinstance(answer, int)
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, "copy_file_range", copy)
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 2, 0, 1)
    finish(upload, source)
    assert b"".join(objects.read(KEY)) == source.read_bytes()


def test_what_cannot_fit_is_refused_before_the_first_byte(objects: FileObjects, root: Path) -> None:
    with pytest.raises(StoreFull) as refusal:
        objects.upload("s", 1 << 60)
    assert "bytes are free" in refusal.value.why
    assert refusal.value.fix
    assert not root.exists()


def test_what_is_there_already_needs_no_room(
    objects: FileObjects, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 0, 1, 2)
    real = os.statvfs("/")

    class Room:
        f_bavail, f_frsize = 1, real.f_frsize

    monkeypatch.setattr(os, "statvfs", lambda _: Room)
    objects.upload("s", 3 * CHUNK)
    with pytest.raises(StoreFull):
        objects.upload("t", 3 * CHUNK)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_gets_full_leaves_what_was_there(
    objects: FileObjects, source: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    objects.put("names/a", b"old")
    upload = objects.upload("s", 3 * CHUNK)
    put(upload, source, 0)

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "copy_file_range", refuse)
        patched.setattr(os, "write", refuse)
        with pytest.raises(StoreFull) as refusal:
            put(upload, source, 1)
        assert refusal.value.fix
        with pytest.raises(StoreFull):
            objects.put("names/a", b"new")
    assert [info.key for info in objects.list("names/")] == ["names/a"]
    assert list(objects.read("names/a")) == [b"old"]
    assert upload.done() == {0: digest(source, 0)}
    put(upload, source, 1, 2)
    finish(upload, source)


def test_where_nothing_may_be_written_says_so() -> None:
    # Nobody makes a directory there, not even root.
    objects = FileObjects("file:///sys/kernel/yoyo-store")
    with pytest.raises(StoreDenied) as refusal:
        objects.put("a", b"")
    assert "file:///sys/kernel/yoyo-store/a" in refusal.value.what
    assert refusal.value.fix


def test_an_object_that_is_overwritten_in_place_is_not_given_out_mixed(
    objects: FileObjects, root: Path
) -> None:
    data = b"o" * (3 * 1024 * 1024)
    objects.put("a", data)
    pieces = objects.read("a")
    next(pieces)
    with (root / "a").open("r+b") as file:
        file.seek(2 * 1024 * 1024)
        file.write(b"n")
        file.truncate()
    with pytest.raises(StoreConflict):
        list(pieces)


def test_only_files_of_this_machine_are_a_store() -> None:
    for url in ("gs://bucket", "file://host/dir", "/dir", "file:dir"):
        with pytest.raises(ValueError, match="no file:///"):
            FileObjects(url)


def test_escaped_characters_are_understood(tmp_path: Path) -> None:
    place = tmp_path / "a b"
    FileObjects(place.as_uri()).put("k", b"1")
    assert (place / "k").read_bytes() == b"1"
