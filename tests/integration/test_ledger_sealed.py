"""A ledger over sealed months reads, appends and verifies as one."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from ledger_parts import NOTE, open_ledger
from sealed_parts import (
    Calendar,
    deleted_row,
    good,
    ledger_at,
    numbers,
    seal_all,
    sealed_rows,
    write_days,
)

from yoyo.core.ledger_format import HEADER
from yoyo.drivers.files import verify
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.errors import (
    LedgerCorrupt,
    LedgerMoved,
    LedgerUnreadable,
    LedgerWriteFailed,
    MonthSealed,
)
from yoyo.model.ledger import MONTH_SEALED, LedgerHead, Row

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


@pytest.fixture
def sealed(path: Path) -> CsvLedger:
    """2026-08 (rows 1 to 4), -09 (5 to 64), -10 (65 to 74) sealed; three rows say so."""
    clock = write_days(path, 37)
    clock.at = NOVEMBER
    ledger = ledger_at(path, clock)
    seal_all(ledger, clock.at)
    return ledger


def beside(path: Path, month: str) -> Path:
    return path.with_name(f"ledger-{month}.csv")


def test_sealing_moves_the_months_and_no_byte_of_a_row(path: Path) -> None:
    clock = write_days(path, 37)
    before = path.read_bytes()
    path.chmod(0o640)
    clock.at = NOVEMBER
    ledger = ledger_at(path, clock)
    pieces = ledger.complete_months(clock.at)
    assert [(p.month, p.first_seq, p.last_seq) for p in pieces] == [
        ("2026-08", 1, 4),
        ("2026-09", 5, 64),
        ("2026-10", 65, 74),
    ]
    rows = ledger.seal(pieces, sealed_rows(pieces))
    files = [beside(path, piece.month) for piece in pieces]
    for piece, file in zip(pieces, files, strict=True):
        content = file.read_bytes()
        assert (len(content), sha256(content).hexdigest()) == (piece.size, piece.sha256)
        assert content[-65:-1].decode() == piece.last_hash
        assert file.stat().st_mode & 0o7777 == 0o444
    bodies = [file.read_bytes().removeprefix(HEADER) for file in files]
    assert HEADER + b"".join(bodies) == before
    assert path.stat().st_mode & 0o7777 == 0o640
    assert [row.seq for row in rows] == [75, 76, 77]
    assert [row.line for row in rows] == [2, 3, 4]
    assert ledger.tail(3) == rows
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "ledger-2026-08.csv",
        "ledger-2026-09.csv",
        "ledger-2026-10.csv",
        "ledger.csv",
    ]


def test_everything_reads_over_the_borders(sealed: CsvLedger, path: Path) -> None:
    rows = good(sealed.rows())
    assert numbers(rows) == list(range(1, 78))
    for count in (0, 1, 3, 4, 13, 14, 77, 100):
        assert sealed.tail(count) == (rows[-count:] if count else [])
    lines = [raw for block in sealed.lines() for raw in block]
    assert len(lines) == 77
    for first in (1, 2, 4, 5, 64, 65, 77, 78):
        assert [raw for block in sealed.lines(first) for raw in block] == lines[first - 1 :]
    assert [sealed.row_at(seq) for seq in range(79)] == [None, *rows, None]
    assert [(p.path.name, p.first_seq, p.month) for p in sealed.parts()] == [
        ("ledger-2026-08.csv", 1, "2026-08"),
        ("ledger-2026-09.csv", 5, "2026-09"),
        ("ledger-2026-10.csv", 65, "2026-10"),
        ("ledger.csv", 75, None),
    ]
    report = sealed.verify(LedgerHead(64, rows[63].row_hash))
    assert report.ok
    assert (report.rows, report.expected_head_found) == (77, True)
    assert report.files == tuple(p.path.name for p in sealed.parts()[:-1])


def test_one_row_after_the_sealed_ones_is_enough_to_append_to(path: Path) -> None:
    clock = write_days(path, 1)
    clock.at = NOVEMBER
    ledger = ledger_at(path, clock)
    pieces = ledger.complete_months(clock.at)
    ledger.seal(pieces, sealed_rows(pieces))
    row = open_ledger(path).append(NOTE)
    assert (row.seq, row.line) == (4, 3)
    assert good(ledger.rows())[-1] == row
    assert ledger.verify().ok
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 60)
    assert open_ledger(path).append(NOTE).seq == 5  # over a recovered torn tail
    assert ledger.verify().ok


def test_an_append_needs_the_month_before_it_only_when_one_row_is_there(
    sealed: CsvLedger, path: Path
) -> None:
    beside(path, "2026-10").unlink()
    assert open_ledger(path).append(NOTE).seq == 78
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    with pytest.raises(LedgerCorrupt):
        open_ledger(path).append(NOTE)


@pytest.mark.parametrize("content", [None, b"", HEADER])
def test_a_live_file_that_lost_its_rows_is_not_begun_again(
    sealed: CsvLedger, path: Path, content: bytes | None
) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        assert not sealed.verify().ok
    else:
        with pytest.raises(LedgerUnreadable):
            sealed.verify()
    with pytest.raises(LedgerCorrupt):
        open_ledger(path).append(NOTE)


@pytest.mark.parametrize("month", ["2026-08", "2026-09", "2026-10"])
def test_a_missing_month_is_an_error_and_a_problem(
    sealed: CsvLedger, path: Path, month: str
) -> None:
    beside(path, month).unlink()
    with pytest.raises(LedgerUnreadable, match="could not be read") as caught:
        list(sealed.rows())
    assert "are missing" in caught.value.why
    report = sealed.verify()
    assert report.problem_count == 1
    assert "are missing" in report.problems[0].reason
    with pytest.raises(LedgerUnreadable):
        list(sealed.lines())


def test_a_deleted_month_that_a_row_names_is_not_missed(sealed: CsvLedger, path: Path) -> None:
    sealed.append(deleted_row("2026-08"))
    beside(path, "2026-08").unlink()
    assert numbers(sealed.rows()) == list(range(5, 79))
    assert sealed.row_at(4) is None
    assert numbers([row for row in (sealed.row_at(5),) if row]) == [5]
    assert sum(map(len, sealed.lines(5))) == 74
    with pytest.raises(LedgerUnreadable):
        next(sealed.lines(4))
    report = sealed.verify()
    assert report.ok
    assert (report.rows, report.head and report.head.seq) == (74, 78)
    beside(path, "2026-09").unlink()
    with pytest.raises(LedgerUnreadable):  # the row of 08 does not stand for 09
        list(sealed.rows())
    assert not sealed.verify().ok


def test_a_deletion_of_another_month_explains_nothing(sealed: CsvLedger, path: Path) -> None:
    sealed.append(deleted_row("2026-09"))
    beside(path, "2026-08").unlink()
    with pytest.raises(LedgerUnreadable):
        list(sealed.rows())
    assert not sealed.verify().ok


def test_two_files_with_the_same_rows_are_both_named(sealed: CsvLedger, path: Path) -> None:
    shutil.copy(beside(path, "2026-09"), beside(path, "2026-07"))
    with pytest.raises(LedgerUnreadable) as caught:
        list(sealed.rows())
    assert "ledger-2026-07.csv" in caught.value.why
    report = sealed.verify()
    assert not report.ok


def test_problems_name_the_file_and_the_line_in_it(sealed: CsvLedger, path: Path) -> None:
    file = beside(path, "2026-09")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"D5N1", b"D5N2"))
    report = sealed.verify()
    assert [(p.file, p.line) for p in report.problems] == [("ledger-2026-09.csv", 9)]
    file.write_bytes(file.read_bytes().replace(b"D5N2", b"D5\0\x312"))
    bad = [row for row in sealed.rows() if not isinstance(row, Row)]
    assert [(row.file, row.line) for row in bad] == [("ledger-2026-09.csv", 9)]
    path.write_bytes(
        path.read_bytes().replace(b",team-a,", b",team-b,").replace(b"/2026-10", b"/1")
    )
    assert {p.file for p in sealed.verify().problems} == {"ledger-2026-09.csv", ""}


def test_bytes_after_a_sealed_months_last_row_are_a_problem(sealed: CsvLedger, path: Path) -> None:
    file = beside(path, "2026-09")
    file.chmod(0o644)
    with file.open("ab") as end:
        end.write(b"more")
    assert "4 bytes follow" in sealed.verify().problems[0].reason


def test_an_older_copy_of_the_live_file_is_noticed(path: Path) -> None:
    clock = write_days(path, 37)
    old = path.read_bytes()
    clock.at = NOVEMBER
    ledger = ledger_at(path, clock)
    ledger.append(NOTE)
    seal_all(ledger, clock.at)
    path.write_bytes(old)  # as it stood before its months were sealed: their rows are there
    assert ledger.verify().ok
    path.write_bytes(b"".join(old.splitlines(keepends=True)[:60]))
    found = [problem.reason for problem in ledger.verify().problems]
    assert len(found) == 2
    assert found[0].startswith("ledger-2026-09.csv is there, and its row 64")
    other = path.with_name("other.csv")
    write_days(other, 50)
    shutil.move(other, path)
    assert ledger.verify().problem_count == 3


def test_two_processes_verify_what_one_does(
    sealed: CsvLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = sealed.verify()
    monkeypatch.setattr(verify, "_LARGE_BYTES", 1)
    monkeypatch.setattr(verify, "_has_two_cores", lambda: True)
    assert sealed.verify() == alone
    file = beside(path, "2026-09")
    file.chmod(0o644)
    sound = file.read_bytes()
    file.write_bytes(sound.replace(b"D5N1", b"D5N2"))
    assert sealed.verify().problem_count == 1
    file.write_bytes(sound)
    beside(path, "2026-08").unlink()
    assert sealed.verify().problem_count == 1


def test_the_next_sealing_goes_on_after_the_first(sealed: CsvLedger, path: Path) -> None:
    clock = Calendar(NOVEMBER + timedelta(days=40))
    ledger = ledger_at(path, clock)
    pieces = ledger.complete_months(clock.at)
    assert [(p.month, p.first_seq, p.last_seq) for p in pieces] == [("2026-11", 75, 77)]
    ledger.seal(pieces, sealed_rows(pieces))
    assert ledger.verify().ok
    assert numbers(ledger.rows()) == list(range(1, 79))
    assert ledger.complete_months(clock.at) == ()


def test_a_clock_behind_the_sealed_month_opens_no_month_again(path: Path) -> None:
    clock = write_days(path, 1)
    clock.at = datetime(2026, 9, 1, tzinfo=UTC)
    ledger = ledger_at(path, clock)
    pieces = ledger.complete_months(clock.at)
    clock.at -= timedelta(minutes=1)  # set back to August, whose file is there by then
    ledger.seal(pieces, sealed_rows(pieces))
    assert ledger.complete_months(datetime(2026, 9, 30, tzinfo=UTC)) == ()
    pieces = ledger.complete_months(datetime(2026, 10, 1, tzinfo=UTC))
    assert [piece.month for piece in pieces] == ["2026-09"]
    ledger.seal(pieces, sealed_rows(pieces))
    assert ledger.verify().ok


def test_pieces_of_another_time_are_refused(sealed: CsvLedger, path: Path) -> None:
    clock = Calendar(NOVEMBER + timedelta(days=40))
    pieces = sealed.complete_months(clock.at)
    before = path.read_bytes()
    for wrong in (
        pieces[0]._replace(sha256="0" * 64),
        pieces[0]._replace(size=pieces[0].size + 1),
        pieces[0]._replace(size=10**9),
    ):
        with pytest.raises(LedgerMoved):
            sealed.seal([wrong], sealed_rows(pieces))
    with pytest.raises(ValueError, match="at least one"):
        sealed.seal(pieces, [])
    assert path.read_bytes() == before
    sealed.seal(pieces, sealed_rows(pieces))
    with pytest.raises(LedgerMoved):
        sealed.seal(pieces, sealed_rows(pieces))


def test_a_months_file_with_other_bytes_is_never_written_over(
    sealed: CsvLedger, path: Path
) -> None:
    pieces = sealed.complete_months(NOVEMBER + timedelta(days=40))
    file = beside(path, "2026-11")
    live = path.read_bytes()
    cut = live[: live.rindex(b"\n", 0, -1) + 1]
    for other in (b"", b"hello", HEADER + b"x\n", live + b"more", live.replace(b"seal", b"sEal")):
        file.write_bytes(other)
        with pytest.raises(MonthSealed) as caught:
            sealed.seal(pieces, sealed_rows(pieces))
        assert "ledger-2026-11.csv" in caught.value.why
        assert (file.read_bytes(), path.read_bytes()) == (other, live)
    # What a sealing that was cut off left, before more rows of that month came: its rows are
    # all in the live file.
    file.write_bytes(cut)
    file.chmod(0o444)
    path.with_name("ledger-2026-11.csv.part").write_bytes(b"half")
    path.with_name("ledger.csv.part").write_bytes(b"half")
    sealed.seal(pieces, sealed_rows(pieces))
    assert file.read_bytes() == live
    assert sealed.verify().ok
    assert not list(path.parent.glob("*.part"))


def test_a_damaged_month_is_not_sealed(path: Path) -> None:
    clock = write_days(path, 5)
    ledger = ledger_at(path, clock)
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (
        [*lines[:2], *lines[3:]],
        [*lines[:3], b"junk\n", *lines[3:]],
        [*lines[:3], b"x" * 200_000 + b"\n", *lines[3:]],
    ):
        path.write_bytes(b"".join(broken))
        with pytest.raises(LedgerCorrupt):
            ledger.complete_months(NOVEMBER)


def test_a_torn_tail_is_recovered_before_sealing(path: Path) -> None:
    clock = write_days(path, 5)
    with path.open("ab") as file:
        file.write(b"torn")
    clock.at = NOVEMBER
    ledger = ledger_at(path, clock)
    pieces = ledger.complete_months(clock.at)
    ledger.seal(pieces, sealed_rows(pieces))
    assert ledger.verify().ok
    found = [row.entry.error_code for row in good(ledger.rows())][-3:]
    assert found == ["TORN_TAIL_RECOVERED", MONTH_SEALED, MONTH_SEALED]


def test_the_hook_of_a_new_month_is_called_once_before_the_first_append(path: Path) -> None:
    clock = write_days(path, 1)
    calls: list[int] = []

    def hook() -> None:
        calls.append(len(ledger.tail(100)))
        seal_all(ledger, clock.at)

    ledger = open_hooked(path, clock, hook)
    ledger.append(NOTE)
    assert calls == []
    ledger = open_hooked(path, clock, hook)
    clock.at = NOVEMBER
    assert ledger.append(NOTE).seq == 5
    assert calls == [3]
    clock.at += timedelta(days=40)
    ledger.append(NOTE)
    assert calls == [3]
    assert ledger.verify().ok


def open_hooked(path: Path, clock: Calendar, hook: object) -> CsvLedger:
    from yoyo.drivers.system.clock import SystemClock
    from yoyo.drivers.system.ids import SystemIds

    assert callable(hook)
    return CsvLedger(path, clock, SystemIds(SystemClock()), hook)


def test_an_unwritable_directory_changes_nothing(sealed: CsvLedger, path: Path) -> None:
    pieces = sealed.complete_months(NOVEMBER + timedelta(days=40))
    before = path.read_bytes()
    path.with_name("ledger-2026-11.csv.part").mkdir()  # in the way, for root too
    with pytest.raises(LedgerWriteFailed):
        sealed.seal(pieces, sealed_rows(pieces))
    assert path.read_bytes() == before
    assert sealed.append(NOTE).seq == 78
    assert len(os.listdir("/proc/self/fd")) < 100  # noqa: PTH208


def test_only_a_sealed_month_is_deleted(sealed: CsvLedger, path: Path) -> None:
    first, *_, live = sealed.parts()
    for wrong in (live, live._replace(month="2026-08"), first._replace(path=path)):
        with pytest.raises(LedgerWriteFailed):
            sealed.delete(wrong)
    sealed.append(deleted_row("2026-08"))
    sealed.delete(first)
    sealed.delete(first)
    assert [part.month for part in sealed.parts()] == ["2026-09", "2026-10", None]
    assert sealed.verify().ok


def test_what_a_second_sealing_left_is_not_read_twice(sealed: CsvLedger, path: Path) -> None:
    shutil.copy(path, beside(path, "2026-11"))  # killed before the live file was replaced
    assert numbers(sealed.rows()) == list(range(1, 78))
    assert len(sealed.parts()) == 4
    assert sealed.verify().ok
    pieces = seal_all(sealed, NOVEMBER + timedelta(days=40))
    assert [piece.month for piece in pieces] == ["2026-11"]
    assert numbers(sealed.rows()) == list(range(1, 79))
    assert sealed.verify().ok
