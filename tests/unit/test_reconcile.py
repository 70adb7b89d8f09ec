"""Where ledger, platform and bill differ, and what is said about it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from ledger_lines import NOON, entry, ledger

from yoyo.core.corrections import Amounts, correction_entry
from yoyo.core.ledger_format import decode_row
from yoyo.core.reconcile.bills import SETTLED, BillComparison, compare_bill
from yoyo.core.reconcile.booked import read_booked
from yoyo.core.reconcile.machines import compare_machines
from yoyo.model.ledger import Entry, EventType, Row
from yoyo.model.reconcile import (
    Bill,
    BilledLife,
    Booked,
    Bounds,
    FindingKind,
    PlatformDisk,
    PlatformMachine,
    PlatformRecords,
    PlatformRun,
)

E, K = EventType, FindingKind
HOUR = timedelta(hours=1)
NODE = frozenset({"node-1"})
ZERO = Decimal(0)


def rows_of(*entries: Entry, every: timedelta = HOUR) -> list[Row]:
    times = [NOON + every * index for index in range(len(entries))]
    rows = [decode_row(line, n) for n, line in enumerate(ledger(entries, times)[1:], 2)]
    assert all(isinstance(row, Row) for row in rows)
    return [row for row in rows if isinstance(row, Row)]


def life(usd: str | None = "0.71", seconds: str | None = "3600", code: str = "") -> list[Entry]:
    """Noon: asked for; one, two and three o'clock: up, to be stopped, stopped."""
    end = entry(E.TEARDOWN_COMPLETE)._replace(
        cost_usd=None if usd is None else Decimal(usd), error_code=code,
        gpu_seconds=None if seconds is None else Decimal(seconds),
    )  # fmt: skip
    return [entry(E.BOOT_REQUEST), entry(E.BOOT_COMPLETE), entry(E.TEARDOWN_REQUEST), end]


def booked(*entries: Entry, since: datetime | None = None, until: datetime | None = None) -> Booked:
    return read_booked(rows_of(*entries), since, until)


def machine(request: str = "life-1", *, runs: bool = False, seconds: int = 3600) -> PlatformMachine:
    start = NOON + timedelta(minutes=1)
    stop = None if runs else start + timedelta(seconds=seconds)
    return PlatformMachine("yoyo-node-1", "z-1", "node-1", request, runs, start, stop)


def bill(
    usd: str = "0.71", credits: str = "0", disk: str = "0", request: str = "life-1",
    until: timedelta = timedelta(days=3), duplicates: int = 0,
) -> Bill:  # fmt: skip
    line = BilledLife(
        request, "node-1", Decimal(usd), Decimal(disk), Decimal(credits), NOON, NOON + HOUR
    )
    return Bill((line,), NOON, NOON + until, 3, 3, ZERO, ZERO, duplicates, Decimal(duplicates))


def kinds_of(ours: Booked, said: PlatformRecords, nodes: frozenset[str] = NODE) -> list[str]:
    return [str(each.kind) for each in compare_machines(ours.lives, said, nodes, Bounds())]


def against(ours: Booked, theirs: Bill, bounds: Bounds | None = None) -> BillComparison:
    return compare_bill(ours, ours.lives, theirs, None, bounds or Bounds())


def test_a_closed_life_whose_machine_says_the_same_agrees() -> None:
    assert kinds_of(booked(*life()), PlatformRecords((machine(),))) == []


def test_a_machine_that_no_row_names_is_found() -> None:
    assert kinds_of(booked(), PlatformRecords((machine(),))) == [K.MACHINE_WITHOUT_ROWS]


def test_an_open_life_without_a_machine_is_found() -> None:
    assert kinds_of(booked(*life()[:2]), PlatformRecords()) == [K.ROWS_WITHOUT_MACHINE]
    assert kinds_of(booked(*life()[:2]), PlatformRecords((machine(runs=True),))) == []


def test_of_a_platform_that_did_not_answer_nothing_is_concluded() -> None:
    assert kinds_of(booked(*life()[:2]), PlatformRecords(unanswered=("x",)), frozenset()) == []


def test_a_machine_that_runs_though_its_life_is_closed_is_found() -> None:
    assert kinds_of(booked(*life()), PlatformRecords((machine(runs=True),))) == [
        K.RUNS_THOUGH_CLOSED
    ]


@pytest.mark.parametrize(
    ("real", "differs"), [(3600, False), (3660, False), (3661, True), (3540, False), (3539, True)]
)
def test_times_may_differ_by_a_minute(real: int, differs: bool) -> None:
    found = kinds_of(booked(*life()), PlatformRecords((machine(seconds=real),)))
    assert found == ([K.TIMES_DIFFER] if differs else [])


def test_seconds_that_a_correction_gave_are_compared() -> None:
    rows = rows_of(*life(seconds="0", usd="0"))
    fixed = correction_entry(rows[-1], Amounts(gpu_seconds=Decimal(3600)), "", "op")
    said = PlatformRecords((machine(),))
    assert kinds_of(booked(*life(seconds="0", usd="0")), said) == [K.TIMES_DIFFER]
    assert kinds_of(booked(*life(seconds="0", usd="0"), fixed), said) == []


def test_a_run_in_the_log_is_held_against_the_life_of_its_time() -> None:
    def said(start: timedelta, seconds: int) -> PlatformRecords:
        begin = NOON + start
        end = begin + timedelta(seconds=seconds)
        return PlatformRecords(runs=(PlatformRun("node-1", begin, end),))

    assert kinds_of(booked(*life()), said(timedelta(minutes=1), 3600)) == []
    assert kinds_of(booked(*life()), said(timedelta(minutes=1), 7200)) == [K.TIMES_DIFFER]
    assert kinds_of(booked(*life()), said(timedelta(hours=9), 600)) == [K.RUN_WITHOUT_ROWS]


def test_a_disk_that_nothing_uses_is_found_with_its_cause() -> None:
    left = [entry(E.BOOT_REQUEST), life("0", "0", "NO_CAPACITY")[-1]]
    disk = PlatformDisk("yoyo-node-1", "z-1", "node-1", "life-1", 100, NOON, False)
    found = compare_machines(
        booked(*left).lives, PlatformRecords(disks=(disk,)), NODE, Bounds()
    )  # fmt: skip
    assert [each.kind for each in found] == [K.DISK_LEFT]
    assert "no capacity" in found[0].cause
    used = PlatformRecords(disks=(disk._replace(in_use=True),))
    assert kinds_of(booked(*left), used) == []
    assert kinds_of(booked(*life()[:2]), PlatformRecords((machine(runs=True),), (disk,))) == []


@pytest.mark.parametrize(
    ("usd", "differs"),
    [("0.71", False), ("0.7199", False), ("0.7201", True), ("0.70", False), ("0.69", True)],
)
def test_a_cost_may_differ_by_a_cent_or_the_tolerance(usd: str, differs: bool) -> None:
    found = against(booked(*life()), bill(usd)).findings
    assert [each.kind for each in found] == ([K.COST_DIFFERS] if differs else [])


def test_the_tolerance_is_a_share_of_the_bill() -> None:
    wide = Bounds(share=Decimal("0.10"))
    assert against(booked(*life("90")), bill("99"), wide).findings == ()
    assert len(against(booked(*life("89")), bill("99"), wide).findings) == 1


@pytest.mark.parametrize(
    ("ours", "code", "says"),
    [
        (None, "MACHINE_GONE", "gone"),
        (None, "", "No price"),
        ("0.000000", "", "never ran"),
        ("0.000000", "NO_CAPACITY", "capacity"),
    ],
)
def test_what_was_booked_with_nothing_is_found_with_its_cause(
    ours: str | None, code: str, says: str
) -> None:
    found = against(booked(*life(ours, None, code)), bill("50")).findings
    assert [each.kind for each in found] == [K.BOOKED_NOTHING]
    assert found[0].actual == 50
    assert says in found[0].cause


def test_credits_are_named_where_they_are_the_whole_difference() -> None:
    found = against(booked(*life()), bill("0.71", credits="-0.20")).findings
    assert [each.kind for each in found] == [K.COST_DIFFERS]
    assert found[0].actual == Decimal("0.51")
    assert "Credits of 0.20 USD" in found[0].cause


def test_a_life_that_is_not_on_the_bill_is_found_and_cannot_be_booked() -> None:
    result = against(booked(*life()), bill("5", request="other"))
    assert [each.kind for each in result.findings] == [K.NOT_BILLED, K.BILLED_WITHOUT_ROWS]
    assert result.bookable == ()


def test_a_life_at_the_edge_of_the_bill_is_not_compared() -> None:
    ends = 3 * HOUR  # the closing row's time
    assert against(booked(*life()), bill("50", until=ends + SETTLED)).findings != ()
    early = against(booked(*life()), bill("50", until=ends + SETTLED - HOUR))
    assert not early.findings
    assert not early.bookable
    assert "1 closed life outside" in early.notes[0]
    late = bill("50")._replace(first=NOON + HOUR)
    assert not against(booked(*life()), late).bookable


def test_what_is_billed_is_booked_once_and_keeps_corrected_seconds() -> None:
    rows = rows_of(*life("0", "0"))
    by_hand = correction_entry(rows[-1], Amounts(gpu_seconds=Decimal(9)), "", "op")
    ours = booked(*life("0", "0"), by_hand)
    [to_book] = against(ours, bill("50.1234565")).bookable
    assert (to_book.usd, to_book.gpu_seconds) == (Decimal("50.123457"), Decimal(9))
    amounts = Amounts(gpu_seconds=to_book.gpu_seconds, cost_usd=to_book.usd, billed=True)
    again = booked(*life("0", "0"), by_hand, correction_entry(rows[-1], amounts, "", "op"))
    done = against(again, bill("50.1234565"))
    assert not done.bookable
    assert not done.findings
    [changed] = against(again, bill("49")).findings
    assert "changed since" in changed.cause


def test_a_negative_bill_is_never_booked() -> None:
    result = against(booked(*life()), bill("0.71", credits="-5"))
    assert result.bookable == ()
    assert not result.findings[0].bookable


def test_lines_that_are_there_twice_are_said() -> None:
    found = against(booked(*life()), bill(duplicates=2)).findings
    assert [each.kind for each in found] == [K.DUPLICATE_LINES]


def disk_row(usd: str) -> Entry:
    return entry(E.CHECKPOINT)._replace(error_code="DISK_COST", cost_usd=Decimal(usd))


def test_a_disk_row_counts_with_the_part_of_it_that_the_bill_covers() -> None:
    rows = [*life(), disk_row("4")]  # noon to four o'clock
    whole = booked(*rows)
    assert whole.disk_usd == (("node-1", Decimal("4.000000")),)
    part = booked(*rows, since=NOON + HOUR, until=NOON + 2 * HOUR)
    assert part.disk_usd == (("node-1", Decimal("1.000000")),)


def test_disks_are_compared_by_node() -> None:
    rows = [*life(), disk_row("4")]
    assert against(booked(*rows), bill(disk="4.03")).findings == ()
    found = against(booked(*rows), bill(disk="5")).findings
    assert [each.kind for each in found] == [K.DISK_COST_DIFFERS]
    found = against(booked(*life()), bill(disk="5")).findings
    assert [each.kind for each in found] == [K.DISK_NOT_BOOKED]
    assert "price of its disk" in found[0].cause


def test_a_billed_disk_of_a_start_without_capacity_is_found() -> None:
    left = [entry(E.BOOT_REQUEST), life("0", "0", "NO_CAPACITY")[-1]]
    found = against(booked(*left), bill("0", disk="7")).findings
    assert [each.kind for each in found] == [K.DISK_NOT_BOOKED]
    assert "left it behind" in found[0].cause


def test_an_outcome_without_an_intent_is_no_life() -> None:
    assert booked(life()[-1]).lives == ()


def test_a_life_with_a_line_twice_is_not_bookable() -> None:
    theirs = bill("0.80")
    doubled = theirs._replace(lives=(theirs.lives[0]._replace(duplicates=1),), duplicates=1)
    for what, bookable in ((theirs, 1), (doubled, 0)):
        found = against(booked(*life()), what)
        assert len(found.bookable) == bookable
        (differs,) = [each for each in found.findings if each.kind == K.COST_DIFFERS]
        assert differs.bookable is bool(bookable)
    assert "more than once" in differs.cause
    assert "--book" not in differs.fix


def test_what_is_booked_is_told_apart_by_the_life_that_has_the_duplicates() -> None:
    from yoyo.core.reconcile.bill import BillTally
    from yoyo.model.reconcile import BillKind, BillLine

    def line(number: int, request: str, digest: str) -> BillLine:
        return BillLine(number, BillKind.MACHINE, "node-1", request, "r", NOON, NOON + HOUR,
                        Decimal("0.5"), ZERO, digest)  # fmt: skip

    tally = BillTally()
    for each in (line(1, "a", "1"), line(2, "a", "1"), line(3, "b", "2")):
        tally.take(each)
    assert [(each.request_id, each.duplicates) for each in tally.bill().lives] == [
        ("a", 1), ("b", 0),
    ]  # fmt: skip
