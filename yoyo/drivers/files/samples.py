"""The monitor's memory as one small file per node: a cache, so never worth an fsync."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import cast

from yoyo.drivers.files.state import private_dir, unwritable, write_atomically
from yoyo.model.ids import NodeName
from yoyo.model.samples import Sample


class FileSampleStore:
    """`<state_dir>/samples/<node>.jsonl`, one sample a line, rewritten whole."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir / "samples"

    def _path(self, node: str) -> Path:
        return self._dir / f"{NodeName.parse(node)}.jsonl"

    def load(self, node: str) -> list[Sample]:
        """All kept samples, oldest first; unreadable ones are left out."""
        try:
            lines = self._path(node).read_bytes().splitlines()
        except OSError:
            return []
        samples = [sample for line in lines if (sample := _decode(line)) is not None]
        return sorted(samples, key=lambda sample: sample.at)

    def add(self, node: str, sample: Sample, *, keep_after: datetime) -> None:
        """Add one and drop those older than `keep_after`.

        Raises:
            StateUnwritable.
        """
        path = self._path(node)
        kept = [old for old in self.load(node) if old.at >= keep_after]
        content = b"".join(_encode(each) for each in (*kept, sample))
        try:
            private_dir(path.parent.parent)
            private_dir(path.parent)
            write_atomically(path, content, durable=False)
        except OSError as error:
            raise unwritable(path, error) from error


def _encode(sample: Sample) -> bytes:
    import json

    fields = {
        "at": sample.at.isoformat(),
        "boot": sample.boot,
        "reachable": sample.reachable,
        "processing": sample.processing,
        "deferred": sample.deferred,
        "slots_busy": sample.slots_busy,
        "tokens_total": sample.tokens_total,
        "open_jobs": sample.open_jobs,
        "error": sample.error,
    }
    return json.dumps(fields).encode() + b"\n"


def _decode(line: bytes) -> Sample | None:
    import json

    try:
        found = json.loads(line)
        at = datetime.fromisoformat(found["at"])
        counts = [found[name] for name in ("processing", "deferred", "slots_busy", "tokens_total")]
        boot, reachable = found["boot"], found["reachable"]
        open_jobs, error = found["open_jobs"], found["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # type(): True is an int to isinstance, and a wrong type here would read as idleness.
    if (
        at.tzinfo is None
        or any(value is not None and type(value) is not int for value in counts)
        or type(open_jobs) is not int
        or type(reachable) is not bool
        or not (isinstance(boot, str) and isinstance(error, str))
    ):
        return None
    processing, deferred, slots_busy, tokens_total = cast("list[int | None]", counts)
    return Sample(
        at, boot, reachable, processing, deferred, slots_busy, tokens_total, open_jobs, error
    )
