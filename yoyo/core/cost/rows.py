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


def rows_of(columns: Sequence[Iterable[bytes]], lines: Iterable[int]) -> list[Row]:
    """The rows that `decode_row` would give for columns that are sound; `lines` their numbers."""
    return [
        _row_of(fields, line)
        for fields, line in zip(zip(*columns, strict=True), lines, strict=True)
    ]


def _row_of(fields: tuple[bytes, ...], line: int) -> Row:
    text = b"\n".join(fields).decode().split("\n")
    ratio, tokens, seconds, cost = text[8:12]
    entry = Entry(
        _KINDS[text[2]],
        text[3],
        text[4],
        text[5],
        _STATUSES[text[12]],
        text[14],
        text[13],
        text[6],
        tuple(text[7].split(";")) if text[7] else (),
        Decimal(ratio) if ratio else None,
        int(tokens) if tokens else None,
        Decimal(seconds) if seconds else None,
        Decimal(cost) if cost else None,
    )
    return Row(entry, text[0], datetime.fromisoformat(text[1]), int(text[15]), text[16], line)


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
