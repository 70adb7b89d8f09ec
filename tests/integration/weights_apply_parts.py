"""A store with everything around it, and ModelCache documents, for the tests of apply."""

from __future__ import annotations

import io
from pathlib import Path

from yoyo.config.model_cache import load_caches
from yoyo.core import store_keys
from yoyo.drivers.files.disk import LocalDisk
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.files.locks import FileLocks
from yoyo.drivers.files.objects import FileObjects
from yoyo.drivers.sources.resolve import WeightSources
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import (
    SourceFailed,
)
from yoyo.model.cache import CacheStatus
from yoyo.model.fetch import RemoteFile, Resolved
from yoyo.model.ledger import Row
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_apply import Applied, apply
from yoyo.ops.weights_stage import Staged, StageRequest, stage
from yoyo.ports.fetch import Transfer


class Hub:
    """hf:// with branches that move, and whatever else as it really is."""

    def __init__(self) -> None:
        self.real = WeightSources(
            hub=None, hub_mirrors=(), storage_endpoint=None, storage_credentials=None, env={}
        )
        self.branches: dict[str, tuple[str, bytes]] = {}
        self.failure: SourceFailed | None = None

    def resolve(
        self, source: str, *, sha256: str | None = None, mirrors: tuple[str, ...] = ()
    ) -> Resolved:
        if not source.startswith("hf://"):
            return self.real.resolve(source, sha256=sha256, mirrors=mirrors)
        if self.failure is not None:
            raise self.failure
        commit, data = self.branches[source.rpartition("@")[2]]
        # As the hub tells a small file: its size, and no sha256.
        return Resolved(source, commit, "mit", (RemoteFile("f.txt", len(data), None, data=data),))

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        return self.real.read(file, start, length)


class NoTransfers:
    """Nothing here comes over a network."""

    def start(self, file: RemoteFile, target: Path) -> Transfer:
        raise AssertionError(f"{file.path} was to be fetched")

    def close(self) -> None:
        """Nothing to stop."""


class Silent:
    """No progress is shown."""

    def phase(self, name: str, detail: str = "") -> None:
        pass

    def bytes(self, name: str, done: int, total: int | None) -> None:
        pass


class Bench:
    """A store with everything around it, and what was staged."""

    def __init__(self, place: Path) -> None:
        clock = SystemClock()
        self.place, self.hub = place, Hub()
        self.staged: list[Staged] = []
        self.ledger = CsvLedger(place / "ledger.csv", clock, SystemIds(clock))
        self.ctx = StoreContext(
            store=FileObjects((place / "store").as_uri()), sources=self.hub,
            transfers=NoTransfers(), disk=LocalDisk(), ledger=self.ledger, clock=clock,
            locks=FileLocks(place / "state", clock), operator="me@here", module_id="demo",
            nodes=(), workplace=place / "work", cores=2, progress=Silent(),
        )  # fmt: skip

    def stage(self, request: StageRequest) -> None:
        self.staged.append(stage(self.ctx, request))

    def apply(self, text: str, *, dry_run: bool = False) -> tuple[Applied, ...]:
        documents = load_caches("-", stdin=io.BytesIO(text.encode()))
        return apply(documents, self.ctx, self.stage, dry_run=dry_run)

    def one(self, text: str) -> CacheStatus:
        (applied,) = self.apply(text)
        return applied.status

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Every file of the store and the ledger: its time and size."""
        files = [*(self.place / "store").rglob("*"), self.place / "ledger.csv"]
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in files
            if path.is_file() and "lock" not in path.name
        }

    def codes(self) -> list[str]:
        return [
            f"{row.entry.event_type}:{row.entry.completion_status}:{row.entry.error_code}"
            for row in self.ledger.rows()
            if isinstance(row, Row)
        ]


def hub_document(revision: str = "main", refetch: str = "", kind: str = "Bytes") -> str:
    notes = f", annotations: {{yoyo.dev/refetch: '{refetch}'}}" if refetch else ""
    return f"""
apiVersion: yoyo.dev/v1alpha1
kind: ModelCache
metadata: {{name: words{notes}}}
spec:
  artifact:
    kind: {kind}
    source: {{huggingFace: {{repo: org/words, file: f.txt, revision: {revision}}}}}
"""


def path_document(path: Path, refetch: str = "", kind: str = "Bytes") -> str:
    notes = f", annotations: {{yoyo.dev/refetch: '{refetch}'}}" if refetch else ""
    return f"""
apiVersion: yoyo.dev/v1alpha1
kind: ModelCache
metadata: {{name: mine{notes}}}
spec:
  artifact: {{kind: {kind}}}
  storage: {{backend: ExistingPath, existingPath: {{path: {path}}}}}
"""


INLINE = """
apiVersion: yoyo.dev/v1alpha1
kind: ModelCache
metadata: {name: template}
spec:
  mountPath: /templates
  artifact:
    kind: Bytes
    source: {inline: {text: "{{ bos }}"}}
"""


def condition(found: CacheStatus, kind: str) -> tuple[str, str]:
    (one,) = (each for each in found.conditions if each.type == kind)
    return one.status, one.reason


def content(bench: Bench, kind: str, name: str) -> bytes:
    named = shelf.need(bench.ctx.store, kind, name)
    parts = [
        b"".join(bench.ctx.store.read(store_keys.artefact(file.sha256)))
        for file in named.manifest.files
    ]
    return b"".join(parts)
