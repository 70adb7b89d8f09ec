"""`up` from nothing in the laboratory, engine and weights from the store: seconds of every phase,
and what they mean on a real machine.

Needs root and `scripts/lab-image`. Prints one JSON object and writes it to
docs/benchmarks/from_store.json. A projection is a sum of the figures below it: change one there.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("", "integration", "lab")]

from lab_commands import LabPlace  # noqa: E402
from store_lab import StoreLab, lab_bundle  # noqa: E402

from yoyo.drivers.local.smoke_model import ensure  # noqa: E402

RUNS = int(os.environ.get("BENCH_RUNS", "3"))

WEIGHTS_BYTES = 18.5e9  # 32B at Q4_K_S
BUNDLE_BYTES = float(
    os.environ.get("BENCH_BUNDLE_BYTES", "426e6")
)  # docs/benchmarks/engine_build.json
CARD_BYTES_S = 1.25e9  # 10 Gbit/s
CARD_TO_GPU_BYTES_S = 6e9  # PCIe 4.0 x8 of an L4, a conservative half of its rate
# The machine's own time to its startup script: the operators' record of the reference node.
MACHINE_S = 40
DRAM_BYTES = 13e9  # of 16 GB, what the page cache may hold of the weights
# Bytes a second that a boot disk takes and gives: Google's page "About Persistent Disk
# performance" (2026-11): pd-balanced 140 MiB/s and 0.28 MiB/s a GiB, pd-ssd 240 and 0.48; both at
# most 240 MiB/s with 4 vCPU. Hyperdisk as provisioned.
MIB = 1024 * 1024
DISKS = {
    "pd-balanced, 100 GB": (140 + 0.28 * 93) * MIB,
    "pd-ssd, 100 GB": 240 * MIB,
    "a disk as fast as the card": CARD_BYTES_S,
}


def one(directory: Path) -> dict[str, Any]:
    """First and second boot: wall seconds, and seconds of the node's own steps."""
    with StoreLab(directory) as lab:
        place = LabPlace(lab)
        model = ensure(lab.directory / "models")
        place.json("weights", "stage", "tiny", model.as_uri())
        place.json("engine", "publish", str(lab_bundle(directory)))
        begun = time.perf_counter()
        place.json("up")
        first = time.perf_counter() - begun
        steps = steps_of(place)
        place.run("down")
        begun = time.perf_counter()
        place.json("up")
        second = time.perf_counter() - begun
        again = steps_of(place)
        place.run("down", "--delete")
    return {"first_s": first, "second_s": second, "steps": steps, "second_steps": again}


def steps_of(place: LabPlace) -> dict[str, int]:
    """What the node published of its steps."""
    (machine,) = place.lab.fake.cloud.vms.values()
    found = {}
    for line in machine.attributes["yoyo/state"].splitlines():
        key, _, rest = line.partition(" ")
        if key.startswith("step-"):
            found[key.removeprefix("step-")] = int(rest.split(" ")[2])
    return found


def projected(overhead_s: float, second_overhead_s: float, cpu_s_per_gb: float) -> dict[str, Any]:
    """First and second boot of a g2-standard-4, by disk."""
    found = {}
    checking = cpu_s_per_gb * (WEIGHTS_BYTES / 1e9) / 4  # on four vCPU
    for name, disk in DISKS.items():
        fetching = max(
            (WEIGHTS_BYTES + BUNDLE_BYTES) / CARD_BYTES_S,
            checking,
            # What the memory holds need not be written before the engine reads it.
            max(WEIGHTS_BYTES - DRAM_BYTES, 0) / disk,
        )
        first_load = max(WEIGHTS_BYTES / CARD_TO_GPU_BYTES_S, (WEIGHTS_BYTES - DRAM_BYTES) / disk)
        written = WEIGHTS_BYTES / disk  # the rename waits for it
        second_load = max(WEIGHTS_BYTES / CARD_TO_GPU_BYTES_S, WEIGHTS_BYTES / disk)
        first = MACHINE_S + overhead_s + max(fetching, written) + first_load
        found[name] = {
            "first_boot_s": round(first),
            "second_boot_s": round(MACHINE_S + second_overhead_s + second_load),
            "fetch_and_write_s": round(max(fetching, written)),
            "load_s": round(first_load),
            "load_second_s": round(second_load),
        }
    return found


def main() -> None:
    runs = [one(Path(tempfile.mkdtemp(prefix="yoyo-bench-"))) for _ in range(RUNS)]
    first = statistics.median(run["first_s"] for run in runs)
    second = statistics.median(run["second_s"] for run in runs)
    node = json.loads((ROOT / "docs/benchmarks/node_fetch.json").read_text())
    result = {
        "runs": RUNS,
        "load": os.getloadavg()[0],
        "up_first_s": round(first, 2),
        "up_second_s": round(second, 2),
        "steps_s": runs[-1]["steps"],
        "second_steps_s": runs[-1]["second_steps"],
        "cpu_s_per_gb": cpu_of(node),
        "projected_g2_standard_4": projected(first, second, cpu_of(node)),
        "target": {"first_boot_s": 120, "second_boot_s": 60},
        "assumptions": {
            "weights_bytes": WEIGHTS_BYTES,
            "bundle_bytes": BUNDLE_BYTES,
            "machine_s": MACHINE_S,
            "card_bytes_s": CARD_BYTES_S,
            "gpu_bytes_s": CARD_TO_GPU_BYTES_S,
            "page_cache_bytes": DRAM_BYTES,
        },
    }
    text = json.dumps(result, indent=1)
    print(text)
    (ROOT / "docs/benchmarks/from_store.json").write_text(text + "\n")


def cpu_of(node: dict[str, Any]) -> float:
    """CPU seconds a GB that fetching and checking takes."""
    return float(node["results"]["to memory"]["node_cpu_s_per_gb"])


if __name__ == "__main__":
    main()
