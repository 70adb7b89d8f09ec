"""Finds what stands behind an output: its rows, its machine's life, its corrections. Pure.

Two passes over rows that were chosen beforehand, each in memory that does not grow with the
ledger: `gather` finds what was asked about, `link` what each of that belongs to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from yoyo.model.ledger import CLOSING, CORRECTIONS, BadRow, CompletionStatus, EventType, Row

# Of several jobs of one input the newest ones are shown.
MAX_SUBJECTS = 20
LIFE_TYPES = (
    EventType.BOOT_REQUEST,
    EventType.BOOT_COMPLETE,
    EventType.TEARDOWN_REQUEST,
    EventType.TEARDOWN_COMPLETE,
    EventType.PREEMPTION,
    EventType.ADAPTER_LOAD,
)
LINK_TYPES = (*LIFE_TYPES, EventType.CHECKPOINT)  # corrections are CHECKPOINT rows
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_TARGET = re.compile(r"correct/([0-9]{1,18})/([0-9a-f-]{36})(?:/|\Z)")
_CHECKPOINT = re.compile(r"([0-9]{20})-[0-9a-f]{8}\Z")
_MAX_JOB_CHARS = 128


class Subject(NamedTuple):
    """One thing that was asked about: a job, a machine's life, or another single row."""

    kind: str  # job, life, row
    node_id: str
    job_id: str
    anchor: int  # seq of its first row that was found
    start: Row | None = None  # of a job
    complete: Row | None = None  # of a job
    row: Row | None = None  # of a row

    @property
    def last_seq(self) -> int:
        """The seq of its last row that was found."""
        rows = [each.seq for each in (self.start, self.complete, self.row) if each is not None]
        return max(rows, default=self.anchor)


class Found(NamedTuple):
    """What `gather` found: the newest subjects, oldest first, and how many there are in all."""

    subjects: tuple[Subject, ...]
    total: int
    bad_rows: int


class LifeRows(NamedTuple):
    """The rows of one machine's life; None: not there (yet)."""

    node_id: str
    job_id: str
    request: Row | None = None
    complete: Row | None = None
    teardown: Row | None = None
    closing: Row | None = None
    load: Row | None = None  # the newest successful ADAPTER_LOAD

    @property
    def last_seq(self) -> int:
        """The seq of its newest row."""
        rows = (self.request, self.complete, self.teardown, self.closing, self.load)
        return max(row.seq for row in rows if row is not None)


class Chain(NamedTuple):
    """A subject with what it belongs to."""

    subject: Subject
    life: LifeRows | None  # None: the ledger knows no life of that node at that time
    load: Row | None  # the last successful ADAPTER_LOAD of that life before the subject
    corrections: tuple[Row, ...]  # of the rows of the subject and of its life, in file order


def as_digest(text: str) -> str | None:
    """`sha256:<hex>` of a digest with or without its prefix; None: it is none."""
    found = _HEX.match(text.strip())
    return f"sha256:{found[1]}" if found is not None else None


def target_of(row: Row) -> tuple[int, str] | None:
    """seq and event_id of the row that a correction names; None: `row` is no correction."""
    if row.entry.error_code not in CORRECTIONS or row.entry.event_type != EventType.CHECKPOINT:
        return None
    found = _TARGET.match(row.entry.job_id)
    return (int(found[1]), found[2]) if found is not None else None


def job_of_output(document: bytes) -> str | None:
    """The job_id in a saved `yoyo ask --json`; None: it is no such document."""
    try:
        found = json.loads(document.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    job = found.get("job_id") if isinstance(found, dict) else None
    return job if isinstance(job, str) and 0 < len(job) <= _MAX_JOB_CHARS else None


def covering(names: Iterable[str], seq: int) -> tuple[str, int] | None:
    """Name and size of the smallest checkpoint that covers that row; None: none does."""
    sizes = ((int(found[1]), name) for name in names if (found := _CHECKPOINT.match(name)))
    best = min(((size, name) for size, name in sizes if size >= seq), default=None)
    return (best[1], best[0]) if best is not None else None


def gather(
    rows: Iterable[Row | BadRow], *, holding: int | None = None, most: int = MAX_SUBJECTS
) -> Found:
    """Sort rows into jobs, lives and single rows; with `holding`, only the one with that row.

    Rows are in file order. A job's id may be used again once it is closed.
    """
    sorting = _Sorting(most, holding)
    bad = 0
    for row in rows:
        if isinstance(row, BadRow):
            bad += 1
        else:
            sorting.take(row)
    kept = list(sorting.kept.values())
    if holding is not None:
        kept = [each for each in kept if _holds(each, holding)]
        return Found(tuple(kept), len(kept), bad)
    return Found(tuple(kept), sorting.count, bad)


def _holds(subject: Subject, seq: int) -> bool:
    rows = (subject.start, subject.complete, subject.row)
    return any(row is not None and row.seq == seq for row in rows)


class _Sorting:
    def __init__(self, most: int, holding: int | None) -> None:
        self.kept: dict[int, Subject] = {}  # in the order of their first rows
        self.count = 0
        self._most, self._holding = most, holding
        self._open: dict[tuple[str, str], int] = {}

    def take(self, row: Row) -> None:
        entry = row.entry
        key = (entry.node_id, entry.job_id)
        if entry.event_type == EventType.JOB_START:
            self._open[key] = self._add(Subject("job", *key, row.seq, start=row))
        elif entry.event_type == EventType.JOB_COMPLETE:
            number = self._open.pop(key, None)
            if number is None:
                self._add(Subject("job", *key, row.seq, complete=row))
            elif number in self.kept:
                self.kept[number] = self.kept[number]._replace(complete=row)
        elif is_of_life(row):
            if not any(each[:3] == ("life", *key) for each in self.kept.values()):
                self._add(Subject("life", *key, row.seq))
        else:
            self._add(Subject("row", *key, row.seq, row=row))

    def _add(self, subject: Subject) -> int:
        self.count += 1
        self.kept[self.count] = subject
        if len(self.kept) > self._most:
            oldest = next(
                number
                for number, each in self.kept.items()
                if self._holding is None or not _holds(each, self._holding)
            )
            del self.kept[oldest]
        return self.count


def is_of_life(row: Row) -> bool:
    """Whether the row is one of a machine's life, whose id is its job_id."""
    entry = row.entry
    if entry.event_type == EventType.ADAPTER_LOAD:
        return entry.completion_status == CompletionStatus.SUCCESS and bool(entry.job_id)
    return entry.event_type in LIFE_TYPES


def link(subjects: Iterable[Subject], rows: Iterable[Row | BadRow]) -> tuple[Chain, ...]:
    """Give each subject its life. `rows`: those of LINK_TYPES of the subjects' nodes, in file
    order."""
    linking = _Linking(tuple(subjects))
    for row in rows:
        if isinstance(row, Row):
            linking.take(row)
    return linking.chains()


class _Life:
    """A life while its rows come in; several subjects share it."""

    def __init__(self, row: Row) -> None:
        self.rows = LifeRows(row.entry.node_id, row.entry.job_id)
        self.take(row)

    def take(self, row: Row) -> None:
        kind = row.entry.event_type
        if kind == EventType.BOOT_REQUEST:
            self.rows = self.rows._replace(request=row)
        elif kind == EventType.BOOT_COMPLETE:
            self.rows = self.rows._replace(complete=row)
        elif kind == EventType.TEARDOWN_REQUEST:
            self.rows = self.rows._replace(teardown=row)
        elif kind in CLOSING:
            self.rows = self.rows._replace(closing=row)
        else:
            self.rows = self.rows._replace(load=row)


class _Linking:
    def __init__(self, subjects: tuple[Subject, ...]) -> None:
        self._subjects = subjects
        self._current: dict[str, _Life] = {}
        self._found: dict[int, tuple[_Life | None, Row | None]] = {}  # by place in _subjects
        self._corrections: list[Row] = []
        self._watched: set[int] = set()  # seqs of rows whose corrections matter
        self._waiting: dict[str, list[int]] = {}
        for number in sorted(range(len(subjects)), key=lambda n: -subjects[n].anchor):
            subject = subjects[number]
            rows = (subject.start, subject.complete, subject.row)
            self._watched.update(row.seq for row in rows if row is not None)
            if subject.kind != "life":
                self._waiting.setdefault(subject.node_id, []).append(number)

    def take(self, row: Row) -> None:
        self._settle(row.entry.node_id, row.seq)
        if is_of_life(row):
            self._of_life(row)
            return
        target = target_of(row)
        if target is not None and target[0] in self._watched:
            self._corrections.append(row)

    def _settle(self, node: str, seq: int | None) -> None:
        """Whatever came before that row belongs to the life that was open until then."""
        waiting = self._waiting.get(node, [])
        while waiting and (seq is None or self._subjects[waiting[-1]].anchor < seq):
            life = self._current.get(node)
            if life is not None and life.rows.closing is not None:
                life = None
            self._found[waiting.pop()] = (life, life.rows.load if life is not None else None)

    def _of_life(self, row: Row) -> None:
        node = row.entry.node_id
        life = self._current.get(node)
        if life is not None and life.rows.job_id == row.entry.job_id:
            life.take(row)
        else:
            life = self._current[node] = _Life(row)
            for number, subject in enumerate(self._subjects):
                if subject[:3] == ("life", node, row.entry.job_id):
                    self._found[number] = (life, None)
        if row.entry.event_type in CLOSING and self._is_wanted(life):
            self._watched.add(row.seq)

    def _is_wanted(self, life: _Life) -> bool:
        return any(found is life for found, _ in self._found.values())

    def chains(self) -> tuple[Chain, ...]:
        for node in self._waiting:
            self._settle(node, None)
        made = []
        for number, subject in enumerate(self._subjects):
            life, load = self._found.get(number, (None, None))
            rows = life.rows if life is not None else None
            if subject.kind == "life" and rows is not None:
                load = rows.load
            seqs = {row.seq for row in (subject.start, subject.complete, subject.row) if row}
            if rows is not None and rows.closing is not None:
                seqs.add(rows.closing.seq)
            own = tuple(each for each in self._corrections if _target_seq(each) in seqs)
            made.append(Chain(subject, rows, load, own))
        return tuple(made)


def _target_seq(row: Row) -> int:
    target = target_of(row)
    return target[0] if target is not None else 0
