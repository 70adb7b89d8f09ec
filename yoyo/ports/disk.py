"""The disk port: large files on this machine, hashed and filled piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more bytes."""
        ...

    def hexdigest(self) -> str:
        """Lowercase hex."""
        ...


class Disk(Protocol):
    """Files here. Every method is safe from threads; foreign errors leave as YoyoErrors."""

    def room(self, directory: Path) -> int:
        """Bytes that may still be written where that directory is (it is made if it is missing).

        Raises:
            StateUnwritable.
        """
        ...

    def size(self, path: Path) -> int | None:
        """Bytes of a regular file; None: there is none."""
        ...

    def taken(self, path: Path) -> int:
        """Bytes that the file takes on the disk: one that is being filled has holes."""
        ...

    def stamp(self, path: Path) -> str:
        """Changes whenever the file's bytes may have: size, times and inode; "" without a file."""
        ...

    def feed(self, path: Path, start: int, length: int, into: Hash) -> int:
        """Hash a range; returns the bytes that were there. Constant memory.

        Raises:
            SourceFailed: it cannot be read.
        """
        ...

    def write_at(self, path: Path, start: int, data: bytes) -> None:
        """Write into a file, which is made with its directories if it is missing.

        Raises:
            StoreFull, StateUnwritable.
        """
        ...

    def settle(self, part: Path, final: Path, size: int) -> None:
        """Cut `part` to `size`, bring it to the disk, and give it its final name.

        Raises:
            StoreFull, StateUnwritable.
        """
        ...

    def read_text(self, path: Path) -> str:
        """A small text file; "" when there is none or it cannot be read."""
        ...

    def write_text(self, path: Path, text: str) -> None:
        """Replace a small text file atomically, 0600, with its directories.

        Raises:
            StateUnwritable.
        """
        ...

    def remove(self, path: Path) -> None:
        """Remove a file, or a directory with all that is in it. Not there: returns silently.

        Raises:
            StateUnwritable.
        """
        ...
