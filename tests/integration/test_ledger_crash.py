"""Eight processes append, are killed at random moments, and no acknowledged row is lost."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.ledger import CompletionStatus, Entry, EventType, Row

PROCESSES = 8
KILLS = 200
ID_BYTES = 36


def append_for_ever(path: Path, acknowledge: int, parent: int) -> None:
    """Append rows of very different length; write each one's event_id once it is acknowledged."""
    clock = SystemClock()
    ledger = CsvLedger(path, clock, SystemIds(clock))
    chance = random.Random(os.getpid())
    while os.getppid() == parent:  # a test that dies takes its writers with it
        entry = Entry(
            EventType.CHECKPOINT,
            "team-a",
            "node-1",
            "",
            CompletionStatus.SUCCESS,
            "x" * chance.choice((1, 100, 5000, 50_000)),
        )
        os.write(acknowledge, ledger.append(entry).event_id.encode())


def start(path: Path, acknowledge: int) -> int:
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            append_for_ever(path, acknowledge, parent)
        finally:
            os._exit(1)  # only a failed append, or an orphan, comes here
    return child


def test_no_acknowledged_row_is_lost_to_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    chance = random.Random(20261121)
    reader, writer = os.pipe()
    acknowledged: list[str] = []

    def await_rows(count: int) -> None:
        # A write of 36 bytes to a pipe is never split, and outlives its writer.
        for _ in range(count):
            acknowledged.append(os.read(reader, ID_BYTES).decode())

    running: list[int] = []
    died_by: Counter[int] = Counter()
    try:
        running += [start(path, writer) for _ in range(PROCESSES)]
        for _ in range(KILLS):
            await_rows(chance.randrange(1, 15))
            victim = running.pop(chance.randrange(PROCESSES))
            os.kill(victim, signal.SIGKILL)
            died_by[os.waitpid(victim, 0)[1]] += 1
            running.append(start(path, writer))
    finally:
        for child in running:
            os.kill(child, signal.SIGKILL)
        for child in running:
            died_by[os.waitpid(child, 0)[1]] += 1
        os.close(writer)
    with os.fdopen(reader, "rb") as rest:
        left = rest.read()
    acknowledged += [left[at : at + ID_BYTES].decode() for at in range(0, len(left), ID_BYTES)]
    assert died_by == {signal.SIGKILL: KILLS + PROCESSES}, "a writer ended by itself"

    clock = SystemClock()
    ledger = CsvLedger(path, clock, SystemIds(clock))
    last = ledger.append(
        Entry(EventType.CHECKPOINT, "team-a", "node-1", "", CompletionStatus.SUCCESS, "last")
    )
    report = ledger.verify()
    assert report.problems == ()
    assert report.torn_tail_bytes == 0
    seen = Counter(row.event_id for row in ledger.rows() if isinstance(row, Row))
    assert seen.total() == report.rows == last.seq
    assert len(acknowledged) == len(set(acknowledged)) > KILLS
    assert all(seen[event_id] == 1 for event_id in acknowledged)
