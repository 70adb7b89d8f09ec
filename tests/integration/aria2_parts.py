"""What the tests of downloads share: a file's size, waits, and what processes there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from nginx_parts import Nginx

from yoyo.drivers.aria2.transfers import Aria2Transfer
from yoyo.model.fetch import Address, RemoteFile, TransferState

DEADLINE_S = 90.0  # of a wait; only broken code ever reaches it
SIZE = 40_000_003
ROOT = Path(__file__).parents[2]


def remote(*urls: str, size: int | None = SIZE) -> RemoteFile:
    return RemoteFile("m.gguf", size, None, tuple(Address(url) for url in urls))


def until(transfer: Aria2Transfer, wanted: Callable[[TransferState], bool]) -> TransferState:
    deadline = time.monotonic() + DEADLINE_S
    while not wanted(seen := transfer.state()):
        assert time.monotonic() < deadline, seen._replace(pieces=b"")
        time.sleep(0.01)
    return seen


def finished(state: TransferState) -> bool:
    return state.finished


def logged(nginx: Nginx, path: str) -> int:
    """Bytes of bodies that the server has sent, once all its requests are over."""
    return sum(request.sent for request in nginx.requests(path))


def children(parent: int) -> list[int]:
    return [
        int(pid)
        for task in Path(f"/proc/{parent}/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]


def command(pid: int) -> bytes:
    line = Path(f"/proc/{pid}/cmdline").read_bytes()
    first, _, rest = line.partition(b"\0")
    return first.rpartition(b"/")[2] + b" " + rest
