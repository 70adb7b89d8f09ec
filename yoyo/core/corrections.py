"""Rows that correct other rows: their form, which of them apply, and what they change. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple, TypeVar

from yoyo.core.ledger_format import MAX_JOB_ID_BYTES, is_uuid7
from yoyo.model.ledger import (
    BILLED,
    CLOSING,
    CORRECTION,
    CORRECTIONS,
    DISK_COST,
    BadRow,
    CompletionStatus,
    Entry,
    EventType,
    Row,
)

_JOB_ID: Final = re.compile(
    r"correct/([1-9][0-9]{0,17})/([0-9a-f-]{36})(?:/([a-z0-9](?:[a-z0-9-]*[a-z0-9])?))?\Z"
)
_Number = TypeVar("_Number", int, Decimal)
_NO_WORD: Final = re.compile("[^a-z0-9]+")


class Amounts(NamedTuple):
    """What a correction says; None: it leaves that number as it is."""

    tokens: int | None = None
    gpu_seconds: Decimal | None = None
    cost_usd: Decimal | None = None
    billed: bool = False  # whether the platform's bill says so

    @property
    def is_empty(self) -> bool:
        """Whether it changes no number."""
        return self.tokens is None and self.gpu_seconds is None and self.cost_usd is None


class Correction(NamedTuple):
    """One that applies."""

    seq: int  # of the row that is corrected
    event_id: str
    amounts: Amounts
    reason: str  # as in job_id, words joined by "-"; "" where none was given
    row: Row  # the correction itself


class CorrectionProblem(NamedTuple):
    """A row that says it is a correction and is none that counts."""

    seq: int
    line: int
    why: str


class Corrections(NamedTuple):
    """What applies, by (seq, event_id) of the corrected row, and what does not."""

    amounts: Mapping[tuple[int, str], Amounts]
    applied: tuple[Correction, ...]  # one for each corrected row, in the order of theirs
    problems: tuple[CorrectionProblem, ...]

    def of(self, row: Row) -> Amounts | None:
        """What the row is corrected to; None: it stands as it was booked."""
        return self.amounts.get((row.seq, row.event_id))


NO_CORRECTIONS: Final = Corrections({}, (), ())


def corrections_of(
    rows: Iterable[Row | BadRow], find: Callable[[int], Row | None] | None = None
) -> Corrections:
    """The corrections among these rows; the newest one of a row wins, whole.

    The corrected row is looked for among `rows`, then with `find` (such as `Ledger.row_at`).
    One that is malformed, or does not name a row that can be corrected by its hash, is a
    problem and changes nothing. All of `rows` is held in memory while it is looked through,
    unless `find` is given: then the corrections alone.
    """
    found: list[Row] = []
    others: dict[int, Row] = {}
    for row in rows:
        if isinstance(row, BadRow):
            continue
        if row.entry.error_code in CORRECTIONS:
            found.append(row)
        if find is None:
            others[row.seq] = row
    look = others.get if find is None else find
    applied: dict[tuple[int, str], Correction] = {}
    problems = []
    for row in found:
        read = _read(row, look)
        if isinstance(read, str):
            problems.append(CorrectionProblem(row.seq, row.line, read))
            continue
        key = (read.seq, read.event_id)
        if key not in applied or applied[key].row.seq < row.seq:
            applied[key] = read
    inorder = tuple(applied[key] for key in sorted(applied))
    return Corrections(
        {(each.seq, each.event_id): each.amounts for each in inorder}, inorder, tuple(problems)
    )


def apply(row: Row, corrections: Corrections) -> Row:
    """The row with its corrected numbers; the same row where there are none."""
    amounts = corrections.of(row)
    return row if amounts is None else row._replace(entry=merged(row.entry, amounts))


def merged(entry: Entry, amounts: Amounts) -> Entry:
    """The entry with each number that the amounts fill."""
    return entry._replace(
        tokens_processed=_first(amounts.tokens, entry.tokens_processed),
        gpu_seconds=_first(amounts.gpu_seconds, entry.gpu_seconds),
        cost_usd=_first(amounts.cost_usd, entry.cost_usd),
    )


def correction_entry(row: Row, amounts: Amounts, reason: str, operator: str) -> Entry:
    """The row that corrects `row`; its form is docs/formats/ledger.md's."""
    job_id = f"correct/{row.seq}/{row.event_id}"
    slug = reason_slug(reason, MAX_JOB_ID_BYTES - len(job_id) - 1)
    return Entry(
        EventType.CHECKPOINT,
        row.entry.module_id,
        row.entry.node_id,
        f"{job_id}/{slug}" if slug else job_id,
        CompletionStatus.SUCCESS,
        operator,
        error_code=BILLED if amounts.billed else CORRECTION,
        input_hash=f"sha256:{row.row_hash}",
        tokens_processed=amounts.tokens,
        gpu_seconds=amounts.gpu_seconds,
        cost_usd=amounts.cost_usd,
    )


def reason_slug(text: str, limit: int = 63) -> str:
    """A reason as it can stand in job_id: a-z, 0-9 and "-", at most `limit` bytes."""
    return _NO_WORD.sub("-", text.lower())[: limit + 1].strip("-")[:limit].strip("-")


def why_not(row: Row, amounts: Amounts) -> str:
    """Why these numbers of that row cannot be corrected; "" where they can.

    A machine's row has seconds and a cost, a disk's a cost, a job's tokens and seconds: its
    cost is a part of its node's.
    """
    entry = row.entry
    if entry.error_code in CORRECTIONS:
        return "it is a correction itself; correct the row that it names"
    if entry.event_type in CLOSING:
        without: dict[str, Decimal | int | None] = {"tokens": amounts.tokens}
    elif entry.event_type is EventType.CHECKPOINT and entry.error_code == DISK_COST:
        without = {"tokens": amounts.tokens, "GPU seconds": amounts.gpu_seconds}
    elif entry.event_type is EventType.JOB_COMPLETE:
        without = {"cost": amounts.cost_usd}
    else:
        return f"a {entry.event_type} row has no amounts"
    wrong = [name for name, value in without.items() if value is not None]
    if wrong:
        return f"a row of its kind has no {' and no '.join(wrong)}"
    if amounts.billed and amounts.cost_usd is None:
        return "a bill says what something cost, and no cost is given"
    return "" if not amounts.is_empty else "no number is given"


def _read(row: Row, find: Callable[[int], Row | None]) -> Correction | str:
    entry = row.entry
    form = _JOB_ID.match(entry.job_id)
    if entry.event_type is not EventType.CHECKPOINT or form is None or not is_uuid7(form[2]):
        return "its job_id is not correct/SEQ/EVENT_ID"
    seq, event_id = int(form[1]), form[2]
    if seq >= row.seq:
        return f"it corrects row {seq}, which is not above it"
    target = find(seq)
    if target is None or target.event_id != event_id:
        return f"row {seq} is not there, or is not the event that it names"
    if entry.input_hash != f"sha256:{target.row_hash}":
        return f"row {seq} has another hash than the one that it names"
    amounts = Amounts(
        entry.tokens_processed, entry.gpu_seconds, entry.cost_usd, entry.error_code == BILLED
    )
    why = why_not(target, amounts)
    return f"row {seq}: {why}" if why else Correction(seq, event_id, amounts, form[3] or "", row)


def _first(new: _Number | None, old: _Number | None) -> _Number | None:
    return old if new is None else new
