"""What a node takes to fetch and check 2 GiB from the store, against curl fetching the same object.

Prints one JSON object and writes it to docs/benchmarks/node_fetch.json. The store is the fake of
Cloud Storage in a process of its own, which sends with sendfile. Both write to memory (/dev/shm),
so that the figure is of network and CPU; a second pair writes to the disk and syncs. The node's
step is the rendered startup script's own, with its reports to a metadata server.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("", "integration", "lab")]

from sample_startup import CPU  # noqa: E402
from startup_parts import Node, StoreServer, node_in  # noqa: E402

from yoyo.core import store_keys  # noqa: E402
from yoyo.model.settings import Provided  # noqa: E402
from yoyo.model.store import CHUNK_BYTES  # noqa: E402

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SIZE = int(float(os.environ.get("BENCH_GIB", "2")) * (1 << 30))
BAR = 1.3
MODEL_BYTES, CARD_GBIT_S, LIMIT_S = 18.5e9, 10.0, 14.8
G2_CPUS = 4  # g2-standard-4; two cores with two threads each


@contextmanager
def fake_store(directory: Path) -> Iterator[str]:
    """The fake in a process of its own; its address."""
    command = [sys.executable, str(ROOT / "tests/lab/fake_gcs.py"), str(directory)]
    command += ["--bucket", "bucket", "--no-md5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def filled(url: str, directory: Path) -> Provided:
    """Puts a set of one file of SIZE random bytes there."""
    data = directory / "data"
    with data.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    maker = StoreServer()
    provided = maker.add("bench@1", {"model.gguf": data.read_bytes()}, CHUNK_BYTES)
    maker.close()
    manifest = directory / "manifest"
    manifest.write_bytes(maker.objects[store_keys.document(provided.manifest)])
    names = {
        store_keys.artefact(provided.files[0][2]): data,
        store_keys.document(provided.manifest): manifest,
    }
    for name, path in names.items():
        target = f"{url}/upload/storage/v1/b/bucket/o?uploadType=media&name=team/{name}"
        upload = ["curl", "--silent", "--fail", "--request", "POST", "--upload-file", str(path)]
        subprocess.run([*upload, "--output", "/dev/null", target], check=True)
        path.unlink()
    return provided


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the CPU in processes that were started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def by_curl(url: str, provided: Provided, target: Path, *, synced: bool) -> None:
    """The reference: one curl, one stream, nothing checked."""
    address = f"{url}/bucket/team/{store_keys.artefact(provided.files[0][2])}"
    subprocess.run(["curl", "--silent", "--fail", "--output", target, address], check=True)
    if synced:
        subprocess.run(["sync", target], check=True)


def by_node(node: Node) -> None:
    """The step weights of the startup script."""
    done = node.run("bash", "-c", f"source {node.script}; prepare_directories; run_step weights")
    assert done.returncode == 0, node.serial + done.stderr


def compared(url: str, provided: Provided, place: Path, *, synced: bool) -> dict[str, object]:
    """Both in turn, RUNS times, at a place."""
    curls, nodes = [], []
    values = CPU._replace(
        store_url="gs://bucket/team", storage=url, weights_urls=(), weights_set=provided
    )
    with tempfile.TemporaryDirectory(dir=place) as name, node_in(Path(name), values) as node:
        node.publish_every_s = 10
        models = node.root / "var/lib/yoyo/models"
        target = Path(name) / "by-curl"
        for number in range(RUNS + 1):
            reference = measured(lambda: by_curl(url, provided, target, synced=synced))
            target.unlink()
            ours = measured(lambda: by_node(node))
            shutil.rmtree(models)
            models.mkdir()
            if number:  # the first warms caches
                curls.append(reference)
                nodes.append(ours)
    ratio = statistics.median(a[0] / b[0] for a, b in zip(nodes, curls, strict=True))
    return {
        "node_s": round(statistics.median(each[0] for each in nodes), 3),
        "curl_s": round(statistics.median(each[0] for each in curls), 3),
        "ratio": round(ratio, 2),
        "bar": BAR,
        "met": ratio <= BAR,
        "node_cpu_s_per_gb": round(statistics.median(e[1] for e in nodes) / SIZE * 1e9, 2),
        "curl_cpu_s_per_gb": round(statistics.median(e[1] for e in curls) / SIZE * 1e9, 2),
    }


def projected(cpu_s_per_gb: float) -> dict[str, object]:
    """18.5 GB on a 10 Gbit/s card: what the card and the CPUs each take at least."""
    card = MODEL_BYTES * 8 / (CARD_GBIT_S * 1e9)
    cpus = MODEL_BYTES / 1e9 * cpu_s_per_gb / G2_CPUS
    return {
        "bytes": int(MODEL_BYTES),
        "card_s": round(card, 1),
        "limit_s": LIMIT_S,
        f"cpu_s_over_{G2_CPUS}_cpus": round(cpus, 1),
        "bound_s": round(max(card, cpus), 1),
        "disk_mb_s_to_keep_up": round(MODEL_BYTES / max(card, cpus) / 1e6),
        "not_in_it": "TLS; a CPU without SHA instructions, as G2's, takes longer for sha256",
    }


def main() -> None:
    memory = Path("/dev/shm")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=memory) as name:
        directory = Path(name)
        with fake_store(directory / "store") as url:
            provided = filled(url, directory)
            in_memory = compared(url, provided, memory, synced=False)
            on_disk = compared(url, provided, Path(tempfile.gettempdir()), synced=True)
    cpu = in_memory["node_cpu_s_per_gb"]
    assert isinstance(cpu, float)
    report = {
        "benchmark": "node_fetch",
        "reference": "curl --output of the same object, in turn; on the disk with sync",
        "bytes": SIZE,
        "runs": RUNS,
        "cpus": os.cpu_count(),
        "load_before": round(load, 1),
        "results": {"to memory": in_memory, "to the disk, synced": on_disk},
        "18.5 GB on a 10 Gbit/s card": projected(cpu),
    }
    text = json.dumps(report, indent=2)
    (ROOT / "docs/benchmarks/node_fetch.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
