"""A billing export as CSV: one line a row, lists as JSON text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from yoyo.core.reconcile.bill_row import BadBillRow, column_names, read_row
from yoyo.drivers.billing.faults import MOST_MISTAKES, invalid
from yoyo.model.reconcile import BillLine

_FIELD_CHARS = 1 << 20


class CsvBilling:
    """Implements BillingReader, in constant memory."""

    def lines(self, path: Path) -> Iterator[BillLine | None]:
        """See the port."""
        import csv

        csv.field_size_limit(_FIELD_CHARS)
        mistakes: list[str] = []
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.reader(file, strict=True)
                header = next(rows, [])
                try:
                    meant = column_names(header)
                except BadBillRow as error:
                    raise invalid(path, str(error)) from None
                where = {meaning: header.index(name) for meaning, name in meant.items()}
                for row in rows:
                    try:
                        if len(row) != len(header):
                            raise BadBillRow(f"{len(row)} fields instead of {len(header)}")
                        fields = {meaning: row[index] for meaning, index in where.items()}
                        digest = hashlib.sha256("\0".join(row).encode()).hexdigest()
                        yield read_row(fields, rows.line_num, digest)
                    except BadBillRow as error:
                        mistakes.append(f"line {rows.line_num}: {error}")
                        if len(mistakes) == MOST_MISTAKES:
                            break
        except (OSError, UnicodeError, csv.Error) as error:
            raise invalid(path, _why(error)) from error
        if mistakes:
            raise invalid(path, mistakes[0], tuple(mistakes))


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not UTF-8" if isinstance(error, UnicodeError) else f"it is no CSV: {error}"
