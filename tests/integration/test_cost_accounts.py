"""The plain reader of accounts: the same figures as the rows one by one, whatever is in them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_parts import open_ledger

from yoyo.core.ledger_format import HEADER, encode_entry, encode_row
from yoyo.core.uuid7 import uuid7
from yoyo.drivers.files.accounts import PlainAccounts
from yoyo.errors import LedgerUnreadable
from yoyo.model.accounts import Accounts, JobSums, Wanted
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import CompletionStatus, Entry, EventType, Row

E = EventType
START = datetime(2026, 10, 30, 22, 0, tzinfo=UTC)
JOBS = (E.JOB_START, E.JOB_COMPLETE)
EVERYTHING = Wanted("hour", modules=True, nodes=True, adapters=True, operators=True)
TINY = Decimal("0.000000000000000001")
LARGE = Decimal("999999999999999999.999999999999999999")


def an_entry(chance: random.Random, number: int) -> Entry:
    kind = chance.choice((*JOBS, *JOBS, *JOBS, E.BOOT_REQUEST, E.CHECKPOINT, E.PREEMPTION))
    done = kind is not E.JOB_START
    seconds = chance.choice([None, TINY, LARGE, Decimal("1.50"), Decimal(0)])
    return Entry(
        kind,
        chance.choice(["team-a", "team-b"]),
        chance.choice(["l4-a", "store"]),
        f"job-{number}",
        chance.choice(list(CompletionStatus)),
        chance.choice(["alice", 'o\'hara, "bob"', "=cmd()", ""]),
        adapter_versions=chance.choice([(), ("a@1",), ("a@1", "b@2")]),
        tokens_processed=chance.choice([None, 0, 10**18 - 1]) if done else None,
        gpu_seconds=seconds if done else None,
        cost_usd=chance.choice([None, None, TINY, LARGE]) if done else None,
    )


def lines_of(entries: list[Entry], first_seq: int = 1, step: int = 600) -> list[bytes]:
    lines = []
    for seq, entry in enumerate(entries, first_seq):
        event = uuid7(seq, seq.to_bytes(10, "big"))
        lines.append(
            encode_row(
                encode_entry(entry, event),
                event_id=event,
                prev_hash="0" * 64,
                seq=seq,
                timestamp=START + timedelta(seconds=seq * step),
            )
        )
    return lines


def write(path: Path, lines: list[bytes]) -> LedgerPart:
    path.write_bytes(HEADER + b"".join(lines))
    return LedgerPart(path, 1, None)


def by_rows(path: Path, wanted: Wanted) -> Accounts:
    """The definition: every row by itself."""
    chars = {"": 0, "hour": 13, "day": 10, "month": 7}[wanted.period]
    sums: dict[tuple[str, ...], JobSums] = {}
    rest: list[Row] = []
    good = bad = 0
    times = []
    for row in open_ledger(path).rows():
        if not isinstance(row, Row):
            bad += 1
            continue
        good += 1
        times.append(row.timestamp)
        entry, at = row.entry, row.timestamp
        if entry.event_type not in JOBS:
            rest.append(row)
            continue
        if (wanted.since and at < wanted.since) or (wanted.until and at >= wanted.until):
            continue
        key = (
            at.isoformat()[:chars],
            entry.module_id if wanted.modules else "",
            entry.node_id if wanted.nodes else "",
            ";".join(entry.adapter_versions) if wanted.adapters else "",
            entry.operator_id if wanted.operators else "",
        )
        old = sums.get(key) or JobSums(*key, 0, 0, 0, 0, 0, Decimal(0), Decimal(0))
        done = int(entry.event_type is E.JOB_COMPLETE)
        well = int(done and entry.completion_status is CompletionStatus.SUCCESS)
        sums[key] = JobSums(
            *key,
            old.started + 1 - done,
            old.completed + done,
            old.succeeded + well,
            old.tokens + done * (entry.tokens_processed or 0),
            old.tokens_unknown + int(well and entry.tokens_processed is None),
            exact(old.gpu_seconds, entry.gpu_seconds if done else None),
            exact(old.cost_usd, entry.cost_usd if done else None),
        )
    jobs = tuple(sums[key] for key in sorted(sums))
    first, last = min(times, default=None), max(times, default=None)
    return Accounts(jobs, tuple(rest), good, bad, first, last)


def exact(old: Decimal, more: Decimal | None) -> Decimal:
    """A sum that cannot round: 36 digits are more than a context has by itself."""
    with localcontext(prec=200):
        return old + (more or Decimal(0))


WANTED = st.builds(
    Wanted,
    st.sampled_from(["", "hour", "day", "month"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.just(START + timedelta(hours=1, seconds=3))),
    st.one_of(st.none(), st.just(START + timedelta(hours=30))),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 400), WANTED, st.integers(0, 3))
def test_it_gives_what_the_rows_give(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, wanted: Wanted, damage: int
) -> None:
    chance = random.Random(seed)
    lines = lines_of([an_entry(chance, number) for number in range(count)])
    for _ in range(min(damage, count)):
        place = chance.randrange(count)
        lines[place] = chance.choice(SPOILT)(lines[place])
    path = tmp_path_factory.mktemp("accounts") / "ledger.csv"
    part = write(path, lines)
    assert PlainAccounts().read((part,), wanted) == by_rows(path, wanted)


SPOILT = (
    lambda line: line.replace(b",", b";", 1),
    lambda line: b"\n" + line,
    lambda line: line[:-2] + b"g\n",
    lambda line: line.replace(b"2026-", b"2026-1", 1),
    lambda line: line.replace(b"T", b" ", 1),
    lambda line: line[:-1] + b"\r\n",
    lambda line: HEADER,
    lambda line: b"\xff" + line,
    lambda line: b"x" * 200_000 + b"\n",
    lambda line: line[:-67] + b",0" + line[-66:],
)  # fmt: skip


FRAMES = (
    lambda seq, digest: (b"0" + seq, digest),
    lambda seq, digest: (b"0", digest),
    lambda seq, digest: (b"", digest),
    lambda seq, digest: (b"1" * 19, digest),
    lambda seq, digest: (b"1x", digest),
    lambda seq, digest: (seq, digest[:-1]),
    lambda seq, digest: (seq, digest + b"0"),
    lambda seq, digest: (seq, digest[:-1] + b"G"),
    lambda seq, digest: (seq, digest.upper()),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(FRAMES)))
def test_a_row_with_a_bad_frame_alone_is_left_out(tmp_path: Path, number: int) -> None:
    job = Entry(E.JOB_START, "team-a", "l4-a", "job", CompletionStatus.PENDING, "alice")
    lines = lines_of([job._replace(job_id=f"job-{each}") for each in range(9)])
    start, seq, digest = lines[4][:-1].rsplit(b",", 2)
    lines[4] = b",".join((start, *FRAMES[number](seq, digest[:-1] + b"a"))) + b"\n"
    path = tmp_path / "ledger.csv"
    found = PlainAccounts().read((write(path, lines),), EVERYTHING)
    assert (found.rows_read, found.bad_rows) == (8, 1)
    assert found == by_rows(path, EVERYTHING)


def test_a_torn_tail_is_no_row(tmp_path: Path) -> None:
    chance = random.Random(1)
    lines = lines_of([an_entry(chance, number) for number in range(20)])
    part = write(tmp_path / "ledger.csv", [*lines[:-1], lines[-1][:-1]])
    found = PlainAccounts().read((part,), EVERYTHING)
    assert (found.rows_read, found.bad_rows) == (19, 0)


def test_files_are_read_as_one_in_their_order(tmp_path: Path) -> None:
    chance = random.Random(2)
    entries = [an_entry(chance, number) for number in range(50)]
    lines = lines_of(entries)
    whole = write(tmp_path / "whole.csv", lines)
    sealed = write(tmp_path / "ledger-2026-10.csv", lines[:30])._replace(month="2026-10")
    live = write(tmp_path / "ledger.csv", lines[30:])._replace(first_seq=31)
    one = PlainAccounts().read((whole,), EVERYTHING)
    two = PlainAccounts().read((sealed, live), EVERYTHING)
    assert two.jobs == one.jobs
    assert [row.seq for row in two.rows] == [row.seq for row in one.rows]
    assert two.rows_read == 50


def test_sealing_in_between_is_noticed(tmp_path: Path) -> None:
    lines = lines_of([an_entry(random.Random(3), number) for number in range(10)], first_seq=6)
    live = write(tmp_path / "ledger.csv", lines)
    with pytest.raises(LedgerUnreadable, match="sealed while"):
        PlainAccounts().read((live,), EVERYTHING)


def test_a_live_file_without_its_header_has_one_bad_row(tmp_path: Path) -> None:
    lines = lines_of([an_entry(random.Random(5), number) for number in range(10)])
    path = tmp_path / "ledger.csv"
    path.write_bytes(b"".join(lines))
    found = PlainAccounts().read((LedgerPart(path, 1, None),), EVERYTHING)
    assert (found.rows_read, found.bad_rows) == (10, 1)
    path.write_bytes(b"".join(lines[2:]))
    with pytest.raises(LedgerUnreadable, match="sealed while"):
        PlainAccounts().read((LedgerPart(path, 1, None),), EVERYTHING)


def test_no_file_has_no_rows_and_neither_a_missing_one_nor_a_directory_is_a_ledger(
    tmp_path: Path,
) -> None:
    assert PlainAccounts().read((), EVERYTHING) == Accounts((), (), 0, 0, None, None)
    missing = LedgerPart(tmp_path / "ledger.csv", 1, None)
    with pytest.raises(LedgerUnreadable, match="gone"):
        PlainAccounts().read((missing,), EVERYTHING)
    with pytest.raises(LedgerUnreadable):
        PlainAccounts().read((LedgerPart(tmp_path, 1, None),), EVERYTHING)


def test_progress_ends_within_its_bounds(tmp_path: Path) -> None:
    lines = lines_of([an_entry(random.Random(4), number) for number in range(1000)])
    part = write(tmp_path / "ledger.csv", lines)
    shares: list[float] = []
    PlainAccounts().read((part,), EVERYTHING, shares.append)
    assert shares
    assert all(0 < share <= 1 for share in shares)
