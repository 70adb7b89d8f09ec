"""Which price holds for a node at a moment, and the record that a row of money names."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256

import pytest
from cloud import GCE
from hypothesis import given
from hypothesis import strategies as st
from price_files import load_price_table
from sample_node import NODE

from yoyo.core.prices import (
    PriceRecordError,
    overlaps,
    price_at,
    price_record,
    read_price_record,
    resolved,
)
from yoyo.model.prices import DISK, MACHINE, SPOT, STANDARD, Price, PriceKey, PriceTable
from yoyo.model.settings import NodeSettings, PriceSettings

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEY = PriceKey(MACHINE, "gce", "g2-standard-4", "us-central1", STANDARD)


def price(usd: str, begun: str, ended: str = "", key: PriceKey = KEY) -> Price:
    return Price(
        key,
        Decimal(usd),
        date.fromisoformat(begun),
        date.fromisoformat(ended) if ended else None,
        "https://example.org/prices",
        date(2026, 11, 1),
    )


def table(*prices: Price) -> PriceTable:
    return PriceTable("acme-1", prices)


def node(**gce: object) -> NodeSettings:
    changed = GCE._replace(**{"zones": ("us-central1-a",), **gce})  # type: ignore[arg-type]
    return NODE._replace(driver="gce", gce=changed, prices=PriceSettings(None))


def usd_at(prices: PriceTable, day: str) -> Decimal | None:
    when = datetime.fromisoformat(day).replace(tzinfo=UTC)
    found = price_at(prices, KEY, when)
    return found and found.usd


def test_the_newest_price_that_has_begun_holds_until_it_ends() -> None:
    prices = table(price("1", "2026-01-01"), price("2", "2026-03-01", "2026-03-31"))
    assert usd_at(prices, "2025-12-31") is None
    assert usd_at(prices, "2026-01-01") == 1
    assert usd_at(prices, "2026-02-28") == 1
    assert usd_at(prices, "2026-03-01") == 2
    assert usd_at(prices, "2026-03-31T23:59:59") == 2
    # Nobody said what came after: the price before it does not come back.
    assert usd_at(prices, "2026-04-01") is None


def test_the_day_is_that_of_utc() -> None:
    prices = table(price("1", "2026-01-01"), price("2", "2026-03-01"))
    tokyo = datetime(2026, 3, 1, 5, 0, tzinfo=timezone(timedelta(hours=9)))
    found = price_at(prices, KEY, tokyo)  # 28 February, 20:00 UTC
    assert found is not None
    assert found.usd == 1


def test_the_dearest_region_counts_and_one_without_a_price_makes_it_unknown() -> None:
    other = KEY._replace(region="europe-west4")
    prices = table(price("0.7", "2026-01-01"), price("0.9", "2026-01-01", key=other))
    both = resolved(node(zones=("us-central1-a", "europe-west4-b")), prices, NOW)
    assert both.prices.hourly_usd == Decimal("0.9")
    assert "europe-west4" in both.prices.source
    assert both.prices.version == "acme-1"
    assert both.prices.valid_from == "2026-01-01"
    assert resolved(node(zones=("us-central1-a", "asia-east1-a")), prices, NOW).prices == (
        PriceSettings(None)
    )


def test_a_spot_node_costs_the_standard_price_unless_the_table_has_its_own() -> None:
    standard = price("0.7", "2026-01-01")
    spot = price("0.2", "2026-01-01", key=KEY._replace(provisioning=SPOT))

    def hourly(provisioning: str, *prices: Price) -> Decimal | None:
        return resolved(node(provisioning=provisioning), table(*prices), NOW).prices.hourly_usd

    assert hourly("spot", standard) == Decimal("0.7")
    assert hourly("spot", standard, spot) == Decimal("0.2")
    assert hourly("spot-then-standard", standard, spot) == Decimal("0.7")
    assert hourly("standard", spot) is None


def test_a_figure_of_the_operator_switches_the_table_off() -> None:
    prices = table(price("0.7", "2026-01-01"))
    for own in (PriceSettings(Decimal("0.5")), PriceSettings(None, Decimal("0.1"))):
        mine = node()._replace(prices=own)
        assert resolved(mine, prices, NOW) is mine
    assert resolved(NODE._replace(prices=PriceSettings(None)), prices, NOW).prices.version == ""


def test_the_record_says_where_the_figure_is_from_and_is_the_same_every_time() -> None:
    disk = PriceKey(DISK, "gce", "pd-balanced", "us-central1")
    prices = table(price("0.7", "2026-01-01"), price("0.10", "2026-02-01", key=disk))
    priced = resolved(node(disk_type="pd-balanced"), prices, NOW)
    machine, disks = price_record(priced, MACHINE), price_record(priced, DISK)
    assert machine is not None
    assert disks is not None
    assert sha256(machine).digest() == sha256(price_record(priced, MACHINE) or b"").digest()
    read = read_price_record(machine)
    assert (read.hourly_usd, read.disk_gb_month_usd) == (Decimal("0.7"), None)
    assert (read.version, read.machine_type) == ("acme-1", "g2-standard-4")
    assert "https://example.org/prices" in read.source
    assert read_price_record(disks).disk_gb_month_usd == Decimal("0.10")
    assert json.loads(disks)["disk_type"] == "pd-balanced"


def test_the_record_of_the_operators_own_figure_says_so() -> None:
    record = price_record(NODE, MACHINE)
    assert record is not None
    read = read_price_record(record)
    assert (read.version, read.valid_from, read.hourly_usd) == ("operator", "", Decimal("0.71"))
    assert price_record(NODE, DISK) is None


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "urn:other"},
        {"currency": "EUR"},
        {"hourly_usd": "NaN"},
        {"hourly_usd": "-1"},
        {"hourly_usd": "1e999"},
        {"hourly_usd": 1},
        {"hourly_usd": "9" * 19},
        {"disk_gb_month_usd": "1"},
    ],
)
def test_another_document_is_no_price_record(change: dict[str, object]) -> None:
    good = json.loads(price_record(NODE, MACHINE) or b"")
    with pytest.raises(PriceRecordError):
        read_price_record(json.dumps(good | change).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(document: bytes) -> None:
    with pytest.raises(PriceRecordError):
        read_price_record(document)


DAYS = st.dates(date(2024, 1, 1), date(2027, 12, 31))


@given(st.lists(st.tuples(DAYS, st.one_of(st.none(), st.integers(0, 400))), max_size=6), DAYS)
def test_without_overlaps_at_most_one_price_can_be_meant(
    spans: list[tuple[date, int | None]], day: date
) -> None:
    prices = [
        Price(
            KEY,
            Decimal(number),
            begun,
            None if length is None else begun + timedelta(days=length),
            "s",
            begun,
        )
        for number, (begun, length) in enumerate(spans)
    ]
    if overlaps(prices):
        return
    when = datetime(day.year, day.month, day.day, tzinfo=UTC)
    found = price_at(table(*prices), KEY, when)
    ended = [p for p in prices if p.valid_to is not None and p.valid_from <= day <= p.valid_to]
    assert len(ended) <= 1
    if ended:
        assert found == ended[0]
    assert price_at(table(*reversed(prices)), KEY, when) == found


def test_the_table_that_comes_with_yoyo_is_sound_and_says_where_it_is_from() -> None:
    shipped = load_price_table()
    assert shipped.version == "yoyo-2026-11"
    assert not overlaps(shipped.prices)
    assert all(each.source.startswith("https://") for each in shipped.prices)
    assert all(each.usd > 0 for each in shipped.prices)
    found = resolved(node(zones=("us-central1-a", "us-central1-b")), shipped, NOW).prices
    # The figure of Google's page for Iowa is 0.706832276; the catalog's differs in the 8th digit.
    assert found.hourly_usd is not None
    assert abs(found.hourly_usd - Decimal("0.70683")) < Decimal("0.00001")
    assert found.disk_gb_month_usd == Decimal("0.10")
    assert found.version == "yoyo-2026-11"
