"""Large files on this machine, behind the disk port."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.drivers.files.state import sync_dir, unwritable, write_atomically
from yoyo.errors import SourceFailed, StoreFull, YoyoError

if TYPE_CHECKING:
    from yoyo.ports.disk import Hash

# Large enough that hashlib works without the interpreter's lock, small enough for any machine.
_PIECE = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalDisk:
    """The disk port over the operating system."""

    def room(self, directory: Path) -> int:
        """See the port."""
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return shutil.disk_usage(directory).free
        except OSError as error:
            raise unwritable(directory, error) from error

    def size(self, path: Path) -> int | None:
        """See the port."""
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def taken(self, path: Path) -> int:
        """See the port."""
        try:
            return path.stat().st_blocks * 512
        except OSError:
            return 0

    def stamp(self, path: Path) -> str:
        """See the port."""
        try:
            found = path.stat()
        except OSError:
            return ""
        if not stat.S_ISREG(found.st_mode):
            return ""
        return f"{found.st_size}.{found.st_mtime_ns}.{found.st_ctime_ns}.{found.st_ino}"

    def feed(self, path: Path, start: int, length: int, into: Hash) -> int:
        """See the port."""
        buffer = bytearray(min(_PIECE, max(length, 1)))
        view, at, end = memoryview(buffer), start, start + length
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while at < end:
                    count = os.preadv(fd, [view[: end - at]], at)
                    if count == 0:
                        break
                    into.update(view[:count])
                    at += count
            finally:
                os.close(fd)
        except OSError as error:
            raise SourceFailed(
                f"{path} cannot be read.", why=error.strerror or str(error), fix="Mend that."
            ) from error
        return at - start

    def write_at(self, path: Path, start: int, data: bytes) -> None:
        """See the port."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                view = memoryview(data)
                while view:
                    count = os.pwrite(fd, view, start)
                    view, start = view[count:], start + count
            finally:
                os.close(fd)
        except OSError as error:
            raise _failed(path, error) from error

    def settle(self, part: Path, final: Path, size: int) -> None:
        """See the port."""
        try:
            fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                os.ftruncate(fd, size)
                os.fsync(fd)
            finally:
                os.close(fd)
            part.replace(final)
            sync_dir(final.parent)
        except OSError as error:
            raise _failed(final, error) from error

    def read_text(self, path: Path) -> str:
        """See the port."""
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def write_text(self, path: Path, text: str) -> None:
        """See the port."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text.encode(), durable=True)
        except OSError as error:
            raise _failed(path, error) from error

    def remove(self, path: Path) -> None:
        """See the port."""
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise unwritable(path, error) from error


def _failed(path: Path, error: OSError) -> YoyoError:
    if error.errno in _FULL:
        return StoreFull(
            f"{path} cannot be written.",
            why=error.strerror or str(error),
            fix="Make room on that disk; what is there is kept, and the same command goes on.",
        )
    return unwritable(path, error)
