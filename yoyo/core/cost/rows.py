"""Lines of the ledger as rows, many at once: a call for each line would take three times as long.

Pure. What a line must be is what `decode_row` takes, no more and no less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from yoyo.core.ledger_columns import columns_of, well_formed
from yoyo.core.ledger_format import HASH_CHARS, MAX_DIGITS, MAX_LINE_BYTES
from yoyo.model.ledger import CompletionStatus, Entry, EventType, Row

_KINDS = {str(kind): kind for kind in EventType}
_STATUSES = {str(status): status for status in CompletionStatus}
_HEX: Final = b"0123456789abcdef"


def sound_columns(block: bytes, lines: list[bytes]) -> list[list[bytes]] | None:
    """The lines of a block as columns, every field of its form; None: not all of them are."""
    columns = columns_of(block, lines) if len(block) < MAX_LINE_BYTES else None
    # The last two columns are what a chain check knows already; here nobody does.
    if columns is None or not (well_formed(columns) and _framed(columns)):
        return None
    return columns


def rows_of(columns: Sequence[Sequence[bytes]], lines: Iterable[int]) -> list[Row]:
    """The rows that `decode_row` would give for columns that are sound; `lines` their numbers."""
    if not columns[0]:
        return []
    # A whole column at a time: no field of a sound line holds a newline.
    (
        ids, times, kinds, modules, nodes, jobs, inputs, adapters, ratios, tokens, seconds, costs,
        statuses, codes, operators, seqs, hashes,
    ) = (b"\n".join(column).decode().split("\n") for column in columns)  # fmt: skip
    entries = map(
        Entry,
        map(_KINDS.__getitem__, kinds),
        modules,
        nodes,
        jobs,
        map(_STATUSES.__getitem__, statuses),
        operators,
        codes,
        inputs,
        (tuple(each.split(";")) if each else () for each in adapters),
        _decimals(ratios),
        (int(each) if each else None for each in tokens),
        _decimals(seconds),
        _decimals(costs),
    )
    moments = map(datetime.fromisoformat, times)
    return list(map(Row, entries, ids, moments, map(int, seqs), hashes, lines))


def _decimals(texts: Iterable[str]) -> list[Decimal | None]:
    return [Decimal(each) if each else None for each in texts]


def _framed(columns: list[list[bytes]]) -> bool:
    """Whether seq and row_hash have their forms in every row."""
    seqs, hashes = columns[15], columns[16]
    digits = b"".join(seqs)
    return (
        digits.isdigit()
        and all(map(len, seqs))
        and max(map(len, seqs)) <= MAX_DIGITS
        and not any(seq.startswith(b"0") for seq in seqs)
        and set(map(len, hashes)) == {HASH_CHARS}
        and not b"".join(hashes).translate(None, _HEX)
    )
