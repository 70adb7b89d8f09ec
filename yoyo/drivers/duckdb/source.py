"""What is to be read of a ledger's file: only whole rows, and how many there must be."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from yoyo.core.ledger_faults import gone, unreadable
from yoyo.core.ledger_format import HEADER, MAX_LINE_BYTES, BadLine, seq_of, stored_hash
from yoyo.model.audit import LedgerPart

_LOOK: Final = MAX_LINE_BYTES + 1
_BLOCK: Final = 1 << 20


class Source(NamedTuple):
    """A file up to its last whole row, as it was when it was looked at."""

    path: Path
    identity: tuple[int, ...]  # device, inode, size, times: of exactly this content
    end: int  # bytes up to the last newline, which is in
    first_seq: int
    last_seq: int
    last_hash: str

    @property
    def torn(self) -> bool:
        """Whether something follows the last newline."""
        return self.end < self.identity[2]

    @property
    def rows(self) -> int:
        """How many rows there are if none is missing."""
        return self.last_seq - self.first_seq + 1


def look_at(part: LedgerPart) -> Source | None:
    """The file's extent; None: its header or its ends are not sound, or it has no rows.

    Raises:
        LedgerUnreadable: among others, it is gone.
    """
    try:
        fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise gone(part.path) from error
    except OSError as error:
        raise unreadable(part.path, error.strerror or str(error)) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise unreadable(part.path, "it is no regular file")
        fcntl.flock(fd, fcntl.LOCK_SH)  # so that no write is under way
        found = os.fstat(fd)
        fcntl.flock(fd, fcntl.LOCK_UN)
        return _extent(fd, part.path, found)
    except OSError as error:
        raise unreadable(part.path, error.strerror or str(error)) from error
    finally:
        os.close(fd)


def _extent(fd: int, path: Path, found: os.stat_result) -> Source | None:
    head = os.pread(fd, len(HEADER) + MAX_LINE_BYTES, 0)
    if not head.startswith(HEADER):
        return None
    first, newline, _ = head[len(HEADER) :].partition(b"\n")
    size = found.st_size
    start = max(size - 2 * _LOOK, 0)
    tail = os.pread(fd, size - start, start)
    cut = tail.rfind(b"\n")
    above = tail.rfind(b"\n", 0, max(cut, 0))
    if not newline or cut < 0 or above < 0:
        return None
    last = tail[above + 1 : cut]
    try:
        digest = stored_hash(last)
        if digest is None:
            return None
        ends = seq_of(first), seq_of(last)
    except BadLine:
        return None
    identity = (found.st_dev, found.st_ino, size, found.st_mtime_ns, found.st_ctime_ns)
    return Source(path, identity, start + cut + 1, *ends, digest)


def newlines(source: Source) -> int:
    """How many there are up to the last whole row's."""
    count, left = 0, source.end
    with source.path.open("rb") as file:
        while left and (data := file.read(min(_BLOCK, left))):
            count += data.count(b"\n")
            left -= len(data)
    return count
