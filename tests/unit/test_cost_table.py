"""What `yoyo cost` answers: figures by hand, and what must hold for every ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations

import pytest
from cost_rows import NOW, Maker
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.cost.pieces import BASE, DISK, IDLE, RUNNING, UNSPLIT
from yoyo.core.cost.table import costs
from yoyo.core.cost.window import grain_of
from yoyo.model.accounts import GROUPS, CostLine, CostTable
from yoyo.model.ledger import CompletionStatus, Entry, EventType

D, E = Decimal, EventType
PRICES = {"node-1": D("0.72"), "node-2": None}


def answer(
    maker: Maker, by: Sequence[str] = (), grain: str = "hour", **options: object
) -> CostTable:
    given = {"now": NOW, "hourly_prices": PRICES, **options}
    accounts = maker.accounts(by, grain)
    return costs(accounts, by, fetch=maker.fetch, grain=grain, **given)  # type: ignore[arg-type]


def many(*numbers: int) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, numbers))


def by_key(table: CostTable) -> dict[tuple[str, ...], CostLine]:
    return {line.key: line for line in table.lines}


def one_life() -> Maker:
    """An hour for 0.72 USD: 360 s of boot, 1,800 s of work, 1,440 s of idling."""
    maker = Maker()
    maker.life("life-1", start=0, boot=360, end=3600, usd="0.72")
    maker.job("job-1", 600, seconds="1200", tokens=300_000, adapters=("tone@1",))
    maker.job("job-2", 2400, seconds="600", tokens=100_000)
    return maker


def test_one_life_by_hand() -> None:
    total = answer(one_life()).total
    assert total.gpu_usd == D("0.72")
    assert total.boot_usd == D("0.072")
    assert total.idle_usd == D("0.288")
    assert (total.gpu_seconds, total.work_seconds, total.boot_seconds) == many(3600, 1800, 360)
    assert total.utilisation == D("0.5")
    assert (total.jobs, total.tokens) == (2, 400_000)
    assert total.usd_per_million_tokens == D("1.8")
    assert (total.disk_usd, total.billed_usd, total.running_usd) == many(0, 0, 0)
    assert total.unpriced == 0


def test_by_adapter_shares_the_price_of_the_work() -> None:
    lines = by_key(answer(one_life(), ["adapter"]))
    assert lines["tone@1",].gpu_usd == D("0.24")
    assert lines["tone@1",].tokens == 300_000
    assert lines[BASE,].gpu_usd == D("0.12")
    assert lines[IDLE,].gpu_usd == D("0.36")
    assert lines[IDLE,].idle_usd == D("0.288")


def test_disk_is_apart() -> None:
    maker = one_life()
    maker.disk("life-1", 3600, "0.05", operator="guard:monitor")
    table = answer(maker, ["adapter", "operator"])
    assert table.total.disk_usd == D("0.05")
    assert table.total.usd == D("0.77")
    assert by_key(table)[DISK, "alice"].disk_usd == D("0.05"), "it is its life's operator's"


@pytest.mark.parametrize(
    ("code", "status", "operator", "guard"),
    [
        ("", "success", "alice", "operator"),
        ("", "success", "guard:monitor", "monitor"),
        ("GUARD_LIFETIME", "preempted", "guard:lifetime", "lifetime"),
        ("GUARD_LIFETIME", "preempted", "alice", "lifetime"),
        ("SPOT_PREEMPTED", "preempted", "alice", "platform"),
        ("STOPPED_OUTSIDE", "preempted", "alice", "outside"),
        ("NO_CAPACITY", "error", "alice", "fault"),
    ],
)
def test_who_ended_it(code: str, status: str, operator: str, guard: str) -> None:
    maker = Maker()
    maker.life("l", start=0, boot=1, end=10, usd="1", code=code, status=status, ended_by=operator)
    assert [line.key for line in answer(maker, ["guard"]).lines] == [(guard,)]


def test_the_operator_is_who_started_it() -> None:
    maker = Maker()
    maker.life("l", start=0, boot=1, end=10, usd="1", operator="bob", ended_by="guard:monitor")
    assert [line.key for line in answer(maker, ["operator"]).lines] == [("bob",)]


def test_an_unknown_cost_is_unknown() -> None:
    maker = Maker()
    maker.life("l", start=0, boot=1, end=10, usd=None, seconds=None, code="MACHINE_GONE")
    table = answer(maker)
    assert table.total.usd == 0
    assert table.total.unpriced == 1
    assert any("no known cost" in note for note in table.notes)


def test_no_second_used_costs_nothing_at_any_price() -> None:
    maker = Maker()
    maker.life("l", start=0, boot=None, end=10, usd=None, seconds="0.000", code="NO_CAPACITY")
    assert answer(maker).total.unpriced == 0


def test_what_runs_is_apart_and_priced_with_today() -> None:
    maker = Maker()
    maker.request("l", start=-3600)
    table = answer(maker, ["node", "adapter"])
    assert by_key(table)["node-1", RUNNING].running_usd == D("0.72")
    assert table.total.usd == 0
    assert answer(maker, until=NOW - timedelta(hours=1)).total.running_usd == 0


def test_what_runs_without_a_price_is_unknown() -> None:
    maker = Maker()
    maker.request("l", start=-3600)
    maker.request("m", start=-3600, node="node-2")
    assert answer(maker).total.running_usd is None


def test_a_life_that_was_never_closed_does_not_run_for_ever() -> None:
    maker = Maker()
    maker.request("lost", start=0)
    maker.life("next", start=4000, boot=1, end=4010, usd="1")
    table = answer(maker)
    assert table.total.running_usd == 0
    assert table.total.unpriced == 1


def test_a_cost_without_seconds_is_not_told_apart() -> None:
    maker = Maker()
    maker.life("l", start=0, boot=1, end=10, usd="1", seconds=None)
    table = answer(maker, ["adapter"])
    assert by_key(table)[UNSPLIT,].gpu_usd == 1
    assert table.total.idle_usd == 0


def test_jobs_side_by_side_are_scaled() -> None:
    maker = Maker()
    maker.life("l", start=0, boot=10, end=110, usd="1.1")
    maker.job("a", 100, seconds="150", tokens=1, adapters=("a@1",))
    maker.job("b", 101, seconds="50", tokens=1)
    table = answer(maker, ["adapter"])
    assert by_key(table)["a@1",].gpu_usd == D("0.75")
    assert table.total.work_seconds == 100
    assert table.total.idle_usd == 0
    assert any("side by side" in note for note in table.notes)


def test_a_window_counts_rows_by_their_own_time() -> None:
    maker = Maker()
    day = 86_400
    maker.life("l", start=0, boot=10, end=day + 3600, usd="10")
    maker.job("a", 100, seconds="50", tokens=7)
    first, second = NOW.replace(hour=0), NOW.replace(hour=0) + timedelta(days=1)
    before = answer(maker, since=first, until=second)
    assert before.total.usd == 0
    assert before.total.tokens == 7
    after = answer(maker, since=second, until=second + timedelta(days=1))
    assert after.total.usd == 10
    assert after.total.tokens == 0
    assert after.total.work_seconds == 50, "the life's work, whenever it was"


def test_an_odd_window_is_widened_to_hours_and_says_so() -> None:
    since = NOW + timedelta(minutes=30)
    table = answer(one_life(), since=since)
    assert table.since == NOW
    assert any("whole hours" in note for note in table.notes)


def test_an_odd_end_is_widened_too() -> None:
    maker = Maker()
    maker.life("l", start=0, boot=1, end=3000, usd="1")
    table = answer(maker, until=NOW + timedelta(minutes=30))
    assert table.until == NOW + timedelta(hours=1)
    assert table.total.usd == 1


def test_a_long_window_is_widened_to_days_and_says_so() -> None:
    table = answer(one_life(), grain="day", since=NOW - timedelta(days=80), until=NOW)
    assert table.since == NOW.replace(hour=0) - timedelta(days=80)
    assert table.until == NOW.replace(hour=0) + timedelta(days=1)
    assert any("whole days" in note for note in table.notes)
    assert table.total.gpu_usd == D("0.72")


@pytest.mark.parametrize(
    ("since", "until", "grain"),
    [(None, None, "day"), (None, 0, "day"), (-62, None, "hour"), (-63, None, "day"),
     (-62, 0, "hour"), (-63, 0, "day"), (-100, -50, "hour")],
)  # fmt: skip
def test_the_grain_is_the_windows(since: int | None, until: int | None, grain: str) -> None:
    def day(number: int | None) -> datetime | None:
        return None if number is None else NOW + timedelta(days=number)

    assert grain_of(day(since), day(until), NOW) == grain


def test_by_the_day_lives_share_the_days_work() -> None:
    maker = Maker()
    maker.life("l", start=0, boot=0, end=1000, usd="1")
    maker.life("m", start=7200, boot=0, end=10_200, usd="3")
    maker.job("a", 100, seconds="400", tokens=1)
    assert [answer(maker, grain=grain).total.work_seconds for grain in ("hour", "day")] == [400] * 2
    assert answer(maker, grain="hour").total.idle_usd == D("3.6")
    assert answer(maker, grain="day").total.idle_usd == D("3.6")


def test_sums_of_the_longest_numbers_stay_exact() -> None:
    maker = Maker()
    for number, usd in enumerate(("999999999999999999", "0.000000000000000001")):
        maker.life(f"l{number}", start=number * 100, boot=1, end=number * 100 + 10, usd=usd)
    assert answer(maker, ["node"]).total.gpu_usd == D("999999999999999999.000000000000000001")


def test_corrections_take_the_place_of_figures_and_bills_are_apart() -> None:
    maker = one_life()
    booked = maker.last("life-1")
    maker.correct(booked, usd="50.00")
    assert answer(maker).total.usd == 50
    maker.correct(booked, usd="51.00", billed=True)
    table = answer(maker)
    assert (table.total.usd, table.total.billed_usd) == many(51, 51)
    assert table.total.estimated_usd == 0
    assert table.corrections == 1
    before = answer(maker, as_booked=True)
    assert (before.total.usd, before.total.billed_usd) == (D("0.72"), D(0))


def test_a_correction_of_a_job_is_found_by_its_seq() -> None:
    maker = one_life()
    maker.correct(maker.last("job-1"), tokens=10)
    assert answer(maker).total.tokens == 100_010
    assert answer(maker, as_booked=True).total.tokens == 400_000


def test_a_correction_of_another_row_is_left_out() -> None:
    maker = one_life()
    booked = maker.last("life-1")
    maker.correct(booked._replace(row_hash="f" * 64), usd="50.00")
    table = answer(maker)
    assert table.total.usd == D("0.72")
    assert any("correction" in note for note in table.notes)


def test_an_empty_ledger() -> None:
    table = answer(Maker(), ["module", "day"])
    assert table.lines == ()
    assert table.total.usd == 0
    assert table.total.utilisation is None
    assert table.total.usd_per_million_tokens is None


def test_ten_thousand_tenants() -> None:
    maker = Maker()
    for number in range(10_000):
        start = number * 100
        maker.life(f"l{number}", start=start, boot=1, end=start + 10, usd="0.01",
                   module=f"team-{number}")  # fmt: skip
    table = answer(maker, ["module"])
    assert len(table.lines) == 10_000
    assert table.total.usd == 100


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match="colour"):
        answer(Maker(), ["colour"])


def test_the_forecast_keeps_the_pace() -> None:
    maker = Maker()
    maker.life("l", start=-7200, boot=1, end=-3600, usd="100")
    table = answer(maker, caps=[D(120)])
    assert table.forecast is not None
    assert (table.forecast.month, table.forecast.spent_usd) == ("2026-11", D(100))
    # 20.5 of November's 30 days are gone.
    assert table.forecast.expected_usd == D("146.341463")
    assert table.forecast.cap_reached == datetime(2026, 11, 25, 14, 24, tzinfo=UTC)
    assert answer(maker, caps=[D(500)]).forecast is not None
    relaxed = answer(maker, caps=[D(500)]).forecast
    assert relaxed is not None
    assert relaxed.cap_reached is None
    part = answer(maker, caps=[D(120), None]).forecast
    assert part is not None
    assert part.cap_usd is None


LIVES = st.lists(
    st.tuples(
        st.sampled_from(["node-1", "node-2"]),
        st.sampled_from(["team-a", "team-b"]),
        st.integers(0, 5000),  # length, s
        st.integers(0, 400),  # boot, s
        st.one_of(st.none(), st.decimals(0, 1000, places=6)),
        st.lists(st.tuples(st.integers(0, 5000), st.decimals(0, 3000, places=3),
                           st.sampled_from([(), ("a@1",), ("a@1", "b@2")])), max_size=4),
        st.booleans(),
    ),
    max_size=6,
)  # fmt: skip
EVERY_BY = [list(names) for count in (1, 2) for names in combinations(GROUPS, count)]


@settings(max_examples=60, deadline=None)
@given(LIVES, st.sampled_from(["hour", "day"]))
def test_the_total_is_the_same_whatever_it_is_grouped_by(
    lives: list[
        tuple[str, str, int, int, Decimal | None, list[tuple[int, Decimal, tuple[str, ...]]], bool]
    ],
    grain: str,
) -> None:
    maker, at = Maker(), -900_000
    for number, (node, module, length, boot, usd, jobs, closed) in enumerate(lives):
        amount = None if usd is None else f"{usd:f}"
        if closed:
            maker.life(f"l{number}", start=at, boot=boot, end=at + length, usd=amount, node=node,
                       module=module)  # fmt: skip
        else:
            maker.request(f"l{number}", start=at, node=node, module=module)
        for place, (offset, seconds, adapters) in enumerate(jobs):
            maker.job(f"j{number}-{place}", at + offset, seconds=f"{seconds:f}", tokens=5,
                      adapters=adapters, node=node, module=module)  # fmt: skip
        at += 9_000
    plain = sum((row.entry.cost_usd or D(0) for row in maker.rows), D(0))
    totals = {tuple(by): answer(maker, by, grain) for by in EVERY_BY}
    figures = ("gpu_usd", "idle_usd", "boot_usd", "gpu_seconds", "work_seconds", "boot_seconds",
               "unpriced", "tokens", "jobs", "billed_usd", "disk_usd")  # fmt: skip
    for table in totals.values():
        assert table.total.usd == plain
        assert table.total.work_seconds + table.total.boot_seconds <= table.total.gpu_seconds
        for name in figures:
            parts = sum((getattr(line, name) for line in table.lines), D(0))
            assert parts == getattr(table.total, name), name
        assert all(min(line.idle_usd, line.boot_usd, line.gpu_usd) >= 0 for line in table.lines)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(E.ADAPTER_LOAD, ""), (E.KV_POOL_SYNC, ""), (E.CHECKPOINT, "TORN_TAIL_RECOVERED"),
     (E.CHECKPOINT, ""), (E.BOOT_REQUEST, "")],
)  # fmt: skip
def test_cost_in_rows_that_book_none_is_said(kind: EventType, code: str) -> None:
    maker = one_life()
    maker.disk("life-1", 3600, "0.05")
    maker.correct(maker.last("life-1"), usd="50.00")
    before = answer(maker)
    stray = Entry(kind, "acme", "node-1", "stray", CompletionStatus.SUCCESS, "alice",
                  error_code=code, cost_usd=D("42.00"))  # fmt: skip
    maker.add(4000, stray)
    table = answer(maker)

    assert table.total.usd == before.total.usd
    assert not [note for note in before.notes if "not added" in note]
    assert [note for note in table.notes if note.startswith("42.000000 USD stand in rows")]
    early = answer(maker, until=NOW)
    assert not [note for note in early.notes if "not added" in note], "it is not in the window"
