"""A file of this machine as the store names it: the digest of the whole and of each chunk."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from yoyo.model.store import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yoyo.ports.disk import Disk


class Digests(NamedTuple):
    """sha256 in hex."""

    whole: str
    chunks: tuple[str, ...]  # of each CHUNK_BYTES in order
    size: int  # bytes that were there


class _Both:
    """Two digests in one reading."""

    def __init__(self) -> None:
        self.whole = sha256()
        self.chunk = sha256()

    def update(self, data: bytes | memoryview, /) -> None:
        self.whole.update(data)
        self.chunk.update(data)

    def hexdigest(self) -> str:
        return self.whole.hexdigest()


def chunk_ranges(size: int) -> list[tuple[int, int]]:
    """Start and length of each chunk of a file of that size."""
    return [(start, min(CHUNK_BYTES, size - start)) for start in range(0, size, CHUNK_BYTES)]


def chunk_digests(
    disk: Disk, path: Path, size: int, moved: Callable[[int, int], None] = lambda _done, _all: None
) -> Digests:
    """Read the first `size` bytes once; `moved` gets bytes so far and bytes in all.

    Raises:
        SourceFailed: it cannot be read.
    """
    both, chunks, there = _Both(), [], 0
    for start, length in chunk_ranges(size):
        both.chunk = sha256()
        there += disk.feed(path, start, length, both)
        chunks.append(both.chunk.hexdigest())
        moved(start + length, size)
    return Digests(both.hexdigest(), tuple(chunks), there)
