"""Lines of a billing export: what counts as ours, what it is for, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.reconcile.bill import BillTally
from yoyo.core.reconcile.bill_row import NEEDED, BadBillRow, column_names, read_row
from yoyo.core.reconcile.tolerance import BadShare, parse_share
from yoyo.model.reconcile import BillKind, BillLine

LABELS = json.dumps(
    [{"key": "yoyo-node", "value": "l4"}, {"key": "yoyo-request", "value": "life-1"}]
)
FIELDS: dict[str, Any] = {
    "usage_start_time": "2026-10-01 08:00:00 UTC",
    "usage_end_time": "2026-10-01 09:00:00 UTC",
    "cost": "0.355",
    "currency": "USD",
    "labels": LABELS,
    "sku.description": "Nvidia L4 GPU running in Americas",
    "credits": '[{"name": "CUD", "amount": -0.1}]',
    "resource.name": "yoyo-l4",
    "resource.global_name": "//compute.googleapis.com/projects/p/zones/z/instances/yoyo-l4",
}


def line_of(digest: str = "d", **changes: Any) -> BillLine | None:
    return read_row(FIELDS | {key.replace("__", "."): v for key, v in changes.items()}, 2, digest)


def ours(digest: str = "d", **changes: Any) -> BillLine:
    line = line_of(digest, **changes)
    assert line is not None
    return line


def test_a_line_is_read_with_its_labels_and_credits() -> None:
    line = ours()
    assert (line.node_id, line.request_id, line.kind) == ("l4", "life-1", BillKind.MACHINE)
    assert (line.cost, line.credits) == (Decimal("0.355"), Decimal("-0.1"))
    assert line.start == datetime(2026, 10, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sku", "resource", "kind"),
    [
        ("G2 Instance Core running in Americas", "instances/yoyo-l4", BillKind.MACHINE),
        ("Spot Preemptible G2 Instance Ram running in EMEA", "instances/yoyo-l4", BillKind.MACHINE),
        ("Balanced PD Capacity in Americas", "disks/yoyo-l4", BillKind.DISK),
        ("Storage PD Capacity", "disks/yoyo-l4", BillKind.DISK),
        ("Network Internet Data Transfer Out", "instances/yoyo-l4", BillKind.OTHER),
        ("External IP Charge on a Standard VM", "instances/yoyo-l4", BillKind.OTHER),
        ("Storage PD Snapshot in US", "snapshots/yoyo-l4", BillKind.OTHER),
    ],
)
def test_what_a_line_is_for(sku: str, resource: str, kind: BillKind) -> None:
    assert ours(sku__description=sku, resource__global_name=f"//x/{resource}").kind is kind


def test_what_is_not_ours_is_passed_over_whatever_it_holds() -> None:
    assert line_of(labels="[]", resource__name="web-1", currency="EUR", cost="?") is None


def test_a_name_of_ours_without_labels_is_ours() -> None:
    line = ours(labels="", resource__name="projects/1/instances/yoyo-l4")
    assert (line.node_id, line.request_id) == ("l4", "")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"currency": "EUR"}, "currency is 'EUR'"),
        ({"currency": ""}, "currency is ''"),
        ({"cost": "NaN"}, "cost is no amount"),
        ({"cost": "Infinity"}, "cost is no amount"),
        ({"cost": "1e999999999"}, "cost is no amount"),
        ({"cost": "1,25"}, "cost is no number"),
        ({"cost": ""}, "cost is no number"),
        ({"cost": None}, "cost is no number"),
        ({"usage_start_time": "2026-10-01 08:00:00"}, "usage_start_time has no time zone"),
        ({"usage_start_time": "01.10.2026"}, "usage_start_time is no time"),
        ({"usage_end_time": "2026-10-01 07:59:00 UTC"}, "is before"),
        ({"credits": '[{"amount": "NaN"}]'}, "credits.amount is no amount"),
        ({"credits": "[1]"}, "credits is no list of objects"),
        ({"labels": LABELS[:-1]}, "labels is no JSON list"),
        ({"labels": "[" * 100_000}, "labels is no JSON list"),
        (
            {"labels": '[{"key":"yoyo-request","value":"a"},{"key":"yoyo-request","value":"b"}]'},
            "twice",
        ),
    ],
)
def test_malformed_lines_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadBillRow, match=says.replace("(", r"\(")):
        line_of(**changes)


def test_lists_and_floats_of_parquet_are_read_as_bigquery_prints_them() -> None:
    line = ours(labels=json.loads(LABELS), cost=0.1, credits=[{"amount": -0.07}])
    assert (line.cost, line.credits) == (Decimal("0.1"), Decimal("-0.07"))


def test_columns_may_have_points_or_underscores() -> None:
    assert column_names([name.replace(".", "_") for name in NEEDED])["sku.description"] == (
        "sku_description"
    )
    with pytest.raises(BadBillRow, match="no column currency, labels"):
        column_names(["usage_start_time", "usage_end_time", "cost", "sku.description"])


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=40), max_size=4))
def test_any_text_is_read_or_refused_with_a_reason(changes: dict[str, str]) -> None:
    with suppress(BadBillRow):
        line = read_row(FIELDS | changes, 2, "d")
        assert line is None or (line.cost.is_finite() and line.credits.is_finite())


def test_a_bill_is_added_up_by_life_and_duplicates_count_once() -> None:
    tally = BillTally()
    disk = "Balanced PD Capacity"
    for line in (
        ours("1"), ours("2", cost="0.145", credits=""), ours("2", cost="0.145", credits=""),
        ours("3", sku__description=disk, resource__global_name="", cost="0.02", credits=""),
        ours("4", sku__description="Network egress", cost="0.5", credits=""),
        ours("5", labels="", cost="0.25", credits=""),
        None,
    ):  # fmt: skip
        tally.take(line)
    bill = tally.bill()
    assert [life.request_id for life in bill.lives] == ["life-1"]
    life = bill.lives[0]
    assert (life.machine_usd, life.disk_usd) == (Decimal("0.500"), Decimal("0.02"))
    assert life.paid_usd == Decimal("0.400")
    assert (bill.lines, bill.ours, bill.duplicates) == (7, 5, 1)
    assert bill.duplicate_usd == Decimal("0.145")
    assert (bill.other_usd, bill.unlabelled_usd) == (Decimal("0.5"), Decimal("0.25"))
    assert bill.last is not None
    assert bill.first is not None
    assert bill.last - bill.first == timedelta(hours=1)


@pytest.mark.parametrize(("text", "share"), [("1%", "0.01"), ("0.5 %", "0.005"), ("100%", "1")])
def test_a_tolerance_is_a_share(text: str, share: str) -> None:
    assert parse_share(text) == Decimal(share)


@pytest.mark.parametrize("text", ["", "1", "-1%", "101%", "1e2%", "NaN%", "%", "1%%", "\uff11%"])
def test_anything_else_is_no_tolerance(text: str) -> None:
    with pytest.raises(BadShare, match="write 1%"):
        parse_share(text)
