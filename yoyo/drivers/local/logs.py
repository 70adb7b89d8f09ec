"""Reading the engine's log from its end, and along with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yoyo.ports.clock import Clock


_BLOCK = 65536
_MAX_TAIL_BYTES = 16 << 20
_FOLLOW_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines; none when there is no log."""
    try:
        with path.open("rb") as file:
            return _tail(file.fileno(), count)[0]
    except OSError:
        return []


def _tail(descriptor: int, count: int) -> tuple[list[str], int]:
    """The last lines, and the position after them."""
    end = os.fstat(descriptor).st_size
    data, start = b"", end
    while start > 0 and data.count(b"\n") <= count and len(data) < _MAX_TAIL_BYTES:
        size = min(_BLOCK, start)
        start -= size
        data = os.pread(descriptor, size, start) + data
    lines = data.decode("utf-8", "backslashreplace").splitlines()
    return (lines[-count:] if count else []), end


def lines_of(
    path: Path, count: int, alive: Callable[[], bool] | None, clock: Clock
) -> Iterator[str]:
    """The last `count` lines, then, with `alive`, new ones for as long as it says so."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        lines, position = _tail(file.fileno(), count)
        yield from lines
        if alive is None:
            return
        rest = b""
        while True:
            # Asked before reading: what was written last must still be shown.
            going_on = alive()
            data = os.pread(file.fileno(), _BLOCK, position)
            position += len(data)
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "backslashreplace")
            if not data and not going_on:
                if rest:
                    yield rest.decode("utf-8", "backslashreplace")
                return
            if not data:
                clock.sleep(_FOLLOW_S)
