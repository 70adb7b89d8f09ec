"""The report's page: sound, silent, complete, and small enough."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from html_checks import Page, dangers
from hypothesis import given
from hypothesis import strategies as st
from report_parts import SINCE, UNTIL, facts, line, table

from yoyo.core.report.drawing import nice_top
from yoyo.core.report.facts import Check
from yoyo.core.report.markup import age, usd
from yoyo.core.report.page import POLICY, page
from yoyo.core.report.style import style_sheet

HOSTILE = (
    "<script>document.title='run'</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</style></title><script>1</script>",
    "{}{0}{policy}%s",
    "a\u202egnp.exe\u2066",
    "\x1b[2J\x07\x00bell",
    "&lt;b&gt;&amp;",
    "javascript:alert(1)",
)


def test_the_page_is_well_formed_and_fetches_nothing() -> None:
    text = page(facts())

    assert dangers(text) == []
    assert "http://" not in text
    assert "https://" not in text
    policies = [
        meta["content"]
        for meta in Page(text).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == [POLICY]
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "default-src 'none'" in POLICY


def test_every_section_is_there_and_linked() -> None:
    found = Page(page(facts()))

    sections = [each["id"] for each in found.all("section")]
    assert sections == [
        "figures", "tenants", "days", "nodes", "open", "changes", "integrity", "words",
    ]  # fmt: skip
    assert [each["href"][1:] for each in found.all("a")] == sections


@pytest.mark.parametrize("word", HOSTILE)
def test_a_hostile_name_is_shown_and_does_nothing(word: str) -> None:
    text = page(facts(word))

    assert dangers(text) == []
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    if word.isprintable():
        assert word in Page(text).text


@given(st.text(min_size=1))
def test_no_name_at_all_breaks_the_page(word: str) -> None:
    assert dangers(page(facts(word))) == []


def test_drawings_have_words_beside_them() -> None:
    found = Page(page(facts()))

    drawings = found.all("svg")
    assert len(drawings) == 2
    assert all(
        each["role"] == "img" and (each.get("aria-label") or each.get("aria-labelledby"))
        for each in drawings
    )
    assert "1 stop(s): 1 by lifetime cap" in found.text


def test_the_wide_tables_scroll_in_their_own_box_that_the_keyboard_reaches() -> None:
    found = Page(page(facts()))

    boxes = [each for each in found.all("div") if each.get("class") == "scroll"]
    assert len(boxes) == len(found.all("table"))
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in boxes)


def test_ten_thousand_tenants_are_all_there_and_the_page_stays_small() -> None:
    lines = [line(f"tenant-{number:05d}", str(number + 1)) for number in range(10_000)]
    text = page(facts()._replace(by_module=table("module", lines)))

    assert len(text.encode()) < 5_000_000
    assert text.count("tenant-00007") == 1
    assert text.count("tenant-09999") == 2  # among the dearest, and among all
    assert "9,980 others" in text
    # The rest row and the twenty above it come to the total.
    figures = re.findall(r"<th scope=row>(?:<bdi>|<em>|All).*?<td>([\d,.]+)<td>", text)
    shown = [Decimal(each.replace(",", "")) for each in figures]
    assert sum(shown[:21]) == shown[21] == Decimal("50015000.00")


def test_a_month_without_rows_and_one_that_is_to_come() -> None:
    empty = facts()._replace(
        by_module=table("module", []), by_day=table("day", []), strips=(), open_items=(),
        open_count=0, changes=(), change_count=0,
    )  # fmt: skip
    text = page(empty)
    assert dangers(text) == []
    assert text.count("Nothing was booked in this month.") == 2
    assert "not over" not in text

    assert "This month has not begun" in page(empty._replace(made_at=SINCE - timedelta(days=40)))
    assert "This month is not over" in page(empty._replace(made_at=UNTIL - timedelta(days=4)))


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ((True, True), "Integrity: holds<"),
        ((True, None), "Integrity: holds, not all checked<"),
        ((True, False, None), "Integrity: fails<"),
    ],
)
def test_the_integrity_statement_says_no_more_than_was_checked(
    results: tuple[bool | None, ...], said: str
) -> None:
    checks = tuple(Check("x", result, "y") for result in results)
    found = facts()
    text = page(found._replace(integrity=found.integrity._replace(checks=checks)))

    assert text.count(said) == 2  # under the title, and in its section
    assert ("do not rely" in text) is (False in results)


def test_unknown_is_never_zero() -> None:
    found = facts()
    total = found.by_module.total._replace(running_usd=None, tokens=0)
    text = Page(page(found._replace(by_module=found.by_module._replace(total=total)))).text

    assert "Runningunknown" in text
    assert "USD per million tokens—" in text


def test_colours_have_enough_contrast_in_both_themes() -> None:
    for theme in re.findall(r"\{(--paper:.*?)\}", str(style_sheet())):
        colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", theme))
        for ink in ("ink", "soft", "link"):
            assert _contrast(colours[ink], colours["paper"]) >= 4.5, ink
            assert _contrast(colours[ink], colours["card"]) >= 4.5, ink
        for state in ("good", "bad", "warn"):
            assert _contrast(colours[state], colours[f"{state}-bg"]) >= 4.5, state
            assert _contrast(colours[state], colours["paper"]) >= 4.5, state
        for area in ("work", "idle", "boot", "disk"):
            assert _contrast(colours[area], colours["paper"]) >= 3, area
        assert _contrast(colours["work"], colours["up"]) >= 3


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1, contrast ratio."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    shares = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Decimal("1234.565"), "1,234.57"),
        (Decimal("0.0001234"), "0.000123"),
        (Decimal(0), "0.00"),
        (Decimal("-3.456"), "-3.46"),
        (None, "unknown"),
    ],
)
def test_money(amount: Decimal | None, text: str) -> None:
    assert usd(amount) == text


def test_age_and_axis() -> None:
    assert age(timedelta(days=2, hours=3, minutes=9)) == "2 d 3 h"
    assert age(timedelta(minutes=61)) == "1 h 1 min"
    assert age(timedelta(seconds=-5)) == "0 min"


@given(st.decimals("0.000001", "1e12"))
def test_an_axis_ends_little_above_the_highest_bar(most: Decimal) -> None:
    top = nice_top(most)
    assert most <= top <= most * Decimal("2.5")
