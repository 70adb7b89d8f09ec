"""Following a ledger: every new row once, through sealing; a cut is an error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_parts import NOTE, codes, open_ledger
from sealed_parts import Calendar, ledger_at, numbers, seal_all, write_days

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.errors import LedgerUnreadable
from yoyo.model.ledger import MONTH_SEALED, BadRow, Row
from yoyo.model.row_filter import RowFilter

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


class Done(Exception):
    """Nothing more happens."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


def follow(
    ledger: CsvLedger,
    steps: Sequence[Callable[[], object]],
    wanted: RowFilter | None = None,
    after: int | None = None,
) -> list[Row | BadRow]:
    """What comes while each step is done in a wait of its own."""
    left: Iterator[Callable[[], object]] = iter(steps)

    def wake() -> None:
        step = next(left, None)
        if step is None:
            raise Done
        step()

    found: list[Row | BadRow] = []
    try:
        for row in ledger.follow(wanted or RowFilter(), wake, after):
            found.append(row)
    except Done:
        pass
    return found


def test_rows_come_as_they_are_written(path: Path) -> None:
    clock = write_days(path, 2)
    ledger = ledger_at(path, clock)
    steps = [partial(ledger.append, NOTE._replace(error_code=f"N{n}")) for n in range(3)]
    found = follow(ledger, [lambda: None, *steps])
    assert codes(found) == ["N0", "N1", "N2"]
    assert found == ledger.tail(3)
    wanted = RowFilter(codes=("N4", "D0N0"))
    more = [partial(ledger.append, NOTE._replace(error_code=f"N{n}")) for n in (4, 5)]
    assert codes(follow(ledger, more, wanted)) == ["N4"]
    assert codes(follow(ledger, [], wanted, after=0)) == ["D0N0", "N4"]
    assert numbers(follow(ledger, [], after=3)) == [4, 5, 6, 7, 8, 9]


def test_it_begins_with_the_first_row_of_a_ledger_to_come(path: Path) -> None:
    ledger = open_ledger(path)
    found = follow(ledger, [lambda: None, lambda: ledger.append(NOTE), lambda: None])
    assert found == ledger.tail(1)


def test_a_half_written_row_is_waited_for(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.append(NOTE)
    content = path.read_bytes()
    ledger.append(NOTE)
    row = path.read_bytes()[len(content) :]
    path.write_bytes(content)

    def put(part: bytes) -> None:
        with path.open("ab") as file:
            file.write(part)

    found = follow(ledger, [lambda: put(row[:50]), lambda: put(row[50:])])
    assert numbers(found) == [2]


def test_a_bad_row_comes_too(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.append(NOTE)

    def damage() -> None:
        with path.open("ab") as file:
            file.write(b"junk\n")

    (bad,) = follow(ledger, [damage], RowFilter(nodes=("other",)))
    assert isinstance(bad, BadRow)
    assert bad.line == 3


@pytest.mark.parametrize("live", [True, False])
def test_what_was_cut_or_replaced_is_an_error(path: Path, live: bool) -> None:
    clock = write_days(path, 3)
    ledger = ledger_at(path, clock)
    lines = path.read_bytes().splitlines(keepends=True)

    def cut() -> None:
        if live:
            path.write_bytes(b"".join(lines[:-1]))
        else:
            path.unlink()

    def another() -> None:
        other = path.with_name("other.csv")
        write_days(other, 9)
        shutil.move(other, path)

    for step in (cut, another):
        path.write_bytes(b"".join(lines))
        with pytest.raises(LedgerUnreadable, match="could not be read") as caught:
            follow(ledger, [step])
        assert "While it was followed" in caught.value.why


@settings(max_examples=40, deadline=None)
@given(plan=st.lists(st.sampled_from(["append", "seal", "both", "wait"]), max_size=12))
def test_sealing_breaks_nothing_off(
    tmp_path_factory: pytest.TempPathFactory, plan: list[str]
) -> None:
    path = tmp_path_factory.mktemp("follow") / "ledger.csv"
    clock = Calendar()
    ledger = ledger_at(path, clock)
    ledger.append(NOTE)

    def act(what: str) -> None:
        if what in ("append", "both"):
            ledger.append(NOTE)
        if what in ("seal", "both"):
            clock.at += timedelta(days=32)
            seal_all(ledger, clock.at)
        if what == "both":
            ledger.append(NOTE._replace(error_code="after"))

    found = follow(ledger, [partial(act, what) for what in plan])
    rows = list(ledger.rows())
    assert numbers(found) == list(range(2, len(rows) + 1))
    sealed = [row for row in found if isinstance(row, Row) and row.entry.error_code == MONTH_SEALED]
    assert len(sealed) == sum(what in ("seal", "both") for what in plan)
    tail = ledger.tail(len(rows))
    assert [(r.seq, r.row_hash) for r in found if isinstance(r, Row)] == [
        (r.seq, r.row_hash) for r in tail[1:] if isinstance(r, Row)
    ]
