"""Cells of the files that leave the house, so that no cell acts on whoever opens it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from yoyo.core.unsafe_text import visible

# What a spreadsheet takes for a formula when a cell begins with it. TAB and CR as well: some
# programs drop them and look at what follows. OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTED = re.compile('[",\r\n]')


def plain(value: Decimal | None) -> str:
    """A decimal without an exponent; "" for what nobody knows."""
    return "" if value is None else format(value, "f")


def stamp(when: datetime) -> str:
    """UTC to the second, as FOCUS and OTLP readers expect it: YYYY-MM-DDTHH:MM:SSZ."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def csv_line(cells: Iterable[str], end: str = "\n") -> str:
    """One RFC 4180 line; control characters are spelled out first."""
    return ",".join(_quoted(visible(cell)) for cell in cells) + end


def sheet_line(cells: Iterable[str]) -> str:
    """One line for a spreadsheet: a cell that would be a formula begins with an apostrophe."""
    return csv_line(("'" + cell if cell.startswith(_FORMULA) else cell for cell in cells), "\r\n")


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell
