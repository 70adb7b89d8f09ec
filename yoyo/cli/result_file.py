"""Files that a command makes for people: whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def result_file(path: Path, option: str = "-o") -> Iterator[Callable[[str], object]]:
    """What writes text, as UTF-8, to a file that is there when the block ends well.

    `option` is the one that named it.

    Raises:
        StateUnwritable: no room, no permission, no such directory, or there is a directory or a
            ledger.
    """
    from yoyo.wiring_audit import written_whole

    with written_whole(path, option) as write:
        yield lambda text: write(text.encode())


def write_result(path: Path, data: bytes, option: str = "-o") -> None:
    """The same for bytes that are there already.

    Raises:
        StateUnwritable.
    """
    from yoyo.wiring_audit import written_whole

    with written_whole(path, option) as write:
        write(data)
