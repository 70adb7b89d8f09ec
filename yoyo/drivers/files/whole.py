"""Files that are written whole or not at all, and lines read with a bound."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from errno import EISDIR
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from yoyo.core.ledger_format import HEADER
from yoyo.drivers.files.state import sync_dir
from yoyo.errors import StateUnwritable


class WholeFile:
    """Written beside its place and renamed over it when the block ends well.

    A reader sees the old file or the new one, never a part; mode 0666 less the umask. `option` is
    the one that named it.

    Raises:
        StateUnwritable: no room, no permission, no such directory; or a directory or a ledger is
            there.
    """

    def __init__(self, path: Path, option: str = "-o") -> None:
        self._path, self._option = path, option
        # A name that was never used: one who was killed may have left a part of the same number.
        self._part = path.parent / f".{path.name}.{os.urandom(6).hex()}.part"
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        _refuse_a_ledger(self._path, self._option)
        try:
            if not self._path.name:
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            self._file = self._part.open("xb")
        except OSError as error:
            raise self._failed(error) from error
        return self

    def write(self, data: bytes) -> None:
        """Add to it.

        Raises:
            StateUnwritable: no room.
        """
        assert self._file is not None  # noqa: S101 - inside the block alone
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None  # noqa: S101
        try:
            with self._file as file:
                if kind is None:
                    file.flush()
                    os.fsync(file.fileno())
            if kind is None:
                self._part.replace(self._path)
                sync_dir(self._path.parent)
        except OSError as failure:
            if kind is None:
                raise self._failed(failure) from failure
        finally:
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> StateUnwritable:
        return StateUnwritable(
            f"{self._path} could not be written.",
            why=f"{error.strerror or error}.",
            fix=f"Make room, or name another file: {self._option} FILE, in a directory that you "
            "may write to.",
        )


def _refuse_a_ledger(path: Path, option: str) -> None:
    """Nor in the place of one of its months."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return  # nothing that could be read: then it is no ledger
    try:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        begins = os.pread(fd, len(HEADER), 0) if is_file else b""
    except OSError:
        begins = b""
    finally:
        os.close(fd)
    if begins == HEADER:
        raise StateUnwritable(
            f"{path} was not written: a ledger is there.",
            why="A ledger is never replaced by what is made of it.",
            fix=f"Name another file: {option} FILE.",
        )


def lines_of(file: BinaryIO, most: int) -> Iterator[bytes]:
    """Lines without their newline; one that is longer than `most` bytes comes cut to `most` + 1."""
    while line := file.readline(most + 1):
        if not line.endswith(b"\n") and len(line) > most:
            yield line
            while (rest := file.readline(most)) and not rest.endswith(b"\n"):
                pass
            continue
        yield line.removesuffix(b"\n")
