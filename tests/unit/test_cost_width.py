"""The table of costs in a window of any width."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from yoyo.cli.render_cost import cost_text
from yoyo.model.accounts import CostLine, CostTable

D = Decimal
SPARED = 8
ALWAYS = {"USD", "(idle)", "used"}


def line(*key: str) -> CostLine:
    return CostLine(
        key=key, gpu_usd=D(11), disk_usd=D("1.5"), idle_usd=D(7), boot_usd=D(1), billed_usd=D(3),
        running_usd=None, unpriced=1, gpu_seconds=D(86_400), work_seconds=D(3600),
        boot_seconds=D(60), tokens=1_234_567_890, jobs=4321,
    )  # fmt: skip


def table(by: tuple[str, ...], keys: list[str]) -> CostTable:
    lines = [line(*[key] * len(by)) for key in keys]
    return CostTable(by, None, None, tuple(lines), line(), False, 0, ())


TABLES = st.builds(
    table,
    st.sampled_from([(), ("module",), ("month", "node")]),
    st.lists(st.text("abc", min_size=1, max_size=30), min_size=1, max_size=4),
)


def heads(text: str) -> list[str]:
    return text.splitlines()[1].replace("GPU h", "GPU_h").split()


@given(TABLES, st.integers(1, 300))
def test_no_line_of_the_table_is_wider_than_the_window(found: CostTable, width: int) -> None:
    text = cost_text(found, width)
    whole, shown = heads(cost_text(found)), heads(text)
    rule = next((row for row in text.splitlines() if row.startswith("no room for: ")), "")
    missing = rule.removeprefix("no room for: ").partition(";")[0].split(", ") if rule else []
    assert [each for each in whole if each.replace("_", " ") not in missing] == shown
    assert set(shown) >= ALWAYS
    drawn = text.splitlines()[1 : 3 + len(found.lines) + (1 if found.by else -len(found.lines))]
    if len(missing) < SPARED:
        assert max(map(len, drawn)) <= width


def test_a_wide_window_and_none_show_all() -> None:
    found = table(("module",), ["acme", "globex"])
    assert cost_text(found, 300) == cost_text(found)
    assert "no room" not in cost_text(found)
    assert heads(cost_text(found)) == [
        "module", "USD", "GPU", "(idle)", "(boot)", "disk", "billed", "estimated", "running",
        "unpriced", "GPU_h", "used", "jobs", "tokens", "USD/Mtok",
    ]  # fmt: skip


def test_what_is_said_of_money_goes_last() -> None:
    found = table(("module",), ["acme"])
    assert heads(cost_text(found, 1)) == [
        "module", "USD", "(idle)", "billed", "running", "unpriced", "used",
    ]  # fmt: skip
