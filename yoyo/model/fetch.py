"""Files that are fetched from elsewhere: where they are, and how far a transfer is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Address(NamedTuple):
    """Where bytes are. Headers may hold a token: never shown, never in an argv."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


class RemoteFile(NamedTuple):
    """One file of a source. Exactly one of `addresses`, `local` and `data` is given."""

    path: str  # where it belongs inside the set: relative, hostile until checked
    size: int | None  # bytes; None: the source does not say
    sha256: str | None  # as the source or the operator says it
    addresses: tuple[Address, ...] = ()  # the first one is tried first; the others are mirrors
    local: Path | None = None
    data: bytes | None = None


class Resolved(NamedTuple):
    """A source as it is now."""

    url: str  # as given, without anything secret
    revision: str  # what it stands for now: a commit, a generation, an ETag; "" unknown
    licence: str
    files: tuple[RemoteFile, ...]


class TransferState(NamedTuple):
    """How far a transfer is. `pieces` has one bit a piece, most significant first."""

    done: int  # bytes on the disk
    total: int | None
    speed: int  # bytes a second
    finished: bool
    piece_bytes: int
    pieces: bytes

    def has(self, start: int, length: int) -> bool:
        """Whether these bytes are on the disk."""
        if self.finished:
            return True
        if not self.piece_bytes or not self.pieces:
            return False
        last = (start + length - 1) // self.piece_bytes
        return all(
            self.pieces[n // 8] >> (7 - n % 8) & 1 if n // 8 < len(self.pieces) else False
            for n in range(start // self.piece_bytes, last + 1)
        )
