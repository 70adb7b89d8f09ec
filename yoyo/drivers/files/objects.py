"""The objects port over a directory: the store that needs nothing but a disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from yoyo.drivers.files.objects_tree import (
    PART,
    Tree,
    find,
    full,
    generation_of,
    is_name,
    parts_of,
    wrapped,
    write_all,
)
from yoyo.drivers.files.objects_upload import FileUpload
from yoyo.errors import ArtefactMissing, StoreConflict, StoreUnavailable
from yoyo.model.store import CHUNK_BYTES, ObjectInfo

_PIECE_BYTES: Final = 1024 * 1024
_BLOCK_BYTES: Final = 512  # what stat counts blocks in, on every file system


class FileObjects:
    """file:///DIR. Each key is a file below it, made with the first write.

    A generation is the file's modification time in nanoseconds. yoyo's own writes let it grow
    by at least one, across the whole store; a file system that keeps coarser times is no place
    for a store. Writers of any number of processes take turns by a lock; readers need none, as
    files are replaced whole. What came by `upload` is read-only.

    `chunk_bytes` is for trials.
    """

    def __init__(self, url: str, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._url = url.rstrip("/")
        path = unquote(url.removeprefix("file://"))
        if not url.startswith("file:///"):
            raise ValueError(f"no file:///DIR: {url!r}")
        if Path(path).exists() and not Path(path).is_dir():
            raise StoreUnavailable(
                f"The store {self._url} is no directory.",
                why="Something else has that name.",
                fix="Correct `store` in yoyo.yaml.",
            )
        self._tree = Tree(Path(path))
        self._chunk_bytes = chunk_bytes

    @property
    def url(self) -> str:
        """As configured, without a trailing slash."""
        return self._url

    def address(self, key: str) -> str:
        """file:///DIR/KEY."""
        return f"{self._url}/{key}"

    def stat(self, key: str) -> ObjectInfo | None:
        """None: there is no such object.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        *above, name = parts_of(key)
        with wrapped(self.address(key)):
            try:
                with self._tree.folder(tuple(above)) as folder:
                    found = find(folder, name)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return None if found is None else _info(key, found)

    def read(
        self, key: str, *, start: int = 0, length: int | None = None, generation: int | None = None
    ) -> Iterator[bytes]:
        """Pieces of at most 1 MiB of a range; none where it begins behind the end.

        Raises:
            ArtefactMissing, StoreUnavailable, StoreDenied.
            StoreConflict: the object has another generation, or became another one.
        """
        if start < 0 or (length is not None and length < 0):
            raise ValueError("a range begins at 0 and has a length of 0 or more")
        with wrapped(self.address(key)):
            fd, found = self._open(key)
            try:
                if generation not in (None, generation_of(found)):
                    raise self._changed(key)
                end = found.st_size if length is None else min(found.st_size, start + length)
                at = start
                while at < end:
                    piece = os.pread(fd, min(_PIECE_BYTES, end - at), at)
                    # An object is replaced, not overwritten: whoever did has broken it.
                    if not piece or generation_of(os.fstat(fd)) != generation_of(found):
                        raise self._changed(key)
                    yield piece
                    at += len(piece)
            finally:
                os.close(fd)

    def _open(self, key: str) -> tuple[int, os.stat_result]:
        *above, name = parts_of(key)
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            with self._tree.folder(tuple(above)) as folder:
                fd = os.open(name, flags, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(key) from None
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise self._missing(key)
        return fd, found

    def put(self, key: str, data: bytes, *, if_generation: int | None = None) -> ObjectInfo:
        """Write a small object whole, durably. `if_generation` 0: only where there is none.

        Raises:
            StoreConflict: the object has another generation.
            StoreUnavailable, StoreDenied, StoreFull.
        """
        *above, name = parts_of(key)
        with (
            wrapped(self.address(key)),
            self._tree.locked() as lock,
            self._tree.folder(tuple(above), make=True) as folder,
        ):
            self._check(key, find(folder, name), if_generation)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(PART, flags, 0o600, dir_fd=folder)
            try:
                write_all(fd, data)
                os.fchmod(fd, 0o644)
                self._tree.stamp(lock, fd)
                os.fsync(fd)
                os.rename(PART, name, src_dir_fd=folder, dst_dir_fd=folder)
                found = os.fstat(fd)
            except OSError:
                with suppress(OSError):
                    os.unlink(PART, dir_fd=folder)
                raise
            finally:
                os.close(fd)
            os.fsync(folder)
        return _info(key, found)

    def upload(self, session: str, size: int) -> FileUpload:
        """Begin or go on with the upload of `size` bytes in chunks of CHUNK_BYTES.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull: known beforehand not to fit.
        """
        made = FileUpload(self, self._tree, session, size, self._chunk_bytes)
        with wrapped(self.url):
            there = made.blocks() * _BLOCK_BYTES
            at = self._tree.root
            while not at.exists():
                at = at.parent
            room = os.statvfs(at)
            free = room.f_bavail * room.f_frsize
            if size - there > free:
                raise full(
                    self.url, f"{size - there} bytes are still to come; {free} bytes are free."
                )
        return made

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key begins with `prefix`, by key.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        *above, begin = prefix.split("/")
        if not all(map(is_name, above)):
            return
        with wrapped(self.url):
            yield from self._walk(tuple(above), begin)

    def _walk(self, above: tuple[str, ...], begin: str) -> Iterator[ObjectInfo]:
        # What vanishes meanwhile is left out, as if the listing had come later.
        try:
            with self._tree.folder(above) as folder, os.scandir(folder) as entries:
                found = [
                    (entry.name, each)
                    for entry in entries
                    if entry.name.startswith(begin) and is_name(entry.name)
                    if (each := _stat(entry)) is not None
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        # A slash sorts among the other characters, so a directory is compared with its slash.
        found.sort(key=lambda each: each[0] + "/" * stat.S_ISDIR(each[1].st_mode))
        for name, each in found:
            if stat.S_ISDIR(each.st_mode):
                yield from self._walk((*above, name), "")
            elif stat.S_ISREG(each.st_mode):
                yield _info("/".join((*above, name)), each)

    def delete(self, key: str, *, generation: int | None = None) -> None:
        """Remove an object, and the directories that are empty then. Not there: returns silently.

        Raises:
            StoreConflict: it has another generation.
            StoreUnavailable, StoreDenied.
        """
        *above, name = parts_of(key)
        if self.stat(key) is None:
            return
        with wrapped(self.address(key)), self._tree.locked():
            with suppress(FileNotFoundError), self._tree.folder(tuple(above)) as folder:
                found = find(folder, name)
                if found is None:
                    return
                self._check(key, found, generation)
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
            self._tree.prune(tuple(above))

    def _check(self, key: str, found: os.stat_result | None, wanted: int | None) -> None:
        if wanted is not None and wanted != (generation_of(found) if found else 0):
            raise self._changed(key)

    def _changed(self, key: str) -> StoreConflict:
        return StoreConflict(
            f"{self.address(key)} was changed by somebody else.",
            why="It has another generation than the one that was read.",
            fix="Run the command again: it then works with what is there now.",
        )

    def _missing(self, key: str) -> ArtefactMissing:
        return ArtefactMissing(
            f"{self.address(key)} is not there.",
            why="The store has no object of that key.",
            fix="See what is there: yoyo weights ls.",
        )


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    updated = datetime.fromtimestamp(found.st_mtime, UTC)
    return ObjectInfo(key, found.st_size, generation_of(found), updated)
