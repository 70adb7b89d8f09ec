"""Remembers which checkpoints a second store has, so that nobody lists thousands each time.

A cache: where it is lost or damaged, more is asked of the store, and nothing else changes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

COPIED_FILE: Final = "copied.txt"
_FORMAT: Final = "yoyo-copied/1"
_FILE: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
# Of a century of hourly checkpoints, some 34 bytes each.
_MAX_BYTES: Final = 32 * 1024 * 1024


def copied_to(path: Path, store: str) -> frozenset[str]:
    """The names that are remembered for that store; none where the file is of another one."""
    try:
        content = _read(path)
    except OSError:
        return frozenset()
    head, _, rest = content.partition(b"\n")
    if head != _head(store):
        return frozenset()
    whole = rest[: rest.rfind(b"\n") + 1]  # the end of the last one may never have been written
    return frozenset(name.decode() for name in whole.split(b"\n") if _FILE.fullmatch(name))


def remember(path: Path, store: str, name: str) -> None:
    """Add one. Failing to is not an error."""
    line = name.encode() + b"\n"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, flags, 0o644), "r+b") as file:
            if file.readline(_MAX_BYTES).rstrip(b"\n") != _head(store):
                file.seek(0)
                file.truncate()
                file.write(_head(store) + b"\n")
            elif not _ends_whole(file.seek(0, os.SEEK_END), file.fileno()):
                line = b"\n" + line
            file.write(line)
    except OSError:
        return


def _head(store: str) -> bytes:
    return f"{_FORMAT} {store}".encode()


def _ends_whole(size: int, file: int) -> bool:
    return os.pread(file, 1, size - 1) == b"\n"


def _read(path: Path) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as opened:
        content = opened.read(_MAX_BYTES + 1)
    return content if len(content) <= _MAX_BYTES else b""
