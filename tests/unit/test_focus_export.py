"""FOCUS: the published rules hold, and the money is the ledger's."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from export_parts import PENDING, E, Made, at, billed, entry, rows_of, story, write
from hypothesis import given
from hypothesis import strategies as st
from ledger_parts import open_ledger

from yoyo.core.corrections import NO_CORRECTIONS, Corrections, corrections_of
from yoyo.core.export.cells import csv_line, sheet_line
from yoyo.core.export.focus import COLUMNS, OLD_NAMES, FocusCharges, NodeFacts
from yoyo.core.unsafe_text import visible
from yoyo.model.ledger import Row
from yoyo.ops.export import ExportWanted, export_focus


def charges(
    made: Made, corrections: Corrections = NO_CORRECTIONS, **more: object
) -> tuple[FocusCharges, list[dict[str, str]]]:
    fold = FocusCharges("acct", {"l4-a": NodeFacts("Google Cloud", "g2")}, corrections, **more)  # type: ignore[arg-type]
    found = [fold.take(row) for row in rows_of(made)]
    return fold, [charge for charge in found if charge is not None]


def test_one_charge_for_each_life_and_each_disk_row() -> None:
    fold, found = charges(story())

    assert [(c["ResourceType"], c["BilledCost"]) for c in found] == [
        ("GPU machine", "1.42"),
        ("Disk", "0.05"),
        ("GPU machine", "7.81"),
        ("Disk", "0.90"),
    ]
    assert (fold.charges, fold.unpriced) == (4, 1)  # the start without capacity has no price


def test_a_life_over_the_months_end_is_billed_where_its_row_stands() -> None:
    life = charges(story())[1][2]

    assert life["ChargePeriodStart"] == "2026-10-31T14:00:00Z"
    assert life["ChargePeriodEnd"] == "2026-11-01T01:00:00Z"
    assert life["BillingPeriodStart"] == "2026-11-01T00:00:00Z"
    assert life["BillingPeriodEnd"] == "2026-12-01T00:00:00Z"


def test_tokens_are_those_of_the_lifes_jobs_and_unknown_stays_unknown() -> None:
    _, found = charges(story())

    assert [(c["x_ConsumedTokens"], c["x_Jobs"]) for c in found] == [
        ("1200", "2"), ("", ""), ("0", "0"), ("", ""),
    ]  # fmt: skip
    only_failed = [item for item in story() if item[1].job_id != "job-1"]
    assert charges(only_failed)[1][0]["x_ConsumedTokens"] == ""


def test_a_bill_changes_what_is_owed_and_not_what_the_list_said() -> None:
    made = story()
    closing = rows_of(made)[7]
    made.append((at(60), billed(closing, "1.50")))
    rows: dict[int, Row] = {row.seq: row for row in rows_of(made)}
    life = charges(made, corrections_of(rows.values(), rows.get))[1][0]

    assert (life["BilledCost"], life["EffectiveCost"], life["ContractedCost"]) == ("1.50",) * 3
    assert (life["ListCost"], life["x_BookedCost"], life["x_CostBasis"]) == (
        "1.42", "1.42", "billed",
    )  # fmt: skip
    assert life["x_CorrectedBy"] == list(rows.values())[-1].event_id


def test_quantity_times_price_is_the_cost() -> None:
    for charge in charges(story())[1]:
        product = Decimal(charge["PricingQuantity"]) * Decimal(charge["ListUnitPrice"])
        assert abs(product - Decimal(charge["ListCost"])) < Decimal("0.000001")


@pytest.mark.parametrize(
    ("more", "left"),
    [
        ({"since": at(40)}, 2),
        ({"until": at(2.2)}, 1),
        ({"modules": ("other",)}, 0),
        ({"modules": ("acme",)}, 4),
    ],
)
def test_filters_by_the_time_of_the_row_that_books(more: dict[str, object], left: int) -> None:
    assert len(charges(story(), **more)[1]) == left  # type: ignore[arg-type]


def test_an_empty_period_and_a_clock_set_back_give_a_period_of_a_second() -> None:
    made = [(at(5), story()[0][1]), (at(4), story()[7][1])]
    charge = charges(made)[1][0]

    assert charge["ChargePeriodStart"] == "2026-10-30T11:59:59Z"
    assert charge["ChargePeriodEnd"] == "2026-10-30T12:00:00Z"


def test_every_value_has_a_column_and_custom_ones_say_so() -> None:
    for charge in charges(story())[1]:
        assert set(charge) <= set(COLUMNS)
    assert list(COLUMNS) == sorted(COLUMNS)
    # Case is no difference to a warehouse: the older spelling must not be in the plain file.
    assert len({name.lower() for name in COLUMNS}) == len(COLUMNS)
    assert not set(OLD_NAMES) & set(COLUMNS)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)), max_size=20))
def test_the_sum_is_that_of_the_rows(lives: list[tuple[int, int]]) -> None:
    made: Made = []
    for number, (micros, seconds) in enumerate(lives):
        start, close = story()[0][1], story()[7][1]
        made.append((at(number), start._replace(job_id=f"l{number}")))
        usd, spent = Decimal(micros) / 10**6, Decimal(seconds)
        done = close._replace(job_id=f"l{number}", cost_usd=usd, gpu_seconds=spent)
        made.append((at(number) + timedelta(minutes=3), done))
    _, found = charges(made)

    booked = sum((Decimal(micros) / 10**6 for micros, _ in lives), Decimal(0))
    assert sum((Decimal(c["EffectiveCost"]) for c in found), Decimal(0)) == booked


@given(st.lists(st.text(), min_size=2))
def test_a_sheets_cell_is_never_a_formula_and_never_acts(cells: list[str]) -> None:
    import csv

    line = sheet_line(cells)
    (back,) = csv.reader([line.removesuffix("\r\n")], strict=True)

    assert len(back) == len(cells)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in back)
    assert visible(line[:-2]) == line[:-2]


def test_cells_say_what_was_in_them() -> None:
    assert sheet_line(["=1+1", "-5", "\t=x", "plain", 'a"b,c']) == (
        '\'=1+1,\'-5,\'\\x09=x,plain,"a""b,c"\r\n'
    )
    assert csv_line(["\x1b[31m", "a\u202eb", "two\nlines"]) == (
        "\\x1b[31m,a\\u202eb,two\\x0alines\n"
    )


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_every_sign_that_begins_a_formula_is_defused(sign: str) -> None:
    assert sheet_line([sign + "SUM(A1)", "x"]) == f"'{sign}SUM(A1),x\r\n"


def job(hours: float, name: str, tokens: int, module: str = "acme") -> Made:
    done = entry(E.JOB_COMPLETE, name, tokens_processed=tokens, module_id=module)
    return [(at(hours), entry(E.JOB_START, name, PENDING)), (at(hours), done)]


def three_lives() -> Made:
    """One that nobody closed with 100 tokens, a closed one with 7, an open one with 50."""
    return [
        (at(0), entry(E.BOOT_REQUEST, "l1", PENDING)),
        *job(1, "j1", 100),
        (at(2), entry(E.BOOT_REQUEST, "l2", PENDING)),
        *job(3, "j2", 7),
        (at(4), entry(E.TEARDOWN_COMPLETE, "l2", gpu_seconds=Decimal(60), cost_usd=Decimal(1))),
        (at(5), entry(E.BOOT_REQUEST, "l3", PENDING)),
        *job(6, "j3", 50),
    ]


@pytest.mark.parametrize(
    ("more", "charged", "outside"),
    [
        ({}, ["7"], 150),
        ({"since": at(2)}, ["7"], 50),
        ({"until": at(5.5)}, ["7"], 100),
        ({"modules": ("other",)}, [], 0),
    ],
)
def test_no_token_is_lost_without_a_word(
    more: dict[str, datetime], charged: list[str], outside: int
) -> None:
    made = [each for each in three_lives() if each[0] < more.get("until", at(99))]
    fold, found = charges(made, **more)  # type: ignore[arg-type]

    assert [each["x_ConsumedTokens"] for each in found] == charged
    assert fold.tokens_outside == outside


def test_tokens_of_a_life_without_a_known_cost_are_in_no_charge() -> None:
    made = [each for each in three_lives() if each[0] in (at(2), at(3))]
    made.append((at(4), entry(E.TEARDOWN_COMPLETE, "l2", gpu_seconds=Decimal(60))))
    fold, found = charges(made)
    assert (found, fold.unpriced, fold.tokens_outside) == ([], 1, 7)


def test_tokens_of_a_job_in_another_modules_life_are_in_no_charge_of_its_own() -> None:
    made = [
        (at(0), entry(E.BOOT_REQUEST, "l1", PENDING)),
        *job(1, "j1", 9, "other"),
        (at(2), entry(E.TEARDOWN_COMPLETE, "l1", gpu_seconds=Decimal(60), cost_usd=Decimal(1))),
    ]
    assert charges(made, modules=("other",))[0].tokens_outside == 9
    assert charges(made, modules=("acme",))[0].tokens_outside == 0
    assert charges(made)[1][0]["x_ConsumedTokens"] == "9"


def test_the_command_says_how_many_tokens_are_in_no_charge(tmp_path: Path) -> None:
    ledger = open_ledger(write(tmp_path / "ledger.csv", three_lives()))
    done = export_focus(ledger, ExportWanted(), lambda _: None, account="a", nodes={})
    assert any("150 token(s) in no charge" in note for note in done.notes)
