"""Checks a CSV against the rules that the FinOps Foundation publishes with its validator.

The validator itself needs pandas and older releases of half a dozen packages. Its rules are plain
data (tests/golden/focus-1.0-rules.json), and of five kinds.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

RULES = Path(__file__).parent / "golden" / "focus-1.0-rules.json"
# ISO 4217's list comes with the validator as a file; a ledger knows one currency.
CURRENCIES = {"USD"}


def broken_rules(path: Path) -> list[str]:
    """The names of the rules that the file breaks."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        rows = list(reader)
        columns = set(reader.fieldnames or ())
    rules = json.loads(RULES.read_text(encoding="utf-8"))["rules"]
    return [rule["rule"] for rule in rules if not _holds(rule, columns, rows)]


def _holds(rule: dict[str, Any], columns: set[str], rows: list[dict[str, str]]) -> bool:
    column, check = rule["column"], rule["check"]
    if check == "column_required":
        return column in columns
    if column not in columns:
        return True  # another rule says whether it must be there
    values = [row[column] for row in rows]
    match check:
        case {"allow_nulls": bool(allowed)}:
            return allowed or all(values)
        case {"value_in": list(words)}:
            return all(value in words for value in values if value)
        case {"data_type": str(kind)}:
            return all(_TYPES[kind](value) for value in values if value)
        case {"sql_query": str(query)}:
            # The only one: SkuPriceId is there for purchases, usage and refunds.
            assert re.search(r"ChargeType IN \('Purchase', 'Usage', 'Refund'\)", query)
            kinds = ("Purchase", "Usage", "Refund")
            return all(row[column] for row in rows if row.get("ChargeType") in kinds)
    raise AssertionError(f"a kind of rule that nobody taught this checker: {rule}")


def _is_decimal(value: str) -> bool:
    try:
        return Decimal(value).is_finite()
    except InvalidOperation:
        return False


def _is_utc(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzname() == "UTC"
    except ValueError:
        return False


def _is_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except ValueError:
        return False


_TYPES: dict[str, Callable[[str], bool]] = {
    "string": lambda value: True,
    "decimal": _is_decimal,
    "datetime": _is_utc,
    "currency-code": CURRENCIES.__contains__,
    "stringified-json-object": _is_object,
}
