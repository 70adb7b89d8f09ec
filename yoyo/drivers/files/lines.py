"""Reading a file of lines in blocks, forwards or from its end, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterator

from yoyo.core.ledger_format import HEADER, MAX_LINE_BYTES, BadLine, seq_of, stored_hash

# A block without a newline is a line that is too long, by that alone. Larger ones are no
# faster: beyond 128 KiB malloc asks the kernel for each of them anew.
BLOCK_BYTES = MAX_LINE_BYTES


class LineBlocks:
    """The whole lines between two offsets, as blocks that lack only their last newline.

    A line of BLOCK_BYTES or more comes alone and cut to that length. `at` is where the block
    after the present one begins. After the iteration `torn_bytes` is the length of what follows
    the last newline.
    """

    def __init__(self, fd: int, start: int, end: int) -> None:
        self._fd = fd
        self._start = start
        self._end = end
        self.at = start
        self.torn_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        self.at = self._start
        while self.at < self._end:
            data = os.pread(self._fd, min(BLOCK_BYTES, self._end - self.at), self.at)
            cut = data.rfind(b"\n")
            if cut >= 0:
                self.at += cut + 1
                yield data[:cut]
                continue
            newline = _next_newline(self._fd, self.at + len(data), self._end)
            if newline is None:
                break
            self.at = newline + 1
            yield data
        self.torn_bytes = self._end - self.at


def _next_newline(fd: int, at: int, end: int) -> int | None:
    while at < end and (data := os.pread(fd, min(BLOCK_BYTES, end - at), at)):
        cut = data.find(b"\n")
        if cut >= 0:
            return at + cut
        at += len(data)
    return None


def start_of_last(fd: int, end: int, count: int) -> int:
    """The offset at which the last `count` whole lines before `end` begin."""
    need, at = count + 1, end  # their own newlines, and the one before the first of them
    while at > 0:
        begin = max(at - BLOCK_BYTES, 0)
        data = os.pread(fd, at - begin, begin)
        found = data.count(b"\n")
        if found >= need:
            cut = len(data)
            for _ in range(need):
                cut = data.rfind(b"\n", 0, cut)
            return begin + cut + 1
        need -= found
        at = begin
    return 0


def count_lines(fd: int, end: int) -> int:
    """How many newlines stand before that offset."""
    return sum(
        os.pread(fd, min(BLOCK_BYTES, end - at), at).count(b"\n")
        for at in range(0, end, BLOCK_BYTES)
    )


def first_row_seq(fd: int, end: int) -> int | None:
    """The seq of the first row; None where there is no row or that line is damaged.

    A file that lost its header begins with a row.
    """
    data = os.pread(fd, min(end, len(HEADER) + MAX_LINE_BYTES), 0)
    return line_seq(data.removeprefix(HEADER).partition(b"\n"))


def last_row(fd: int, end: int) -> bytes | None:
    """The last whole line without its newline; None where that is the header, or none is."""
    start = start_of_last(fd, end, 1)
    if start < len(HEADER) or start >= end:
        return None
    raw = os.pread(fd, min(end - start, MAX_LINE_BYTES), start)
    return raw.partition(b"\n")[0]


def line_seq(parted: tuple[bytes, bytes, bytes]) -> int | None:
    """The seq of a line partitioned at its newline; None where it is no row's line."""
    raw, newline, _ = parted
    try:
        return seq_of(raw) if newline and stored_hash(raw) is not None else None
    except BadLine:
        return None


def stored_hash_at(fd: int, at: int, end: int) -> tuple[str, int] | None:
    """The hash of the whole line that begins there, and where the next begins; None: none does."""
    raw, newline, _ = os.pread(fd, min(MAX_LINE_BYTES, end - at), at).partition(b"\n")
    found = stored_hash(raw) if newline else None
    return None if found is None else (found, at + len(raw) + 1)
