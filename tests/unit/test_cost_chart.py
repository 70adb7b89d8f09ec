"""Pictures of cost: bars as long as what they stand for, and text that cannot act."""

from __future__ import annotations

from decimal import Decimal
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from yoyo.cli.plot import bars_text
from yoyo.core.cost.chart import DARK, LIGHT, Bar, bars_of, draw, lengths, svg
from yoyo.model.accounts import CostLine, CostTable

D = Decimal
ZERO = D(0)
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert(1)</script>"&\x1b[31m\u202e\x00'


def line(key: tuple[str, ...], gpu: str, disk: str = "0") -> CostLine:
    usd = D(gpu)
    return CostLine(key, usd, D(disk), usd / 2, usd / 4, ZERO, ZERO, 0, D(100), D(25), D(25), 0, 0)


def table(*lines: CostLine, by: tuple[str, ...] = ("module",)) -> CostTable:
    gpu, disk = sum((x.gpu_usd for x in lines), ZERO), sum((x.disk_usd for x in lines), ZERO)
    return CostTable(by, None, None, lines, line((), f"{gpu:f}", f"{disk:f}"), False, 0, ())


def test_a_bar_is_as_long_as_what_it_stands_for() -> None:
    bar = bars_of(table(line(("a",), "8", "2")), 10)[0]
    assert bar == Bar("a", (D(2), D(2), D(4), D(2)))
    assert lengths(bar, D(10), 100) == (20, 20, 40, 20)
    assert lengths(bar, D(20), 100) == (10, 10, 20, 10)


@given(st.tuples(*[st.decimals(0, 1000, places=6)] * 4), st.integers(1, 500))
def test_rounding_never_makes_a_bar_longer(
    parts: tuple[Decimal, Decimal, Decimal, Decimal], width: int
) -> None:
    bar = Bar("a", parts)
    found = lengths(bar, max(bar.usd, D(1000)), width)
    assert min(found) >= 0
    assert sum(found) == int((bar.usd * width / max(bar.usd, D(1000))).to_integral_value())


def test_too_many_bars_are_put_together_and_nothing_is_lost() -> None:
    lines = [line((f"team-{n}",), "1") for n in range(100)]
    bars = bars_of(table(*lines), 10)
    assert len(bars) == 10
    assert bars[-1].label == "(91 others)"
    assert sum(bar.usd for bar in bars) == 100
    days = bars_of(table(*lines, by=("day",)), 10)
    assert days[0].label == "(91 earlier)"
    assert days[-1].label == "team-99"


def test_an_svg_is_well_formed_self_contained_and_says_what_it_shows() -> None:
    text = svg(draw(table(line((HOSTILE,), "8", "2"))))
    root = ET.fromstring(text)
    assert root.findtext(f"{SVG}title") == "Cost by module: 10.00 USD"
    assert not list(root.iter(f"{SVG}script"))
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert not any(char in text for char in "\x1b\u202e\x00")
    assert "prefers-color-scheme:dark" in text
    assert all(colour in text for colour in (*LIGHT.values(), *DARK.values()))
    widths = [int(box.get("width", "0")) for box in root.iter(f"{SVG}rect") if box.get("x")]
    assert abs(widths[-4] * 2 - widths[-2]) <= 1, "to the pixel"


def test_an_empty_picture_says_so() -> None:
    assert "Nothing was booked" in svg(draw(table()))
    assert "nothing was booked" in bars_text(table(), 80, "utf-8")


def test_bars_fit_the_terminal_and_need_no_unicode() -> None:
    answer = table(line(("a" * 300,), "8", "2"), line(("b",), "1"))
    for width in (20, 40, 80, 200):
        wide = [len(each) for each in bars_text(answer, width, "utf-8").split("\n")[2:]]
        assert max(wide) <= max(width, 34)
    assert bars_text(table(line(("b",), "1")), 80, "ascii").isascii()
    assert "█" in bars_text(answer, 80, "utf-8")


def test_control_characters_of_a_label_do_not_reach_the_terminal() -> None:
    text = bars_text(table(line((HOSTILE,), "1")), 120, "utf-8")
    assert not any(char in text for char in "\x1b\u202e\x00")
