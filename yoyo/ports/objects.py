"""The objects port: a store of bytes under keys, as an object store or a directory offers it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from yoyo.model.store import ObjectInfo


class Upload(Protocol):
    """One object on its way into the store, chunk by chunk, in any order, from several threads.

    Everything that `put` returned from survives a crash of either side: the next `upload` of the
    same session has it.
    """

    def done(self) -> dict[int, str]:
        """Chunks that are in the store already: index -> sha256."""
        ...

    def put(self, index: int, source: Path, start: int, length: int, sha256: str) -> None:
        """Send `length` bytes of a file as chunk `index`; `sha256` is theirs. Safe from threads.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull.
        """
        ...

    def finish(self, key: str, hashes: tuple[str, ...]) -> ObjectInfo:
        """Make the object of the chunks with these digests, in order, and forget the session.

        A key that exists is left as it is and returned: keys made so are named by their content.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull, StoreConflict: a chunk is not there.
        """
        ...

    def abandon(self) -> None:
        """Remove what was sent. Nothing there: returns silently."""
        ...


class Objects(Protocol):
    """One store. Keys are relative, `/`-separated, of [A-Za-z0-9._@-]; reading is thread-safe.

    Drivers retry what may pass by itself (429, 5xx, broken connections) with jittered backoff
    within a minute before they raise StoreUnavailable.
    """

    @property
    def url(self) -> str:
        """The store's address as configured, without a trailing slash."""
        ...

    def address(self, key: str) -> str:
        """The key's own address: gs://BUCKET/PREFIX/KEY or file:///DIR/KEY."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """None: there is no such object.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        ...

    def read(
        self, key: str, *, start: int = 0, length: int | None = None, generation: int | None = None
    ) -> Iterator[bytes]:
        """Pieces of at most 1 MiB of a range; resumed by itself where the stream breaks.

        Raises:
            ArtefactMissing, StoreUnavailable, StoreDenied.
            StoreConflict: the object has another generation than the one asked for, or became
                another one while it was read.
        """
        ...

    def put(self, key: str, data: bytes, *, if_generation: int | None = None) -> ObjectInfo:
        """Write a small object whole. `if_generation` 0: only where there is none; None: always.

        Raises:
            StoreConflict: the object has another generation.
            StoreUnavailable, StoreDenied, StoreFull.
        """
        ...

    def upload(self, session: str, size: int) -> Upload:
        """Begin or go on with the upload of `size` bytes in chunks of CHUNK_BYTES.

        Raises:
            StoreUnavailable, StoreDenied, StoreFull: known beforehand not to fit.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key begins with `prefix`, by key.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        ...

    def delete(self, key: str, *, generation: int | None = None) -> None:
        """Remove an object. Not there: returns silently.

        Raises:
            StoreConflict: it has another generation.
            StoreUnavailable, StoreDenied.
        """
        ...
