"""Staging and checking 2 GiB of weights, as ratios against plain tools on the same servers.

nginx is the source, a directory and the fake of Cloud Storage are the stores. Prints one JSON
object and writes it to docs/benchmarks/weights.json. Whole processes, medians, taken in turn.
"""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("", "integration", "lab")]

from hub import Hub  # noqa: E402
from nginx_parts import Nginx  # noqa: E402

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
MIB = int(os.environ.get("BENCH_MIB", "2048"))
YOYO = str(ROOT / ".venv" / "bin" / "yoyo")
HF = str(ROOT / ".venv" / "bin" / "hf")
UPLOAD = """
import json, sys
from pathlib import Path
from yoyo.model.settings import StoreSettings
from yoyo.model.store import CHUNK_BYTES
from yoyo.wiring_stores import objects_for
from concurrent.futures import ThreadPoolExecutor
import os
url, endpoint, path, digests = sys.argv[1], sys.argv[2] or None, Path(sys.argv[3]), sys.argv[4:]
store = objects_for(StoreSettings(url, endpoint))
size = path.stat().st_size
upload = store.upload("bench", size)
with ThreadPoolExecutor(os.cpu_count()) as pool:
    sent = [
        pool.submit(upload.put, n, path, n * CHUNK_BYTES,
                    min(CHUNK_BYTES, size - n * CHUNK_BYTES), digest)
        for n, digest in enumerate(digests)
    ]
    [each.result() for each in sent]
upload.finish("artefacts/bench", tuple(digests))
"""
CONFIG = """\
version: 1
operator: bench
store: {store}
hub: '{hub}'
{endpoint}
nodes:
  local: {{moduleId: bench, driver: local}}
"""
CHUNK = 64 * 1024 * 1024


class Run:
    """One process: seconds, and the peak of its memory."""

    def __init__(self, argv: list[str], cwd: Path, **env: str) -> None:
        begun = time.perf_counter()
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        # Counted by a small process of its own: one that is forked from this one would be said to
        # have had this one's memory.
        with tempfile.NamedTemporaryFile() as counted:
            process = subprocess.Popen(
                ["/usr/bin/time", "-f", "%M", "-o", counted.name, *argv],
                cwd=cwd,
                env={**clean, **env},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds = time.perf_counter() - begun
            self.peak_mb = int(counted.read().split()[-1]) / 1000
        self.cpu_s = usage.ru_utime + usage.ru_stime
        assert status == 0, (argv, said.decode()[-2000:])


def clear(*places: Path) -> None:
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


class Bench:
    def __init__(self, home: Path, nginx: Nginx, hub: Hub, gcs: str) -> None:
        self.home, self.nginx, self.hub, self.gcs = home, nginx, hub, gcs
        self.file = nginx.files / "big.bin"
        self.digests, self.sha256 = make(self.file)
        self.commit = hub.add("acme/big", "main", {"big.bin": self.file})

    def place(self, store: str) -> Path:
        work = self.home / "work"
        clear(work)
        work.mkdir()
        endpoint = f"store_endpoint: '{self.gcs}'" if store.startswith("gs:") else ""
        (work / "yoyo.yaml").write_text(
            CONFIG.format(store=store, endpoint=endpoint, hub=self.hub.url)
        )
        return work

    def stage(self, store: str, source: str) -> Run:
        self.empty(store)
        argv = [YOYO, "weights", "stage", "big", source, "--kind", "bytes"]
        return Run([*argv, "--sha256", self.sha256], self.place(store))

    def download(self, path: str) -> Run:
        target = self.home / "download"
        clear(target)
        target.mkdir()
        return Run(
            ["aria2c", "--no-conf", "-x4", "-s4", "--min-split-size=1M", "--file-allocation=none",
             "--console-log-level=error", f"{self.nginx.url}{path}"], target,
        )  # fmt: skip

    def upload(self, store: str) -> Run:
        self.empty(store)
        endpoint = self.gcs if store.startswith("gs:") else ""
        argv = [sys.executable, "-c", UPLOAD, store, endpoint, str(self.file), *self.digests]
        return Run(argv, ROOT)

    def empty(self, store: str) -> None:
        """What was sent before would not be sent again."""
        if store.startswith("file:"):
            clear(Path(store.removeprefix("file://")))
            return
        from google.cloud import storage

        client = storage.Client.create_anonymous_client()
        client = storage.Client(
            "bench", client._credentials, client_options={"api_endpoint": self.gcs}
        )
        for blob in client.list_blobs("bench"):
            blob.delete()

    def by_others(self) -> Run | float:
        """`hf download`, then `gcloud storage cp`."""
        self.empty("gs://bench/store")
        target = self.home / "hf"
        clear(target)
        fetch = Run(
            [HF, "download", "acme/big", "big.bin", "--local-dir", str(target)], self.home,
            HF_ENDPOINT=self.hub.url, HF_HUB_DISABLE_XET="1", HF_HOME=str(self.home / "hf-home"),
        )  # fmt: skip
        copy = Run(
            ["gcloud", "storage", "cp", str(target / "big.bin"), "gs://bench/big.bin"], self.home,
            CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE=f"{self.gcs}/",
            CLOUDSDK_AUTH_DISABLE_CREDENTIALS="true", CLOUDSDK_CORE_PROJECT="bench",
            CLOUDSDK_CONFIG=str(self.home / "gcloud"),
        )  # fmt: skip
        return fetch.seconds + copy.seconds


def make(path: Path) -> tuple[list[str], str]:
    """Random bytes; their digests by chunk and whole."""
    whole, digests, block = hashlib.sha256(), [], os.urandom(CHUNK)
    with path.open("wb") as file:
        for number in range(-(-MIB * 1024 * 1024 // CHUNK)):
            piece = number.to_bytes(8, "big") + block[8:]
            file.write(piece)
            whole.update(piece)
            digests.append(hashlib.sha256(piece).hexdigest())
    return digests, whole.hexdigest()


def medians(cases: dict[str, Callable[[], Run | float]]) -> dict[str, dict[str, float]]:
    """Each case in turn, RUNS times."""
    found: dict[str, list[Run | float]] = {name: [] for name in cases}
    for _ in range(RUNS):
        for name, case in cases.items():
            found[name].append(case())
    result = {}
    for name, runs in found.items():
        whole = [run for run in runs if isinstance(run, Run)]
        seconds = [run.seconds if isinstance(run, Run) else run for run in runs]
        result[name] = {"seconds": round(statistics.median(seconds), 2)}
        if whole:
            result[name]["cpu_s"] = round(statistics.median(run.cpu_s for run in whole), 2)
            result[name]["peak_mb"] = round(max(run.peak_mb for run in whole))
    return result


def checking(bench: Bench, store: str) -> dict[str, object]:
    """`weights verify --deep` against sha256sum."""
    bench.empty(store)
    work = bench.place(store)
    stage = [YOYO, "weights", "stage", "big", bench.file.as_uri(), "--kind", "bytes"]
    Run(stage, work)
    taken = medians(
        {
            "verify": lambda: Run(
                [YOYO, "weights", "verify", "big", "--kind", "bytes", "--deep"], work
            ),
            "sha256sum": lambda: Run(["sha256sum", str(bench.file)], work),
        }
    )
    cores = os.cpu_count() or 1
    ratio = taken["verify"]["seconds"] / (taken["sha256sum"]["seconds"] / cores)
    return {**taken, "ratio": round(ratio, 2), "bar": 1.2}


def staging(bench: Bench, store: str, path: str) -> dict[str, object]:
    taken = medians(
        {
            "download": lambda: bench.download(path),
            "upload": lambda: bench.upload(store),
            "stage": lambda: bench.stage(store, bench.nginx.url + path),
        }
    )
    slower = max(taken["download"]["seconds"], taken["upload"]["seconds"])
    return {**taken, "ratio": round(taken["stage"]["seconds"] / slower, 2), "bar": 1.25}


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="yoyo-bench-", dir=os.environ.get("BENCH_DIR", "/var/tmp")))
    with ExitStack() as held:
        held.callback(shutil.rmtree, home, True)
        nginx = held.enter_context(Nginx(home / "nginx", rate="60m"))
        hub = held.enter_context(Hub(home / "hub"))
        gcs = fake_storage(held, home / "gcs", "--no-md5")
        bench = Bench(home, nginx, hub, gcs)
        directory, bucket = f"file://{home}/store", "gs://bench/store"
        result: dict[str, object] = {
            "bytes": MIB * 1024 * 1024,
            "runs": RUNS,
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
            "stage_to_directory": staging(bench, directory, "/big.bin"),
            "stage_to_directory_at_250_MB_s": staging(bench, directory, "/slow/big.bin"),
            "stage_to_gcs": staging(bench, bucket, "/big.bin"),
            "stage_to_gcs_at_250_MB_s": staging(bench, bucket, "/slow/big.bin"),
            "verify_deep": checking(bench, directory),
        }
        if shutil.which("gcloud"):
            # gcloud compares MD5s, so both sides of this one pay for them at the server.
            bench.gcs = fake_storage(held, home / "gcs-md5")
            both = medians(
                {
                    "hf_then_gcloud": bench.by_others,
                    "stage": lambda: bench.stage(bucket, f"hf://acme/big/big.bin@{bench.commit}"),
                }
            )
            result["side_by_side"] = both
        result["load_after"] = os.getloadavg()[0]
    text = json.dumps(result, indent=1)
    print(text)
    (ROOT / "docs/benchmarks/weights.json").write_text(text + "\n")


def fake_storage(held: ExitStack, directory: Path, *options: str) -> str:
    """A fake Cloud Storage in a process of its own, with a bucket; its address."""
    program = str(ROOT / "tests/lab/fake_gcs.py")
    fake = subprocess.Popen(
        [sys.executable, program, str(directory), "--bucket", "bench", *options],
        stdout=subprocess.PIPE,
    )
    held.callback(fake.wait)
    held.callback(fake.terminate)
    assert fake.stdout is not None
    return str(json.loads(fake.stdout.readline())["url"])


if __name__ == "__main__":
    main()
