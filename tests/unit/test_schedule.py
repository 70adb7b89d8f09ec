"""Periods as cron expressions: what is said fires evenly, what cannot be said is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.schedule import NotACronPeriod, cron_expression, duration_text

DAY_MINUTES = 24 * 60


def field(text: str, count: int) -> set[int]:
    """A crontab field of the forms `*`, `*/n` and `n`, by crontab(5)."""
    if text.startswith("*/"):
        return set(range(0, count, int(text[2:])))
    return set(range(count)) if text == "*" else {int(text)}


def firing_minutes(expression: str) -> list[int]:
    """Minutes of two days at which it fires."""
    minute, hour, day, month, weekday = expression.split(" ")
    assert (day, month, weekday) == ("*", "*", "*")
    minutes, hours = field(minute, 60), field(hour, 24)
    return [
        at
        for at in range(2 * DAY_MINUTES)
        if at % 60 in minutes and at % DAY_MINUTES // 60 in hours
    ]


@given(st.one_of(st.integers(0, 90_000), st.integers(0, 1500).map(lambda m: m * 60)))
def test_an_accepted_period_fires_evenly_and_exactly(seconds: int) -> None:
    try:
        expression = cron_expression(seconds)
    except NotACronPeriod:
        return
    fired = firing_minutes(expression)
    gaps = {after - before for before, after in pairwise(fired)}
    assert gaps == {seconds // 60}
    assert seconds % 60 == 0


def accepted(seconds: int) -> bool:
    try:
        return bool(cron_expression(seconds))
    except NotACronPeriod:
        return False


@given(st.integers(0, 100_000).filter(lambda seconds: not accepted(seconds)))
def test_no_accepted_period_is_nearer_than_the_one_named(seconds: int) -> None:
    nearest = NotACronPeriod(seconds).nearest
    assert accepted(nearest)
    distance = abs(nearest - seconds)
    assert not any(
        accepted(even) for even in range(60, 86_401, 60) if abs(even - seconds) < distance
    )


@pytest.mark.parametrize(
    ("seconds", "expression"),
    [
        (60, "* * * * *"),
        (300, "*/5 * * * *"),
        (3600, "0 * * * *"),
        (21_600, "0 */6 * * *"),
        (86_400, "0 0 * * *"),
    ],
)
def test_expressions(seconds: int, expression: str) -> None:
    assert cron_expression(seconds) == expression


@pytest.mark.parametrize(
    ("seconds", "nearest"),
    [(420, 360), (90, 60), (1, 60), (2700, 1800), (45_000, 43_200), (31_622_400, 86_400)],
)
def test_what_cron_cannot_say_names_the_nearest(seconds: int, nearest: int) -> None:
    with pytest.raises(NotACronPeriod) as caught:
        cron_expression(seconds)
    assert caught.value.nearest == nearest


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (90, "1m30s"), (420, "7m"), (90_000, "25h")]
)
def test_durations_read_as_in_yoyo_yaml(seconds: int, text: str) -> None:
    assert duration_text(seconds) == text
