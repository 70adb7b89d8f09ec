"""The price table as a file: every mistake with its line, and how the configuration uses it."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from price_files import load_price_table

from yoyo.config.load import Flags, load, validate
from yoyo.config.mistakes import Report
from yoyo.config.price_table import read_price_table
from yoyo.errors import BillingInvalid, ConfigInvalid
from yoyo.model.prices import SPOT

GOOD = """\
version: 1
currency: USD
machines:
  - provider: gce
    machine_type: g2-standard-4
    provisioning: spot
    valid_from: 2026-01-01
    valid_to: 2026-06-30
    retrieved: 2026-11-01
    source: our contract
    hourly_usd: {us-central1: 0.25, us-east1: 0.3}
  - provider: gce
    machine_type: g2-standard-4
    valid_from: 2026-01-01
    retrieved: 2026-11-01
    source: our contract
    hourly_usd: {us-central1: 0.65}
disks:
  - provider: gce
    disk_type: pd-balanced
    valid_from: 2026-01-01
    retrieved: 2026-11-01
    source: our contract
    gb_month_usd: {us-central1: 0.09}
"""
CONFIG = """\
version: 1
nodes:
  l4:
    moduleId: acme
    driver: gce
    engine: {{model: 'https://example.org/m.gguf'}}
    weights: {{sha256: {digest}}}
    gce: {{project: acme-models, zones: [{zones}]}}
    {more}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    return path


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(BillingInvalid) as caught:
        load_price_table(write(tmp_path, text))
    return [line.rpartition("prices.yaml:")[2] for line in caught.value.details]


def configure(
    tmp_path: Path, *, top: str = "", zones: str = "us-central1-a", more: str = ""
) -> None:
    text = CONFIG.format(digest="ab" * 32, zones=zones, more=more)
    (tmp_path / "yoyo.yaml").write_text(text + top)


def test_an_operators_table_is_called_by_its_digest(tmp_path: Path) -> None:
    table = load_price_table(write(tmp_path, GOOD))
    assert table.version == f"operator-{sha256(GOOD.encode()).hexdigest()[:12]}"
    assert [each.usd for each in table.prices] == [
        Decimal("0.25"), Decimal("0.3"), Decimal("0.65"), Decimal("0.09"),
    ]  # fmt: skip
    assert table.prices[0].key.provisioning == SPOT


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("currency: USD", "currency: EUR", 2, "'EUR' is refused"),
        ("version: 1", "version: 2", 1, "expected 1"),
        ("0.25", "-0.25", 11, "expected an amount"),
        ("0.25", "NaN", 11, "expected an amount"),
        ("0.25", "1e3", 11, "expected an amount"),
        ("0.25", "inf", 11, "expected an amount"),
        ("0.25", "0,25", 11, "expected an amount"),
        ("2026-06-30", "2025-06-30", 8, "before valid_from"),
        ("2026-06-30", "2026-06-31", 8, "expected a day"),
        ("2026-06-30", "30.6.2026", 8, "expected a day"),
        ("2026-06-30", "2026-06-30T00:00:00+02:00", 8, "expected a day"),
        ("provisioning: spot", "provisioning: cheap", 6, "standard or spot"),
        ("provisioning: spot", "provisoning: spot", 6, "Did you mean provisioning?"),
        ("    source: our contract\n    hourly_usd: {us-central1: 0.65}",
         "    hourly_usd: {us-central1: 0.65}", 12, "is missing"),
        ("us-east1: 0.3", "us-central1: 0.3", 11, "stands once"),
        ("us-east1: 0.3", "US: 0.3", 11, "a name such as us-central1"),
        ("{us-central1: 0.09}", "0.09", 24, "for each region"),
        ("disk_type: pd-balanced", "disk_type: 'pd balanced'", 20, "a-z, 0-9"),
        ("provisioning: spot", "provisioning: standard", 17, "holds on 2026-01-01 too"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    assert GOOD.count(old) >= 1
    found = mistakes(tmp_path, GOOD.replace(old, new, 1))
    assert any(each.startswith(f"{line}:") and said in each for each in found), found


def test_all_mistakes_are_listed_together(tmp_path: Path) -> None:
    bad = GOOD.replace("USD", "GBP", 1).replace("0.25", "NaN").replace("2026-06-30", "soon")
    assert len(mistakes(tmp_path, bad)) == 3


@pytest.mark.parametrize(
    "text", ["", "[]", "version: 1\ncurrency: USD\n", "machines: {}\n", "\x00"]
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    assert mistakes(tmp_path, text)


def test_a_price_that_reaches_into_the_next_is_a_mistake(tmp_path: Path) -> None:
    begun, kind = "    valid_from: 2026-01-01\n    retrieved", "    machine_type: g2-standard-4\n"
    later = GOOD.replace(begun, begun.replace("01-01", "06-30"), 1)
    later = later.replace(f"{kind}    valid_from", f"{kind}    provisioning: spot\n    valid_from")
    (line,) = mistakes(tmp_path, later)
    assert "line 11" in line
    assert "2026-06-30" in line


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    report = Report()
    assert (read_price_table(path, report) is None) == bool(report.mistakes)


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("\n:-{}[]'\"x9 #"))
def test_a_table_with_one_changed_character_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, character: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_text(GOOD[:at] + character + GOOD[at + 1 :])
    report = Report()
    table = read_price_table(path, report)
    assert (table is None) == bool(report.mistakes)
    for each in table.prices if table is not None else ():
        assert each.usd.is_finite()
        assert each.usd >= 0


def test_a_gce_node_without_a_price_gets_the_tables(tmp_path: Path) -> None:
    configure(tmp_path, more="budget: {day_usd: 20}")
    loaded = load(Flags(), {}, tmp_path)
    assert loaded.node is not None
    assert loaded.node.prices.hourly_usd == Decimal("0.706832255")
    assert loaded.settings.nodes[0].prices == loaded.node.prices
    shown = {value.key: value for value in loaded.values}["nodes.l4.prices.hourly_usd"]
    assert (shown.text, shown.source) == ("0.706832255", "price table yoyo-2026-11")


def test_the_operators_figure_and_table_come_first(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    configure(tmp_path, top="price_table: prices.yaml\n")
    node = load(Flags(), {}, tmp_path).node
    assert node is not None
    assert node.prices.hourly_usd == Decimal("0.65")
    assert node.prices.disk_gb_month_usd == Decimal("0.09")
    assert node.prices.version.startswith("operator-")
    configure(tmp_path, top="price_table: prices.yaml\n", more="prices: {hourly_usd: 0.5}")
    own = load(Flags(), {}, tmp_path).node
    assert own is not None
    assert (own.prices.hourly_usd, own.prices.version) == (Decimal("0.5"), "")


def test_a_cap_without_a_price_in_a_region_is_a_mistake(tmp_path: Path) -> None:
    configure(tmp_path, zones="us-central1-a, africa-south1-a", more="budget: {day_usd: 20}")
    with pytest.raises(ConfigInvalid) as caught:
        load(Flags(), {}, tmp_path)
    (line,) = caught.value.details
    assert "budget.day_usd" in line
    assert "africa-south1-a" in line


def test_a_mistaken_table_is_named_by_load_and_by_validate(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("USD", "EUR", 1))
    configure(tmp_path, top="price_table: prices.yaml\n", more="prices: {hourly_usd: 0.5}")
    with pytest.raises(BillingInvalid) as caught:
        load(Flags(), {}, tmp_path)
    assert "prices.yaml:2:" in caught.value.details[0]
    (mistake,) = validate(Flags(), {}, tmp_path)
    assert "'EUR' is refused" in str(mistake)


def test_a_local_node_reads_no_table(tmp_path: Path) -> None:
    text = "version: 1\nnodes: {a: {moduleId: demo, driver: local}}\n"
    (tmp_path / "yoyo.yaml").write_text(text)
    node = load(Flags(), {}, tmp_path).node
    assert node is not None
    assert node.prices.hourly_usd is None
