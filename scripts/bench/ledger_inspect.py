"""State, trace, show and the check before a start on a large ledger, with and without its cache.

    scripts/bench/ledger_inspect.py [--rows 1000000] [--ledger FILE]

The ledger is made for the occasion in the temporary directory (300 bytes a row, 500 jobs a life,
three nodes, eleven months), or is the one that is named. Each figure is of a process of its own,
the interpreter included, with the file in the page cache. The reference is the same command
without `LEDGER.cache`; `ratio` is the median of the pairwise ones. Peak memory is of the same
processes. Prints one JSON object and writes it to docs/benchmarks/ledger_inspect.json.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from yoyo.core.ledger_format import HEADER
from yoyo.core.uuid7 import uuid7
from yoyo.model.ledger import GENESIS_HASH

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
BAR = 0.5  # of the time without the cache
JOBS_PER_LIFE = 500
BEGIN, SPAN = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=330)

COMMAND = """
import os, resource, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
begun = time.perf_counter()
from yoyo.core.lives import read_book
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.files.proofs import FileProofs
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.row_filter import RowFilter
from yoyo.ops.context import require_sound
from yoyo.ops.trace import TraceContext, trace
path, what, given = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
ledger = CsvLedger(path, SystemClock(), SystemIds(SystemClock()))
if what == "state":
    read_book(ledger.state_rows())
elif what == "before_start":
    require_sound(ledger)
elif what.startswith("trace"):
    proofs = FileProofs(path.with_suffix(".proofs"))
    trace(TraceContext(ledger, proofs, None, datetime.now(UTC), {}), given)
elif what == "show_job":
    assert sum(1 for _ in ledger.matching(RowFilter(jobs=(given,)))) == 2
else:
    day = datetime.fromisoformat(given)
    for _ in ledger.matching(RowFilter(since=day, until=day + timedelta(days=1))):
        pass
used = os.times()
print(time.perf_counter() - begun, used.user + used.system,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def events(chance: random.Random, clock: list[datetime]) -> Iterator[str]:
    """What stands between the time and seq, life after life; ids are of the present time."""
    while True:
        node, life = chance.choice(("l4-a", "l4-b", "h200-a")), new_id(chance, clock[0])
        where = f"team-{chance.randrange(40):02d},{node}"
        yield f"BOOT_REQUEST,{where},{life},,,,,,,pending,,alice"
        yield f"BOOT_COMPLETE,{where},{life},,,,,,,success,,alice"
        for _ in range(JOBS_PER_LIFE):
            job, given = new_id(chance, clock[0]), f"sha256:{chance.randbytes(32).hex()}"
            tokens, place = chance.randrange(20, 9000), f"team-{chance.randrange(40):02d},{node}"
            yield f"JOB_START,{place},{job},{given},,,,,,pending,,alice"
            yield (
                f"JOB_COMPLETE,{place},{job},{given},tone@1.2.0,0.1234,{tokens},"
                f"{tokens / 300:.3f},,success,,alice"
            )
        yield f"TEARDOWN_REQUEST,{where},{life},,,,,,,pending,,guard:monitor"
        yield f"TEARDOWN_COMPLETE,{where},{life},,,,,3600.250,0.710049,success,,guard:monitor"


def new_id(chance: random.Random, at: datetime) -> str:
    return uuid7(int(at.timestamp() * 1000), chance.randbytes(10))


def generate(path: Path, rows: int) -> None:
    chance, clock, prev = random.Random(1), [BEGIN], GENESIS_HASH
    with path.open("wb") as file:
        file.write(HEADER)
        for seq, event in zip(range(1, rows + 1), events(chance, clock), strict=False):
            clock[0] += SPAN / rows
            stamp = clock[0].isoformat(timespec="microseconds")[:26]
            prefix = f"{new_id(chance, clock[0])},{stamp}Z,{event},{seq}"
            prev = hashlib.sha256(f"{prev}{prefix}".encode()).hexdigest()
            file.write(f"{prefix},{prev}\n".encode())


def a_job(path: Path) -> list[str]:
    """The fields of a job's end half-way down."""
    with path.open("rb") as file:
        file.seek(path.stat().st_size // 2)
        file.readline()
        return next(
            line.decode().split(",")
            for line in file
            if b",JOB_COMPLETE," in line and b"sha" in line
        )


def run(path: Path, what: str, given: str) -> list[float]:
    """Seconds, CPU seconds and MB."""
    command = [sys.executable, "-c", COMMAND, str(path), what, given]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return [float(figure) for figure in done.stdout.split()]


def measured(path: Path, what: str, given: str, runs: int) -> dict[str, float]:
    cache, aside = path.with_name(f"{path.stem}.cache"), path.with_name("aside")
    pairs = []
    for _ in range(runs):
        mine = run(path, what, given)
        cache.rename(aside)
        try:
            other = run(path, what, given)
        finally:
            shutil.rmtree(cache, ignore_errors=True)
            aside.rename(cache)
        pairs.append((mine, other))
    return {
        "figure_s": round(statistics.median(mine[0] for mine, _ in pairs), 3),
        "figure_cpu_s": round(statistics.median(mine[1] for mine, _ in pairs), 3),
        "reference_s": round(statistics.median(other[0] for _, other in pairs), 3),
        "reference_cpu_s": round(statistics.median(other[1] for _, other in pairs), 3),
        "ratio": round(statistics.median(mine[1] / other[1] for mine, other in pairs), 3),
        "peak_mb": round(max(mine[2] for mine, _ in pairs), 1),
        "reference_peak_mb": round(max(other[2] for _, other in pairs), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ledger", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.ledger or Path(folder) / "ledger.csv"
        if asked.ledger is None:
            generate(path, asked.rows)
        fields = a_job(path)
        run(path, "before_start", "")  # makes the cache
        given = {
            "state": "",
            "before_start": "",
            "show_job": fields[5],
            "show_day": f"{fields[1][:10]}T00:00:00+00:00",
            "trace_job": fields[5],
            "trace_input": fields[6],
        }
        figures = {what: measured(path, what, each, RUNS) for what, each in given.items()}
        found = {
            "rows": int(path.read_bytes()[-400:].splitlines()[-1].split(b",")[15]),
            "bytes": path.stat().st_size,
            "cache_bytes": path.with_name(f"{path.stem}.cache")
            .joinpath("state.rows")
            .stat()
            .st_size,
            "runs": RUNS,
            "cores": len(os.sched_getaffinity(0)),
            "ratio_of": "CPU seconds",
            "bar": BAR,
            "ok": all(each["ratio"] <= BAR for each in figures.values()),
            **figures,
        }
    text = json.dumps(found, indent=2)
    print(text)
    if asked.ledger is None:
        (ROOT / "docs/benchmarks/ledger_inspect.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
