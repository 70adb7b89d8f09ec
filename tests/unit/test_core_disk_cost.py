"""What a disk costs: once for every second, whoever books it and however often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from sample_node import NODE

from yoyo.core.disk_cost import MONTH_S, disk_entry, disk_spend, plus_disk
from yoyo.core.lives import Book, DiskCost, read_book
from yoyo.core.money import Spend
from yoyo.model.ledger import DISK_COST, CompletionStatus, Entry, EventType, Row
from yoyo.model.machine import Storage

START = datetime(2026, 11, 1, tzinfo=UTC)
LIFE = "0197f0c0-0000-7000-8000-000000000001"
NODE_WITH_PRICE = NODE._replace(prices=NODE.prices._replace(disk_gb_month_usd=Decimal("0.10")))
STORAGE = Storage(100, START)


def book(*entries: tuple[datetime, Entry]) -> Book:
    rows = [
        Row(entry, f"id-{n}", at, n, "0" * 64, n + 1) for n, (at, entry) in enumerate(entries, 1)
    ]
    return read_book(rows)


def booted() -> tuple[datetime, Entry]:
    request = Entry(
        EventType.BOOT_REQUEST, NODE.module_id, NODE.name, LIFE, CompletionStatus.PENDING, "me"
    )
    return START, request


def due(known: Book, at: datetime, storage: Storage | None = STORAGE) -> Entry | None:
    return disk_entry(known, storage, NODE_WITH_PRICE, at, "me")


def test_a_month_costs_the_monthly_price() -> None:
    entry = due(book(booted()), START + timedelta(seconds=MONTH_S))
    assert entry is not None
    assert (entry.event_type, entry.error_code) == (EventType.CHECKPOINT, DISK_COST)
    assert (entry.cost_usd, entry.gpu_seconds, entry.job_id) == (Decimal("10.000000"), None, LIFE)


def test_nothing_is_booked_without_a_disk_a_price_or_a_life() -> None:
    later = START + timedelta(days=1)
    assert due(book(booted()), later, None) is None
    assert due(book(), later) is None
    assert disk_entry(book(booted()), STORAGE, NODE, later, "me") is None
    assert due(book(booted()), START) is None
    assert due(book(booted()), START - timedelta(days=1)) is None


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_booked_in_parts_it_costs_the_same(seconds: list[int]) -> None:
    entries = [booted()]
    now = START
    for part in seconds:
        now += timedelta(seconds=part)
        entry = due(book(*entries), now)
        if entry is not None:
            entries.append((now, entry))
    whole = due(book(booted()), now)
    parts = sum((each.cost_usd or Decimal(0) for _, each in entries[1:]), Decimal(0))
    assert whole is not None
    assert abs(parts - (whole.cost_usd or Decimal(0))) <= Decimal("0.000001") * len(seconds)


def test_a_disk_made_anew_counts_from_its_making() -> None:
    first = due(book(booted()), START + timedelta(hours=1))
    assert first is not None
    known = book(booted(), (START + timedelta(hours=1), first))
    made = START + timedelta(days=10)
    entry = due(known, made + timedelta(hours=1), Storage(100, made))
    assert entry is not None
    assert entry.cost_usd == first.cost_usd


def test_a_row_that_crosses_midnight_counts_by_its_share() -> None:
    day = timedelta(days=1)
    costs = [DiskCost(START, Decimal(5)), DiskCost(START + 2 * day, Decimal(4))]
    assert disk_spend(costs, START + day) == Decimal("2.000000")
    assert disk_spend(costs, START) == Decimal("4.000000")
    assert disk_spend(costs, START - day) == Decimal("9.000000")
    assert plus_disk(Spend(Decimal(1), False), costs, START).usd == Decimal("5.000000")
    assert plus_disk(Spend(None, True), costs, START).usd is None
