"""One object on its way into Cloud Storage: an object for each chunk, joined at the end."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.core.store_keys import STAGING
from yoyo.drivers.gcs.faults import starts_over
from yoyo.drivers.gcs.session import TIMEOUT_S
from yoyo.errors import ArtefactMissing, StoreConflict, StoreUnavailable
from yoyo.model.store import ObjectInfo

if TYPE_CHECKING:
    from yoyo.drivers.gcs.objects import GcsObjects

# The most that one compose call takes: https://cloud.google.com/storage/quotas#objects
_MOST_SOURCES: Final = 32
# What a chunk is sent in, and sent again where a connection breaks. A multiple of 256 KiB, as
# resumable uploads want; a thread holds about three of them.
_SENT_BYTES: Final = 8 * 1024 * 1024
_TRIES: Final = 3
_DELETERS: Final = 8
_MEDIA_TYPE: Final = "application/octet-stream"
_CHUNK = re.compile(r"(\d{6})-([0-9a-f]{64})")


class GcsUpload:
    """`staging/SESSION/INDEX-SHA256`: that a chunk is there is known by its name alone.

    An object of Cloud Storage appears whole or not at all, and only when the CRC32C that was
    sent with it fits.
    """

    def __init__(self, store: GcsObjects, session: str, size: int, chunk_bytes: int) -> None:
        if "/" in session or size < 0:
            raise ValueError(f"no session of a store, or no size: {session!r}, {size}")
        self._store = store
        self._folder = f"{STAGING}{session}/"
        store.name(self._folder + "0")  # refuses what is no key
        self._size = size
        self._chunk_bytes = chunk_bytes

    def done(self) -> dict[int, str]:
        """Chunks that are in the store already: index -> sha256.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        # Of one index with several digests the newest counts.
        newest = sorted(self._chunks(), key=lambda each: each[2].generation)
        return {index: digest for index, digest, _ in newest}

    def _chunks(self) -> Iterator[tuple[int, str, ObjectInfo]]:
        for info in self._store.list(self._folder):
            found = _CHUNK.fullmatch(info.key.removeprefix(self._folder))
            if found and info.size == self._length(int(found[1])):
                yield int(found[1]), found[2], info

    def _length(self, index: int) -> int:
        return min(self._chunk_bytes, self._size - index * self._chunk_bytes)

    def _key(self, index: int, sha256: str) -> str:
        return f"{self._folder}{index:06}-{sha256}"

    def put(self, index: int, source: Path, start: int, length: int, sha256: str) -> None:
        """Send `length` bytes of a file as one object. Safe from threads.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull.
        """
        if index < 0 or length <= 0 or length != self._length(index):
            raise ValueError(f"chunk {index} of {self._size} bytes is not {length} long")
        key = self._key(index, sha256)
        if not _CHUNK.fullmatch(key.removeprefix(self._folder)):
            raise ValueError(f"no sha256, or too many chunks: {index}, {sha256!r}")
        for left in reversed(range(_TRIES)):
            if self._send(key, source, start, length, last=not left):
                return

    def _send(self, key: str, source: Path, start: int, length: int, *, last: bool) -> bool:
        """Whether it is there; if not, it is worth beginning again."""
        blob = self._store.blob(key)
        blob.chunk_size = _SENT_BYTES
        with closing(_Window(source, start, length)) as window, self._store.wrapped(key):
            try:
                blob.upload_from_file(
                    window,
                    size=length,
                    content_type=_MEDIA_TYPE,
                    timeout=TIMEOUT_S,
                    checksum="crc32c",
                    retry=self._store.session.retry,
                )
            except Exception as error:
                if last or not starts_over(error):
                    raise
                return False
        return True

    def finish(self, key: str, hashes: tuple[str, ...]) -> ObjectInfo:
        """Have Google join the chunks and forget the session; no byte is sent.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull, StoreConflict: a chunk is not there.
        """
        if len(hashes) != -(-self._size // self._chunk_bytes):
            raise ValueError(f"{len(hashes)} chunks do not make {self._size} bytes")
        if self._store.stat(key) is None:
            try:
                self._join(key, hashes)
            except (StoreConflict, ArtefactMissing) as error:
                # Another process may have finished it, and removed the chunks, meanwhile.
                if self._store.stat(key) is None:
                    if isinstance(error, StoreConflict):
                        raise
                    raise self._incomplete("one vanished meanwhile.") from error
        there = self._store.stat(key)
        if there is None:
            raise self._incomplete("It was removed as soon as it was there.")
        self.abandon()
        return there

    def _join(self, key: str, hashes: tuple[str, ...]) -> None:
        if not hashes:
            self._store.put(key, b"", if_generation=0)
            return
        there = {(index, digest) for index, digest, _ in self._chunks()}
        missing = [n for n, each in enumerate(hashes) if (n, each) not in there]
        if missing:
            raise self._incomplete(", ".join(map(str, missing[:8])))
        parts = [self._key(n, each) for n, each in enumerate(hashes)]
        level = 0
        while len(parts) > _MOST_SOURCES:
            level += 1
            groups = [parts[n : n + _MOST_SOURCES] for n in range(0, len(parts), _MOST_SOURCES)]
            parts = [f"{self._folder}join-{level}-{n:06}" for n in range(len(groups))]
            for target, group in zip(parts, groups, strict=True):
                self._compose(target, group, None)
        self._compose(key, parts, 0)

    def _compose(self, key: str, parts: Sequence[str], if_generation: int | None) -> None:
        blob = self._store.blob(key)
        blob.content_type = _MEDIA_TYPE
        with self._store.wrapped(key):
            blob.compose(
                [self._store.blob(part) for part in parts],
                if_generation_match=if_generation,
                timeout=TIMEOUT_S,
                retry=self._store.session.retry,
            )

    def abandon(self) -> None:
        """Remove what was sent. Nothing there: returns silently.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        keys = [info.key for info in self._store.list(self._folder)]
        with ThreadPoolExecutor(_DELETERS) as pool:
            for done in [pool.submit(self._store.delete, key) for key in keys]:
                done.result()

    def _incomplete(self, which: str) -> StoreConflict:
        return StoreConflict(
            f"{self._store.address(self._folder.rstrip('/'))} is not complete.",
            why=f"Chunks that are not there: {which}",
            fix="Run the command again: it sends what is missing.",
        )


class _Window(io.RawIOBase):
    """A part of a file, as a file that begins at 0."""

    def __init__(self, path: Path, start: int, length: int) -> None:
        super().__init__()
        self._path = path
        self._start = start
        self._length = length
        self._at = 0
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, all that are left for None or -1.

        Raises:
            StoreUnavailable: the file is shorter than it was, or cannot be read.
        """
        left = self._length - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        pieces = []
        while wanted:
            try:
                piece = os.pread(self._fd, wanted, self._start + self._at)
            except OSError as error:
                raise self._unreadable(error.strerror or str(error)) from error
            if not piece:
                raise self._unreadable("It is shorter than it was")
            pieces.append(piece)
            self._at += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def tell(self) -> int:
        """Bytes from the window's beginning."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the window."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = base + offset
        return self._at

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._fd)
        super().close()

    def _unreadable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._path} could not be sent to the store.",
            why=f"{why}.",
            fix="Run the command again; it goes on where it was.",
        )
