"""`yoyo ledger ...`: rows and their proof."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from yoyo.errors import (
    CheckpointMismatch,
    LedgerCorrupt,
    LedgerHeadMismatch,
    LedgerOpenIntents,
    LedgerRowRefused,
    LedgerUnreadable,
    YoyoError,
)
from yoyo.model.ledger import (
    ADAPTERS_NODE,
    RESERVED_NODES,
    STORE_NODE,
    BadRow,
    LedgerHead,
    Row,
    VerifyReport,
)

if TYPE_CHECKING:
    from datetime import datetime

    from yoyo.model.row_filter import RowFilter
    from yoyo.ports.checkpoints import Checkpoints
    from yoyo.ports.ledger import Ledger

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})\Z")


def last_rows(ledger: Ledger, wanted: RowFilter, count: int) -> list[Row | BadRow]:
    """The last `count` rows that pass, oldest first; bad rows always count as passing, since
    nobody knows whose they are.

    Raises:
        LedgerUnreadable.
    """
    if wanted.is_empty:
        return ledger.tail(count)
    return list(deque(ledger.matching(wanted), maxlen=count))


def follow_rows(
    ledger: Ledger,
    wanted: RowFilter,
    count: int,
    show: Callable[[Row | BadRow], None],
    sleep: Callable[[], None],
) -> None:
    """Show the last `count` rows, and each new one as it comes, without a gap between the two.

    It ends when `sleep` or `show` raises.

    Raises:
        LedgerUnreadable: it cannot be read, or was cut or replaced.
    """
    newest = ledger.tail(1)
    seq = newest[0].seq if newest and isinstance(newest[0], Row) else None
    # Where the watch begins is fixed before the rows up to there are read, so that none is lost
    # in between; what is seen by both is shown once.
    new = ledger.follow(wanted, sleep, after=0 if not newest else seq)
    for row in last_rows(ledger, wanted, count):
        seq = max(seq or 0, row.seq) if isinstance(row, Row) else seq
        show(row)
    for row in new:
        if isinstance(row, BadRow) or seq is None or row.seq > seq:
            show(row)


def parse_head(text: str) -> LedgerHead:
    """A head as `verify` prints it.

    Raises:
        LedgerRowRefused: it is not SEQ:HASH.
    """
    found = _HEAD.match(text)
    if found is None:
        raise LedgerRowRefused(
            f"{text[:100]!r} is no ledger head.",
            why="A head is a sequence number, a colon and 64 hex digits.",
            fix="Give it as `yoyo ledger verify` printed it: SEQ:HASH.",
        )
    return LedgerHead(int(found[1]), found[2])


def verdict(report: VerifyReport, expect: LedgerHead | None, *, strict: bool) -> YoyoError | None:
    """The error that the report amounts to, the gravest first; None when it is sound."""
    if report.problem_count:
        first = report.problems[0]
        where = f"{first.file} line" if first.file else "line"
        return LedgerCorrupt(
            f"The ledger is not intact: {report.problem_count} problem(s), "
            f"the first in {where} {first.line}.",
            why=first.reason,
            fix="Keep the file as it is for whoever looks into it, and compare it with a copy.",
        )
    if report.expected_head_found is False:
        return LedgerHeadMismatch(
            f"The ledger does not hold row {expect.seq if expect else '?'} with that hash.",
            why="Its tail was cut, it was rewritten, or it is another ledger.",
            fix="Compare it with the copy that the head was noted from.",
        )
    if strict and report.open_intents:
        return LedgerOpenIntents(
            f"{len(report.open_intents)} intent(s) have no outcome.",
            why="A command is at work, or was killed.",
            fix=f"Run {_settling(report)}, which settles what was left behind, and verify again. "
            "Where the ledger is a copy (--file), the operator settles it.",
        )
    return None


def hole(ledger: Ledger, report: VerifyReport) -> LedgerUnreadable | None:
    """The error where whole files are missing between others, as every reader meets it."""
    if not report.problem_count:
        return None
    try:
        ledger.parts()
    except LedgerUnreadable as error:
        return error
    return None


def signed_rows(checkpoints: Checkpoints) -> int:
    """The rows that the newest checkpoint beside the ledger names; its signature is not looked at.

    To be asked before the ledger is read: a checkpoint that is made meanwhile signs rows that
    were not there. One that cannot be read counts for nothing here.

    Raises:
        CheckpointInvalid: nobody can say which there are.
    """
    from yoyo.core.audit.note import NoteError, parse_checkpoint
    from yoyo.errors import CheckpointInvalid

    for name in reversed(checkpoints.names()):
        try:
            return parse_checkpoint(checkpoints.read(name)).head.size
        except (NoteError, CheckpointInvalid):
            continue
    return 0


def cut_below(ledger: Ledger, report: VerifyReport, signed: int) -> CheckpointMismatch | None:
    """The error where the ledger has fewer rows than a checkpoint beside it names.

    Raises:
        LedgerUnreadable.
    """
    if signed <= max(report.rows, report.head.seq if report.head else 0):
        return None
    # Counted, as damage may hide the last seq. Of deleted months the oldest file knows.
    parts = ledger.parts()
    first = parts[0].first_seq if parts else 1
    rows = first - 1 + sum(len(block) for block in ledger.lines(first))
    if signed <= rows:
        return None
    gone = signed - rows
    return CheckpointMismatch(
        "Rows were cut off the ledger's end.",
        why=f"The newest checkpoint beside it signs {signed} rows: {gone} "
        f"{'is' if gone == 1 else 'are'} gone.",
        fix="Keep all files as they are, and hold the ledger against the copies: "
        "`yoyo ledger verify --against PLACE --key KEY`.",
    )


def with_problem(report: VerifyReport, reason: str) -> VerifyReport:
    """The same with one problem more, which is of no line in particular."""
    problem = BadRow(report.rows + 1, reason, b"")
    return report._replace(
        problems=(*report.problems, problem), problem_count=report.problem_count + 1
    )


def refuse_deleted(ledger: Ledger, until: datetime) -> None:
    """Refuse a time whose rows were all deleted by retention: its figures would be zeros.

    Raises:
        LedgerUnreadable.
    """
    parts = ledger.parts()
    first = parts[0].first_seq if parts else 1
    row = ledger.row_at(first) if first > 1 else None
    if row is not None and row.timestamp >= until:
        raise LedgerUnreadable(
            "The rows of that time were deleted by retention.",
            why=f"The first row that is kept is {first}, of {row.timestamp:%Y-%m-%d %H:%M}Z.",
            fix="Ask for a later month, or give --file a copy of the ledger that has it.",
        )


def _settling(report: VerifyReport) -> str:
    """The commands that book the end of these intents, where their own is gone."""
    commands = (
        ("yoyo adapters select", ADAPTERS_NODE),
        ("yoyo weights ls", STORE_NODE),
    )
    nodes = {each.node_id for each in report.open_intents}
    named = [f"`{command}`" for command, node in commands if node in nodes]
    if nodes - RESERVED_NODES.keys():
        named.insert(0, "`yoyo status`")
    return " and ".join(named)
