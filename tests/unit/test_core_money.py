"""Costs and budgets: exact, and unknown where unknown."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.lives import Life
from yoyo.core.money import (
    Spend,
    cost_of,
    day_start,
    month_start,
    over_budget,
    seconds_between,
    spend,
    worst_case,
)
from yoyo.model.ledger import CompletionStatus
from yoyo.model.settings import BudgetSettings

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PRICE = Decimal("0.71")


def life(start: datetime, seconds: str | None, cost: str | None, closed: bool = True) -> Life:
    return Life(
        "id",
        "local",
        "demo",
        start,
        booted_at=start,
        closed_at=start + timedelta(seconds=float(seconds or 3600)) if closed else None,
        status=CompletionStatus.SUCCESS,
        gpu_seconds=Decimal(seconds) if seconds else None,
        cost_usd=Decimal(cost) if cost else None,
    )


def test_an_hour_costs_the_hourly_price() -> None:
    assert cost_of(Decimal(3600), PRICE) == PRICE


def test_unknown_stays_unknown() -> None:
    assert cost_of(None, PRICE) is None
    assert cost_of(Decimal(1), None) is None
    assert seconds_between(None, NOW) is None
    assert worst_case(None, [60]) is None
    assert worst_case(PRICE, []) is None


def test_a_clock_that_went_back_gives_no_negative_seconds() -> None:
    assert seconds_between(NOW, NOW - timedelta(seconds=1)) is None


def test_worst_case_is_the_earliest_cap() -> None:
    assert worst_case(PRICE, [28800, 86400]) == Decimal("5.680000")


def test_a_life_across_midnight_is_split_by_time() -> None:
    start = day_start(NOW) - timedelta(hours=1)
    crossing = [life(start, "14400", "4.000000")]
    assert spend(crossing, day_start(NOW), NOW, PRICE) == Spend(Decimal("3.000000"), False)
    assert spend(crossing, month_start(NOW), NOW, PRICE) == Spend(Decimal("4.000000"), False)


def test_a_running_node_counts_until_now() -> None:
    running = [life(NOW - timedelta(hours=2), None, None, closed=False)]
    assert spend(running, day_start(NOW), NOW, PRICE) == Spend(Decimal("1.420000"), True)


def test_seconds_booked_without_a_price_are_priced_not_zero() -> None:
    unpriced = [life(NOW - timedelta(hours=2), "3600", None)]
    assert spend(unpriced, day_start(NOW), NOW, PRICE) == Spend(Decimal("0.710000"), True)
    assert spend(unpriced, day_start(NOW), NOW, None).usd is None


def test_unknown_seconds_count_until_the_closing_row() -> None:
    lost = [life(NOW - timedelta(hours=3), None, None)]
    assert spend(lost, day_start(NOW), NOW, PRICE) == Spend(Decimal("0.710000"), True)


@pytest.mark.parametrize(
    ("day", "month", "refused"),
    [("7.00", None, False), ("6.67", None, True), (None, "6.00", True), (None, None, False)],
)
def test_budget_refuses_with_figures(day: str | None, month: str | None, refused: bool) -> None:
    budget = BudgetSettings(Decimal(day) if day else None, Decimal(month) if month else None)
    spent = Spend(Decimal("1.00"), False)
    reason = over_budget(budget, spent, spent, Decimal("5.68"))
    assert (reason is not None) is refused
    if reason is not None:
        assert "5.68" in reason
        assert "1.00" in reason


def test_a_cap_with_an_unknown_spend_refuses() -> None:
    budget = BudgetSettings(Decimal(100), None)
    assert over_budget(budget, Spend(None, True), Spend(None, True), Decimal(1))
    assert over_budget(budget, Spend(Decimal(0), False), Spend(Decimal(0), False), None)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**5)), max_size=8),
    st.integers(0, 10**6),
)
def test_spend_before_and_after_any_moment_adds_up(lives: list[tuple[int, int]], cut: int) -> None:
    base = datetime(2026, 11, 1, tzinfo=UTC)
    end = base + timedelta(seconds=2 * 10**6)
    booked = []
    for begin, seconds in lives:
        cost = cost_of(Decimal(seconds), PRICE)
        booked.append(life(base + timedelta(seconds=begin), str(seconds), str(cost)))
    whole = spend(booked, base, end, PRICE).usd
    late = spend(booked, base + timedelta(seconds=cut), end, PRICE).usd
    assert whole is not None
    assert late is not None
    assert Decimal(0) <= late <= whole
    assert abs(whole - sum((b.cost_usd or Decimal(0) for b in booked), Decimal(0))) < Decimal(
        "1e-5"
    )
