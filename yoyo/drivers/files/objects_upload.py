"""One object on its way into the directory store: chunks side by side in one file."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from yoyo.core.store_keys import STAGING
from yoyo.drivers.files.objects_tree import (
    Tree,
    find,
    is_name,
    parts_of,
    take,
    wrapped,
    write_all,
)
from yoyo.errors import StoreConflict, StoreUnavailable
from yoyo.model.store import ObjectInfo

_DATA: Final = "data"
_DONE: Final = "done"
_PIECE_BYTES: Final = 1024 * 1024
_LINE = re.compile(rb"(\d{1,9}) ([0-9a-f]{64}|-)")
# What kernels say where files cannot be joined without reading them: another file system, an
# old kernel, a file system that is no disk.
_NOT_HERE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


class _Store(Protocol):
    def address(self, key: str) -> str: ...

    def stat(self, key: str) -> ObjectInfo | None: ...


class FileUpload:
    """`staging/SESSION/data`, and beside it `done`: one line for each chunk that is on the disk.

    A line is written once its chunk's bytes are durable. It stands between two newlines, so
    that a torn one never joins the next; `INDEX -` takes an earlier line back.
    """

    def __init__(
        self, store: _Store, tree: Tree, session: str, size: int, chunk_bytes: int
    ) -> None:
        if not is_name(session) or size < 0:
            raise ValueError(f"no session of a store, or no size: {session!r}, {size}")
        self._store = store
        self._tree = tree
        self._parts = (*STAGING.rstrip("/").split("/"), session)
        self._address = store.address("/".join(self._parts))
        self._size = size
        self._chunk_bytes = chunk_bytes

    def done(self) -> dict[int, str]:
        """Chunks that are in the store already: index -> sha256.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        with (
            wrapped(self._address),
            suppress(FileNotFoundError),
            self._tree.folder(self._parts) as folder,
        ):
            return _recorded(folder)
        return {}

    def blocks(self) -> int:
        """How many blocks of 512 bytes the session has on the disk.

        Raises:
            OSError.
        """
        with suppress(FileNotFoundError), self._tree.folder(self._parts) as folder:
            found = find(folder, _DATA)
            return found.st_blocks if found else 0
        return 0

    def put(self, index: int, source: Path, start: int, length: int, sha256: str) -> None:
        """Copy `length` bytes of a file to the chunk's place, durably. Safe from threads.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull.
        """
        at = index * self._chunk_bytes
        if index < 0 or length <= 0 or length != min(self._chunk_bytes, self._size - at):
            raise ValueError(f"chunk {index} of {self._size} bytes is not {length} long")
        line = f"{index} {sha256}".encode()
        if not _LINE.fullmatch(line):
            raise ValueError(f"no sha256: {sha256!r}")
        with wrapped(self._address), self._session(fcntl.LOCK_SH) as (folder, data):
            before = _recorded(folder).get(index)
            if before == sha256:
                return
            if before is not None:
                _record(folder, b"%d -" % index)
            with _source(source) as fd:
                _copy(fd, start, data, at, length, source)
            os.fdatasync(data)
            _record(folder, line)

    def finish(self, key: str, hashes: tuple[str, ...]) -> ObjectInfo:
        """Move the file to its key and forget the session; the bytes are not read again.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull, StoreConflict: a chunk is not there.
        """
        if len(hashes) != -(-self._size // self._chunk_bytes):
            raise ValueError(f"{len(hashes)} chunks do not make {self._size} bytes")
        if self._store.stat(key) is None:
            try:
                self._move(key, hashes)
            except StoreConflict:
                # Another process may have finished it meanwhile.
                if self._store.stat(key) is None:
                    raise
        there = self._store.stat(key)
        if there is None:
            raise self._incomplete("It was removed as soon as it was there.")
        self.abandon()
        return there

    def _move(self, key: str, hashes: tuple[str, ...]) -> None:
        *above, name = parts_of(key)
        with wrapped(self._address), self._session(fcntl.LOCK_EX) as (folder, data):
            recorded = _recorded(folder)
            missing = [n for n, each in enumerate(hashes) if recorded.get(n) != each]
            if missing:
                raise self._incomplete(", ".join(map(str, missing[:8])))
            if os.fstat(data).st_size < self._size:
                raise self._incomplete("The file is shorter than its chunks.")
            with (
                self._tree.locked() as lock,
                self._tree.folder(tuple(above), make=True) as target,
            ):
                if find(target, name) is None:
                    os.ftruncate(data, self._size)
                    os.fchmod(data, 0o444)
                    self._tree.stamp(lock, data)
                    os.fsync(data)
                    os.rename(_DATA, name, src_dir_fd=folder, dst_dir_fd=target)
                    os.fsync(target)

    def abandon(self) -> None:
        """Remove what was sent. Nothing there: returns silently.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        with wrapped(self._address):
            try:
                with self._tree.folder(self._parts):
                    pass
            except FileNotFoundError:
                return
            with self._tree.locked():
                with suppress(FileNotFoundError), self._tree.folder(self._parts) as folder:
                    for name in (_DATA, _DONE):
                        with suppress(FileNotFoundError):
                            os.unlink(name, dir_fd=folder)
                self._tree.prune(self._parts)

    @contextmanager
    def _session(self, kind: int) -> Iterator[tuple[int, int]]:
        """The session's directory and its file, locked: shared by chunks, alone by `finish`.

        Without this a chunk that is still on its way might be written into the finished object.
        """
        while True:
            with self._begun() as (folder, data):
                take(data, kind, f"{self._tree.root}/{'/'.join(self._parts)}/{_DATA}")
                now, ours = find(folder, _DATA), os.fstat(data)
                if now and (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino):
                    yield folder, data
                    return

    @contextmanager
    def _begun(self) -> Iterator[tuple[int, int]]:
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        with ExitStack() as held:
            try:
                folder = held.enter_context(self._tree.folder(self._parts))
                data = held.enter_context(_opened(folder, _DATA, flags))
            except FileNotFoundError:
                held.close()
                # Opened under the lock, too: a finish elsewhere takes the file away.
                with self._tree.locked():
                    folder = held.enter_context(self._tree.folder(self._parts, make=True))
                    if find(folder, _DATA) is None:
                        # Left by a finish that was cut off: it speaks of bytes that moved away.
                        with suppress(FileNotFoundError):
                            os.unlink(_DONE, dir_fd=folder)
                        os.close(os.open(_DATA, flags | os.O_CREAT, 0o600, dir_fd=folder))
                        os.fsync(folder)
                    data = held.enter_context(_opened(folder, _DATA, flags))
            yield folder, data

    def _incomplete(self, which: str) -> StoreConflict:
        return StoreConflict(
            f"{self._address} is not complete.",
            why=f"Chunks that are not there: {which}",
            fix="Run the command again: it sends what is missing.",
        )


@contextmanager
def _opened(folder: int, name: str, flags: int) -> Iterator[int]:
    fd = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def _recorded(folder: int) -> dict[int, str]:
    if find(folder, _DATA) is None:
        return {}
    found: dict[int, str] = {}
    try:
        with _opened(folder, _DONE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW) as fd:
            content = b"".join(iter(lambda: os.read(fd, _PIECE_BYTES), b""))
    except FileNotFoundError:
        return found
    # A line that was torn matches no more; one that lacks its newline alone is whole.
    for raw in content.split(b"\n"):
        if line := _LINE.fullmatch(raw):
            index, digest = int(line[1]), line[2].decode()
            if digest == "-":
                found.pop(index, None)
            else:
                found[index] = digest
    return found


def _record(folder: int, line: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    new = find(folder, _DONE) is None
    with _opened(folder, _DONE, flags) as fd:
        write_all(fd, b"\n" + line + b"\n")
        os.fdatasync(fd)
    if new:
        os.fsync(folder)


@contextmanager
def _source(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _unreadable(path: Path, why: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} could not be sent to the store.",
        why=f"{why}.",
        fix="Run the command again; it goes on where it was.",
    )


def _copy(source: int, start: int, target: int, at: int, length: int, path: Path) -> None:
    """Copy in the kernel where it can; else through memory, a piece at a time."""
    left = length
    in_kernel = True
    while left:
        count = 0
        if in_kernel:
            try:
                count = os.copy_file_range(source, target, left, start, at)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
            # Some file systems answer 0 instead of an error; reading decides what is true.
            in_kernel = count > 0
        if not in_kernel:
            piece = os.pread(source, min(_PIECE_BYTES, left), start)
            if not piece:
                raise _unreadable(path, "It is shorter than it was")
            count = os.pwrite(target, piece, at)
        start, at, left = start + count, at + count, left - count
