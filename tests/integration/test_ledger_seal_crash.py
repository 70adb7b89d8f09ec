"""Sealing that is killed at every one of its steps, and while others append and read."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ledger_parts import NOTE, open_ledger
from sealed_parts import Calendar, ledger_at, numbers, sealed_rows, write_days

from yoyo.core.ledger_format import HEADER
from yoyo.core.ledger_months import month_after
from yoyo.errors import LedgerMoved
from yoyo.model.ledger import MONTH_SEALED, Row

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
CALLS = ("open", "write", "fsync", "fchmod", "rename", "replace", "unlink", "close", "pread")
ID_BYTES = 36


def die_at(step: int) -> None:
    """In a child: let the process be killed in its call of that number, amid a write."""
    made = 0

    def counted(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            if made == step:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name), name))


def seal_and_die(path: Path, now: datetime, step: int) -> int:
    """The wait status of a child that seals and is killed at that step."""
    child = os.fork()
    if child == 0:
        try:
            ledger = ledger_at(path, Calendar(now))
            pieces = ledger.complete_months(now)
            rows = sealed_rows(pieces)
            die_at(step)
            ledger.seal(pieces, rows)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def test_killed_at_every_step_it_is_finished_by_the_next(tmp_path: Path) -> None:
    model = tmp_path / "model.csv"
    write_days(model, 37, a_day=1)
    before = model.read_bytes().removeprefix(HEADER)
    step, states = 0, Counter[int]()
    while True:
        step += 1
        place = tmp_path / f"at{step}"
        place.mkdir()
        path = place / "ledger.csv"
        shutil.copy(model, path)
        status = seal_and_die(path, NOVEMBER, step)
        ledger = ledger_at(path, Calendar(NOVEMBER + timedelta(hours=1)))
        rows = list(ledger.rows())
        was_sealed = len(rows) == 40
        states[len(ledger.parts())] += 1
        assert numbers(rows) == list(range(1, 41 if was_sealed else 38)), step
        assert ledger.verify().ok, step
        # Others go on, in whatever state it is.
        ledger.append(NOTE)
        pieces = ledger.complete_months(NOVEMBER)
        if was_sealed:
            assert pieces == ()
        else:
            ledger.seal(pieces, sealed_rows(pieces))
        report = ledger.verify()
        assert (report.problems, report.rows, report.torn_tail_bytes) == ((), 41, 0), step
        found = [raw for block in ledger.lines() for raw in block]
        assert b"".join(raw + b"\n" for raw in found[:37]) == before
        codes = Counter(r.entry.error_code for r in ledger.rows() if isinstance(r, Row))
        assert codes[MONTH_SEALED] == 3
        shutil.rmtree(place)
        if status == 0:
            break
        assert status == signal.SIGKILL, step
    assert step > 30
    assert set(states) == {1, 4}, "killed both before and after the step that counts"


def append_for_ever(path: Path, acknowledge: int, parent: int) -> None:
    ledger = open_ledger(path)
    while os.getppid() == parent:
        os.write(acknowledge, ledger.append(NOTE).event_id.encode())


def seal_for_ever(path: Path, told: int, parent: int) -> None:
    """Seal again and again, each time as if the next month had come; write a byte for each."""
    ledger = open_ledger(path)
    while os.getppid() == parent:
        sealed = [part.month for part in ledger.parts() if part.month is not None]
        # All rows are of this month; once it is sealed they count to the one after the newest.
        due = month_after(sealed[-1]) if sealed else f"{datetime.now(UTC):%Y-%m}"
        year, month = map(int, month_after(due).split("-"))
        pieces = ledger.complete_months(datetime(year, month, 1, tzinfo=UTC))
        try:
            if pieces:
                ledger.seal(pieces, sealed_rows(pieces))
                os.write(told, b"s")
        except LedgerMoved:  # pragma: no cover (nobody else seals)
            sys.exit(3)


def spawn(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def test_eight_appenders_lose_no_row_to_a_sealer_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    open_ledger(path).append(NOTE)
    parent = os.getpid()
    reader, writer = os.pipe()
    seals, told = os.pipe()
    acknowledged: list[str] = []
    running = [spawn(lambda: append_for_ever(path, writer, parent)) for _ in range(8)]
    sealer = spawn(lambda: seal_for_ever(path, told, parent))
    try:
        for kill in range(40):
            if kill % 4 == 0:  # the others are killed wherever they are
                assert os.read(seals, 1) == b"s"
            for _ in range(7 + kill % 5):
                acknowledged.append(os.read(reader, ID_BYTES).decode())
            os.kill(sealer, signal.SIGKILL)
            assert os.waitpid(sealer, 0)[1] == signal.SIGKILL, "the sealer ended by itself"
            sealer = spawn(lambda: seal_for_ever(path, told, parent))
            seen = numbers(open_ledger(path).rows())
            assert seen == list(range(1, len(seen) + 1))
    finally:
        for child in (*running, sealer):
            os.kill(child, signal.SIGKILL)
        died_by = Counter(os.waitpid(child, 0)[1] for child in (*running, sealer))
        for end in (writer, told, seals):
            os.close(end)
    assert died_by == {signal.SIGKILL: 9}, "one ended by itself"
    with os.fdopen(reader, "rb") as rest:
        left = rest.read()
    acknowledged += [left[at : at + ID_BYTES].decode() for at in range(0, len(left), ID_BYTES)]
    ledger = open_ledger(path)
    ledger.append(NOTE)
    report = ledger.verify()
    assert report.problems == ()
    there = {row.event_id for row in ledger.rows() if isinstance(row, Row)}
    assert set(acknowledged) <= there
    assert len(ledger.parts()) > 10  # each seal that was told of, and the live file
