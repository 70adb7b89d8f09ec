"""Rows are found over all files by filter and by number, also where lines are damaged."""

from __future__ import annotations

import shutil
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_parts import GOLDEN, NOTE, open_ledger
from sealed_parts import good, ledger_at, numbers, seal_all, write_days

from yoyo.core.ledger_filter import passes
from yoyo.core.ledger_format import HEADER
from yoyo.core.lives import read_book
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.errors import LedgerUnreadable
from yoyo.model.ledger import MONTH_SEALED, BadRow, Row
from yoyo.model.row_filter import RowFilter

SETS = GOLDEN.parent / "ledger-sealed-v1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sealed months and a live file, of which all but the first are longer than a block."""
    path = tmp_path_factory.mktemp("scan") / "ledger.csv"
    clock = write_days(path, 60, a_day=40)
    ledger = ledger_at(path, clock)
    seal_all(ledger, datetime(2026, 10, 1, tzinfo=UTC))
    assert len(ledger.parts()) == 3
    assert all(part.path.stat().st_size > 150_000 for part in ledger.parts()[1:])
    return path


FILTERS = [
    RowFilter(jobs=("job-3",)),
    RowFilter(jobs=("job-3", "job-58")),
    RowFilter(jobs=("no such job",)),
    RowFilter(codes=("D7N3",), nodes=("node-1",)),
    RowFilter(nodes=("ledger",)),
    RowFilter(since=datetime(2026, 9, 29, tzinfo=UTC), until=datetime(2026, 10, 2, tzinfo=UTC)),
    RowFilter(until=datetime(2026, 9, 1, tzinfo=UTC), jobs=("job-0",)),
    RowFilter(codes=(MONTH_SEALED,)),
    RowFilter(),
]


@pytest.mark.parametrize("wanted", FILTERS)
def test_it_finds_what_passes_over_all_files(place: Path, wanted: RowFilter) -> None:
    ledger = open_ledger(place)
    expected = [row for row in good(ledger.rows()) if passes(row, wanted)]
    assert list(ledger.matching(wanted)) == expected


def test_an_event_is_found_by_its_id(place: Path) -> None:
    ledger = open_ledger(place)
    for row in good(ledger.rows())[::100]:
        assert list(ledger.matching(RowFilter(events=(row.event_id,)))) == [row]


def test_each_row_is_found_by_its_number(place: Path) -> None:
    ledger = open_ledger(place)
    rows = good(ledger.rows())
    for row in [*rows[:3], *rows[::37], *rows[-3:]]:
        assert ledger.row_at(row.seq) == row
        assert next(iter(ledger.lines(row.seq)))[0].endswith(row.row_hash.encode())
    assert ledger.row_at(0) is None
    assert ledger.row_at(len(rows) + 1) is None


def test_the_state_is_that_of_all_rows(place: Path) -> None:
    ledger = open_ledger(place)
    assert vars(read_book(ledger.state_rows())) == vars(read_book(ledger.rows()))


DAMAGE = [b"junk", b"", b"\0" * 90_000, b"x" * 400_000, b'a,"b', b"1," * 17, HEADER[:-1]]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_damage_hides_no_good_row(place: Path, data: st.DataObject) -> None:
    lines = place.read_bytes().splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(1, len(lines) - 1))
        damage = data.draw(st.sampled_from(DAMAGE)) + b"\n"
        lines[at : at + 1] = data.draw(st.sampled_from([[damage], [damage, lines[at]], []]))
    broken = place.with_name("broken") / "ledger.csv"
    broken.parent.mkdir(exist_ok=True)
    for part in place.parent.glob("*.csv"):
        shutil.copy(part, broken.parent / part.name)
    broken.write_bytes(b"".join(lines))
    ledger = open_ledger(broken)
    live = place.parent / "ledger.csv"
    first = open_ledger(live).parts()[-1].first_seq
    try:
        rows = list(ledger.rows())
    except LedgerUnreadable:  # the first row of the live file is gone
        assert any("missing" in problem.reason for problem in ledger.verify().problems)
        return
    for row in good(rows)[first - 1 :: 301]:
        found = ledger.row_at(row.seq)
        assert found is not None
        assert found._replace(line=0) == row._replace(line=0)  # told from seq, not counted
    for wanted in FILTERS[2:6]:
        expected = [r for r in rows if isinstance(r, BadRow) or passes(r, wanted)]
        assert list(ledger.matching(wanted)) == expected
    assert vars(read_book(ledger.state_rows())) == vars(read_book(rows))
    assert sum(map(len, ledger.lines())) == len(rows)


@pytest.mark.parametrize("first", [b"hello", b"a,b", b"", HEADER[:-1] + b"\r", b"z" * 100_000])
def test_a_file_without_its_header(tmp_path: Path, first: bytes) -> None:
    path = tmp_path / "ledger.csv"
    ledger = open_ledger(path)
    for n in range(3):
        ledger.append(NOTE._replace(error_code=f"N{n}"))
    lines = path.read_bytes().splitlines(keepends=True)
    for top in ([first + b"\n"], []):
        path.write_bytes(b"".join([*top, *lines[1:]]))
        wanted = RowFilter(codes=("N1",))
        rows = list(ledger.rows())
        expected = [r for r in rows if isinstance(r, BadRow) or passes(r, wanted)]
        assert len(expected) == 2
        assert list(ledger.matching(wanted)) == expected
        assert list(ledger.state_rows()) == rows
        assert numbers([row for row in (ledger.row_at(2),) if row]) == [2]


def golden(tmp_path: Path) -> CsvLedger:
    for file in SETS.iterdir():
        shutil.copy(file, tmp_path / file.name)
    return open_ledger(tmp_path / "ledger.csv")


def test_the_golden_set_of_sealed_months_loads(tmp_path: Path) -> None:
    ledger = golden(tmp_path)
    report = ledger.verify()
    assert report.ok
    assert report.files == ("ledger-2026-09.csv", "ledger-2026-10.csv")
    assert numbers(ledger.rows()) == list(range(1, 13))
    assert [r.entry.job_id for r in ledger.tail(2) if isinstance(r, Row)] == [
        "seal/2026-09",
        "seal/2026-10",
    ]
    assert ledger.append(NOTE).seq == 13


def test_the_golden_file_of_before_sealing_is_sealed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    shutil.copy(GOLDEN, path)
    path.chmod(0o644)
    ledger = open_ledger(path)
    whole = good(ledger.rows())
    seal_all(ledger, datetime(2099, 1, 1, tzinfo=UTC))
    assert [r._replace(line=0) for r in good(ledger.rows())][: len(whole)] == [
        r._replace(line=0) for r in whole
    ]
    assert ledger.verify().ok


def test_a_line_of_ten_megabytes_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    ledger = open_ledger(path)
    for n in range(3):
        ledger.append(NOTE._replace(error_code=f"N{n}"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"N1," + b"x" * 10_000_000 + b"\n", *lines[2:]]))
    bad, row = ledger.matching(RowFilter(codes=("N1",)))
    assert isinstance(bad, BadRow)
    tracemalloc.start()
    try:
        assert list(ledger.matching(RowFilter(codes=("N1",)))) == [bad, row]
        assert len(list(ledger.state_rows())) == len(list(ledger.rows())) == 4
        assert isinstance(row, Row)
        found = ledger.row_at(row.seq)
        assert found is not None
        assert found.row_hash == row.row_hash
        assert ledger.verify().problem_count == 1
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
