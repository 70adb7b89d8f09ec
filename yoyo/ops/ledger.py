"""`yoyo ledger ...`: rows and their proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from yoyo.errors import (
    LedgerCorrupt,
    LedgerHeadMismatch,
    LedgerOpenIntents,
    LedgerRowRefused,
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
    from yoyo.ports.ledger import Ledger

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})\Z")


def rows_of(ledger: Ledger, node: str | None) -> Iterator[Row | BadRow]:
    """Every row, or those of one node; bad rows always, since nobody knows whose they are."""
    for row in ledger.rows():
        if node is None or isinstance(row, BadRow) or row.entry.node_id == node:
            yield row


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
        return LedgerCorrupt(
            f"The ledger is not intact: {report.problem_count} problem(s), "
            f"the first in line {first.line}.",
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
            fix=f"Run {_settling(report)}, which settles what was left behind, and verify again.",
        )
    return None


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
