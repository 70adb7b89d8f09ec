"""Files that a command makes for people: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, BinaryIO

from yoyo.errors import StateUnwritable


@contextmanager
def result_file(path: Path, option: str = "-o") -> Iterator[IO[str]]:
    """A text file, UTF-8, that takes the place of `path` when the block ends without error.

    A reader sees the old file or the new one, never a part; mode 0644 less the umask. `option`
    is the one that named it.

    Raises:
        StateUnwritable: no room, no permission, no such directory, or there is a directory or a
            ledger.
    """
    with _placed(path, option) as binary:
        text = TextIOWrapper(binary, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()


def write_result(path: Path, data: bytes, option: str = "-o") -> None:
    """The same for bytes that are there already.

    Raises:
        StateUnwritable.
    """
    with _placed(path, option) as file:
        file.write(data)


@contextmanager
def _placed(path: Path, option: str) -> Iterator[BinaryIO]:
    if _is_ledger(path):
        raise StateUnwritable(
            f"{path} was not written: a ledger is there.",
            why="A ledger is never replaced by what is made of it.",
            fix=f"Name another file: {option} FILE.",
        )
    # A name that was never used: one who was killed may have left a part of the same number.
    part = path.with_name(f".{path.name}.{os.urandom(6).hex()}.part")
    try:
        with part.open("xb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StateUnwritable(
            f"{path} could not be written.",
            why=f"{error.strerror or error}.",
            fix=f"Name another file: {option} FILE, in a directory that you may write to.",
        ) from error


def _is_ledger(path: Path) -> bool:
    from yoyo.core.ledger_format import HEADER

    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(HEADER)) == HEADER
    except OSError:
        return False
