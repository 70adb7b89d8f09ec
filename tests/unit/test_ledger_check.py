"""The verifier: every tampering is found, and both its lanes say the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_lines import CYCLE, NOON, E, entry, ledger, verify

from yoyo.core.ledger_check import MAX_PROBLEMS, LedgerCheck
from yoyo.core.ledger_format import HEADER, row_hash
from yoyo.model.ledger import (
    GENESIS_HASH,
    Entry,
    LedgerHead,
)


def rehash(lines: list[bytes]) -> list[bytes]:
    """Rows of any form, with the chain made right."""
    prev, out = GENESIS_HASH, lines[:1]
    for line in lines[1:]:
        prefix = line[:-65]
        prev = row_hash(prev, prefix)
        out.append(prefix + b"," + prev.encode())
    return out


def test_a_sound_ledger() -> None:
    lines = ledger(CYCLE)
    report = verify(lines)
    assert report.ok
    assert report.rows == len(CYCLE)
    assert report.first_time == "2026-11-21T12:00:01.000000Z"
    assert report.last_time == "2026-11-21T12:00:07.000000Z"
    assert report.head == LedgerHead(len(CYCLE), lines[-1][-64:].decode())
    assert not report.problems
    assert not report.open_intents
    assert report.clock_steps_back == report.torn_tail_bytes == 0
    assert report.expected_head_found is None


def test_nothing_and_a_header_alone_are_sound() -> None:
    for lines in ([], [HEADER[:-1]]):
        report = verify(lines)
        assert report.ok
        assert report.rows == 0
        assert report.head is None


def test_an_edited_row_is_reported_once() -> None:
    lines = ledger(CYCLE)
    lines[4] = lines[4].replace(b",512,", b",513,")
    report = verify(lines)
    assert [(bad.line, bad.reason) for bad in report.problems] == [
        (5, "row_hash does not match this row and the hash above it")
    ]
    assert report.problems[0].raw == lines[4]
    assert report.rows == len(CYCLE)


def test_an_edited_hash_is_reported_twice() -> None:
    lines = ledger(CYCLE)
    lines[4] = lines[4][:-64] + b"0" * 64
    assert [bad.line for bad in verify(lines).problems] == [5, 6]


def test_a_dropped_row() -> None:
    lines = ledger(CYCLE)
    del lines[5]  # the CHECKPOINT
    (bad,) = verify(lines).problems
    assert bad.line == 6
    assert "row_hash does not match" in bad.reason
    assert "seq is 6 where 5 was due" in bad.reason


def test_swapped_rows() -> None:
    lines = ledger(CYCLE)
    lines[5], lines[6] = lines[6], lines[5]
    assert [bad.line for bad in verify(lines).problems] == [6, 7, 8]


def test_a_tail_cut_at_a_row_shows_only_against_a_kept_head() -> None:
    lines = ledger(CYCLE)
    head = LedgerHead(len(CYCLE), lines[-1][-64:].decode())
    assert verify(lines, head).ok
    cut = verify(lines[:-1], head)
    assert verify(lines[:-1]).ok
    assert cut.expected_head_found is False
    assert not cut.ok
    grown = ledger([*CYCLE, entry(E.CHECKPOINT)])
    assert verify(grown, head).expected_head_found is True


def test_a_rewritten_ledger_shows_against_a_kept_head() -> None:
    lines = ledger(CYCLE)
    head = LedgerHead(3, lines[3][-64:].decode())
    forged = ledger([item._replace(operator_id="mallory") for item in CYCLE])
    assert verify(forged).ok
    assert verify(forged, head).expected_head_found is False


def test_each_spoilt_line_says_why_and_the_rest_still_counts() -> None:
    lines = ledger(CYCLE)
    spoils: list[tuple[Callable[[bytes], bytes], str]] = [
        (lambda raw: raw + b"\r", "CRLF"),
        (lambda raw: raw.replace(b"team-a", b"team\0a"), "NUL"),
        (lambda raw: raw.replace(b"team-a", b"team\xffa"), "UTF-8"),
        (lambda raw: raw.replace(b"team-a", b"team,a"), "18 columns"),
        (lambda raw: raw.replace(b"CHECKPOINT", b"CHECKPOINTS"), "unknown event_type"),
        (lambda raw: raw.replace(b"success", b"fine"), "unknown completion_status"),
        (lambda raw: raw[:20], "columns"),
    ]
    for spoil, reason in spoils:
        spoilt = list(lines)
        spoilt[5] = spoil(lines[5])
        report = verify(spoilt)
        assert report.problems[0].line == 6
        assert reason in report.problems[0].reason
        assert report.rows == len(CYCLE) - 1
        # one edit is one problem, unless it took the row's hash with it
        assert report.problem_count == (2 if reason == "columns" else 1)


def test_two_headers() -> None:
    lines = ledger(CYCLE)
    (bad,) = verify([*lines[:3], HEADER[:-1], *lines[3:]]).problems
    assert (bad.line, bad.reason) == (4, "a second header")
    twice = verify(lines + lines)
    assert "a second header" in twice.problems[0].reason
    assert "seq is 1 where 8 was due" in twice.problems[1].reason


def test_a_missing_and_a_wrong_header() -> None:
    lines = ledger(CYCLE)
    (bad,) = verify(lines[1:]).problems
    assert (bad.line, bad.reason) == (1, "the header is missing")
    assert verify(lines[1:]).rows == len(CYCLE)
    (bad,) = verify([b"date,what", *lines[1:]]).problems
    assert (bad.line, bad.reason) == (1, "line 1 is not the ledger's header")
    all_crlf = verify([line + b"\r" for line in lines])
    assert all_crlf.problem_count == len(lines)
    assert all("CRLF" in bad.reason for bad in all_crlf.problems)


def test_a_clock_going_back_is_counted_and_no_problem() -> None:
    times = [NOON, NOON - timedelta(hours=1), NOON, NOON + timedelta(1), NOON]
    for batch in (0, 1):
        report = verify(ledger([entry(E.CHECKPOINT)] * 5, times), batch=batch)
        assert report.ok
        assert report.clock_steps_back == 2


def test_problems_are_kept_up_to_a_limit_and_all_counted() -> None:
    lines = [HEADER[:-1], *[b"junk"] * 250]
    report = verify(lines)
    assert report.problem_count == 250
    assert len(report.problems) == MAX_PROBLEMS


KINDS = st.sampled_from(
    [E.JOB_START, E.JOB_COMPLETE, E.BOOT_REQUEST, E.BOOT_COMPLETE, E.CHECKPOINT]
)
SMALL = st.builds(
    entry,
    kind=KINDS,
    job=st.sampled_from(["a", "b", "a,b", 'q"', "ümlaut"]),
    operator=st.sampled_from(["op", "Doe, J.", 'x"y', ""]),
)


ALONE = st.builds(
    entry,
    kind=st.sampled_from([E.CHECKPOINT, E.ADAPTER_LOAD, E.KV_POOL_SYNC]),
    job=st.sampled_from(["", "a,b", "ümlaut"]),
    operator=st.sampled_from(["op", "Doe, J.", 'x"y', ""]),
)


@given(st.lists(ALONE, min_size=1, max_size=12), st.data())
def test_any_byte_changed_is_found(entries: list[Entry], data: st.DataObject) -> None:
    content = bytearray(b"\n".join(ledger(entries)))
    assert verify(bytes(content).split(b"\n")).ok
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda value: value != content[at]))
    assert not verify(bytes(content).split(b"\n")).ok


@given(st.lists(SMALL, min_size=3, max_size=12), st.data())
def test_any_row_dropped_or_two_swapped_is_found(entries: list[Entry], data: st.DataObject) -> None:
    lines = ledger(entries)
    gone = data.draw(st.integers(1, len(lines) - 2))
    dropped = lines[:gone] + lines[gone + 1 :]
    assert any("row_hash" in bad.reason for bad in verify(dropped).problems)
    a, b = data.draw(st.lists(st.integers(1, len(lines) - 1), min_size=2, max_size=2, unique=True))
    lines[a], lines[b] = lines[b], lines[a]
    assert any("row_hash" in bad.reason for bad in verify(lines).problems)


@settings(max_examples=300)
@given(st.lists(SMALL, min_size=1, max_size=8), st.integers(1, 4), st.data())
def test_both_lanes_agree_on_anything(
    entries: list[Entry], batch: int, data: st.DataObject
) -> None:
    lines = ledger(entries)
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(lines) - 1))
        row = bytearray(lines[at])
        if row:
            row[data.draw(st.integers(0, len(row) - 1))] = data.draw(
                st.sampled_from(list(b'\0\r",;@.0123456789abfgTZ- \xff\xc3'))
            )
        lines[at] = bytes(row)
    # With the chain made right, only the form is left to be judged.
    if data.draw(st.booleans()):
        lines = rehash(lines)
    one_by_one = LedgerCheck()
    for number, line in enumerate(lines):
        if number == 0:
            one_by_one.feed(line)
        else:
            one_by_one._slow(line)
    assert verify(lines) == one_by_one.report()
    assert verify(lines, batch=batch) == one_by_one.report()


def misaligned() -> list[bytes]:
    """One row a column short and the next one a column long, with a chain to match."""
    lines = ledger([entry(E.CHECKPOINT)] * 3)
    short = lines[2].rsplit(b",", 1)[0]
    borrowed = row_hash(lines[1][-64:].decode(), short[:-65]).encode()
    prefix = borrowed + b"," + lines[3][:-65]
    return [*lines[:2], short, prefix + b"," + row_hash(borrowed.decode(), prefix).encode()]


def moved_hash() -> list[bytes]:
    """A hash one digit short and the next one grown by it: joined they look right."""
    lines = ledger([entry(E.CHECKPOINT)] * 2)
    one, two = lines[1][:-65], lines[2][:-65]
    digest = row_hash(GENESIS_HASH, one[:-1]).encode()  # what a cut of 65 bytes leaves of it
    kept, moved = digest[:63], digest[63:]
    last = row_hash(kept.decode(), two + b",").encode()
    return [lines[0], one + b"," + kept, two + b"," + moved + last]


@pytest.mark.parametrize("lines", [misaligned(), moved_hash()], ids=["columns", "hashes"])
def test_what_only_adds_up_in_bulk_is_found(lines: list[bytes]) -> None:
    report = verify(lines)
    assert not report.ok
    assert report == verify(lines, batch=1)


def test_a_long_random_ledger_in_batches_of_any_size() -> None:
    chance = random.Random(7)
    entries: list[Entry] = []
    for n in range(60):
        entries += [entry(E.BOOT_REQUEST, f"l{n}"), entry(E.BOOT_COMPLETE, f"l{n}")]
        for j in range(chance.randrange(6)):
            entries += [entry(E.JOB_START, f"j{n}-{j}"), entry(E.JOB_COMPLETE, f"j{n}-{j}")]
        entries.append(entry(E.PREEMPTION, f"l{n}"))
    lines = ledger(entries)
    for batch in (1, 2, 7, 100, 999, 1000, 5000):
        report = verify(lines, batch=batch)
        assert report.ok
        assert report.rows == len(entries)
