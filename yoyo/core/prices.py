"""Finds a node's price in a dated table, and records which one a row of money rests on. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from yoyo.core.ledger_format import MAX_DIGITS
from yoyo.model.prices import (
    CURRENCY,
    DISK,
    MACHINE,
    SPOT,
    STANDARD,
    Price,
    PriceKey,
    PriceRecord,
    PriceTable,
)
from yoyo.model.settings import NodeSettings, PriceSettings

RECORD_TYPE: Final = "urn:yoyo:price:v1"
# The version in a record where the figure stands in the operator's configuration.
OWN: Final = "operator"
OWN_SOURCE: Final = "the operator's configuration"


class PriceRecordError(ValueError):
    """The document is no price record."""


class _Found(NamedTuple):
    price: Price
    note: str  # what the price is of, for the record


def price_at(table: PriceTable, key: PriceKey, when: datetime) -> Price | None:
    """The price of that day (UTC): the one that began last, unless it has ended.

    None: the table does not say.
    """
    day = when.astimezone(UTC).date()
    begun = [each for each in table.prices if each.key == key and each.valid_from <= day]
    last = max(begun, key=lambda each: each.valid_from, default=None)
    return None if last is None or (last.valid_to is not None and last.valid_to < day) else last


def resolved(node: NodeSettings, table: PriceTable, when: datetime) -> NodeSettings:
    """The node with the table's prices where the operator gave none of his own.

    A node that may run in several regions gets the dearest of them, and one that may be spot
    gets the standard price unless the table has a spot one: too much rather than too little.
    Where one region has no price the price is unknown: it could be the dearest.
    """
    if node.gce is None or not is_open(node.prices):
        return node
    regions = regions_of(node.gce.zones)
    machine = _dearest(
        _machine_price(table, node.gce.machine_type, region, node.gce.provisioning, when)
        for region in regions
    )
    disk = _dearest(
        _noted(price_at(table, PriceKey(DISK, node.driver, node.gce.disk_type, region), when))
        for region in regions
    )
    found = [each for each in (machine, disk) if each is not None]
    if not found:
        return node
    prices = PriceSettings(
        hourly_usd=None if machine is None else machine.price.usd,
        disk_gb_month_usd=None if disk is None else disk.price.usd,
        version=table.version,
        source="; ".join(each.note for each in found),
        valid_from=max(each.price.valid_from for each in found).isoformat(),
    )
    return node._replace(prices=prices)


def is_open(prices: PriceSettings) -> bool:
    """Whether the operator gave no figure: one of his own and one of a table do not mix."""
    return prices.hourly_usd is None and prices.disk_gb_month_usd is None


def regions_of(zones: Iterable[str]) -> tuple[str, ...]:
    """The regions of those zones, each once, in their order. `us-central1-a`: `us-central1`."""
    return tuple(dict.fromkeys(zone.rpartition("-")[0] for zone in zones))


def _machine_price(
    table: PriceTable, name: str, region: str, provisioning: str, when: datetime
) -> _Found | None:
    # `spot-then-standard` may end as either: the dearer one.
    kinds = (SPOT, STANDARD) if provisioning == SPOT else (STANDARD,)
    for kind in kinds:
        price = price_at(table, PriceKey(MACHINE, "gce", name, region, kind), when)
        if price is not None:
            return _noted(price)
    return None


def _noted(price: Price | None) -> _Found | None:
    if price is None:
        return None
    words = " ".join(filter(None, (price.key.name, price.key.region, price.key.provisioning)))
    return _Found(price, f"{words}: {price.source}, read {price.retrieved.isoformat()}")


def _dearest(found: Iterable[_Found | None]) -> _Found | None:
    known = []
    for each in found:
        if each is None:
            return None
        known.append(each)
    return max(known, key=lambda each: each.price.usd, default=None)


def price_record(node: NodeSettings, kind: str) -> bytes | None:
    """The document that a row of money names: the price, and where it is from.

    `kind` is MACHINE or DISK. The same price gives the same bytes. None: no price is known.
    """
    import json  # what reads alone has no use for it

    own = node.prices
    usd = own.hourly_usd if kind == MACHINE else own.disk_gb_month_usd
    if usd is None:
        return None
    fields = {
        "_type": RECORD_TYPE,
        "currency": CURRENCY,
        "driver": node.driver,
        "hourly_usd" if kind == MACHINE else "disk_gb_month_usd": format(usd, "f"),
        "source": own.source or OWN_SOURCE,
        "version": own.version or OWN,
    }
    if own.valid_from:
        fields["valid_from"] = own.valid_from
    if node.gce is not None:
        fields["machine_type"] = node.gce.machine_type
        if kind == DISK:
            fields["disk_type"] = node.gce.disk_type
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_price_record(document: bytes) -> PriceRecord:
    """What `price_record` wrote.

    Raises:
        PriceRecordError: it is none, or its figure is no plain decimal of USD.
    """
    import json

    try:
        fields = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise PriceRecordError("it is not JSON") from error
    if not isinstance(fields, dict) or fields.get("_type") != RECORD_TYPE:
        raise PriceRecordError(f"it is no {RECORD_TYPE}")
    if not all(isinstance(each, str) for each in fields.values()):
        raise PriceRecordError("a field of it is no text")
    if fields.get("currency") != CURRENCY:
        raise PriceRecordError(f"its currency is not {CURRENCY}")
    hourly, disk = (_figure(fields.get(name)) for name in ("hourly_usd", "disk_gb_month_usd"))
    if (hourly is None) == (disk is None):
        raise PriceRecordError("it has not exactly one figure")
    return PriceRecord(
        fields.get("version", ""),
        fields.get("source", ""),
        fields.get("valid_from", ""),
        hourly,
        disk,
        fields.get("machine_type", ""),
        fields.get("disk_type", ""),
    )


def _figure(text: str | None) -> Decimal | None:
    if text is None:
        return None
    whole, point, part = text.partition(".")
    if not all(
        each.isascii() and each.isdigit() and len(each) <= MAX_DIGITS
        for each in ((whole, part) if point else (whole,))
    ):
        raise PriceRecordError("its figure is no plain decimal")
    return Decimal(text)


def overlaps(prices: Iterable[Price]) -> list[tuple[Price, Price]]:
    """Pairs that say different things about the same day.

    A price without an end ends where the next one begins; two that begin on one day, or one
    with an end that reaches into the next, do not say which holds.
    """
    by_key: dict[PriceKey, list[Price]] = {}
    for price in prices:
        by_key.setdefault(price.key, []).append(price)
    found = []
    for each in by_key.values():
        each.sort(key=lambda price: (price.valid_from, price.valid_to or date.max))
        for before, after in itertools.pairwise(each):
            same_day = before.valid_from == after.valid_from
            if same_day or (before.valid_to is not None and before.valid_to >= after.valid_from):
                found.append((before, after))
    return found
