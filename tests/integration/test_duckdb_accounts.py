"""DuckDB's accounts are the plain reader's, whatever stands in the file."""

from __future__ import annotations

import os
import stat
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from duckdb_parts import ALL, BEGIN, STEP, E, S, fast, files, life, lines_of, lives
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.ledger_format import HEADER
from yoyo.drivers.duckdb import accounts as module
from yoyo.drivers.duckdb.accounts import DuckdbAccounts
from yoyo.drivers.duckdb.cache import ACCOUNT_COLUMNS, holds
from yoyo.drivers.duckdb.source import look_at
from yoyo.drivers.files.accounts import PlainAccounts
from yoyo.errors import LedgerUnreadable
from yoyo.model.accounts import Wanted
from yoyo.model.audit import LedgerPart
from yoyo.model.ledger import Entry, Row
from yoyo.ports.accounts import AccountsReader

AMOUNT = st.decimals(0, 10**17, allow_nan=False, allow_infinity=False, places=18)
TEXT = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1, max_size=12
)
ADAPTERS = st.sampled_from(((), ("a@1",), ("a@1", "b@2"), ("ä@1",)))
ENTRY = st.builds(
    Entry,
    event_type=st.sampled_from((E.JOB_START, E.JOB_COMPLETE, E.JOB_COMPLETE, E.CHECKPOINT)),
    module_id=st.sampled_from(("team-a", "team-b")),
    node_id=st.sampled_from(("n1", "n2")),
    job_id=TEXT,
    completion_status=st.sampled_from(S),
    operator_id=TEXT | st.just(""),
    error_code=st.just("") | TEXT,
    input_hash=st.sampled_from(("", "sha256:" + "0f" * 32)),
    adapter_versions=ADAPTERS,
    cache_hit_ratio=st.none() | st.sampled_from((Decimal(0), Decimal("0.25"), Decimal(1))),
    tokens_processed=st.none() | st.integers(0, 10**18 - 1),
    gpu_seconds=st.none() | AMOUNT,
    cost_usd=st.none() | AMOUNT,
)
MOMENT = st.none() | st.integers(0, 30).map(lambda n: BEGIN + n * STEP)
WANTED = st.builds(
    Wanted,
    st.sampled_from(("", "hour", "day", "month")),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(), MOMENT, MOMENT,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRY, min_size=2, max_size=25), WANTED, st.integers(0, 20), st.binary(max_size=40))
def test_any_sound_ledger_gives_the_plain_figures(
    entries: list[Entry], wanted: Wanted, cut: int, torn: bytes
) -> None:
    lines = lines_of(entries)
    with TemporaryDirectory() as folder:
        cuts = [cut] if 0 < cut < len(lines) else []
        parts = files(Path(folder), lines, cuts, torn.replace(b"\n", b""))
        plain = PlainAccounts().read(parts, wanted)
        assert DuckdbAccounts(PlainAccounts()).read(parts, wanted) == plain
        assert DuckdbAccounts(PlainAccounts()).read(parts, wanted) == plain  # cached, checked


def _misread() -> list[tuple[bytes, bytes]]:
    """What is done to one line of a job, and would give other figures if it were just taken."""
    return [
        (b",bob,", b",bob,,"), (b",bob,", b","), (b",bob,", b',"b,'), (b"team-0", b"Team-0"),
        (b"team-0", b""), (b"JOB_COMPLETE", b"JOB_DONE"), (b"JOB_COMPLETE", b""),
        (b",success,", b",fine,"), (b",success,", b",,"), (b",103,", b",103.7,"),
        (b",103,", b",-103,"), (b",103,", b",many,"), (b"4.000000000000000004", b"NaN"),
        (b"4.000000000000000004", b"-2"), (b"4.000000000000000004", b"1.5.0"),
        (b"2026-10-0", b"2026-02-3"), (b"2026-10-0", b"0000-10-0"), (b"2026-10-0", b"26-10-0"),
        (b"\n", b"\r\n"), (b"\n", b"\nhello\n"), (b",bob,", b"," + b"b" * 70_000 + b","),
    ]  # fmt: skip


def _misspelt() -> list[tuple[bytes, bytes]]:
    """What the format forbids and no figure depends on: `ledger verify` finds it."""
    return [
        (b",bob,", b',"bob",'), (b",103,", b",0103,"), (b",103,", b",+103,"),
        (b",103,", b", 103,"), (b"4.000000000000000004", b"4.0000000000000000041"),
        (b"sha256:ab", b"sha256:AB"), (b"sha256:ab", b"sha512:ab"), (b"tone@1", b"tone1"),
        (b"-7", b"-4"), (b"Z,JOB", b"+00:00,JOB"), (b"\n", b"A\n"), (b",bob,", b",b\x00b,"),
        (b",bob,", b",b\xffb,"), (b",bob,", b",b\x1bb,"), (b"job-0-3", b"j" * 129),
    ]  # fmt: skip


def _edited(
    folder: Path, edit: tuple[bytes, bytes], kind: bytes = b"JOB_COMPLETE"
) -> tuple[LedgerPart, ...]:
    lines = lines_of(lives(2, jobs=4))
    place = next(
        n for n, line in enumerate(lines) if kind in line and (b"103" in line or b"JOB" not in kind)
    )
    bad = lines[place].replace(*edit, 1)
    assert bad != lines[place]
    return files(folder, [*lines[:place], bad, *lines[place + 1 :]])


@pytest.mark.parametrize("edit", _misread(), ids=lambda edit: repr(edit)[:60])
def test_a_line_that_would_be_misread_is_left_to_the_plain_reader(
    tmp_path: Path, edit: tuple[bytes, bytes]
) -> None:
    parts = _edited(tmp_path, edit)
    plain = PlainAccounts().read(parts, ALL)
    assert plain.bad_rows
    reader = DuckdbAccounts(PlainAccounts())
    assert reader.read(parts, ALL) == plain
    assert reader.line_by_line == ("ledger.csv",)


@pytest.mark.parametrize("edit", _misspelt(), ids=lambda edit: repr(edit)[:60])
def test_a_job_that_is_only_misspelt_counts_as_what_it_says(
    tmp_path: Path, edit: tuple[bytes, bytes]
) -> None:
    wanted = Wanted("hour", modules=True, nodes=True)
    sound = PlainAccounts().read(files(tmp_path, lines_of(lives(2, jobs=4))), wanted)
    parts = _edited(tmp_path, edit)
    assert PlainAccounts().read(parts, wanted).bad_rows == 1
    assert fast().read(parts, wanted) == sound


@pytest.mark.parametrize(
    "edit",
    [(b"-7", b"-4"), (b"0.710049", b"00.710049"), (b"0.710049", b"+0.710049"), (b"\n", b"A\n"),
     (b"0.710049", b"7e-1"), (b",alice,", b',"alice",'), (b"team-0", b"team-0-")],
)  # fmt: skip
def test_a_line_that_books_money_is_proved_to_the_last_byte(
    tmp_path: Path, edit: tuple[bytes, bytes]
) -> None:
    parts = _edited(tmp_path, edit, b"TEARDOWN_COMPLETE")
    plain = PlainAccounts().read(parts, ALL)
    assert plain.bad_rows == 1
    assert DuckdbAccounts(PlainAccounts()).read(parts, ALL) == plain


def test_figures_are_the_same_when_a_misspelt_month_is_sealed(tmp_path: Path) -> None:
    wanted = Wanted("day", modules=True, nodes=True)
    lines = lines_of(lives(6, jobs=4))
    lines[4] = lines[4].replace(b"sha256:ab", b"sha256:AB")
    live = fast().read(files(tmp_path, lines), wanted)
    parts = files(tmp_path, lines, [30, 40])
    for _ in range(2):
        assert fast().read(parts, wanted) == live._replace(
            rows=tuple(_moved(row, 30, 40) for row in live.rows)
        )


def _moved(row: Row, *cuts: int) -> Row:
    begin = max(cut for cut in (0, *cuts) if row.seq > cut)
    return row._replace(line=row.seq - begin + 1)


def test_an_inserted_line_after_a_torn_tail_is_noticed(tmp_path: Path) -> None:
    lines = lines_of(lives(1, jobs=400))
    parts = files(tmp_path, [*lines[:400], b"hello\n", *lines[400:]], torn=b"half a li")
    plain = PlainAccounts().read(parts, ALL)
    assert plain.bad_rows == 1
    assert DuckdbAccounts(PlainAccounts()).read(parts, ALL) == plain


@pytest.mark.parametrize(
    "change", ["dropped", "twice", "swapped", "kinds swapped", "no header", "empty", "missing"]
)
def test_a_ledger_that_somebody_worked_on_gives_the_plain_figures(
    tmp_path: Path, change: str
) -> None:
    lines = lines_of(lives(2))
    changed = {
        "dropped": lines[:4] + lines[5:],
        "twice": [*lines[:5], lines[4], *lines[5:]],
        "kinds swapped": [lines[0], lines[2], lines[1], *lines[3:]],
        "swapped": [*lines[:3], lines[4], lines[3], *lines[5:]],
    }.get(change, lines)
    parts = files(tmp_path, changed)
    path = parts[0].path
    if change == "no header":
        path.write_bytes(b"".join(lines))
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "missing":
        path.unlink()
    assert _outcome(DuckdbAccounts(PlainAccounts()), parts) == _outcome(PlainAccounts(), parts)


def _outcome(reader: AccountsReader, parts: tuple[LedgerPart, ...]) -> object:
    try:
        return reader.read(parts, ALL)
    except LedgerUnreadable as error:
        return error.what, error.why


def test_a_sound_ledger_is_never_taken_line_by_line(tmp_path: Path) -> None:
    lines = lines_of(lives(30, jobs=5))
    torn = lines[0][:150]
    parts = files(tmp_path, lines, [100, 200], torn)
    plain = PlainAccounts().read(parts, ALL)
    for _ in range(2):
        assert fast().read(parts, ALL) == plain
    assert sum(sums.completed for sums in plain.jobs) == 150


def test_rows_that_were_appended_are_read(tmp_path: Path) -> None:
    lines = lines_of(lives(4))
    parts = files(tmp_path, lines[:20])
    fast().read(parts, ALL)
    with parts[0].path.open("ab") as file:
        file.write(b"".join(lines[20:-2]))
    assert fast().read(parts, ALL) == PlainAccounts().read(parts, ALL)
    with parts[0].path.open("ab") as file:
        file.write(lines[-2].replace(b"team-", b"TEAM-") + lines[-1])
    both = DuckdbAccounts(PlainAccounts()).read(parts, ALL)
    assert both.bad_rows == 1
    assert both == PlainAccounts().read(parts, ALL)


@pytest.mark.parametrize("harm", ["flip", "cut", "stale", "note", "gone", "swapped"])
def test_a_cache_that_is_not_right_is_made_anew(tmp_path: Path, harm: str) -> None:
    parts = files(tmp_path, lines_of(lives(12, jobs=4)), [60])
    plain = PlainAccounts().read(parts, ALL)
    assert fast().read(parts, ALL) == plain
    cached = tmp_path / "ledger.cache" / "2026-01.parquet"
    good = cached.read_bytes()
    if harm == "flip":
        # The first page of the first money column, wherever it lies: every 97th byte of all.
        cached.write_bytes(bytes(b ^ 1 if n % 97 == 50 else b for n, b in enumerate(good)))
    elif harm == "cut":
        cached.write_bytes(good[:-9])
    elif harm == "stale":
        path = parts[0].path
        os.utime(path, ns=(1, 1))
    elif harm == "note":
        cached.with_suffix(".json").write_text('{"version": 1}')
    elif harm == "gone":
        cached.unlink()
    else:
        other = tmp_path / "other"
        other.mkdir()
        theirs = files(other, lines_of(lives(12, jobs=2)), [60])
        fast().read(theirs, ALL)
        cached.write_bytes((other / "ledger.cache" / "2026-01.parquet").read_bytes())
    assert fast().read(parts, ALL) == plain
    assert fast().read(parts, ALL) == plain
    assert not list(cached.parent.glob("*.part"))


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    parts = files(tmp_path, lines_of(lives(12, jobs=4)), [60])
    fast().read(parts, ALL)
    cached = tmp_path / "ledger.cache" / "2026-01.parquet"
    source, good = look_at(parts[0]), bytearray(cached.read_bytes())
    assert source is not None
    assert holds(cached, source, None)
    for place in range(0, len(good), 61):
        good[place] ^= 1
        cached.write_bytes(good)
        assert not holds(cached, source, None), place
        good[place] ^= 1
    cached.write_bytes(good)
    assert holds(cached, source, ACCOUNT_COLUMNS)


def test_a_cache_that_cannot_be_kept_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = files(tmp_path, lines_of(lives(12)), [60])
    (tmp_path / "ledger.cache").write_text("a file where the folder should be")
    assert fast().read(parts, ALL) == PlainAccounts().read(parts, ALL)
    monkeypatch.setattr(module, "holds", lambda *_: False)
    assert fast().read(parts, ALL) == PlainAccounts().read(parts, ALL)


def test_ten_thousand_tenants(tmp_path: Path) -> None:
    entries = [e for n in range(10_000) for e in life(n, jobs=1, module=f"t-{n}")]
    parts = files(tmp_path, lines_of(entries, timedelta(minutes=3)))
    wanted = Wanted("month", modules=True)
    found = fast().read(parts, wanted)
    assert len({sums.module_id for sums in found.jobs}) == 10_000
    assert found == PlainAccounts().read(parts, wanted)


@pytest.mark.parametrize("harm", ["flip", "cut", "note", "gone"])
def test_sums_by_the_day_that_are_not_right_are_made_anew(tmp_path: Path, harm: str) -> None:
    wanted = Wanted("month", modules=True, operators=True)
    parts = files(tmp_path, lines_of(lives(40, jobs=4)), [60, 150])
    plain = PlainAccounts().read(parts, wanted)
    assert fast().read(parts, wanted) == plain
    cached = tmp_path / "ledger.cache" / "2026-01.days.parquet"
    good = cached.read_bytes()
    if harm == "flip":
        cached.write_bytes(bytes(b ^ 1 if n % 97 == 50 else b for n, b in enumerate(good)))
    elif harm == "cut":
        cached.write_bytes(good[:-9])
    elif harm == "note":
        cached.with_suffix(".json").write_text("{}")
    else:
        cached.unlink()
    for _ in range(2):
        assert fast().read(parts, wanted) == plain
        assert cached.read_bytes() == good or harm != "flip"


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    fifo = tmp_path / "ledger.csv"
    os.mkfifo(fifo)
    with pytest.raises(LedgerUnreadable):
        fast().read((LedgerPart(fifo, 1, None),), ALL)


def test_the_ledger_itself_is_left_as_it_is(tmp_path: Path) -> None:
    parts = files(tmp_path, lines_of(lives(6)), [20], torn=b"half a li")
    parts[0].path.chmod(0o444)
    before = [part.path.read_bytes() for part in parts]
    fast().read(parts, ALL)
    assert [part.path.read_bytes() for part in parts] == before
    assert stat.S_IMODE(parts[0].path.stat().st_mode) == 0o444
    assert before[0].startswith(HEADER)
