"""The fetch ports: what a source stands for, and its bytes on the way to this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from yoyo.model.fetch import RemoteFile, Resolved, TransferState


class Sources(Protocol):
    """Turns `hf://`, `https://`, `gs://`, `s3://`, `file://` and `inline:` into files."""

    def resolve(
        self, source: str, *, sha256: str | None = None, mirrors: tuple[str, ...] = ()
    ) -> Resolved:
        """Ask the source what it has now. Nothing large is fetched.

        Raises:
            SourceFailed: not there (moved), refused (token), rate-limited, not understood; the
                message never holds a token or a signed query.
            DriverUnavailable: the extra that the source needs is not installed.
        """
        ...

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        """A range of it, at most `length` bytes; shorter at the end. At most 64 MiB at once.

        A server that ignores ranges is read up to start + length and cut.

        Raises:
            SourceFailed.
        """
        ...


class Transfer(Protocol):
    """One file on its way to a path. A killed one goes on where it was when begun anew."""

    def state(self) -> TransferState:
        """How far it is.

        Raises:
            SourceFailed: every address failed; the message has each one's reason.
            StoreFull: the disk has no room.
        """
        ...

    def close(self) -> None:
        """Stop the transfer if it runs; what is there stays. Twice: returns silently."""
        ...


class Transfers(Protocol):
    """Downloads over several connections, with resume."""

    def start(self, file: RemoteFile, target: Path) -> Transfer:
        """Begin to fetch into `target` (a `.part` name of the caller's), going on where a transfer
        to the same path was cut off. Only for files with `addresses`.

        Raises:
            SourceFailed, DriverUnavailable: aria2c is not installed.
        """
        ...

    def close(self) -> None:
        """Stop every transfer and what carries them; what is there stays. Twice: silently."""
        ...
