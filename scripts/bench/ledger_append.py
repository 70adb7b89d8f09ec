"""Rows per second through the ledger, against a bare lock + write + unlock + fdatasync loop.

Both write lines of the same length into a file on the same disk (BENCH_DIR, else the
temporary directory), in turn, with one process and with eight. Prints one JSON object and
writes it to docs/benchmarks/ledger_append.json. The ratio is the median of the pairwise ones.
"""

import fcntl
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.ledger import CompletionStatus, Entry, EventType

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
ROWS = int(os.environ.get("BENCH_ROWS", "20000"))
WARM_UP = 50  # rows per process
BAR = 0.8


def through_ledger(path: Path, rows: int) -> None:
    clock = SystemClock()
    ids = SystemIds(clock)
    ledger = CsvLedger(path, clock, ids)
    job = ids.new_id()
    for _ in range(rows):
        ledger.append(
            Entry(EventType.CHECKPOINT, "team-a", "node-1", job, CompletionStatus.SUCCESS, "bench")
        )


def bare(path: Path, rows: int) -> None:
    line = b"x" * 235 + b"\n"  # as long as the rows above
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    for _ in range(rows):
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, line)
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.fdatasync(fd)
    os.close(fd)


def rate(write: Callable[[Path, int], None], processes: int, directory: Path) -> float:
    """Rows per second over all processes, which begin together and warmed up."""
    path = directory / f"{write.__name__}-{time.monotonic_ns()}.csv"
    each = ROWS // processes
    waiting, starter = os.pipe()
    counter, ready = os.pipe()
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            try:
                os.close(starter)
                write(path, WARM_UP)
                os.write(ready, b".")
                os.read(waiting, 1)  # the parent closes its end when all are there
                write(path, each)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    os.close(ready)
    for _ in range(processes):
        os.read(counter, 1)
    begun = time.perf_counter()
    os.close(starter)
    codes = [os.waitpid(child, 0)[1] for child in children]
    taken = time.perf_counter() - begun
    os.close(waiting)
    os.close(counter)
    assert codes == [0] * processes, codes
    path.unlink()
    return each * processes / taken


def measure(processes: int, directory: Path) -> dict[str, object]:
    rate(through_ledger, processes, directory)
    rate(bare, processes, directory)
    pairs = [
        (rate(through_ledger, processes, directory), rate(bare, processes, directory))
        for _ in range(RUNS)
    ]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    return {
        "processes": processes,
        "figure_rows_per_s": round(statistics.median(p[0] for p in pairs)),
        "reference_rows_per_s": round(statistics.median(p[1] for p in pairs)),
        "ratio": round(ratio, 2),
        "bar": BAR,
        "met": ratio >= BAR,
    }


def main() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        results = [measure(processes, Path(directory)) for processes in (1, 8)]
    report = {
        "benchmark": "ledger_append",
        "reference": "flock + write + unlock + fdatasync in a loop, lines of the same length",
        "rows": ROWS,
        "runs": RUNS,
        "results": results,
    }
    text = json.dumps(report, indent=2)
    (ROOT / "docs" / "benchmarks" / "ledger_append.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
