"""The files of one node's directory. Light: the supervisor imports this at every start.

Every record names the life it belongs to (`request_id`), so that a file left over from an
earlier life is simply not ours and nothing has to be cleared in the right order.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MACHINE = "machine.json"  # what was asked for, written before anything is started
SUPERVISOR = "supervisor.json"  # who guards it, and what was really armed
ENGINE = "engine.json"  # where it answers
STOP = "stop.json"  # somebody asked for a stop
STOPPED = "stopped.json"  # how it ended
LOCK = "supervisor.lock"  # held for as long as a supervisor lives
KEY = "key"
LEASE = "lease"  # its mtime is the last renewal
HEARTBEAT = "heartbeat"  # its mtime is the last moment the supervisor was alive
ENGINE_LOG = "engine.log"
SUPERVISOR_LOG = "supervisor.log"

_MAX_RECORD_BYTES = 1 << 20


def write_private(path: Path, data: bytes) -> None:
    """Write a 0600 file so that a reader sees the old content or the new, never a part.

    Not synced: a machine that loses power loses its processes too, and is then found
    without a supervisor whatever the files say.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    part.replace(path)


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record atomically."""
    write_private(path, json.dumps(record).encode())


def read_record(path: Path, request_id: str | None = None) -> dict[str, Any] | None:
    """The record, or None when it is missing, malformed or of another life."""
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(_MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    if request_id is not None and record.get("request_id") != request_id:
        return None
    return record


def stamp() -> str:
    """The wall clock as text: UTC with microseconds."""
    return datetime.now(UTC).isoformat()


def parse_stamp(text: object) -> datetime | None:
    """A time as `stamp` writes it; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def modified_at(path: Path) -> datetime | None:
    """A file's mtime; None when it is not there."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):
        return None
