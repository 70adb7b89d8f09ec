"""Node locks by flock: the kernel frees them when their holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.drivers.files.state import private_dir, unwritable
from yoyo.errors import NodeBusy
from yoyo.model.ids import NodeName

if TYPE_CHECKING:
    from yoyo.ports.clock import Clock

_POLL_S = 0.05  # flock cannot wait with a limit; this is below what a person notices
_MOST_BYTES = 4096


class FileLocks:
    """`<state_dir>/locks/<node>.lock`, which also says who holds it.

    The files stay: removing one that another process is about to lock would let two in.
    """

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._dir = state_dir / "locks"
        self._clock = clock

    @contextmanager
    def hold(self, node: str, *, operator: str, command: str, wait_s: float) -> Iterator[None]:
        """Take the node's lock, waiting up to `wait_s` seconds (0: do not wait).

        Raises:
            NodeBusy: somebody else holds it; the message names operator, command and pid.
            StateUnwritable: the lock file cannot be made.
        """
        path = self._dir / f"{NodeName.parse(node)}.lock"
        try:
            private_dir(path.parent.parent)
            private_dir(path.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            self._take(fd, path, node, wait_s)
            try:
                _sign(fd, operator, command, self._clock.now().isoformat(timespec="seconds"))
            except OSError as error:
                raise unwritable(path, error) from error
            yield
        finally:
            # Unlocked by name: a child that was forked meanwhile shares this lock.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _take(self, fd: int, path: Path, node: str, wait_s: float) -> None:
        deadline = self._clock.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    raise _busy(fd, node) from None
                self._clock.sleep(min(_POLL_S, left))
            except OSError as error:
                raise unwritable(path, error) from error


def _sign(fd: int, operator: str, command: str, since: str) -> None:
    import json

    holder = {"operator": operator, "command": command, "pid": os.getpid(), "since": since}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(holder).encode() + b"\n", 0)


def _busy(fd: int, node: str) -> NodeBusy:
    import json

    who = "Another yoyo command"
    try:
        found = json.loads(os.pread(fd, _MOST_BYTES, 0))
        who = (
            f"`{found['command']}` of {found['operator']} "
            f"(pid {found['pid']}, since {found['since']})"
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # the holder has the lock and has not signed yet
    return NodeBusy(
        f"Node {node} is held by another command.",
        why=f"{who} holds the node's lock.",
        fix="Wait until it has ended; a holder that was killed frees the lock at once.",
    )
