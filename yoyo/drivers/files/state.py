"""The state directory: made on first use, private, written atomically."""

from __future__ import annotations

import os
from pathlib import Path

from yoyo.errors import StateUnwritable


def unwritable(path: Path, error: OSError) -> StateUnwritable:
    """The error for a path under the state directory that cannot be made or written."""
    return StateUnwritable(
        f"{path} could not be written.",
        why=f"{error.strerror or error}.",
        fix=f"Make {path.parent} a directory that you may write to, with space left on its disk, "
        "or set another state directory (`yoyo config show` says which one is in use).",
    )


def private_dir(path: Path) -> None:
    """Make the directory (0700) and what is missing above it.

    Raises:
        OSError.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_atomically(path: Path, content: bytes, *, durable: bool) -> None:
    """Replace the file (0600) in one step; `durable` also waits for the disk.

    Raises:
        OSError: then the old file stands as it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(part, flags, 0o600)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(fd, left) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    if durable:
        sync_dir(path.parent)


def sync_dir(path: Path) -> None:
    """Wait until the directory's entries are on the disk.

    Raises:
        OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
