"""Which corrections apply, and what they change."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_lines import CYCLE, entry, ledger

from yoyo.core.corrections import (
    Amounts,
    apply,
    correction_entry,
    corrections_of,
    reason_slug,
    why_not,
)
from yoyo.core.ledger_format import MAX_JOB_ID_BYTES, decode_row, encode_entry
from yoyo.model.ledger import BILLED, CORRECTION, DISK_COST, BadRow, Entry, EventType, Row

E = EventType


def rows_of(entries: list[Entry]) -> list[Row | BadRow]:
    return [decode_row(raw, n) for n, raw in enumerate(ledger(entries)[1:], 2)]


def row(rows: list[Row | BadRow], seq: int) -> Row:
    found = rows[seq - 1]
    assert isinstance(found, Row)
    return found


BASE = rows_of(CYCLE)
END = row(BASE, 7)  # TEARDOWN_COMPLETE: 3600 s, 0.710000 USD
JOB = row(BASE, 4)


def with_corrections(*entries: Entry) -> list[Row | BadRow]:
    return rows_of([*CYCLE, *entries])


def fix(target: Row, reason: str = "billed less", **amounts: object) -> Entry:
    return correction_entry(target, Amounts(**amounts), reason, "auditor")  # type: ignore[arg-type]


def test_a_correction_changes_the_numbers_it_fills_and_no_others() -> None:
    rows = with_corrections(fix(END, cost_usd=Decimal("0.5")))
    found = corrections_of(rows)
    assert found.problems == ()
    fixed = apply(row(rows, 7), found)
    assert (fixed.entry.cost_usd, fixed.entry.gpu_seconds) == (Decimal("0.5"), Decimal(3600))
    assert apply(JOB, found) is JOB
    (one,) = found.applied
    assert (one.seq, one.event_id, one.reason) == (7, END.event_id, "billed-less")


def test_the_newest_wins_in_whatever_order_rows_are_read() -> None:
    first, second = fix(END, cost_usd=Decimal(1)), fix(END, cost_usd=Decimal(2), billed=True)
    rows = with_corrections(first, second)
    for order in (rows, list(reversed(rows))):
        amounts = corrections_of(order).of(END)
        assert amounts == Amounts(cost_usd=Decimal(2), billed=True)


def test_rows_are_looked_up_where_they_were_not_read() -> None:
    rows = with_corrections(fix(JOB, tokens=600))
    alone = [rows[-1]]
    assert corrections_of(alone, lambda seq: row(rows, seq)).of(JOB) == Amounts(tokens=600)
    (problem,) = corrections_of(alone).problems
    assert "not there" in problem.why


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_hash": "sha256:" + "0" * 64}, "another hash"),
        ({"input_hash": ""}, "another hash"),
        ({"job_id": "correct/7"}, "job_id"),
        ({"job_id": f"correct/07/{END.event_id}"}, "job_id"),
        ({"job_id": f"correct/6/{END.event_id}"}, "not there"),
        ({"job_id": f"correct/8/{END.event_id}"}, "not above"),
        ({"job_id": f"correct/99/{END.event_id}"}, "not above"),
        ({"cost_usd": None}, "no number"),
        ({"tokens_processed": 5}, "no tokens"),
        ({"error_code": BILLED, "cost_usd": None, "gpu_seconds": Decimal(1)}, "bill"),
        ({"event_type": E.ADAPTER_LOAD}, "job_id"),
    ],
)
def test_one_that_does_not_hold_is_a_problem_and_changes_nothing(
    change: dict[str, object], said: str
) -> None:
    bad = fix(END, cost_usd=Decimal("0.5"))._replace(**change)  # type: ignore[arg-type]
    found = corrections_of(with_corrections(bad))
    (problem,) = found.problems
    assert said in problem.why
    assert problem.seq == 8
    assert found.of(END) is None


def test_a_correction_of_a_correction_is_a_problem() -> None:
    rows = with_corrections(fix(END, cost_usd=Decimal(1)))
    more = [*CYCLE, fix(END, cost_usd=Decimal(1)), fix(row(rows, 8), cost_usd=Decimal(3))]
    found = corrections_of(rows_of(more))
    (problem,) = found.problems
    assert "correction itself" in problem.why
    assert found.of(END) == Amounts(cost_usd=Decimal(1))


def test_a_bad_older_one_does_not_hide_a_good_one() -> None:
    good = fix(END, cost_usd=Decimal(1))
    bad = fix(END, cost_usd=Decimal(9))._replace(input_hash="sha256:" + "1" * 64)
    assert corrections_of(with_corrections(good, bad)).of(END) == Amounts(cost_usd=Decimal(1))


@pytest.mark.parametrize(
    ("kind", "code", "amounts", "fine"),
    [
        (E.PREEMPTION, "", Amounts(cost_usd=Decimal(1), gpu_seconds=Decimal(2)), True),
        (E.PREEMPTION, "", Amounts(tokens=1), False),
        (E.CHECKPOINT, DISK_COST, Amounts(cost_usd=Decimal(1)), True),
        (E.CHECKPOINT, DISK_COST, Amounts(gpu_seconds=Decimal(1)), False),
        (E.CHECKPOINT, "", Amounts(cost_usd=Decimal(1)), False),
        (E.JOB_COMPLETE, "", Amounts(tokens=1, gpu_seconds=Decimal(1)), True),
        (E.JOB_COMPLETE, "", Amounts(cost_usd=Decimal(1)), False),
        (E.BOOT_REQUEST, "", Amounts(cost_usd=Decimal(1)), False),
        (E.PREEMPTION, "", Amounts(), False),
    ],
)
def test_what_can_be_corrected(kind: EventType, code: str, amounts: Amounts, fine: bool) -> None:
    target = JOB._replace(entry=entry(kind)._replace(error_code=code))
    assert (why_not(target, amounts) == "") is fine


@given(st.text(max_size=200), st.integers(1, 10**18 - 1))
def test_any_reason_fits_and_is_read_back(reason: str, seq: int) -> None:
    target = END._replace(seq=seq)
    made = correction_entry(target, Amounts(cost_usd=Decimal(1)), reason, "me")
    encode_entry(made, END.event_id)  # refuses what has no form
    assert len(made.job_id) <= MAX_JOB_ID_BYTES
    assert made.error_code == CORRECTION
    correction = Row(made, END.event_id, END.timestamp, seq + 1, "0" * 64, 1)
    found = corrections_of([correction], lambda _: target)
    assert found.problems == ()
    room = MAX_JOB_ID_BYTES - len(f"correct/{seq}/{END.event_id}/")
    assert found.applied[0].reason == reason_slug(reason, room)
