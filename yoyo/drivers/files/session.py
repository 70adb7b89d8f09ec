"""Implements the session's marker: one small file in the state directory."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from yoyo.drivers.files.state import private_dir, write_atomically

_MAX_BYTES = 64 * 1024
_WAIT_S, _POLL_S = 1.0, 0.02


class FileSessionMarker:
    """`session-HEX.json`, and a lock beside it that dies with its holder.

    HEX are the first 16 digits of the sha256 of the ledger's path: a state directory may serve
    several ledgers.
    """

    def __init__(self, state_dir: Path, ledger: Path) -> None:
        digest = sha256(os.fsencode(ledger.absolute())).hexdigest()
        self._path = state_dir / f"session-{digest[:16]}.json"

    def read(self) -> bytes | None:
        """See the port."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                return file.read(_MAX_BYTES)
        except OSError:
            return None

    def write(self, content: bytes) -> None:
        """See the port."""
        try:
            private_dir(self._path.parent)
            write_atomically(self._path, content, durable=False)
        except OSError:
            pass  # then the next command opens the session anew

    @contextmanager
    def hold(self) -> Iterator[bool]:
        """See the port."""
        fd = self._lock()
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)

    def _lock(self) -> int | None:
        try:
            private_dir(self._path.parent)
            fd = os.open(
                self._path.with_suffix(".lock"),
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
        except OSError:
            return None
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except OSError:
                if time.monotonic() > deadline:
                    os.close(fd)
                    return None
                time.sleep(_POLL_S)
