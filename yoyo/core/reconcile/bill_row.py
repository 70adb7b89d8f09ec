"""One line of Google's detailed usage cost export, as a value. Pure.

The columns are those of the table `gcp_billing_export_resource_v1_*`, whose schema is at
https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/detailed-usage .
A nested column has a point in its name here; in a flat file it may have an underscore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from yoyo.model.reconcile import BillKind, BillLine

NEEDED = ("usage_start_time", "usage_end_time", "cost", "currency", "labels", "sku.description")
OPTIONAL = ("credits", "resource.name", "resource.global_name", "service.description", "cost_type")
CURRENCY = "USD"
_NODE, _REQUEST, _NAMES = "yoyo-node", "yoyo-request", "yoyo-"
_MOST_DIGITS = 30  # of a figure; more is no amount of money
_MACHINE_WORDS = (" core ", " ram ", " gpu ", "instance core", "instance ram", "nvidia", "custom")
_DISK_WORDS = ("pd capacity", "pd snapshot", "hyperdisk", "local ssd", "storage pd")
_OTHER_WORDS = ("network", "egress", "data transfer", "external ip", "snapshot", "licens")


class BadBillRow(ValueError):
    """The line cannot be read; the message names the column."""


def column_names(found: list[str]) -> dict[str, str]:
    """Which column of the file has which meaning.

    Raises:
        BadBillRow: one that is needed is not there.
    """
    flat = {name.strip().lower().replace(".", "_"): name for name in found}
    meant = {
        name: flat[name.replace(".", "_")]
        for name in (*NEEDED, *OPTIONAL)
        if name.replace(".", "_") in flat
    }
    missing = [name for name in NEEDED if name not in meant]
    if missing:
        raise BadBillRow(f"it has no column {', '.join(missing)}")
    return meant


def read_row(fields: Mapping[str, Any], line: int, digest: str) -> BillLine | None:
    """Read one line by its meanings; None: it is nothing of yoyo's.

    `labels` and `credits` are lists of objects as BigQuery has them, or their JSON text.

    Raises:
        BadBillRow: a field has the wrong form; or the line is ours and not in USD.
    """
    labels = _labels(fields.get("labels"))
    resource = str(fields.get("resource.name") or "").rpartition("/")[2]
    if _REQUEST not in labels and _NODE not in labels and not resource.startswith(_NAMES):
        return None
    currency = str(fields.get("currency") or "").strip()
    if currency != CURRENCY:
        raise BadBillRow(f"currency is {currency[:20]!r}, and the ledger counts in USD")
    start = _time(fields.get("usage_start_time"), "usage_start_time")
    end = _time(fields.get("usage_end_time"), "usage_end_time")
    if end < start:
        raise BadBillRow("usage_end_time is before usage_start_time")
    sku, whole = (
        str(fields.get(name) or "") for name in ("sku.description", "resource.global_name")
    )
    return BillLine(
        line,
        _kind(sku, whole),
        labels.get(_NODE, "") or resource.removeprefix(_NAMES),
        labels.get(_REQUEST, ""),
        resource,
        start,
        end,
        _money(fields.get("cost"), "cost"),
        _credits(fields.get("credits")),
        digest,
    )


def _kind(sku: str, global_name: str) -> BillKind:
    text = f" {sku.lower()} "
    if any(word in text for word in _OTHER_WORDS):
        return BillKind.OTHER
    if "/disks/" in global_name or any(word in text for word in _DISK_WORDS):
        return BillKind.DISK
    if any(word in text for word in _MACHINE_WORDS):
        return BillKind.MACHINE
    return BillKind.OTHER


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_float=str, parse_int=str) if value.strip() else []
        except (ValueError, RecursionError):
            raise BadBillRow(f"{name} is no JSON list") from None
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BadBillRow(f"{name} is no list of objects")
    return value


def _labels(value: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in _list(value, "labels"):
        key = str(each.get("key", ""))
        if key in found and found[key] != str(each.get("value", "")):
            raise BadBillRow(f"labels has {key[:40]!r} twice, with different values")
        found[key] = str(each.get("value", ""))
    return found


def _credits(value: Any) -> Decimal:
    total = Decimal(0)
    for each in _list(value, "credits"):
        total += _money(each.get("amount"), "credits.amount")
    return total


def _money(value: Any, name: str) -> Decimal:
    """A float of the export by its shortest spelling, as BigQuery prints it."""
    try:
        amount = Decimal(repr(value) if isinstance(value, float) else str(value).strip())
    except InvalidOperation:
        raise BadBillRow(f"{name} is no number") from None
    if not amount.is_finite() or len(amount.as_tuple().digits) > _MOST_DIGITS:
        raise BadBillRow(f"{name} is no amount of money")
    if amount and abs(amount.adjusted()) > _MOST_DIGITS:
        raise BadBillRow(f"{name} is no amount of money")
    return amount


def _time(value: Any, name: str) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    text = str(value or "").strip()
    if text.endswith(" UTC"):
        text = text[:-4] + "+00:00"
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise BadBillRow(f"{name} has no time zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, BadBillRow):
            raise
        raise BadBillRow(f"{name} is no time") from None
