"""How long `yoyo` takes to start, against what its two libraries alone take.

Prints one JSON object and writes it to docs/benchmarks/startup.json. Every figure is the
median of RUNS whole processes, run in turn with the reference; the ratio is the median of
the pairwise ratios.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
YOYO = str(Path(sys.executable).parent / "yoyo")
REFERENCE = [sys.executable, "-c", "import typer, rich"]
RUNS = int(os.environ.get("BENCH_RUNS", "15"))
BARS = {"--version": 1.3, "--help": 1.3, "status": 2.0, "status --json": 2.0}


def seconds(command: list[str], cwd: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def measure(arguments: str, cwd: str) -> dict[str, object]:
    command = [YOYO, *arguments.split()]
    seconds(command, cwd)
    seconds(REFERENCE, cwd)
    pairs = [(seconds(command, cwd), seconds(REFERENCE, cwd)) for _ in range(RUNS)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    return {
        "command": f"yoyo {arguments}",
        "figure_s": round(statistics.median(p[0] for p in pairs), 4),
        "reference_s": round(statistics.median(p[1] for p in pairs), 4),
        "ratio": round(ratio, 2),
        "bar": BARS[arguments],
        "met": ratio <= BARS[arguments],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as cwd:
        for command in (["init"], ["up"]):
            subprocess.run([YOYO, *command], cwd=cwd, check=True, capture_output=True)
        try:
            results = [measure(arguments, cwd) for arguments in BARS]
        finally:
            subprocess.run([YOYO, "down", "--now"], cwd=cwd, check=True, capture_output=True)
    report = {
        "benchmark": "startup",
        "reference": "python -c 'import typer, rich'",
        "runs": RUNS,
        "results": results,
    }
    text = json.dumps(report, indent=2)
    (ROOT / "docs" / "benchmarks" / "startup.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
