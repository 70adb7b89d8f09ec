"""Implements the port of proofs: a directory beside the ledger, one file a document."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Self

from yoyo.drivers.files.state import write_atomically
from yoyo.errors import LedgerWriteFailed

_MAX_BYTES = 4 * 1024 * 1024


class FileProofs:
    """Documents named by their digest; what is there is never written again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def beside(cls, ledger: Path) -> Self:
        """Those that the rows of that ledger name."""
        return cls(ledger.with_suffix(".proofs"))

    def keep(self, document: bytes) -> str:
        """See the port."""
        digest = _digest(document)
        if self.find(digest) is not None:
            return digest
        path = self._path(digest)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomically(path, document, durable=True)
        except OSError as error:
            raise LedgerWriteFailed(
                f"The proof {path} could not be written.",
                why=f"{error.strerror or error}.",
                fix="Make room, or make the ledger's directory writable for you.",
            ) from error
        return digest

    def find(self, digest: str) -> bytes | None:
        """See the port."""
        try:
            found = os.open(
                self._path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return None
        with os.fdopen(found, "rb") as file:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return None
            document = file.read(_MAX_BYTES + 1)
        return document if _digest(document) == digest else None

    def _path(self, digest: str) -> Path:
        # Hex alone: a row of the ledger must not name a path elsewhere.
        name = "".join(c for c in digest.removeprefix("sha256:") if c in "0123456789abcdef")
        return self._directory / f"{name}.json"


def _digest(document: bytes) -> str:
    from hashlib import sha256  # a command that only looks has no use for OpenSSL

    return f"sha256:{sha256(document).hexdigest()}"
