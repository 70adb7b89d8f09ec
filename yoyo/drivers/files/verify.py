"""The verifier over a file; a large one is checked by two processes side by side."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from yoyo.core.ledger_check import ChainCheck, LedgerCheck
from yoyo.drivers.files.lines import LineBlocks
from yoyo.model.ledger import LedgerHead, VerifyReport

# From about this size on, half the work takes longer than making a process.
_LARGE_BYTES = 4_000_000


Progress = Callable[[float], None]


def verify_file(
    fd: int, end: int, expect: LedgerHead | None, progress: Progress | None = None
) -> VerifyReport:
    """Check the file's first `end` bytes; `progress` is told the share that is done.

    Raises:
        OSError: it cannot be read.
    """
    if end >= _LARGE_BYTES and _has_two_cores() and threading.active_count() == 1:
        report = _with_helper(fd, end, expect, progress)
        if report is not None:
            return report
    return _check(fd, end, LedgerCheck(expect), progress)


def _check(fd: int, end: int, check: LedgerCheck, progress: Progress | None) -> VerifyReport:
    blocks = LineBlocks(fd, 0, end)
    done = 0
    for block in blocks:
        check.feed(block)
        if progress is not None:
            done += len(block)
            progress(done / end)
    return check.report(blocks.torn_bytes)


def _with_helper(
    fd: int, end: int, expect: LedgerHead | None, progress: Progress | None
) -> VerifyReport | None:
    """A child checks the hashes, this process all else; None when a hash does not match.

    Then the file is to be checked again in one process, which finds out where.
    """
    try:
        child = os.fork()
    except OSError:
        return None
    if child == 0:
        _check_hashes_and_exit(fd, end)
    try:
        report = _check(fd, end, LedgerCheck(expect, hashes_known=True), progress)
        _, status = os.waitpid(child, 0)
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return report if status == 0 else None


def _check_hashes_and_exit(fd: int, end: int) -> None:
    status = 1
    try:
        check, parent = ChainCheck(), os.getppid()
        blocks = LineBlocks(fd, 0, end)
        status = int(not all(check.feed(block) and os.getppid() == parent for block in blocks))
    finally:
        os._exit(status)


def _has_two_cores() -> bool:
    return len(os.sched_getaffinity(0)) > 1
