"""Single lines of a large file by their row numbers, without reading what lies between.

To have DuckDB give them back would cost a copy of every field of every row.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from yoyo.core.cost.rows import rows_of, sound_columns
from yoyo.core.ledger_format import HEADER, BadLine, seq_of
from yoyo.drivers.duckdb.source import Source
from yoyo.model.ledger import Row

# So near, lines are stepped over one by one: a guess would not be nearer.
_NEAR: Final = 32
# Guesses halve what is left at the least every fourth time: enough for any file.
_GUESSES: Final = 256
_AT_ONCE: Final = 128  # lines of usual length stay below what `sound_columns` takes


class Misplaced(Exception):
    """A row is not where its number says, or it is none."""


def rows_at(source: Source, seqs: Sequence[int]) -> list[Row]:
    """The rows of those numbers, which are in order and of this file; `line` as in a sound file.

    Raises:
        Misplaced: one of them is not there, or not well-formed.
        OSError: the file cannot be read.
    """
    if not seqs:
        return []
    with (
        source.path.open("rb") as file,
        mmap.mmap(file.fileno(), source.end, access=mmap.ACCESS_READ) as text,
    ):
        return _together(source, _lines(text, source, seqs), seqs)


def rows_of_lines(source: Source, lines: Sequence[bytes], seqs: Sequence[int]) -> list[Row]:
    """The same of lines that were found already.

    Raises:
        Misplaced: they are not those of these rows.
    """
    if len(lines) != len(seqs):
        raise Misplaced
    return _together(source, iter(lines), seqs)


def _together(source: Source, lines: Iterator[bytes], seqs: Sequence[int]) -> list[Row]:
    rows: list[Row] = []
    for begin in range(0, len(seqs), _AT_ONCE):
        rows += _rows(source, list(islice(lines, _AT_ONCE)), [*seqs[begin : begin + _AT_ONCE]])
    return rows


def _rows(source: Source, lines: list[bytes], seqs: list[int]) -> list[Row]:
    columns = sound_columns(b"\n".join(lines), lines)
    if columns is None:
        if len(lines) == 1:
            raise Misplaced
        # Together they may only be too long: one by one it is seen.
        return [
            row
            for line, seq in zip(lines, seqs, strict=True)
            for row in _rows(source, [line], [seq])
        ]
    rows = rows_of(columns, [seq - source.first_seq + 2 for seq in seqs])
    if [row.seq for row in rows] != seqs:
        raise Misplaced
    return rows


def _lines(text: mmap.mmap, source: Source, seqs: Sequence[int]) -> Iterator[bytes]:
    """The lines of those rows, without their newlines."""
    at, here = len(HEADER), source.first_seq
    for seq in seqs:
        if seq - here > _NEAR:
            at, here = _close_to(text, source, seq, at, here)
        while here < seq:
            at = text.find(b"\n", at) + 1
            here += 1
            if at == 0 or at >= source.end:
                raise Misplaced
        stop = text.find(b"\n", at)
        if stop < 0 or seq < here:
            raise Misplaced
        yield text[at:stop]
        at, here = stop + 1, here + 1


def _close_to(text: mmap.mmap, source: Source, seq: int, low: int, below: int) -> tuple[int, int]:
    """Offset and number of a line that is at most a few lines above that row."""
    high, above = source.end, source.last_seq + 1
    for number in range(_GUESSES):
        # In the middle every fourth time, for a file whose lines are of unlike lengths.
        share = (seq - _NEAR // 2 - below) / (above - below) if number % 4 < 3 else 0.5
        guess = low + int((high - low) * max(share, 0.0))
        start = text.rfind(b"\n", low, guess) + 1 or low
        stop = text.find(b"\n", start)
        try:
            found = seq_of(text[start:stop])
        except BadLine as error:
            raise Misplaced from error
        if found > seq:
            high, above = start, found
        else:
            low, below = start, found
        if below <= seq <= below + _NEAR:
            return low, below
        if not below < seq < above or low >= high:
            raise Misplaced
        if high - low < _NEAR * 64:
            return low, below
    return low, below
