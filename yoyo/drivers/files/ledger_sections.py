"""Which files make up a ledger, held open: its sealed months, and the live file.

The live file is opened before the sealed ones are looked for. Sealing writes the month's file
first and replaces the live one after, so whatever comes between, each row is seen once: a
sealed file counts only for rows before the live file's first.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.ledger_format import HASH_CHARS, HEADER, stored_hash
from yoyo.drivers.files.lines import first_row_seq, last_row, line_seq
from yoyo.errors import LedgerUnreadable

if TYPE_CHECKING:
    from yoyo.model.audit import LedgerPart

# Below this, reading the rows is as fast as reading what is known of them.
WORTH_BYTES = 4_000_000
_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")


class Section(NamedTuple):
    """One open file of a ledger, and the length up to which it is read."""

    fd: int
    end: int  # bytes; no write is under way before it
    path: Path
    month: str | None  # None: the live file
    first_seq: int  # of its first row; of a file without rows: the next one
    last_seq: int | None  # of a sealed file's last row; None: live

    @property
    def name(self) -> str:
        """What problems call it: nothing for the live file, which is the ledger itself."""
        return "" if self.month is None else self.path.name

    @property
    def start(self) -> int:
        """The offset of the first row's line."""
        has_header = os.pread(self.fd, len(HEADER), 0) == HEADER
        return len(HEADER) if has_header else 0

    @property
    def part(self) -> LedgerPart:
        """The same without the open file."""
        from yoyo.model.audit import LedgerPart  # not at every start: few commands ask for it

        return LedgerPart(self.path, self.first_seq, self.month)


class Sections(NamedTuple):
    """All files of a ledger in the order of their rows; `fault` if they do not fit together."""

    files: tuple[Section, ...]
    fault: str = ""

    @property
    def first_seq(self) -> int:
        """Where the rows begin; above 1: older months are not there."""
        return self.files[0].first_seq if self.files else 1


def size_of(sections: Sections) -> int:
    """The bytes of all files."""
    return sum(section.end for section in sections.files)


def is_large(sections: Sections) -> bool:
    """Whether it is worth it to keep what is read (ADR 0023)."""
    return size_of(sections) >= WORTH_BYTES


def sealed_path(path: Path, month: str) -> Path:
    """Where that month's file is, or will be."""
    return path.with_name(f"{path.stem}-{month}{path.suffix}")


def sealed_paths(path: Path) -> list[tuple[str, Path]]:
    """The sealed months beside a ledger, oldest first.

    Raises:
        OSError: its directory cannot be read.
    """
    found = []
    try:
        names = os.listdir(path.parent)  # noqa: PTH208 (names are all that is needed)
    except FileNotFoundError:
        return []
    start, end = len(path.stem) + 1, -len(path.suffix) or None
    for name in names:
        month = name[start:end]
        if _MONTH.fullmatch(month) and name == sealed_path(path, month).name:
            found.append((month, path.with_name(name)))
    return sorted(found)


def hash_before(path: Path, seq: int) -> str | None:
    """The row_hash of the row before that one, which a sealed month ends with.

    Raises:
        OSError.
    """
    for _, sealed in reversed(sealed_paths(path)):
        raw = end_of(sealed)
        if raw is not None and line_seq((raw, b"\n", b"")) == seq - 1:
            return raw[-HASH_CHARS:].decode()
    return None


def end_of(path: Path) -> bytes | None:
    """A file's last row; None where it has none.

    Raises:
        OSError.
    """
    fd = _open(path)
    try:
        return last_row(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


@contextmanager
def open_sections(path: Path) -> Iterator[Sections]:
    """The ledger's files, open until the block ends; none where there is no live file.

    Raises:
        LedgerUnreadable.
    """
    with ExitStack() as opened:
        try:
            found = _find(path, opened)
        except OSError as error:
            raise unreadable(path, error.strerror or str(error)) from error
        try:
            yield found
        except OSError as error:
            raise unreadable(path, error.strerror or str(error)) from error


@contextmanager
def open_live(path: Path) -> Iterator[Section | None]:
    """The live file alone; None where there is none. `first_seq` is 1 if it is not known.

    Raises:
        LedgerUnreadable.
    """
    with ExitStack() as opened:
        try:
            yield _live(path, opened)
        except OSError as error:
            raise unreadable(path, error.strerror or str(error)) from error


def unreadable(path: Path, why: str, fix: str = "") -> LedgerUnreadable:
    """The error for a ledger whose files cannot be read, or do not fit together."""
    return LedgerUnreadable(
        f"The ledger {path} could not be read.",
        why=f"{why}.",
        fix=fix or "Give yourself permission to read it, or set `ledger` to another path.",
    )


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path.name} is no regular file")
    return fd


def _live(path: Path, opened: ExitStack) -> Section | None:
    try:
        fd = _open(path)
    except FileNotFoundError:
        return None
    opened.callback(os.close, fd)
    fcntl.flock(fd, fcntl.LOCK_SH)
    end = os.fstat(fd).st_size
    fcntl.flock(fd, fcntl.LOCK_UN)
    return Section(fd, end, path, None, first_row_seq(fd, end) or 0, None)


def _find(path: Path, opened: ExitStack) -> Sections:
    live = _live(path, opened)
    months = sealed_paths(path)
    if live is None:
        if months:
            raise OSError(f"the live file is missing, though {months[-1][1].name} is there")
        return Sections(())
    if live.first_seq == 1:
        return Sections((live,))
    sealed = [_sealed(month, name, opened) for month, name in months]
    ready = _with_known_ends([each for each in sealed if each is not None])
    if not live.first_seq:
        # No row, or a damaged one: it goes on where the sealed months end.
        last = ready[-1].last_seq if ready else 0
        live = live._replace(first_seq=(last or 0) + 1)
    files = [each for each in ready if each.first_seq < live.first_seq]
    return Sections((*files, live), _misfit([*files, live]))


def _sealed(month: str, path: Path, opened: ExitStack) -> Section | None:
    try:
        fd = _open(path)
    except FileNotFoundError:
        return None  # deleted since its name was read
    opened.callback(os.close, fd)
    end = os.fstat(fd).st_size
    raw = last_row(fd, end)
    last = None if raw is None or stored_hash(raw) is None else line_seq((raw, b"\n", b""))
    return Section(fd, end, path, month, first_row_seq(fd, end) or 0, last)


def _with_known_ends(sealed: list[Section]) -> list[Section]:
    """A damaged first or last line takes its number from the file before or after."""
    ready: list[Section] = []
    for each in sealed:
        above = ready[-1].last_seq if ready else 0
        ready.append(each if each.first_seq else each._replace(first_seq=(above or 0) + 1))
    for at, each in enumerate(ready):
        if each.last_seq is None:
            below = ready[at + 1].first_seq - 1 if at + 1 < len(ready) else each.first_seq
            ready[at] = each._replace(last_seq=below)
    return ready


def _misfit(files: list[Section]) -> str:
    for above, below in pairwise(files):
        due = (above.last_seq or 0) + 1
        if below.first_seq != due:
            return misfit(above.path, below.path, due, below.first_seq)
    return ""


def misfit(above: Path, below: Path, due: int, first: int) -> str:
    """How two files do not fit together, the lower of which begins with another row than due."""
    if first > due:
        return f"rows {due} to {first - 1} are missing between {above.name} and {below.name}"
    return f"{above.name} and {below.name} both have row {first}"


def missing_first(first: int) -> str:
    """What is said where the oldest file begins with that row and nothing tells why."""
    return f"rows 1 to {first - 1} are missing, and no row says they were deleted"
