"""A filter over the bytes of lines gives what the same filter over all rows gives."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_lines import NOON, ledger

from yoyo.core.ledger_filter import BlockFilter, passes
from yoyo.core.ledger_format import HEADER, MAX_LINE_BYTES, decode_row
from yoyo.core.ledger_state import StateRows
from yoyo.core.lives import read_book
from yoyo.model.ledger import BadRow, CompletionStatus, Entry, EventType, Row
from yoyo.model.row_filter import RowFilter

WORDS = ["a", "b", "job-1", "success", "node-1", "team-a", "ä", 'q"q', "c,d", "DISK_COST"]
LABELS = ["a", "b", "node-1", "team-a", "store", "adapters", "ledger"]
HASHES = ["", "sha256:" + "ab" * 32, "sha256:" + "cd" * 32]

entries = st.builds(
    Entry,
    st.sampled_from(EventType),
    st.sampled_from(LABELS),
    st.sampled_from(LABELS),
    st.sampled_from([*WORDS, "promote/x@1"]),
    st.sampled_from(CompletionStatus),
    st.sampled_from(["", *WORDS]),
    error_code=st.sampled_from(["", *WORDS]),
    input_hash=st.sampled_from(HASHES),
    adapter_versions=st.just(()),
    cache_hit_ratio=st.none(),
    tokens_processed=st.none(),
    gpu_seconds=st.none(),
    cost_usd=st.sampled_from([None, Decimal("0.5")]),
)


def some(values: Iterable[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(list(values)), max_size=2).map(tuple)


bounds = st.none() | st.integers(-2, 25).map(lambda n: NOON + timedelta(seconds=n))
filters = st.builds(
    RowFilter,
    since=bounds,
    until=bounds,
    nodes=some(LABELS),
    modules=some(LABELS),
    jobs=some(WORDS),
    types=some(EventType),
    statuses=some(CompletionStatus),
    codes=some(["", *WORDS]),
    inputs=some(HASHES),
    events=st.just(()),
)
steps = st.lists(st.integers(0, 20), max_size=20)


def rows_of(lines: list[bytes]) -> list[Row | BadRow]:
    return [decode_row(raw, number) for number, raw in enumerate(lines[1:], 2)]


def matching(lines: list[bytes], wanted: RowFilter, batch: int) -> list[Row | BadRow]:
    found = BlockFilter(wanted, 1, at_start=False)
    body = lines[1:]
    return [
        row
        for at in range(0, len(body), batch)
        for row in found.take(b"\n".join(body[at : at + batch]))
    ]


@given(st.lists(entries, max_size=20), steps, filters, st.integers(1, 20))
def test_it_finds_what_passes(
    items: list[Entry], times: list[int], wanted: RowFilter, batch: int
) -> None:
    lines = ledger(items, [NOON + timedelta(seconds=n) for n in times])
    expected = [row for row in rows_of(lines) if isinstance(row, Row) and passes(row, wanted)]
    assert matching(lines, wanted, batch) == expected


@given(st.lists(entries, min_size=1, max_size=10), st.integers(0, 9))
def test_one_event_is_found_by_its_id(items: list[Entry], at: int) -> None:
    lines = ledger(items)
    row = rows_of(lines)[at % len(items)]
    assert isinstance(row, Row)
    assert matching(lines, RowFilter(events=(row.event_id,)), 4) == [row]


@given(
    st.lists(entries, min_size=3, max_size=12),
    filters,
    st.integers(0, 11),
    st.sampled_from(
        ["", "junk", "a,b", "NUL", "CR", "latin", "long", "header", "quote", "twice", "gone"]
    ),
    st.integers(1, 12),
)
def test_damage_comes_out_and_hides_nothing(
    items: list[Entry], wanted: RowFilter, at: int, how: str, batch: int
) -> None:
    lines = ledger(items)
    at = at % len(items) + 1
    raw = lines[at]
    lines[at : at + 1] = {
        "NUL": [raw.replace(b"Z,", b"Z\0,")],
        "CR": [raw + b"\r"],
        "latin": [raw.replace(b"Z,", b"Z\xff,")],
        "long": [b"x" * MAX_LINE_BYTES],
        "header": [HEADER[:-1]],
        "quote": [raw.replace(b",", b',"', 1)],
        "twice": [raw, raw],
        "gone": [],
    }.get(how, [how.encode()])
    expected = [row for row in rows_of(lines) if isinstance(row, BadRow) or passes(row, wanted)]
    if how == "long":
        batch = 1  # as the reader gives it: alone
    assert matching(lines, wanted, batch) == expected


def state_of(lines: list[bytes], batch: int) -> list[Row | BadRow]:
    state = StateRows()
    found: list[Row | BadRow] = []
    for at in range(0, len(lines), batch):
        found += state.take(b"\n".join(lines[at : at + batch]))
    return found + list(state.rest())


@settings(max_examples=400)
@given(
    st.lists(entries, max_size=20),
    st.integers(1, 20),
    st.none() | st.tuples(st.integers(0, 19), st.sampled_from([b"junk", b"", b"a\0b"])),
)
def test_the_state_is_that_of_all_rows(
    items: list[Entry], batch: int, damage: tuple[int, bytes] | None
) -> None:
    lines = ledger(items)
    if damage is not None and items:
        lines[damage[0] % len(items) + 1] = damage[1]
    whole, short = read_book(rows_of(lines)), read_book(state_of(lines, batch))
    assert vars(short) == vars(whole)


pairs = st.lists(
    st.tuples(
        st.sampled_from([EventType.JOB_START, EventType.JOB_COMPLETE, EventType.BOOT_REQUEST]),
        st.sampled_from(["a", "store", "adapters"]),
        st.sampled_from(["x", "y", "promote/x@1"]),
        st.sampled_from([CompletionStatus.SUCCESS, CompletionStatus.ERROR]),
    ),
    max_size=25,
)


@settings(max_examples=400)
@given(pairs, st.integers(1, 20))
def test_jobs_of_the_same_id_on_several_nodes(
    plan: list[tuple[EventType, str, str, CompletionStatus]], batch: int
) -> None:
    items = [Entry(kind, "m", node, job, status, "op") for kind, node, job, status in plan]
    lines = ledger(items)
    whole, short = read_book(rows_of(lines)), read_book(state_of(lines, batch))
    assert vars(short) == vars(whole)


def test_a_job_that_is_over_does_not_come_out() -> None:
    start = Entry(EventType.JOB_START, "m", "a", "x", CompletionStatus.PENDING, "op")
    end = start._replace(event_type=EventType.JOB_COMPLETE)
    lines = ledger([start, end, start._replace(job_id="y"), end._replace(job_id="z")])
    rows = rows_of(lines)
    assert state_of(lines, 20) == [rows[3], rows[2]]
    assert state_of(lines, 1) == [rows[3], rows[2]]
