"""The GCE path in the laboratory: first boot, second boot, status and sweep, as ratios.

Needs root and `scripts/lab-image`. Prints one JSON object and writes it to
docs/benchmarks/gce.json. The reference of a boot is the same container with a script that
starts the same engine by hand; that of `status` is what its libraries alone take, and one
round trip; that of `sweep` a process that makes one call.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("", "integration", "lab")]

from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from lab import Lab, with_engine  # noqa: E402
from lab_commands import LabPlace  # noqa: E402
from lab_guest import LabGuest  # noqa: E402
from nspawn_host import NspawnHost  # noqa: E402
from tls_parts import make_certificate  # noqa: E402

from yoyo.drivers.llamacpp.client import LlamaServerClient  # noqa: E402
from yoyo.drivers.local.smoke_model import ensure  # noqa: E402
from yoyo.model.engine import Completion, Health  # noqa: E402
from yoyo.model.ids import Secret  # noqa: E402
from yoyo.model.machine import Endpoint  # noqa: E402

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
KEY = "k" * 64
BY_HAND = """#!/bin/bash
exec /opt/yoyo/engine/current/bin/llama-server -m /srv/model.gguf --host 0.0.0.0 --port 8443 \\
  -c 4096 -np 2 --cache-type-k f16 --cache-type-v f16 --metrics --slots --no-webui \\
  --api-key-file /srv/key --ssl-cert-file /srv/tls.pem --ssl-key-file /srv/tls.pem -ngl 999
"""
ONE_CALL = """
from google.api_core.client_options import ClientOptions
from google.cloud import compute_v1
client = compute_v1.InstancesClient(client_options=ClientOptions(api_endpoint={endpoint!r}))
list(client.aggregated_list(project={project!r}))
"""


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def first_token(endpoint: Endpoint) -> None:
    """Wait for health, then for one token."""
    client = LlamaServerClient()
    while client.health(endpoint, timeout=1.0) is not Health.OK:
        time.sleep(0.005)
    done = list(client.complete(endpoint, "x", max_tokens=1, timeout=30))
    assert isinstance(done[-1], Completion)


def by_hand(directory: Path) -> tuple[float, float]:
    """First and second boot of the container, each to its engine's first token."""
    pem, pin = make_certificate(directory / "by-hand.pem", ec.generate_private_key(ec.SECP256R1()))
    model = ensure(directory / "models").read_bytes()

    def prepare(disk: Path) -> None:
        with_engine(disk)
        (disk / "srv").mkdir()
        for name, data in (
            ("model.gguf", model),
            ("key", KEY.encode()),
            ("tls.pem", pem.read_bytes()),
        ):
            (disk / "srv" / name).write_bytes(data)

    host = NspawnHost(directory / "by-hand", network="10.126.0.0/24", prepare=prepare)
    guest = LabGuest("by-hand", "10.126.0.10", startup_script=BY_HAND)
    endpoint = Endpoint("https://10.126.0.10:8443", Secret(KEY), pin)

    def boot() -> None:
        host.boot(guest)
        first_token(endpoint)

    try:
        first = timed(boot)
        host.shut_down("by-hand", 5)
        return first, timed(boot)
    finally:
        host.close()


def with_yoyo(place: LabPlace) -> tuple[float, float, str]:
    """The same through `yoyo up` and `yoyo ask`; and the critical path of the first boot."""

    def up() -> None:
        place.run("up")
        place.run("ask", "x", "--max-tokens", "1")

    first = timed(up)
    serial = place.run("logs", "--boot", "-n", "2000").stdout
    path = re.findall(r"critical path (.*)", serial)
    place.run("down")
    second = timed(up)
    place.run("down", "--delete")
    return first, second, path[-1] if path else ""


def looking(place: LabPlace) -> dict[str, float]:
    """`status` of a healthy node against its parts."""
    place.run("up")
    seen = json.loads((place.root / ".yoyo/nodes/l4/seen.json").read_text())
    key = (place.root / ".yoyo/nodes/l4/key").read_text().strip()
    endpoint = Endpoint(seen["url"], Secret(key), seen["pin"])
    imports = [sys.executable, "-c", "import typer, rich"]
    client = LlamaServerClient()
    pairs = []
    for _ in range(3 * RUNS):
        ours = timed(lambda: place.run("status"))
        reference = timed(lambda: subprocess.run(imports, check=True, cwd=place.root))
        trip = timed(lambda: client.health(endpoint))
        pairs.append((ours, reference, trip))
    place.run("down", "--delete")
    middle = [statistics.median(column) for column in zip(*pairs, strict=True)]
    ratio = statistics.median((ours - trip) / imported for ours, imported, trip in pairs)
    return {
        "status_s": middle[0],
        "imports_s": middle[1],
        "round_trip_s": middle[2],
        "ratio": ratio,
    }


def sweeping(place: LabPlace) -> dict[str, float]:
    """`sweep` over 100 zones against a process that makes one call."""
    gce = {"endpoint": place.lab.fake.url, "project": place.lab.fake.settings.project}
    one = [sys.executable, "-c", ONE_CALL.format(**gce)]
    environment = {**os.environ, **place.lab.environment}
    pairs = [
        (
            timed(lambda: place.run("sweep")),
            timed(lambda: subprocess.run(one, check=True, env=environment)),
        )
        for _ in range(RUNS)
    ]
    middle = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return {
        "sweep_s": middle[0],
        "one_call_s": middle[1],
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
    }


def main() -> None:
    first, second, paths = [], [], []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Lab(directory) as lab:
            place = LabPlace(lab)
            with suppress(AssertionError):
                place.run("doctor")
            for _ in range(RUNS):
                hand = by_hand(directory)
                ours = with_yoyo(place)
                first.append((ours[0], hand[0]))
                second.append((ours[1], hand[1]))
                paths.append(ours[2])
            status = looking(place)
        zones = [f"lab{n // 3}-east1-{'abc'[n % 3]}" for n in range(99)]
        with Lab(directory / "wide", zones=("us-central1-a", *zones)) as lab:
            swept = sweeping(LabPlace(lab))
    report = {
        "benchmark": "gce",
        "runs": RUNS,
        "results": {
            "first boot to first token": boot_figures(first, 1.5),
            "second boot to first token": boot_figures(second, 1.2),
            "status of a healthy node": rounded(status, 2.0),
            "sweep over 100 zones": rounded(swept, 3.0),
        },
        "critical_path": paths[-1],
    }
    text = json.dumps(report, indent=2)
    (ROOT / "docs/benchmarks/gce.json").write_text(text + "\n")
    print(text)


def boot_figures(pairs: list[tuple[float, float]], bar: float) -> dict[str, object]:
    figures = {
        "figure_s": statistics.median(ours for ours, _ in pairs),
        "reference_s": statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
    }
    return rounded(figures, bar)


def rounded(figures: dict[str, float], bar: float) -> dict[str, object]:
    shown: dict[str, object] = {name: round(value, 3) for name, value in figures.items()}
    return shown | {"bar": bar, "met": figures["ratio"] <= bar}


if __name__ == "__main__":
    main()
