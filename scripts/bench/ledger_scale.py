"""A large ledger: `cost` against DuckDB's own query, `show --job` and `trace` against grep.

    scripts/bench/ledger_scale.py [--rows 10000000] [--jobs-per-life 500]

The ledger is made for the occasion in the temporary directory (290 bytes a row): 40 tenants on
three nodes over eleven months, each life and its jobs of one tenant, as a node has one moduleId.
Whole processes are compared, from start to exit, with the file in the page cache, in turns.
`ratio` is the median of the pairs' in time, `cpu_ratio` in processor time, which other load on the
machine changes less. yoyo keeps nothing of a live file: each reading is like the first. Sealed:
the same rows cut into months, with the Parquet cache made; the reference reads the same rows, the
months from that cache and the running month as CSV. `seal_cost_s` is the reading that makes the
cache.
Prints one JSON object and writes it to docs/benchmarks/ledger_scale.json.

Few jobs in each life make many rows that are no jobs, which `cost` takes one by one:
`--jobs-per-life` says how many. 500 is a life of some hours.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from yoyo.core.ledger_format import HEADER
from yoyo.core.uuid7 import uuid7
from yoyo.core.warehouse import TYPES
from yoyo.model.ledger import COLUMNS, GENESIS_HASH

ROOT = Path(__file__).parents[2]
YOYO = str(Path(sys.executable).parent / "yoyo")
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
COST_BAR = 1.5
BEGIN, SPAN = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=330)

DUCKDB = """
import sys, duckdb
db = duckdb.connect(":memory:", config={"threads": "2"})
for row in db.execute(sys.argv[1]).fetchall():
    print(*row)
"""
MEASURE = """
import resource, subprocess, sys, time
begun = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
wall, used = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_maxrss, used.ru_utime + used.ru_stime, done.returncode)
"""


def new_id(chance: random.Random) -> str:
    return uuid7(chance.getrandbits(40), chance.randbytes(10))


def events(chance: random.Random, jobs: int) -> Iterator[str]:
    """What stands between the time and seq, life after life."""
    while True:
        node, life = chance.choice(("l4-a", "l4-b", "h200-a")), new_id(chance)
        where = f"team-{chance.randrange(40):02d},{node}"
        yield f"BOOT_REQUEST,{where},{life},,,,,,,pending,,alice"
        yield f"BOOT_COMPLETE,{where},{life},,,,,,,success,,alice"
        for _ in range(jobs):
            job, given = new_id(chance), f"sha256:{chance.randbytes(32).hex()}"
            hits, tokens = chance.randrange(10_000), chance.randrange(20, 9000)
            yield f"JOB_START,{where},{job},{given},,,,,,pending,,alice"
            yield (
                f"JOB_COMPLETE,{where},{job},{given},tone@1.2.0,0.{hits:04d},{tokens},"
                f"{tokens / 300:.3f},,success,,alice"
            )
        yield f"TEARDOWN_REQUEST,{where},{life},,,,,,,pending,,guard:monitor"
        yield f"TEARDOWN_COMPLETE,{where},{life},,,,,3600.250,0.710049,success,,guard:monitor"


def generate(path: Path, rows: int, jobs: int) -> list[Path]:
    """The ledger as one file, and the same sealed in a folder beside it."""
    chance = random.Random(1)
    at, step, prev, month = BEGIN, SPAN / rows, GENESIS_HASH, ""
    folder = path.parent / "sealed"
    folder.mkdir()
    sealed = []
    with path.open("wb") as file:
        file.write(HEADER)
        part = file
        for seq, event in zip(range(1, rows + 1), events(chance, jobs), strict=False):
            at += step
            stamp = at.isoformat(timespec="microseconds")[:26]
            prefix = f"{new_id(chance)},{stamp}Z,{event},{seq}"
            prev = hashlib.sha256(f"{prev}{prefix}".encode()).hexdigest()
            line = f"{prefix},{prev}\n".encode()
            file.write(line)
            if stamp[:7] != month:
                if month:
                    part.close()
                month = stamp[:7]
                sealed.append(folder / f"ledger-{month}.csv")
                part = sealed[-1].open("wb")
                part.write(HEADER)
            part.write(line)
        part.close()
    for each in sealed[:-1]:
        each.chmod(0o444)
    sealed[-1].rename(folder / "ledger.csv")
    return sealed[:-1]


def measured(*command: str) -> tuple[float, float, float]:
    """Seconds from start to exit, the peak memory in MB, and processor seconds."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True
    )
    seconds, peak, cpu, code = done.stdout.split()
    if code != "0":
        raise SystemExit(f"{command[:6]} ended with {code}: {done.stderr[-500:]}")
    return float(seconds), int(peak) / 1024, float(cpu)


def yoyo(*words: str) -> tuple[str, ...]:
    return (YOYO, *words)


def own_query(source: str) -> tuple[str, ...]:
    return (sys.executable, "-c", DUCKDB, (
        "SELECT moduleId, strftime(timestamp_utc, '%Y-%m') AS month, sum(cost_usd), "
        f"sum(gpu_seconds) FROM {source} GROUP BY ALL ORDER BY ALL"
    ))  # fmt: skip


def typed_csv(path: Path) -> str:
    columns = ", ".join(f"'{name}': '{TYPES.get(name, 'VARCHAR')}'" for name in COLUMNS)
    return (
        f"read_csv('{path}', auto_detect=false, header=true, delim=',', quote='\"', "
        f"escape='\"', columns={{{columns}}})"
    )


def compared(ours: tuple[str, ...], theirs: tuple[str, ...]) -> dict[str, float]:
    """The medians, the ratio, and our memory."""
    measured(*theirs)  # so that the first of each finds the file as warm as the last
    pairs = [(measured(*ours), measured(*theirs)) for _ in range(RUNS)]
    return {
        "figure_s": round(statistics.median(mine[0] for mine, _ in pairs), 2),
        "reference_s": round(statistics.median(other[0] for _, other in pairs), 2),
        "ratio": round(statistics.median(mine[0] / other[0] for mine, other in pairs), 2),
        "cpu_s": round(statistics.median(mine[2] for mine, _ in pairs), 2),
        "reference_cpu_s": round(statistics.median(other[2] for _, other in pairs), 2),
        "cpu_ratio": round(statistics.median(mine[2] / other[2] for mine, other in pairs), 2),
        "peak_mb": round(max(mine[1] for mine, _ in pairs), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--jobs-per-life", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.csv"
        months = generate(path, asked.rows, asked.jobs_per_life)
        live = path.parent / "sealed" / "ledger.csv"
        with path.open("rb") as file:
            file.seek(path.stat().st_size // 2)
            job = next(raw.split(b",")[5].decode() for raw in file if b",JOB_START," in raw)
        cost = ("cost", "--by", "module,month", "--engine", "duckdb", "--json", "--file")
        first = measured(*yoyo(*cost, str(path)))
        seal = measured(*yoyo(*cost, str(live)))
        cached = ", ".join(f"'{live.with_suffix('.cache')}/{m.stem[-7:]}.parquet'" for m in months)
        needed = "SELECT moduleId, timestamp_utc, cost_usd, gpu_seconds FROM"
        sealed = f"({needed} read_parquet([{cached}]) UNION ALL {needed} {typed_csv(live)})"
        results = {
            "cost": compared(yoyo(*cost, str(path)), own_query(typed_csv(path))),
            "cost_sealed": compared(yoyo(*cost, str(live)), own_query(sealed)),
            "show_job": compared(
                yoyo("ledger", "show", "--job", job, "--json", "--file", str(path)),
                ("grep", "-F", job, str(path)),
            ),
            "trace": compared(
                yoyo("ledger", "trace", job, "--json", "--file", str(path)),
                ("grep", "-F", job, str(path)),
            ),
        }
        size = path.stat().st_size
    report = {
        "benchmark": "ledger_scale",
        "reference": "duckdb: SELECT moduleId, month, sum(...) with explicit columns; grep -F",
        "rows": asked.rows,
        "file_bytes": size,
        "jobs_per_life": asked.jobs_per_life,
        "runs": RUNS,
        "cores": len(os.sched_getaffinity(0)),
        "first_cost_s": round(first[0], 2),
        "seal_cost_s": round(seal[0], 2),
        **results,
        "cost_bar": COST_BAR,
        "met": all(results[name]["ratio"] <= COST_BAR for name in ("cost", "cost_sealed")),
        "own_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    text = json.dumps(report, indent=2)
    (ROOT / "docs" / "benchmarks" / "ledger_scale.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
