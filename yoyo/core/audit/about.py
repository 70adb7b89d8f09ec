"""Rows about the ledger itself: one rule says which they are, and which of them count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from yoyo.model.ledger import (
    KEY_ADDED,
    KEY_REFUSED,
    KEY_RETIRED,
    LEDGER_NODE,
    SHARED,
    EventType,
    Row,
)
from yoyo.model.row_filter import RowFilter

KEY_CODES: Final = (KEY_ADDED, KEY_RETIRED, KEY_REFUSED)


def about_ledger(*codes: str, jobs: tuple[str, ...] = ()) -> RowFilter:
    """The rows about the ledger itself with one of these codes (all of them, without any)."""
    return RowFilter(
        nodes=(LEDGER_NODE,),
        modules=(SHARED,),
        types=(EventType.CHECKPOINT.value,),
        codes=codes,
        jobs=jobs,
    )


def is_about_ledger(row: Row) -> bool:
    """The same of one row: a module's row with such a code says nothing about the ledger."""
    entry = row.entry
    return (entry.event_type, entry.node_id, entry.module_id) == (
        EventType.CHECKPOINT,
        LEDGER_NODE,
        SHARED,
    )


def refusal_of(row: Row) -> tuple[str, str]:
    """job_id and input_hash of the KEY_REFUSED row by which that row counts for nothing."""
    return f"refuse/{row.seq}", f"sha256:{row.row_hash}"


def in_force(rows: Iterable[Row]) -> list[Row]:
    """Those that no later KEY_REFUSED row in force takes back. In the ledger's order."""
    refused, kept = set[tuple[str, str]](), list[Row]()
    for row in reversed(list(rows)):
        if refusal_of(row) in refused:
            continue
        if row.entry.error_code == KEY_REFUSED:
            refused.add((row.entry.job_id, row.entry.input_hash))
        kept.append(row)
    return kept[::-1]
