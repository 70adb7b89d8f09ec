"""`ledger verify` against a bare loop that reads the lines and hashes each, and its memory.

    scripts/bench/ledger_verify.py [--rows 1000000]

The ledger is made for the occasion in the temporary directory (270 bytes a row): boots,
jobs and teardowns on three nodes, over a year and a half. Prints one JSON object and writes
it to docs/benchmarks/ledger_verify.json. The ratio is the median of the pairwise ones. Peak
memory is of processes that do nothing else, the interpreter included.
The verifier uses two cores where there are two; `cores` says how many there were.
"""

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from yoyo.core.ledger_format import HEADER
from yoyo.core.uuid7 import uuid7
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.ledger import GENESIS_HASH

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
BAR = 3.0
MEMORY_BAR_MB = 100
JOBS_PER_LIFE = 20
SPAN = timedelta(days=548)

MEMORY = """
import resource, sys
from pathlib import Path
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
clock = SystemClock()
ledger = CsvLedger(Path(sys.argv[1]), clock, SystemIds(clock))
if sys.argv[2] == "verify":
    assert ledger.verify().ok
else:
    assert len(ledger.tail(10)) == 10
# A large file is verified by two processes: the larger one counts.
both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print(max(resource.getrusage(which).ru_maxrss for which in both))
"""


def new_id(chance: random.Random) -> str:
    return uuid7(chance.getrandbits(40), chance.randbytes(10))


def events(chance: random.Random) -> Iterator[str]:
    """What stands between the time and seq, life after life."""
    while True:
        node = chance.choice(("l4-a", "l4-b", "h200-a"))
        life = new_id(chance)
        where = f"team-{node[-1]},{node}"
        yield f"BOOT_REQUEST,{where},{life},,,,,,,pending,,alice"
        yield f"BOOT_COMPLETE,{where},{life},,,,,,,success,,alice"
        for _ in range(JOBS_PER_LIFE):
            job, given = new_id(chance), f"sha256:{chance.randbytes(32).hex()}"
            hits, tokens = chance.randrange(10_000), chance.randrange(20, 9000)
            seconds = f"{tokens / 300:.3f}"
            yield f"JOB_START,{where},{job},{given},,,,,,pending,,alice"
            yield (
                f"JOB_COMPLETE,{where},{job},{given},tone@1.2.0,0.{hits:04d},{tokens},"
                f"{seconds},,success,,alice"
            )
        yield f"TEARDOWN_REQUEST,{where},{life},,,,,,,pending,,guard:monitor"
        yield f"TEARDOWN_COMPLETE,{where},{life},,,,,3600.250,0.710049,success,,guard:monitor"


def generate(path: Path, rows: int) -> None:
    chance = random.Random(1)
    at, step = datetime(2025, 1, 1, tzinfo=UTC), SPAN / rows
    prev = GENESIS_HASH
    with path.open("wb") as file:
        file.write(HEADER)
        for seq, event in zip(range(1, rows + 1), events(chance), strict=False):
            at += step
            stamp = at.isoformat(timespec="microseconds")[:26]
            prefix = f"{new_id(chance)},{stamp}Z,{event},{seq}"
            prev = hashlib.sha256(f"{prev}{prefix}".encode()).hexdigest()
            file.write(f"{prefix},{prev}\n".encode())


def verify_s(ledger: CsvLedger, rows: int) -> float:
    begun = time.perf_counter()
    report = ledger.verify()
    taken = time.perf_counter() - begun
    assert report.ok, report.problems[:3]
    assert report.rows == rows
    return taken


def bare_s(path: Path) -> float:
    begun = time.perf_counter()
    with path.open("rb") as file:
        for line in file:
            hashlib.sha256(line).hexdigest()
    return time.perf_counter() - begun


def peak_mb(path: Path, what: str) -> float:
    command = [sys.executable, "-c", MEMORY, str(path), what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(int(done.stdout) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.csv"
        generate(path, rows)
        ledger = CsvLedger(path, clock, SystemIds(clock))
        bare_s(path)  # so that the first of each finds the file as warm as the last
        pairs = [(verify_s(ledger, rows), bare_s(path)) for _ in range(RUNS)]
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        peaks = {what: peak_mb(path, what) for what in ("verify", "tail")}
        size = path.stat().st_size
    report = {
        "benchmark": "ledger_verify",
        "reference": "for line in file: hashlib.sha256(line).hexdigest()",
        "rows": rows,
        "file_bytes": size,
        "runs": RUNS,
        "cores": len(os.sched_getaffinity(0)),
        "figure_s": round(statistics.median(p[0] for p in pairs), 3),
        "reference_s": round(statistics.median(p[1] for p in pairs), 3),
        "ratio": round(ratio, 2),
        "bar": BAR,
        "met": ratio <= BAR and max(peaks.values()) < MEMORY_BAR_MB,
        "peak_mb": peaks,
        "peak_bar_mb": MEMORY_BAR_MB,
    }
    text = json.dumps(report, indent=2)
    (ROOT / "docs" / "benchmarks" / "ledger_verify.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
