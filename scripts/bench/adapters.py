"""Adapters pushed, pulled, verified and listed, against plain tools doing the same.

A registry of Debian's on loopback, oras and oras-py beside yoyo, a Sigstore of the tests' own.
Prints one JSON object and writes it to docs/benchmarks/adapters.json. Whole processes, in turn with
their reference; figures are medians, ratios medians of the ratios of each turn.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("", "unit", "integration", "lab")]

from adapters_parts import TONE, AdapterPlace, adapter_place  # noqa: E402
from artefact_samples import ADAPTER, packed  # noqa: E402
from registry_lab import RegistryLab  # noqa: E402
from sigstore_lab import SigstoreLab  # noqa: E402

from yoyo.drivers.files.adapter_book_edit import fresh  # noqa: E402
from yoyo.drivers.files.layouts import FileLayouts  # noqa: E402
from yoyo.model.adapter import WEIGHT_TYPE, Change, Registered, Stage  # noqa: E402
from yoyo.model.ids import ModuleId  # noqa: E402
from yoyo.model.oci import Descriptor  # noqa: E402

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
MB = int(os.environ.get("BENCH_MB", "200"))
LARGE_MB = int(os.environ.get("BENCH_LARGE_MB", "1000"))
VERSIONS = 1000
PYTHON, YOYO = sys.executable, str(Path(sys.executable).parent / "yoyo")
MOVE_BAR, MEMORY_BAR_MB, VERIFY_BAR, LIST_BAR = 1.2, 64, 3.0, 2.0

# What the commands do with the registry, by the driver alone.
PUSH = """
import sys
from pathlib import Path
from yoyo.core.oci_manifest import parse_manifest
from yoyo.core.oci_names import parse_reference
from yoyo.drivers.files.layouts import FileLayouts
from yoyo.drivers.oci.credentials import Credentials
from yoyo.drivers.oci.registry import HttpRegistry
from yoyo.drivers.oci.session import Session
from yoyo.drivers.system.clock import SystemClock
directory, ref = Path(sys.argv[1]), parse_reference(sys.argv[2])
described, document = FileLayouts().read(directory)
manifest = parse_manifest(document)
with Session(credentials=Credentials(env={})) as session:
    registry = HttpRegistry(session, locks=directory / "locks", clock=SystemClock())
    for blob in (manifest.config, *manifest.layers):
        source = FileLayouts().blob(directory, blob.digest)
        registry.push(ref, blob, source, lambda *_: None)
    registry.put_manifest(ref, document, described.media_type)
"""
PULL = """
import sys
from pathlib import Path
from yoyo.core.oci_manifest import parse_manifest
from yoyo.core.oci_names import parse_reference
from yoyo.drivers.oci.credentials import Credentials
from yoyo.drivers.oci.registry import HttpRegistry
from yoyo.drivers.oci.session import Session
from yoyo.drivers.system.clock import SystemClock
directory, ref = Path(sys.argv[1]), parse_reference(sys.argv[2])
with Session(credentials=Credentials(env={})) as session:
    registry = HttpRegistry(session, locks=directory / "locks", clock=SystemClock())
    ref = ref.at(registry.resolve(ref).digest)
    for number, blob in enumerate(parse_manifest(registry.manifest(ref)).layers):
        registry.pull(ref, blob, directory / str(number), lambda *_: None)
"""
ORAS_PY_PUSH = """
import sys
from oras.client import OrasClient
OrasClient(insecure=True).push(
    target=sys.argv[2], files=[f"{sys.argv[1]}:{sys.argv[3]}"], disable_path_validation=True,
    quiet=True,
)
"""
ORAS_PY_PULL = """
import sys
from oras.client import OrasClient
OrasClient(insecure=True).pull(target=sys.argv[2], outdir=sys.argv[1])
"""
CONFIG = "version: 1\noperator: bench\nnodes: {local: {moduleId: acme, driver: local}}\n"


class Run:
    """One process (or two, one after the other): seconds, and the peak of its memory."""

    def __init__(self, argv: list[str], cwd: Path) -> None:
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        # Counted by a small process of its own: one that is forked from this one would be said to
        # have had this one's memory.
        with tempfile.NamedTemporaryFile() as counted:
            begun = time.perf_counter()
            done = subprocess.run(
                ["/usr/bin/time", "-f", "%M %U %S", "-o", counted.name, *argv],
                cwd=cwd,
                env=clean,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            self.seconds = time.perf_counter() - begun
            peak, user, system = counted.read().split()[-3:]
        self.peak_mb = int(peak) * 1024 / 1e6
        self.cpu_s = float(user) + float(system)
        assert done.returncode == 0, (argv, done.stdout.decode()[-2000:])


Case = Callable[[], Run]


def turns(cases: dict[str, Case]) -> dict[str, list[Run]]:
    """Each case in turn, RUNS times, after one time that does not count.

    Each turn begins with another case: what one leaves behind for the disk disturbs the next.
    """
    found: dict[str, list[Run]] = {name: [] for name in cases}
    order = list(cases)
    for number in range(RUNS + 1):
        for name in order:
            run = cases[name]()
            if number:
                found[name].append(run)
        order.append(order.pop(0))
    return found


def medians(found: dict[str, list[Run]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "seconds": round(statistics.median(run.seconds for run in runs), 3),
            "cpu_s": round(statistics.median(run.cpu_s for run in runs), 2),
            "peak_mb": round(statistics.median(run.peak_mb for run in runs), 1),
        }
        for name, runs in found.items()
    }


def ratio(found: dict[str, list[Run]], ours: str, *theirs: str) -> float:
    """Ours to the faster of theirs, turn by turn; the median."""
    each = zip(found[ours], *(found[name] for name in theirs), strict=True)
    ratios = [run.seconds / min(other.seconds for other in others) for run, *others in each]
    return float(round(statistics.median(ratios), 2))


def judged(value: float, bar: float) -> dict[str, object]:
    return {"ratio": value, "bar": bar, "met": value <= bar}


class Moving:
    """One adapter of random bytes, moved by everybody in turn."""

    def __init__(self, home: Path, registry: RegistryLab, oras: str, megabytes: int) -> None:
        home.mkdir()
        self.home, self.registry, self.oras = home, registry, oras
        self.layout, self.out = home / "packed.oci", home / "out"
        self.file = written(home / "weights.gguf", megabytes * 1_000_000)
        self._laid_out()
        (home / "yoyo.yaml").write_text(CONFIG)

    def _laid_out(self) -> None:
        with self.file.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        made = packed(
            weights=Descriptor(WEIGHT_TYPE, digest, self.file.stat().st_size),
            filename="weights.gguf",
        )
        self.digest = digest
        FileLayouts().write(self.layout, made.manifest, {digest: self.file, **dict(made.blobs)})

    def ref(self, repository: str) -> str:
        return f"{self.registry.host}/{repository}:1"

    def push(self, repository: str, argv: list[str]) -> Run:
        """Into an empty registry, with nothing left to write from before."""
        shutil.rmtree(self.registry.storage, ignore_errors=True)
        os.sync()
        run = Run(argv, self.home)
        assert self.registry.blob_file(self.digest).exists(), repository
        return run

    def pull(self, argv: list[str]) -> Run:
        """Into an empty directory."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        os.sync()
        run = Run(argv, self.home)
        sizes = [path.stat().st_size for path in self.out.iterdir()]
        assert self.file.stat().st_size in sizes, sizes
        return run

    def pushes(self) -> dict[str, Case]:
        typed, layout = f"{self.file.name}:{WEIGHT_TYPE}", str(self.layout)
        plain = [self.oras, "push", "--plain-http", "--no-tty"]
        copy = [self.oras, "cp", "--from-oci-layout", "--to-plain-http", "--no-tty"]
        by_digest = f"{layout}@{FileLayouts().read(self.layout)[0].digest}"
        cases = {
            "yoyo": [YOYO, "adapters", "push", layout, self.ref("a")],
            "driver": [PYTHON, "-c", PUSH, layout, self.ref("b")],
            "oras": [*plain, self.ref("c"), typed],
            "oras_cp": [*copy, by_digest, self.ref("d")],
        }
        if find_spec("oras"):
            script = [PYTHON, "-c", ORAS_PY_PUSH, str(self.file), self.ref("e"), WEIGHT_TYPE]
            cases["oras_py"] = script
        return {name: self._pushing(name, argv) for name, argv in cases.items()}

    def _pushing(self, name: str, argv: list[str]) -> Case:
        return lambda: self.push(name, argv)

    def pulls(self) -> dict[str, Case]:
        """Of what the first of `pushes` pushed; the registry keeps it."""
        ref, out = self.ref("a"), str(self.out)
        oras = [self.oras, "pull", "--plain-http", "--no-tty", "-o", out, ref]
        synced = ["sh", "-c", '"$@" && sync "$0"/*', out, *oras]
        cases = {
            "yoyo": [YOYO, "adapters", "pull", ref, "--unverified", "--to", out],
            "driver": [PYTHON, "-c", PULL, out, ref],
            "oras": oras,
            "oras_synced": synced,
        }
        if find_spec("oras"):
            cases["oras_py"] = [PYTHON, "-c", ORAS_PY_PULL, out, ref]
        return {name: self._pulling(argv) for name, argv in cases.items()}

    def _pulling(self, argv: list[str]) -> Case:
        return lambda: self.pull(argv)


def written(path: Path, size: int) -> Path:
    """Random bytes."""
    with path.open("wb") as file:
        for at in range(0, size, 1_000_000):
            file.write(os.urandom(min(1_000_000, size - at)))
    return path


def moving(home: Path, registry: RegistryLab, oras: str) -> dict[str, object]:
    """Push and pull, side by side."""
    moved = Moving(home / "moving", registry, oras, MB)
    cases = moved.pushes()
    pushed = turns(cases)
    cases["yoyo"]()
    pulled = turns(moved.pulls())
    others = ["oras", *(["oras_py"] if "oras_py" in pushed else [])]
    return {
        "bytes": MB * 1_000_000,
        "push": {
            **medians(pushed),
            **judged(ratio(pushed, "yoyo", *others), MOVE_BAR),
            "driver_ratio": ratio(pushed, "driver", *others),
            "ratio_to_oras_cp": ratio(pushed, "yoyo", "oras_cp"),
        },
        "pull": {
            **medians(pulled),
            **judged(ratio(pulled, "yoyo", *others), MOVE_BAR),
            "driver_ratio": ratio(pulled, "driver", *others),
            "ratio_to_oras_synced": ratio(pulled, "yoyo", "oras_synced"),
        },
    }


def memory(home: Path, registry: RegistryLab, oras: str) -> dict[str, object]:
    """Peak above the bare interpreter; it must not depend on the size."""
    bare = Run([PYTHON, "-c", "pass"], home).peak_mb
    found: dict[str, object] = {"bare_mb": round(bare, 1), "bar_mb": MEMORY_BAR_MB}
    for megabytes in (MB, LARGE_MB):
        moved = Moving(home / f"{megabytes}", registry, oras, megabytes)
        push = moved.pushes()["yoyo"]().peak_mb - bare
        pull = moved.pulls()["yoyo"]().peak_mb - bare
        found[f"{megabytes}_MB"] = {
            "push_mb": round(push, 1),
            "pull_mb": round(pull, 1),
            "met": max(push, pull) < MEMORY_BAR_MB,
        }
        shutil.rmtree(moved.home)
    return found


def verifying(place: AdapterPlace) -> dict[str, object]:
    """Signature, provenance and sign-off, all keyless, with the trusted root pinned."""
    found = turns(
        {
            "verify": lambda: Run([YOYO, "adapters", "verify", TONE], place.root),
            "import": lambda: Run([PYTHON, "-c", "import sigstore.verify"], place.root),
        }
    )
    return {**medians(found), **judged(ratio(found, "verify", "import"), VERIFY_BAR)}


def listing(place: Path) -> dict[str, object]:
    """A registry file of VERSIONS versions, of a hundred adapters."""
    place.mkdir()
    (place / "yoyo.yaml").write_text(CONFIG)
    book = place / "memory" / "adapters" / "registry.yaml"
    book.parent.mkdir(parents=True)
    book.write_text(fresh([version(number) for number in range(VERSIONS)]))
    found = turns(
        {
            "ls": lambda: Run([YOYO, "adapters", "ls"], place),
            "import": lambda: Run([PYTHON, "-c", "import typer, rich"], place),
            "ls_json": lambda: Run([YOYO, "adapters", "ls", "--json"], place),
        }
    )
    return {
        "versions": VERSIONS,
        **medians(found),
        **judged(ratio(found, "ls", "import"), LIST_BAR),
        "json_ratio": ratio(found, "ls_json", "import"),
    }


def version(number: int) -> Registered:
    """Every tenth one promoted, the older ones retired; each with digests and times of its own."""
    adapter, newest = divmod(number, 10)
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=97 * number, microseconds=number)
    stages = (Stage.EVAL_OK, Stage.PROMOTED, *((Stage.RETIRED,) if newest < 9 else ()))
    return Registered(
        ADAPTER._replace(
            id=f"acme-{adapter}-tone",
            version=f"1.{newest}.0",
            module_id=ModuleId("acme"),
            data=digest("data", number),
            alpha=Decimal(8),
        ),
        f"registry.example/acme/acme-{adapter}-tone@{digest('ref', number)}",
        stages[-1],
        tuple(
            Change(stage, began + timedelta(hours=step), f"person-{number % 7}@acme.example")
            for step, stage in enumerate(stages)
        ),
        digest("sign-off", number),
    )


def digest(what: str, number: int) -> str:
    return f"sha256:{hashlib.sha256(f'{what} {number}'.encode()).hexdigest()}"


@contextmanager
def signed_place(home: Path) -> Iterator[AdapterPlace]:
    """A directory with an adapter that everybody vouched for, keyless."""
    home.mkdir()
    with SigstoreLab() as lab, adapter_place(home) as place:
        place.keyless_mode(lab)
        place.publish(TONE)
        yield place


def oras_found() -> str:
    fetched = ROOT / ".cache/oci-tools/oras/usr/bin/oras"
    found = shutil.which("oras") or (str(fetched) if fetched.exists() else None)
    if found is None:
        sys.exit("There is no oras to compare with: run scripts/oci-tools.")
    return found


def main() -> None:
    oras = oras_found()
    told = subprocess.run([oras, "version"], capture_output=True, text=True, check=True).stdout
    report: dict[str, object] = {
        "benchmark": "adapters",
        "runs": RUNS,
        "cores": os.cpu_count(),
        "oras": told.split()[1],
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        with RegistryLab(home) as registry:
            report["moving"] = moving(home, registry, oras)
            report["memory"] = memory(home, registry, oras)
        with signed_place(home / "signed") as place:
            report["verify"] = verifying(place)
        report["ls"] = listing(home / "listing")
    report["load_after"] = os.getloadavg()[0]
    text = json.dumps(report, indent=2)
    (ROOT / "docs" / "benchmarks" / "adapters.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
