"""The verifier as a fold: lines in, a report at the end. Pure, in constant memory.

Two lanes give the same answer. The fast one takes a batch of lines as columns and proves
all of it sound with a few bulk operations; where it cannot, the batch goes line by line
through the slow one, which finds out what is wrong with which line.
"""

from __future__ import annotations

from bisect import bisect_right
from hashlib import sha256
from operator import add, gt, itemgetter
from typing import Any

from yoyo.core.ledger_columns import columns_of, well_formed
from yoyo.core.ledger_format import (
    HASH_CHARS,
    MAX_LINE_BYTES,
    decode_row,
    read_header,
    row_hash,
    split_fields,
    stored_hash,
)
from yoyo.core.ledger_pairing import Pairing
from yoyo.model.ledger import GENESIS_HASH, BadRow, LedgerHead, OpenIntent, Row, VerifyReport

MAX_PROBLEMS = 100  # kept in full; all are counted

_TAIL = HASH_CHARS + 1  # the last comma and the hash
_PREFIX = itemgetter(slice(None, -_TAIL))  # a line up to its last comma

_THOUSAND = tuple(f"{number:03d}" for number in range(1000))


def is_saved(document: dict[str, Any]) -> bool:
    """Whether that is what `LedgerCheck.saved` gives."""
    head = [document.get(name) for name in ("row_hash", "last_time")]
    pairs = [document.get(name) for name in ("jobs", "lives")]
    return (
        isinstance(document.get("seq"), int)
        and all(isinstance(each, str) for each in head)
        and all(isinstance(each, list) and all(map(_is_triple, each)) for each in pairs)
    )


def _is_triple(found: object) -> bool:
    return isinstance(found, list) and [type(each) for each in found] == [str] * 3


class LedgerCheck:
    """Feed a ledger's lines in file order, then ask for the report."""

    def __init__(self, expect: LedgerHead | None = None, *, hashes_known: bool = False) -> None:
        """`hashes_known`: a `ChainCheck` elsewhere says that every hash matches."""
        self._hashes_known = hashes_known
        self._expect = expect
        self._expected_found = False
        self._pairing = Pairing()
        self._line = 0  # lines taken, of all files
        self._files = [("", 0)]  # their names, and the lines taken before each
        self._header_due = True
        self._rows = 0
        self._next_seq = 1
        # What the next row is chained to; None: its row is not there, so that cannot be told.
        self._prev_hash: bytes | None = GENESIS_HASH.encode()
        self._head: LedgerHead | None = None
        self._first_time = self._last_time = b""
        self._steps_back = 0
        self._problems: list[BadRow] = []
        self._problem_count = 0

    @property
    def next_seq(self) -> int:
        """The seq of the row that is due."""
        return self._next_seq

    def begin_file(self, name: str) -> None:
        """What is fed from now on is of that file, from its header on; the chain goes on."""
        self._files = [*filter(lambda each: each[1] < self._line, self._files), (name, self._line)]
        self._header_due = True

    def resume_at(self, seq: int) -> None:
        """The rows before that one are not there; the next one's hash is taken as it stands."""
        self._next_seq, self._prev_hash = seq, None

    def saved(self) -> dict[str, Any] | None:
        """What `resume` goes on from, as JSON has it; None: there is no row, or a problem."""
        if self._head is None or self._problem_count:
            return None
        seq, row_hash = self._head
        return {
            "seq": seq,
            "row_hash": row_hash,
            "last_time": self._last_time.decode(),
            **self._pairing.saved(),
        }

    def resume(self, saved: dict[str, Any], name: str, line: int) -> None:
        """Go on after a row up to which all was found sound, in line `line` of that file.

        The report is then of the rows after it; its open intents of before are in no line.
        """
        self._next_seq, self._prev_hash = saved["seq"] + 1, saved["row_hash"].encode()
        self._head = LedgerHead(saved["seq"], saved["row_hash"])
        self._first_time = self._last_time = saved["last_time"].encode()
        self._files, self._line, self._header_due = [(name, 0)], line, False
        self._pairing.resume(saved)

    def add_problem(self, reason: str) -> None:
        """Note what is wrong with the present file as a whole, or with how it goes on."""
        self._problem(self._line + 1, reason, b"")

    def feed(self, block: bytes) -> None:
        """Take whole lines, the last one without its newline; a file's first is the header.

        A line of MAX_LINE_BYTES or more is too long by that alone and may come cut. A few
        hundred lines at a time are fastest.
        """
        if self._header_due:
            self._header_due = False
            header, newline, block = block.partition(b"\n")
            self._take_header(header)
            if not newline:
                return
        lines = block.split(b"\n")
        if not self._fast(block, lines):
            for raw in lines:
                self._slow(raw)

    def report(self, torn_tail_bytes: int = 0) -> VerifyReport:
        """What was found; `torn_tail_bytes` is the length of what follows the last newline."""
        return VerifyReport(
            rows=self._rows,
            first_time=self._first_time.decode(),
            last_time=self._last_time.decode(),
            head=self._head,
            problems=tuple(self._problems),
            problem_count=self._problem_count,
            open_intents=tuple(map(self._placed, self._pairing.open_intents())),
            torn_tail_bytes=torn_tail_bytes,
            clock_steps_back=self._steps_back,
            expected_head_found=None if self._expect is None else self._expected_found,
            files=tuple(name for name, _ in self._files if name),
        )

    def _take_header(self, raw: bytes) -> None:
        found = read_header(raw)
        for item in found:
            if isinstance(item, BadRow):
                self._problem(self._line + 1, item.reason, item.raw)
        if found and isinstance(found[-1], Row):
            self._slow(raw)
        else:
            self._line += 1

    def _problem(self, line: int, reason: str, raw: bytes) -> None:
        self._problem_count += 1
        if len(self._problems) < MAX_PROBLEMS:
            name, above = self._file_of(line)
            self._problems.append(BadRow(line - above, reason, raw[:MAX_LINE_BYTES], name))

    def _file_of(self, line: int) -> tuple[str, int]:
        """The file in which a line stands, counted over all files, and the lines above it."""
        return self._files[bisect_right(self._files, line - 1, key=itemgetter(1)) - 1]

    def _placed(self, intent: OpenIntent) -> OpenIntent:
        name, above = self._file_of(intent.line)
        return intent._replace(line=intent.line - above, file=name)

    def _slow(self, raw: bytes) -> None:
        self._line += 1
        row = decode_row(raw, self._line)
        if isinstance(row, BadRow):
            self._problem(self._line, row.reason, raw)
            # A spoilt row keeps its place in the chain, so that one edit is reported once.
            stored = stored_hash(raw)
            if stored is not None:
                self._prev_hash = stored.encode()
                self._next_seq += 1
            return
        reasons = []
        if not self._links(raw, row.row_hash):
            reasons.append("row_hash does not match this row and the hash above it")
        if row.seq != self._next_seq:
            reasons.append(f"seq is {row.seq} where {self._next_seq} was due")
        fields = split_fields(raw)
        columns = [[field] for field in fields]
        reasons += [text for _, text in self._follow(columns, row.seq)]
        if reasons:
            self._problem(self._line, "; ".join(reasons), raw)

    def _links(self, raw: bytes, stored: str) -> bool:
        if self._prev_hash is None:
            return True
        return row_hash(self._prev_hash.decode(), raw[:-_TAIL]) == stored

    def _follow(self, columns: list[list[bytes]], first_seq: int) -> list[tuple[int, str]]:
        """Move on over sound rows, given as columns; returns what breaks the pairing.

        `_line` is the number of the first of them.
        """
        stamps, digests = columns[1], columns[16]
        rows = len(digests)
        if not self._rows:
            self._first_time = self._last_time = stamps[0]
        above = [self._last_time, *stamps]
        if above != sorted(above):
            self._steps_back += sum(map(gt, above, stamps))
        self._rows += rows
        self._last_time = stamps[-1]
        self._next_seq = first_seq + rows
        self._prev_hash = digests[-1]
        self._head = LedgerHead(self._next_seq - 1, digests[-1].decode())
        if self._expect is not None and first_seq <= self._expect.seq < self._next_seq:
            digest = digests[self._expect.seq - first_seq]
            self._expected_found |= digest == self._expect.row_hash.encode()
        return self._pairing.take(self._line, columns[2], columns[4], columns[5], stamps)

    def _fast(self, block: bytes, lines: list[bytes]) -> bool:
        columns = columns_of(block, lines)
        if columns is None or not self._chained(lines, columns) or not well_formed(columns):
            return False
        first = self._line + 1
        self._line = first
        for line, reason in self._follow(columns, self._next_seq):
            self._problem(line, reason, lines[line - first])
        self._line = first + len(lines) - 1
        return True

    def _chained(self, lines: list[bytes], columns: list[list[bytes]]) -> bool:
        seqs, stored = columns[15], columns[16]
        if b",".join(seqs) != _consecutive(self._next_seq, len(seqs)):
            return False
        # The lengths: one hash cut short and the next grown by as much join alike.
        if {HASH_CHARS} != set(map(len, stored)):
            return False
        if self._prev_hash is None:
            return False  # its first line goes the slow way, which takes the hash as it stands
        return self._hashes_known or _hashes_match(self._prev_hash, lines, stored)


class ChainCheck:
    """The hashes alone, nothing else: half of the work, for a process of its own."""

    def __init__(self) -> None:
        self._prev_hash: bytes | None = GENESIS_HASH.encode()
        self._header_due = True

    def begin_file(self, *, resumes: bool) -> None:
        """As of `LedgerCheck`; `resumes`: the row before its first one is not there."""
        self._header_due = True
        if resumes:
            self._prev_hash = None

    def feed(self, block: bytes) -> bool:
        """Take a block as `LedgerCheck.feed` does; False when a hash does not match."""
        lines = block.split(b"\n")
        if self._header_due:
            self._header_due = False
            del lines[0]
        if lines and self._prev_hash is None:
            self._prev_hash = lines.pop(0)[-HASH_CHARS:]
        stored = [line[-HASH_CHARS:] for line in lines]
        prev = self._prev_hash or b""
        if stored:
            self._prev_hash = stored[-1]
        return _hashes_match(prev, lines, stored)


def _hashes_match(prev: bytes, lines: list[bytes], stored: list[bytes]) -> bool:
    links = map(add, [prev, *stored], map(_PREFIX, lines))
    digests = [link.digest() for link in map(sha256, links)]
    return b"".join(stored) == b"".join(digests).hex().encode()


def _consecutive(first: int, count: int) -> bytes:
    """That many numbers from `first` on, joined by commas; far faster than one by one."""
    parts = []
    end = first + count
    while first < end:
        thousands, low = divmod(first, 1000)
        stop = min(end, first - low + 1000)
        if thousands:
            sign = f",{thousands}"
            parts.append(sign[1:] + sign.join(_THOUSAND[low : low + stop - first]))
        else:
            parts.append(",".join(map(str, range(first, stop))))
        first = stop
    return ",".join(parts).encode()
