"""What the tests of use cases on a store share: a store with its outside world, and faults."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from yoyo.drivers.aria2.transfers import Aria2Transfers
from yoyo.drivers.files.disk import LocalDisk
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.files.locks import FileLocks
from yoyo.drivers.files.objects import FileObjects
from yoyo.drivers.sources.resolve import WeightSources
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.model.ledger import STORE_NODE, BadRow, Row
from yoyo.model.store import BYTES, CHUNK_BYTES
from yoyo.ops import shelf
from yoyo.ops.ledger import verdict
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_stage import Staged, StageRequest, stage

MIB = 1 << 20
OPERATOR = "tester"


class Quiet:
    """Progress that is remembered."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def phase(self, name: str, detail: str = "") -> None:
        self.phases.append(name)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        assert 0 <= done <= (done if total is None else total)


class Place(NamedTuple):
    """Directories of one operator and one store."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.csv"

    @property
    def workplace(self) -> Path:
        return self.root / "state" / "staging"

    def artefact(self, sha256: str) -> Path:
        return self.store / "artefacts" / "sha256" / sha256[:2] / sha256

    def leftovers(self) -> list[str]:
        """Files of transfers that did not end, here and in the store."""
        found = [
            path
            for folder in (self.workplace, self.store / "staging")
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".lock"
        ]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def artefacts(self) -> list[str]:
        """Digests of what the store has."""
        return sorted(path.name for path in self.store.glob("artefacts/sha256/*/*"))


def context(place: Path | Place, **changed: Any) -> StoreContext:
    """The real parts over one directory."""
    here = place if isinstance(place, Place) else Place(place)
    clock = SystemClock()
    made = StoreContext(
        store=FileObjects(f"file://{here.store}"),
        sources=WeightSources(
            hub=None, hub_mirrors=(), storage_endpoint=None, storage_credentials=None, env={}
        ),
        transfers=Aria2Transfers(here.workplace),
        disk=LocalDisk(),
        ledger=CsvLedger(here.ledger, clock, SystemIds(clock)),
        clock=clock,
        locks=FileLocks(here.workplace, clock),
        operator=OPERATOR,
        module_id="shared",
        nodes=(),
        workplace=here.workplace,
        cores=2,
        progress=Quiet(),
    )
    return made._replace(**changed)


def cheap(path: Path, size: int, seed: int = 0) -> str:
    """A file whose chunks all differ, mostly holes; its sha256."""
    with path.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, 16 * MIB):
            file.seek(at)
            file.write(f"{seed}/{at}/".encode().ljust(64, b".")[: size - at])
    return digest(path)


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def chunk_digests(path: Path) -> tuple[str, ...]:
    """Of each CHUNK_BYTES."""
    with path.open("rb") as file:
        return tuple(
            hashlib.sha256(piece).hexdigest() for piece in iter(lambda: file.read(CHUNK_BYTES), b"")
        )


def ask(name: str, source: str, **more: Any) -> StageRequest:
    """To stage plain bytes."""
    return StageRequest(more.pop("kind", BYTES), name, source, **more)


def put(ctx: StoreContext, name: str, text: str, **more: Any) -> Staged:
    """Stage a few bytes."""
    return stage(ctx, ask(name, f"inline:{text}", **more))


def rows(ctx: StoreContext) -> list[str]:
    """Type, job, status and code of every row about the store."""
    found = []
    for row in ctx.ledger.rows():
        assert isinstance(row, Row)
        entry = row.entry
        assert entry.node_id == STORE_NODE
        assert entry.operator_id == OPERATOR
        said = (entry.event_type, entry.job_id, entry.completion_status, entry.error_code)
        found.append(" ".join(filter(None, map(str, said))))
    return found


def hashes(ctx: StoreContext) -> list[str]:
    """The digests that the rows hold."""
    return [row.entry.input_hash for row in ctx.ledger.rows() if isinstance(row, Row)]


def strict(ctx: StoreContext) -> None:
    """Fail unless `ledger verify --strict` would pass."""
    error = verdict(ctx.ledger.verify(), None, strict=True)
    assert error is None, (error.what, error.why, rows(ctx))


def consistent(ctx: StoreContext, place: Place) -> None:
    """Fail where a name stands for something that is not whole, or the ledger is not sound."""
    for row in ctx.ledger.rows():
        assert not isinstance(row, BadRow)
    if place.ledger.exists():
        assert verdict(ctx.ledger.verify(), None, strict=False) is None
    for each in shelf.names(ctx.store):
        assert isinstance(each, shelf.Named), each
        for file in each.manifest.files:
            assert place.artefact(file.sha256).stat().st_size == file.size


def in_child(work: Callable[[], None]) -> int:
    """Run that in a process of its own, begun by fork: its pid. It exits with 0, or 1 at an error.

    A fork, as a new interpreter takes longer to import than a transfer takes.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        work()
        os._exit(0)
    except BaseException:  # it must not go on as a second pytest
        traceback.print_exc()
        os._exit(1)


def outcome(pid: int) -> int:
    """Wait for a child: its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def children(pid: int) -> list[int]:
    """Processes that this one started."""
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in done.stdout.split()]


class Fatal:
    """Stands before a real part, and kills its own process at the n-th call of some methods."""

    def __init__(
        self, real: Any, methods: tuple[str, ...], counter: Iterator[int], at: int
    ) -> None:
        self._real, self._methods, self._counter, self._at = real, methods, counter, at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in self._methods:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            if next(self._counter) == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
            result = found(*arguments, **named)
            if next(self._counter) == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "upload":
                return Fatal(result, ("put", "finish", "abandon"), self._counter, self._at)
            return result

        return call
