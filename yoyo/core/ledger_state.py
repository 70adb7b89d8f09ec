"""The rows that the state is made of: all but the jobs that are over. Pure.

A ledger is mostly jobs, and a job with both its rows there changes nothing about what is: it
is told from columns, without making a row of each of its lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from yoyo.core.ledger_columns import columns_of, well_formed
from yoyo.core.ledger_format import decode_row, read_header, split_fields
from yoyo.model.ledger import ADAPTERS_NODE, DISK_COST, STORE_NODE, BadRow, EventType, Row

if TYPE_CHECKING:
    from yoyo.model.row_filter import RowFilter

_START = EventType.JOB_START.encode()
_COMPLETE = EventType.JOB_COMPLETE.encode()
_JOB = (_START, _COMPLETE)
_TOLD = frozenset((ADAPTERS_NODE.encode(), STORE_NODE.encode()))  # their jobs all come out
_JOB_TYPES = frozenset((str(EventType.JOB_START), str(EventType.JOB_COMPLETE)))
_TOLD_NODES = frozenset((ADAPTERS_NODE, STORE_NODE))
_DISK_COST = DISK_COST.encode()


def only_state(wanted: RowFilter) -> bool:
    """Whether every row that passes is one that comes out of `StateRows` before its `rest`."""
    return (bool(wanted.types) and not _JOB_TYPES.intersection(wanted.types)) or (
        bool(wanted.nodes) and _TOLD_NODES.issuperset(wanted.nodes)
    )


class Watch(Protocol):
    """Who is told of every row that is fed, and of those that come out."""

    def rows(self, columns: list[list[bytes]]) -> None:
        """Good rows, by columns, in order."""
        ...

    def told(self, raw: bytes) -> None:
        """The line of a row that came out; those of `rest` are not told of."""
        ...

    def bad(self) -> None:
        """A line was no row."""
        ...


class StateRows:
    """Feed a ledger's lines in order; the rows of jobs that are over do not come out.

    Jobs of the store and of the registry file come out whole. A job that is still open comes
    at the end, from `rest`.
    """

    def __init__(self, watch: Watch | None = None) -> None:
        self._watch = watch
        self._held: dict[bytes, tuple[bytes, int]] = {}  # job -> the line of its start, number
        self._told: set[bytes] = set()  # open jobs whose start came out
        self.line = 0

    def resume(self, held: Iterable[Row], lines: Iterable[bytes], told: Iterable[bytes]) -> None:
        """Go on where another one ended: with its `rest`, their lines, and its `open_told`."""
        for row, raw in zip(held, lines, strict=True):
            self._held[row.entry.job_id.encode()] = (raw, row.line)
        self._told.update(told)

    @property
    def held(self) -> list[bytes]:
        """The lines of `rest`."""
        return [raw for raw, _ in self._held.values()]

    @property
    def open_told(self) -> list[bytes]:
        """The open jobs whose start came out."""
        return sorted(self._told)

    def take(self, block: bytes) -> Iterator[Row | BadRow]:
        """Look at whole lines of one file, of which the last lacks its newline."""
        if self.line == 0:
            header, newline, rest = block.partition(b"\n")
            self.line = 1
            for found in read_header(header):
                if isinstance(found, BadRow):
                    self._bad()
                    yield found
                else:
                    yield from self._one(header, found)
            if not newline:
                return
            block = rest
        lines = block.split(b"\n")
        first, self.line = self.line + 1, self.line + len(lines)
        columns = columns_of(block, lines)
        if columns is None or not well_formed(columns) or not _numbered(columns):
            for number, raw in enumerate(lines, first):
                yield from self._slow(raw, number)
            return
        if self._watch is not None:
            self._watch.rows(columns)
        kinds, nodes, jobs, codes = columns[2], columns[4], columns[5], columns[13]
        for at, (kind, node, job, code) in enumerate(zip(kinds, nodes, jobs, codes, strict=True)):
            if self._is_told(kind, node, job, code, lines[at], first + at):
                if self._watch is not None:
                    self._watch.told(lines[at])
                yield decode_row(lines[at], first + at)

    def rest(self) -> Iterator[Row | BadRow]:
        """The starts of jobs that are still open, in order."""
        for raw, number in self._held.values():
            yield decode_row(raw, number)

    def _slow(self, raw: bytes, number: int) -> Iterator[Row | BadRow]:
        row = decode_row(raw, number)
        if isinstance(row, BadRow):
            self._bad()
            yield row
        else:
            yield from self._one(raw, row)

    def _bad(self) -> None:
        if self._watch is not None:
            self._watch.bad()

    def _one(self, raw: bytes, row: Row) -> Iterator[Row]:
        if self._watch is not None:
            self._watch.rows([[field] for field in split_fields(raw)])
        entry = row.entry
        names = (entry.event_type, entry.node_id, entry.job_id, entry.error_code)
        kind, node, job, code = (name.encode() for name in names)
        if self._is_told(kind, node, job, code, raw, row.line):
            if self._watch is not None:
                self._watch.told(raw)
            yield row

    def _is_told(
        self, kind: bytes, node: bytes, job: bytes, code: bytes, raw: bytes, number: int
    ) -> bool:
        """Whether that row comes out now."""
        # A row of that code is about a disk, whatever its type.
        if kind not in _JOB or code == _DISK_COST:
            return True
        if kind == _START:
            if node in _TOLD or job in self._told:
                self._held.pop(job, None)  # this start takes the other's place
                self._told.add(job)
                return True
            self._held[job] = (raw, number)
            return False
        was_held = self._held.pop(job, None) is not None
        if node in _TOLD or not was_held:
            self._told.discard(job)
            return True
        return False


def _numbered(columns: list[list[bytes]]) -> bool:
    """Whether seq and row_hash have their forms, which `well_formed` leaves to the chain."""
    seqs, digests = columns[15], columns[16]
    text = b"".join(digests)
    return (
        {64} == set(map(len, digests))
        and not text.translate(None, b"0123456789abcdef")
        and b"".join(seqs).isdigit()
        and all(seqs)
        and max(map(len, seqs)) <= 18
        and not any(seq.startswith(b"0") for seq in seqs)
    )
