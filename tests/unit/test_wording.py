"""Counts and amounts in sentences, and what small sums come to."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from yoyo.cli.render_cost import forecast_text
from yoyo.core.cost.forecast import forecast
from yoyo.core.wording import amount_text, counted


@pytest.mark.parametrize(("amount", "said"), [
    ("14.926150", "14.926150"), ("14.926150000000000000", "14.926150"), ("0.25", "0.25"),
    ("0.000000000000000100", "0.0000000000000001"), ("7", "7"), ("1E+3", "1000"),
    ("-0.000154000000", "-0.000154"), ("0E-18", "0.000000"),
])  # fmt: skip
def test_an_amount_keeps_its_digits_and_no_others(amount: str, said: str) -> None:
    assert amount_text(Decimal(amount)) == said
    assert Decimal(said) == Decimal(amount)


def test_one_is_no_plural() -> None:
    assert [counted(n, "life", "lives") for n in (0, 1, 2)] == ["0 lives", "1 life", "2 lives"]
    assert counted(1200, "row") == "1,200 rows"


def test_a_tiny_sum_has_a_pace_and_is_shown() -> None:
    middle = datetime(2026, 11, 16, tzinfo=UTC)  # of a month of 30 days
    ahead = forecast(Decimal("0.000154"), middle, [])
    assert (ahead.spent_usd, ahead.expected_usd) == (Decimal("0.000154"), Decimal("0.000308"))
    assert "0.000308 USD at this pace, 0.000154 USD until now" in forecast_text(ahead)


def test_a_cap_is_not_reached_by_rounding() -> None:
    middle = datetime(2026, 11, 16, tzinfo=UTC)
    assert forecast(Decimal("49.999"), middle, [Decimal(100)]).cap_reached is None
    assert forecast(Decimal("50"), middle, [Decimal(100)]).cap_reached is not None
