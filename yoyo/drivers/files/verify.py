"""The verifier over a ledger's files; a large one is checked by two processes side by side."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from yoyo.core.ledger_check import ChainCheck, LedgerCheck
from yoyo.drivers.files.ledger_scan import names_deletion, strangers
from yoyo.drivers.files.ledger_sections import Section, Sections, misfit, missing_first
from yoyo.drivers.files.lines import LineBlocks
from yoyo.model.ledger import LedgerHead, VerifyReport

# From about this size on, half the work takes longer than making a process.
_LARGE_BYTES = 4_000_000


Progress = Callable[[float], None]


def verify_sections(
    sections: Sections, expect: LedgerHead | None, progress: Progress | None = None
) -> VerifyReport:
    """Check all files; `progress` is told the share that is done.

    Raises:
        OSError: one cannot be read.
    """
    return check_sections(sections, expect, progress)[0]


def check_sections(
    sections: Sections, expect: LedgerHead | None = None, progress: Progress | None = None
) -> tuple[VerifyReport, LedgerCheck]:
    """The same, with the check from which another one can go on.

    Raises:
        OSError: a file cannot be read.
    """
    size = sum(section.end for section in sections.files)
    if size >= _LARGE_BYTES and _has_two_cores() and threading.active_count() == 1:
        done = _with_helper(sections, expect, progress)
        if done is not None:
            return done
    check = LedgerCheck(expect)
    return _check(sections, check, progress), check


def check_after(
    sections: Sections, saved: dict[str, Any], section: Section, offset: int
) -> tuple[VerifyReport, LedgerCheck]:
    """Check the rows after one up to which a check was saved; the next begins at `offset` there.

    Raises:
        OSError: a file cannot be read.
    """
    check = LedgerCheck()
    check.resume(saved, section.name, saved["seq"] - section.first_seq + 2)
    report = _check(sections, check, None, (section, offset))
    return report._replace(open_intents=()), check


def _check(
    sections: Sections,
    check: LedgerCheck,
    progress: Progress | None,
    after: tuple[Section, int] | None = None,
) -> VerifyReport:
    size, done, torn = sum(section.end for section in sections.files), 0, 0
    above: Section | None = None
    for section in sections.files:
        start = 0
        if after is not None and section.first_seq < after[0].first_seq:
            continue
        if after is not None and section.first_seq == after[0].first_seq:
            start = after[1]
        else:
            check.begin_file(section.name)
            if section.first_seq != check.next_seq:
                _report_misfit(sections, above, section, check)
                check.resume_at(section.first_seq)
        blocks = LineBlocks(section.fd, start, section.end)
        for block in blocks:
            check.feed(block)
            if progress is not None:
                done += len(block)
                progress(done / size)
        torn = blocks.torn_bytes
        if torn and section.month is not None:
            check.add_problem(f"{torn} bytes follow the last row of a sealed month")
        above = section
    if above is not None and len(sections.files) > 1 and _has_no_row(above):
        check.add_problem("the live file has no row, and sealing leaves one: its rows were cut off")
    if above is not None and _is_current(above):
        for path, seq in strangers(sections):
            check.add_problem(f"{path.name} is there, and its row {seq} is not in the ledger")
    return check.report(torn)


def _is_current(live: Section) -> bool:
    """Whether no month was sealed since the file was opened."""
    try:
        now = live.path.stat()
    except FileNotFoundError:
        return False
    then = os.fstat(live.fd)
    return (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino)


def _report_misfit(
    sections: Sections, above: Section | None, section: Section, check: LedgerCheck
) -> None:
    """Say why a file does not begin with the row that is due, unless a row explains it."""
    first, due = section.first_seq, check.next_seq
    if above is None and names_deletion(sections):
        return
    if above is None:
        check.add_problem(missing_first(first))
    elif first != due:
        check.add_problem(misfit(above.path, section.path, due, first))


def _has_no_row(section: Section) -> bool:
    return section.start == section.end


def _with_helper(
    sections: Sections, expect: LedgerHead | None, progress: Progress | None
) -> tuple[VerifyReport, LedgerCheck] | None:
    """A child checks the hashes, this process all else; None when a hash does not match.

    Then the files are to be checked again in one process, which finds out where.
    """
    try:
        child = os.fork()
    except OSError:
        return None
    if child == 0:
        _check_hashes_and_exit(sections)
    try:
        check = LedgerCheck(expect, hashes_known=True)
        report = _check(sections, check, progress)
        _, status = os.waitpid(child, 0)
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return (report, check) if status == 0 else None


def _check_hashes_and_exit(sections: Sections) -> None:
    status = 1
    try:
        check, parent, due = ChainCheck(), os.getppid(), 1
        good = True
        for section in sections.files:
            # A file that does not go on where the one above ends is taken as it begins.
            check.begin_file(resumes=section.first_seq != due)
            blocks = LineBlocks(section.fd, 0, section.end)
            good = good and all(check.feed(block) and os.getppid() == parent for block in blocks)
            due = (section.last_seq or 0) + 1
        status = int(not good)
    finally:
        os._exit(status)


def _has_two_cores() -> bool:
    return len(os.sched_getaffinity(0)) > 1
