"""A price table from its file, as the configuration reads it."""

from __future__ import annotations

from pathlib import Path

from yoyo.config.mistakes import Report
from yoyo.config.price_table import SHIPPED, read_price_table, table_invalid
from yoyo.model.prices import PriceTable


def load_price_table(path: Path | None = None) -> PriceTable:
    """The table at `path`; None: the one that comes with yoyo. All its mistakes at once."""
    report = Report()
    table = read_price_table(path, report)
    if table is None:
        raise table_invalid(path or SHIPPED, report)
    return table
