"""Files that a command makes for people: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from yoyo.errors import StateUnwritable


@contextmanager
def result_file(path: Path) -> Iterator[IO[str]]:
    """A text file, UTF-8, that takes the place of `path` when the block ends without error.

    A reader sees the old file or the new one, never a part; mode 0644 less the umask.

    Raises:
        StateUnwritable: no room, no permission, no such directory, or a directory is there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="utf-8", newline="") as file:
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
            fix="Name another file: -o FILE, in a directory that you may write to.",
        ) from error
