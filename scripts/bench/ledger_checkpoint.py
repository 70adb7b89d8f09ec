"""What signing checkpoints adds to appending: rows with one every so often, against rows alone.

    scripts/bench/ledger_checkpoint.py [--rows 2000] [--every 500]

A teardown signs, and the monitor once an hour; on a busy node there are hundreds of rows between
two. Both runs append the same rows to a ledger in the temporary directory, turn about; one of them
signs after every so many, with heartbeat row, sync of the note and copy to a second directory.
Prints one JSON object and writes it to docs/benchmarks/ledger_checkpoint.json.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from yoyo.model.ledger import CompletionStatus, Entry, EventType
from yoyo.model.settings import AuditSettings, StoreSettings
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.wiring_audit import audit_context, make_note_key

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("BENCH_RUNS", "7"))
BAR = 1.10
ORIGIN = "bench.example.org/ledger"
ENTRY = Entry(EventType.CHECKPOINT, "acme", "demo", "row", CompletionStatus.SUCCESS, "bench@host")


def appended(home: Path, rows: int, every: int | None) -> float:
    """Seconds for that many rows, with a checkpoint after every so many."""
    home.mkdir()
    settings = AuditSettings(
        origin=ORIGIN, key=home.parent / "key.pem", copy_to=StoreSettings(f"file://{home}/copies")
    )
    ctx = audit_context(home / "ledger.csv", settings, "bench@host", home, {})
    ctx.ledger.append(ENTRY)
    if every is not None:
        checkpoint(ctx)  # the key's row, the directories and the imports, once
    begun = time.perf_counter()
    for number in range(1, rows + 1):
        ctx.ledger.append(ENTRY)
        if every is not None and number % every == 0:
            checkpoint(ctx)
    return time.perf_counter() - begun


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--every", type=int, default=500)
    given = parser.parse_args()
    ratios, alone = [], []
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        make_note_key(home / "key.pem", ORIGIN, {})
        appended(home / "warm", 200, 100)
        for run in range(RUNS):
            bare = appended(home / f"bare-{run}", given.rows, None)
            signed = appended(home / f"signed-{run}", given.rows, given.every)
            ratios.append(signed / bare)
            alone.append(bare / given.rows)
    result = {
        "benchmark": "ledger_checkpoint",
        "rows": given.rows,
        "a_checkpoint_every": given.every,
        "append_us": round(statistics.median(alone) * 1e6, 1),
        "ratio": round(statistics.median(ratios), 3),
        "bar": BAR,
        "runs": RUNS,
    }
    print(json.dumps(result))
    target = ROOT / "docs" / "benchmarks" / "ledger_checkpoint.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
