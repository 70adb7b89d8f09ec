"""A batch of a ledger's lines as columns, and whether all of it has the format. Pure.

A few bulk operations over whole columns prove thousands of fields sound at once; which line
is at fault, where one is, `decode_row` then finds out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from yoyo.core.ledger_format import (
    CONTROLS,
    MAX_JOB_ID_BYTES,
    MAX_LINE_BYTES,
    PAIRED,
    BadLine,
    parse_adapters,
    parse_timestamp,
    split_fields,
)
from yoyo.model.ids import InvalidLabel, ModuleId
from yoyo.model.ledger import COLUMNS, CompletionStatus, EventType

_TYPES = frozenset(kind.encode() for kind in EventType)
_PAIRED = frozenset(kind.encode() for kind in PAIRED)
_STATUSES = frozenset(status.encode() for status in CompletionStatus)

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


def columns_of(block: bytes, lines: list[bytes]) -> list[list[bytes]] | None:
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


def well_formed(columns: list[list[bytes]]) -> bool:
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
