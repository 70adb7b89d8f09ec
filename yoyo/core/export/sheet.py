"""Rows as a CSV that is safe to open in a spreadsheet. Pure."""

from __future__ import annotations

from yoyo.core.export.cells import plain, sheet_line
from yoyo.model.ledger import COLUMNS, Row

# Without it Excel reads UTF-8 as the machine's own 8-bit encoding, and names come out wrong.
BYTE_ORDER_MARK = "\ufeff"


def header() -> str:
    """The first line, with the mark that says UTF-8 to a spreadsheet."""
    return BYTE_ORDER_MARK + sheet_line(COLUMNS)


def line(row: Row) -> str:
    """One row; figures as they stand in the ledger, text neutralised."""
    entry = row.entry
    tokens = entry.tokens_processed
    return sheet_line(
        (
            row.event_id,
            row.timestamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            str(entry.event_type),
            entry.module_id,
            entry.node_id,
            entry.job_id,
            entry.input_hash,
            ";".join(entry.adapter_versions),
            plain(entry.cache_hit_ratio),
            "" if tokens is None else str(tokens),
            plain(entry.gpu_seconds),
            plain(entry.cost_usd),
            str(entry.completion_status),
            entry.error_code,
            entry.operator_id,
            str(row.seq),
            row.row_hash,
        )
    )
