"""The verifier as a fold: lines in, a report at the end. Pure, in constant memory.

Two lanes give the same answer. The fast one takes a batch of lines as columns and proves
all of it sound with a few bulk operations; where it cannot, the batch goes line by line
through the slow one, which finds out what is wrong with which line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from operator import add, gt, itemgetter

from yoyo.core.ledger_format import (
    CONTROLS,
    HASH_CHARS,
    MAX_JOB_ID_BYTES,
    MAX_LINE_BYTES,
    PAIRED,
    BadLine,
    decode_row,
    parse_adapters,
    parse_timestamp,
    read_header,
    row_hash,
    split_fields,
    stored_hash,
)
from yoyo.core.ledger_pairing import Pairing
from yoyo.model.ids import InvalidLabel, ModuleId
from yoyo.model.ledger import (
    COLUMNS,
    GENESIS_HASH,
    BadRow,
    CompletionStatus,
    EventType,
    LedgerHead,
    Row,
    VerifyReport,
)

MAX_PROBLEMS = 100  # kept in full; all are counted

_TYPES = frozenset(kind.encode() for kind in EventType)
_PAIRED = frozenset(kind.encode() for kind in PAIRED)
_STATUSES = frozenset(status.encode() for status in CompletionStatus)
_TAIL = HASH_CHARS + 1  # the last comma and the hash
_PREFIX = itemgetter(slice(None, -_TAIL))  # a line up to its last comma

# Shapes: every digit of that alphabet read as 0.
_HEX_TO_0 = bytes.maketrans(b"0123456789abcdef", b"0" * 16)
_DIGIT_TO_0 = bytes.maketrans(b"0123456789", b"0" * 10)
_ID_SHAPE = b"00000000-0000-0000-0000-000000000000"
_STAMP_SHAPE = b"0000-00-00T00:00:00.000000Z"
_INPUT_SHAPE = b"sh0000:" + b"0" * 64

# Possessive: a number that does not fit is not tried in parts, which costs half the time.
_WHOLE = r"(?:0|[1-9][0-9]{0,17}+)"
_TOKENS = re.compile(rf"(?:{_WHOLE},)*+".encode())
_DECIMALS = re.compile(rf"(?:{_WHOLE}(?:\.[0-9]{{1,18}}+)?+,)*+".encode())
_RATIOS = re.compile(rb"(?:(?:0(?:\.[0-9]{1,18}+)?+|1(?:\.0{1,18}+)?+),)*+")
_THOUSAND = tuple(f"{number:03d}" for number in range(1000))


class LedgerCheck:
    """Feed a ledger's lines in file order, then ask for the report."""

    def __init__(self, expect: LedgerHead | None = None, *, hashes_known: bool = False) -> None:
        """`hashes_known`: a `ChainCheck` elsewhere says that every hash matches."""
        self._hashes_known = hashes_known
        self._expect = expect
        self._expected_found = False
        self._pairing = Pairing()
        self._line = 0  # lines taken
        self._rows = 0
        self._next_seq = 1
        self._prev_hash = GENESIS_HASH.encode()  # what the next row is chained to
        self._head: LedgerHead | None = None
        self._first_time = self._last_time = b""
        self._steps_back = 0
        self._problems: list[BadRow] = []
        self._problem_count = 0

    def feed(self, block: bytes) -> None:
        """Take whole lines, the last one without its newline; the first ever is the header.

        A line of MAX_LINE_BYTES or more is too long by that alone and may come cut. A few
        hundred lines at a time are fastest.
        """
        if self._line == 0:
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
            open_intents=tuple(self._pairing.open_intents()),
            torn_tail_bytes=torn_tail_bytes,
            clock_steps_back=self._steps_back,
            expected_head_found=None if self._expect is None else self._expected_found,
        )

    def _take_header(self, raw: bytes) -> None:
        found = read_header(raw)
        for item in found:
            if isinstance(item, BadRow):
                self._problem(item.line, item.reason, item.raw)
        if found and isinstance(found[-1], Row):
            self._slow(raw)
        else:
            self._line = 1

    def _problem(self, line: int, reason: str, raw: bytes) -> None:
        self._problem_count += 1
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(BadRow(line, reason, raw[:MAX_LINE_BYTES]))

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
        if row_hash(self._prev_hash.decode(), raw[:-_TAIL]) != row.row_hash:
            reasons.append("row_hash does not match this row and the hash above it")
        if row.seq != self._next_seq:
            reasons.append(f"seq is {row.seq} where {self._next_seq} was due")
        fields = split_fields(raw)
        columns = [[field] for field in fields]
        reasons += [text for _, text in self._follow(columns, row.seq)]
        if reasons:
            self._problem(self._line, "; ".join(reasons), raw)

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
        columns = _columns(block, lines)
        if columns is None or not self._chained(lines, columns) or not _well_formed(columns):
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
        return self._hashes_known or _hashes_match(self._prev_hash, lines, stored)


class ChainCheck:
    """The hashes alone, nothing else: half of the work, for a process of its own."""

    def __init__(self) -> None:
        self._prev_hash = GENESIS_HASH.encode()
        self._in_rows = False

    def feed(self, block: bytes) -> bool:
        """Take a block as `LedgerCheck.feed` does; False when a hash does not match."""
        lines = block.split(b"\n")
        if not self._in_rows:
            self._in_rows = True
            del lines[0]
        stored = [line[-HASH_CHARS:] for line in lines]
        prev, self._prev_hash = self._prev_hash, stored[-1] if stored else self._prev_hash
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


def _columns(block: bytes, lines: list[bytes]) -> list[list[bytes]] | None:
    """The batch as one list per column; None when a line is not of that many columns."""
    try:
        if not block.isascii():
            block.decode()
        if b'"' in block:
            fields = [field for line in lines for field in (*split_fields(line), b"\n")]
        else:
            # The newline as a field of its own shows that every line has the same count.
            fields = block.replace(b"\n", b",\n,").split(b",")
            fields.append(b"\n")
    except (BadLine, UnicodeDecodeError):
        return None
    width, rows = len(COLUMNS) + 1, len(lines)
    columns = [fields[column::width] for column in range(width)]
    if len(fields) != width * rows or columns.pop() != [b"\n"] * rows:
        return None
    if len(block) >= MAX_LINE_BYTES and max(map(len, lines)) >= MAX_LINE_BYTES:
        return None
    return columns


def _well_formed(columns: list[list[bytes]]) -> bool:
    """Whether every field of every column has its column's form; seq and hash are known to."""
    ids, stamps, kinds, modules, nodes, jobs, inputs, adapters = columns[:8]
    ratios, tokens, seconds, costs, statuses, codes, operators = columns[8:15]
    return (
        _are_ids(ids)
        and _are_stamps(stamps)
        and _TYPES.issuperset(kinds)
        and _STATUSES.issuperset(statuses)
        and _are_labels(_distinct(modules) | _distinct(nodes))
        and _are_jobs(kinds, jobs)
        and _are_inputs(inputs)
        and _are_adapters(_distinct(adapters))
        and _are_numbers(_RATIOS, ratios)
        and _are_numbers(_TOKENS, tokens)
        and _are_numbers(_DECIMALS, seconds + costs)
        and _are_text(_distinct(codes) | _distinct(operators))
    )


def _distinct(fields: list[bytes]) -> set[bytes]:
    # Most batches have one value all through, and comparing is cheaper than hashing.
    return {fields[0]} if fields.count(fields[0]) == len(fields) else set(fields)


def _are_ids(fields: list[bytes]) -> bool:
    text = b"".join(fields)
    return (
        text.translate(_HEX_TO_0) == _ID_SHAPE * len(fields)
        and text[14::36] == b"7" * len(fields)
        and not text[19::36].translate(None, b"89ab")
    )


def _are_stamps(fields: list[bytes]) -> bool:
    text = b"".join(fields)
    if text.translate(_DIGIT_TO_0) != _STAMP_SHAPE * len(fields):
        return False
    if (text[14::27] + text[17::27]).translate(None, b"012345"):  # tens of minutes and seconds
        return False
    first, last = fields[0], fields[-1]
    if first[:10] == last[:10] and fields == sorted(fields):
        # One day in order of time: the last hour is the highest.
        hours = {first[:13], last[:13]}
    else:
        hours = {field[:13] for field in fields}
    try:
        for hour in hours:
            parse_timestamp(hour.decode() + ":00:00.000000Z")
    except BadLine:
        return False
    return True


def _are_labels(distinct: set[bytes]) -> bool:
    try:
        for field in distinct:
            ModuleId.parse(field.decode())  # a NodeName has the same form
    except InvalidLabel:
        return False
    return True


def _are_jobs(kinds: list[bytes], jobs: list[bytes]) -> bool:
    lengths = set(map(len, jobs))
    if max(lengths) > MAX_JOB_ID_BYTES or not _are_text(jobs):
        return False
    return 0 not in lengths or not any(
        not job and kind in _PAIRED for kind, job in zip(kinds, jobs, strict=True)
    )


def _are_inputs(fields: list[bytes]) -> bool:
    given = len(fields) - fields.count(b"")
    text = b"".join(fields)
    return (
        text.translate(_HEX_TO_0) == _INPUT_SHAPE * given
        and text[2::71] == b"a" * given  # what the shape does not tell of "sha256:"
        and text[3::71] == b"2" * given
        and text[4::71] == b"5" * given
        and text[5::71] == b"6" * given
    )


def _are_adapters(distinct: set[bytes]) -> bool:
    try:
        for field in distinct:
            parse_adapters(field.decode())
    except BadLine:
        return False
    return _are_text(distinct)


def _are_numbers(form: re.Pattern[bytes], fields: list[bytes]) -> bool:
    given = [*filter(None, fields), b""]
    text = b",".join(given)
    # The count: a quoted field may hold a comma, and then reads as two numbers.
    return form.fullmatch(text) is not None and text.count(b",") == len(given) - 1


def _are_text(fields: Iterable[bytes]) -> bool:
    text = b"".join(fields)
    return len(text.translate(None, CONTROLS)) == len(text)
