"""What an engine bundle costs to build: seconds, CPU seconds, memory, bytes.

    engine_build.py TARBALL_OR_DIRECTORY [--sha256 DIGEST] [--sm 89 --cublas DIR] [--again]

Prints one JSON object and merges it into docs/benchmarks/engine_build.json under `cpu` or
`cuda-sm89`. There is no reference: the figures say what to expect of a machine. `--again`
builds a second time in another place, and says whether the bytes are the same.
"""

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

from yoyo.config.templates import template_text
from yoyo.drivers.build.builder import ScriptBuilder
from yoyo.drivers.jinja.templates import JinjaTemplates
from yoyo.drivers.local import smoke_model
from yoyo.model.machine import BootStep
from yoyo.ops.engine_build import build, source_of
from yoyo.ports.builder import BuildRequest, BuiltBundle

REPORT = Path(__file__).parents[2] / "docs/benchmarks/engine_build.json"
SAMPLE_S = 0.5
PAGE = os.sysconf("SC_PAGE_SIZE")


class Phases:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []

    def phase(self, name: str, detail: str = "") -> None:  # noqa: ARG002 - the port has it
        self.begun.append((name, time.monotonic()))

    def note(self, text: str) -> None:
        pass

    def steps(self, steps: tuple[BootStep, ...]) -> None:
        pass

    def seconds(self) -> dict[str, float]:
        ends = [at for _, at in self.begun[1:]] + [time.monotonic()]
        pairs = zip(self.begun, ends, strict=True)
        return {name: round(end - begun, 1) for (name, begun), end in pairs}


class Memory(threading.Thread):
    """The most that all processes below this one held at once, sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.tree = self.process = 0
        self.largest = ""

    def run(self) -> None:
        while not self.done.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        found: dict[int, tuple[int, str, int]] = {}
        for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
            if entry.isdigit():
                try:
                    head, _, tail = Path(f"/proc/{entry}/stat").read_text().rpartition(")")
                except OSError:
                    continue
                fields = tail.split()  # from field 3 on: state, ppid, ... rss is field 24
                name = head.partition("(")[2]
                found[int(entry)] = (int(fields[1]), name, int(fields[21]) * PAGE)
        below, size = {os.getpid()}, 0
        while len(below) != size:
            size = len(below)
            below |= {pid for pid, (parent, _, _) in found.items() if parent in below}
        below.discard(os.getpid())
        self.tree = max(self.tree, sum(found[pid][2] for pid in below))
        for pid in below:
            if found[pid][2] > self.process:
                self.process, self.largest = found[pid][2], found[pid][1]


def measure(options: argparse.Namespace, folder: Path) -> tuple[BuiltBundle, dict[str, object]]:
    request = BuildRequest(
        source_of(options.source, sha256=options.sha256), folder / "out", folder / "work",
        cuda=bool(options.sm), sm=tuple(options.sm), jobs=options.jobs,
        cuda_root=options.cuda_root, cublas=options.cublas, all_cpus=options.all_cpus,
    )  # fmt: skip
    phases, memory = Phases(), Memory()
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    memory.start()
    made = build(
        request,
        ScriptBuilder(JinjaTemplates(template_text)),
        phases,
        lambda: smoke_model.ensure(folder),
    )
    memory.done.set()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return made, {
        "wall_s": round(time.monotonic() - begun, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1),
        "phases_s": phases.seconds(),
        "peak_tree_rss_bytes": memory.tree,
        "peak_process_rss_bytes": memory.process,
        "peak_process": memory.largest,
        "bundle_bytes": made.size,
        "sha256": made.sha256,
        "glibc": made.build.glibc,
        "compiler": made.build.compiler,
        "cuda": made.build.cuda,
        "smoke": list(made.smoke.passed),
        "not_tried": list(made.smoke.left_out),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--sha256", default="")
    parser.add_argument("--sm", action="append", default=[])
    parser.add_argument("--cuda-root", default="")
    parser.add_argument("--cublas", default="")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--all-cpus", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--folder", help="kept, so that a broken off build goes on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder or scratch)
        made, result = measure(options, folder / "one")
        if options.again:
            second, _ = measure(options, folder / "another")
            result["same_bytes_again"] = second.sha256 == made.sha256
    result["cores"] = len(os.sched_getaffinity(0))
    name = f"cuda-sm{'-'.join(options.sm)}" if options.sm else "cpu"
    known = json.loads(REPORT.read_text()) if REPORT.exists() else {"benchmark": "engine_build"}
    known[name] = result
    text = json.dumps(known, indent=2)
    REPORT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
