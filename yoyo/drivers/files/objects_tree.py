"""The ground under the directory store: keys as paths, one lock, and what a failure means."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from yoyo.errors import StoreConflict, StoreDenied, StoreFull, StoreUnavailable, YoyoError

# No key holds a tilde, so that these names are never taken for objects.
LOCK: Final = "~lock"
PART: Final = "~part"  # one a directory is enough: only the lock's holder writes it
_LOCK_WAIT_S = 60.0
_POLL_S = 0.01  # flock cannot wait with a limit
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,255}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def is_name(text: str) -> bool:
    """Whether this may be one part of a key."""
    return bool(_NAME.fullmatch(text)) and text not in (".", "..")


def parts_of(key: str) -> tuple[str, ...]:
    """The parts of a key.

    Raises:
        ValueError: it is no key; a mistake of the program, as keys are made by core.
    """
    parts = tuple(key.split("/"))
    if not all(map(is_name, parts)):
        raise ValueError(f"no key of a store: {key!r}")
    return parts


def generation_of(found: os.stat_result) -> int:
    """The modification time in nanoseconds; `Tree.stamp` lets it grow with every write."""
    return found.st_mtime_ns


class Tree:
    """A directory that is opened part by part, so that no link leads out of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def folder(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """A directory below the root, open; `make` creates what is missing.

        Raises:
            FileNotFoundError, NotADirectoryError, OSError: ELOOP for a symbolic link.
        """
        if make:
            self._make_root()
        fd = os.open(self.root, _FOLDER)
        try:
            for part in parts:
                deeper = _step(fd, part, make=make)
                os.close(fd)
                fd = deeper
            yield fd
        finally:
            os.close(fd)

    def _make_root(self) -> None:
        missing = []
        at = self.root
        while not at.is_dir():
            missing.append(at)
            at = at.parent
        for each in reversed(missing):
            # The root decides who may come in; what is below it need not.
            with suppress(FileExistsError):
                each.mkdir(mode=0o700)
            _sync(each.parent)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the store against every other writer of it; gives the lock's file for `stamp`.

        Raises:
            StoreUnavailable: it was held for a minute. OSError.
        """
        with self.folder((), make=True) as root:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(LOCK, flags, 0o644, dir_fd=root)
        try:
            take(fd, fcntl.LOCK_EX, str(self.root / LOCK))
            yield fd
        finally:
            os.close(fd)

    def stamp(self, lock: int, fd: int) -> None:
        """Give a file that becomes an object its generation.

        Later than that of every object before it in this store, whatever the clock does: the
        lock's file holds the last one.
        """
        kept = os.pread(lock, 32, 0).strip()
        last = int(kept) if kept.isdigit() else 0
        wanted = max(time.time_ns(), last + 1)
        os.utime(fd, ns=(wanted, wanted))
        os.pwrite(lock, b"%020d\n" % wanted, 0)

    def prune(self, parts: tuple[str, ...]) -> None:
        """Remove the directory and those above it as far as they are empty; under the lock."""
        while parts:
            with suppress(OSError), self.folder(parts) as fd:
                os.unlink(PART, dir_fd=fd)
            try:
                with self.folder(parts[:-1]) as above:
                    os.rmdir(parts[-1], dir_fd=above)
            except OSError:
                return
            parts = parts[:-1]


def _step(fd: int, part: str, *, make: bool) -> int:
    flags = _FOLDER | os.O_NOFOLLOW
    try:
        return os.open(part, flags, dir_fd=fd)
    except FileNotFoundError:
        if not make:
            raise
        with suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=fd)
        os.fsync(fd)
        return os.open(part, flags, dir_fd=fd)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, f"{part} is a symbolic link") from None
        raise


def take(fd: int, kind: int, name: str) -> None:
    """Take a flock within a minute.

    Raises:
        StoreUnavailable.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    "The store stayed locked by another process.",
                    why=f"{name} was held for {_LOCK_WAIT_S:g} seconds.",
                    fix=f"See who holds it: `fuser {name}`.",
                ) from None
            time.sleep(_POLL_S)


def find(folder: int, name: str) -> os.stat_result | None:
    """The regular file of that name in an open directory, if there is one.

    Raises:
        OSError: ELOOP for a symbolic link.
    """
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, f"{name} is a symbolic link")
    return found if stat.S_ISREG(found.st_mode) else None


def write_all(fd: int, data: bytes) -> None:
    """Write every byte at the file's place."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _sync(path: Path) -> None:
    fd = os.open(path, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def wrapped(address: str) -> Iterator[None]:
    """Turn what the system refuses into an error for the operator."""
    try:
        yield
    except OSError as error:
        raise _translated(address, error) from error


def _translated(address: str, error: OSError) -> YoyoError:
    why = f"{error.strerror or error}."
    if error.errno in _FULL:
        return full(address, why)
    if error.errno == errno.ELOOP:
        return StoreDenied(
            f"{address} was not followed.",
            why=f"{why} The store follows no links, as they may lead out of it.",
            fix="Replace the link inside the store by what it stands for.",
        )
    if error.errno in _DENIED:
        return StoreDenied(
            f"{address} could not be used.",
            why=why,
            fix="Make the store a directory that you may read and write.",
        )
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY):
        return StoreConflict(
            f"{address} could not be written.",
            why=f"{why} A key cannot be an object and have others below it.",
            fix="Remove what stands in its way, or choose another name.",
        )
    return StoreUnavailable(
        f"{address} could not be used.", why=why, fix="Check the disk, then run the command again."
    )


def full(address: str, why: str) -> StoreFull:
    """There is no room."""
    return StoreFull(
        f"There is no room for {address}.",
        why=why,
        fix="See what can go: yoyo weights gc. Or make room on the disk.",
    )
