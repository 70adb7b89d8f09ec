"""Shows that no acknowledged row is lost: 8 processes append while 1,000 of them are killed.

    .venv/bin/python scripts/bench/ledger_kills.py [--kills N] [--no-file]

Each writer tells of a row over a pipe once `append` has returned. Every few rows one of them,
by chance, gets SIGKILL and another takes its place. In the end every row that was told of has
to be in the ledger once, and the ledger has to verify. Prints JSON and writes it to
docs/benchmarks/ledger_kills.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.ledger import CompletionStatus, Entry, EventType, Row

PROCESSES = 8
ID_BYTES = 36
SEED = 20261121
RESULT = Path(__file__).parents[2] / "docs" / "benchmarks" / "ledger_kills.json"
NOTE = Entry(EventType.CHECKPOINT, "team-a", "node-1", "", CompletionStatus.SUCCESS, "x")


def open_ledger(path: Path) -> CsvLedger:
    clock = SystemClock()
    return CsvLedger(path, clock, SystemIds(clock))


def append_for_ever(path: Path, acknowledge: int, parent: int) -> None:
    ledger = open_ledger(path)
    chance = random.Random(os.getpid())
    while os.getppid() == parent:
        size = chance.choice((1, 100, 5000, 50_000))
        row = ledger.append(NOTE._replace(operator_id="x" * size))
        os.write(acknowledge, row.event_id.encode())


def start(path: Path, acknowledge: int) -> int:
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            append_for_ever(path, acknowledge, parent)
        finally:
            os._exit(1)
    return child


def kill_often(path: Path, kills: int) -> tuple[list[str], Counter[int]]:
    """The event ids that were acknowledged, and how many children died by what."""
    chance = random.Random(SEED)
    reader, writer = os.pipe()
    acknowledged: list[str] = []
    died_by: Counter[int] = Counter()
    running = [start(path, writer) for _ in range(PROCESSES)]
    try:
        for _ in range(kills):
            for _ in range(chance.randrange(1, 15)):
                acknowledged.append(os.read(reader, ID_BYTES).decode())
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
    return acknowledged, died_by


def measure(kills: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "ledger.csv"
        began = time.monotonic()
        acknowledged, died_by = kill_often(path, kills)
        took = time.monotonic() - began
        ledger = open_ledger(path)
        ledger.append(NOTE)
        report = ledger.verify()
        rows = [row for row in ledger.rows() if isinstance(row, Row)]
        there = Counter(row.event_id for row in rows)
        torn = sum(row.entry.error_code == "TORN_TAIL_RECOVERED" for row in rows)
        return {
            "processes": PROCESSES,
            "kills": kills,
            "ended_otherwise": sum(died_by.values()) - died_by[signal.SIGKILL],
            "acknowledged": len(acknowledged),
            "acknowledged_lost": sum(there[event] != 1 for event in acknowledged),
            "rows": report.rows,
            "torn_tails_recovered": torn,
            "bytes": path.stat().st_size,
            "verifies": report.ok,
            "seconds": round(took, 1),
            "seed": SEED,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--no-file", action="store_true", help="print only")
    given = parser.parse_args()
    result = measure(given.kills)
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if not given.no_file:
        RESULT.write_text(text)
    lost = result["acknowledged_lost"] or result["ended_otherwise"]
    return 1 if lost or not result["verifies"] else 0


if __name__ == "__main__":
    sys.exit(main())
