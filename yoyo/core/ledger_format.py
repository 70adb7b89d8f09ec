"""One row of the ledger, between its bytes and its value. Pure; strict both ways.

Every row has exactly one spelling: what `decode_row` accepts is what `encode_row` would
have written. `docs/formats/ledger.md` is the format.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Protocol

from yoyo.errors import LedgerRowRefused
from yoyo.model.ids import InvalidLabel, ModuleId, NodeName
from yoyo.model.ledger import COLUMNS, BadRow, CompletionStatus, Entry, EventType, Row

HEADER = ",".join(COLUMNS).encode() + b"\n"
COLUMNS_COUNT = len(COLUMNS)
# One write of a page or two is what a kernel is good at; no row of ours comes near 64 KiB.
MAX_LINE_BYTES = 65_536  # the newline included
MAX_JOB_ID_BYTES = 128  # bounds the memory of pairing; a UUID has 36
HASH_CHARS = 64

# 18 digits fit 64 bits, and keep a row from smuggling in a number that takes gigabytes.
MAX_DIGITS = 18
CONTROLS = bytes(range(0x20))  # C0; no byte of a longer UTF-8 sequence is among them
_HEX = "0123456789abcdef"
_TYPES = frozenset(str(kind) for kind in EventType)
_STATUSES = frozenset(str(status) for status in CompletionStatus)

# Types whose rows are found again by job_id.
PAIRED = frozenset(EventType) - {
    EventType.CHECKPOINT,
    EventType.ADAPTER_LOAD,
    EventType.KV_POOL_SYNC,
}


class _Hash(Protocol):
    def hexdigest(self) -> str: ...


class BadLine(ValueError):
    """The bytes are no row; the message says why, without quoting more than a field."""


def row_hash(prev_hash: str, prefix: bytes) -> str:
    """The chain: hex sha256 over the row above's hash and this line up to its last comma."""
    return _sha256()(prev_hash.encode() + prefix).hexdigest()


@cache
def _sha256() -> Callable[[bytes], _Hash]:
    from hashlib import sha256  # reading alone, as `status` does, has no use for OpenSSL

    return sha256


def encode_entry(entry: Entry, event_id: str) -> str:
    """Return the row's text from event_type to operator_id: all that needs no lock.

    Raises:
        LedgerRowRefused: a field, or the id that the row will have, has the wrong form.
    """
    if not is_uuid7(event_id):
        raise _refused("event_id", f"{event_id[:80]!r} is not a lowercase UUIDv7")
    fields = _entry_fields(entry)
    text = ",".join(fields)
    if '"' in text or text.count(",") != len(fields) - 1:
        text = ",".join(map(quoted, fields))
    try:
        _check_entry(fields)
        content = text.encode()
    except UnicodeEncodeError as error:
        raise _refused("A field", "it is not valid Unicode text (a lone surrogate)") from error
    except BadLine as error:
        raise _refused("A field", str(error)) from error
    if len(content.translate(None, CONTROLS)) != len(content):
        raise _refused("A field", "it holds a control character (CR, LF, NUL, ...)")
    return text


def encode_row(text: str, *, event_id: str, timestamp: datetime, seq: int, prev_hash: str) -> bytes:
    """Return the row's line, newline included.

    `text` comes from `encode_entry`, and `event_id` is a UUIDv7 that it was given.

    Raises:
        LedgerRowRefused: the time has no zone, or the line is too long.
    """
    prefix = f"{event_id},{timestamp_text(timestamp)},{text},{seq}".encode()
    line = b"%b,%b\n" % (prefix, row_hash(prev_hash, prefix).encode())
    if len(line) > MAX_LINE_BYTES:
        raise _refused("The row", f"its line would be longer than {MAX_LINE_BYTES} bytes")
    return line


def _entry_fields(entry: Entry) -> list[str]:
    for adapter in entry.adapter_versions:
        # Joined, "a@1;b@2" given as one would read back as two.
        if not adapter or ";" in adapter:
            raise _refused("adapter_versions", f"{adapter[:80]!r} is not id@version")
    return [
        entry.event_type,
        entry.module_id,
        entry.node_id,
        entry.job_id,
        entry.input_hash,
        ";".join(entry.adapter_versions),
        _decimal_text("cache_hit_ratio", entry.cache_hit_ratio),
        _count_text("tokens_processed", entry.tokens_processed),
        _decimal_text("gpu_seconds", entry.gpu_seconds),
        _decimal_text("cost_usd", entry.cost_usd),
        entry.completion_status,
        entry.error_code,
        entry.operator_id,
    ]


def timestamp_text(moment: datetime) -> str:
    """A time as the format spells it, in UTC.

    Raises:
        LedgerRowRefused: it has no zone.
    """
    if moment.tzinfo is None:
        raise _refused("timestamp_utc", "the time has no time zone")
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def _decimal_text(name: str, value: Decimal | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, Decimal):
        raise _refused(name, f"{value!r} is not a Decimal")
    # adjusted() first: "f" would spell 1E+999999999 out in full.
    if not value.is_finite() or value.is_signed() or abs(value.adjusted()) > MAX_DIGITS:
        raise _refused(name, f"{value} is not a plain decimal of 0 or more")
    return format(value, "f")


def _count_text(name: str, value: int | None) -> str:
    if value is None:
        return ""
    if type(value) is not int or not 0 <= value < 10**MAX_DIGITS:
        raise _refused(name, "it is not a whole number from 0 to 18 digits")
    return str(value)


def quoted(field: str) -> str:
    """The field as it stands in a line: in quotes only where it needs them."""
    if "," not in field and '"' not in field:
        return field
    return '"' + field.replace('"', '""') + '"'


def _refused(name: str, why: str) -> LedgerRowRefused:
    return LedgerRowRefused(
        f"{name} cannot be written to the ledger.",
        why=f"{why}.",
        fix="Correct the value; docs/formats/ledger.md gives each column's form.",
    )


def stored_hash(raw: bytes) -> str | None:
    """The hash that stands at the end of a line, good or bad; None when there is none."""
    _, comma, last = raw[-HASH_CHARS - 8 :].rstrip().rpartition(b",")
    text = last.decode(errors="replace")
    return text if comma and _is_hex(text, HASH_CHARS) else None


def seq_of(raw: bytes) -> int:
    """The seq of a line that is known to match its hash; its other fields are not looked at.

    Raises:
        BadLine: not that many columns, or none of them a seq.
    """
    columns = len(split_fields(raw)) if b'"' in raw else raw.count(b",") + 1
    seq = raw[: -HASH_CHARS - 1].rpartition(b",")[2]
    if columns != len(COLUMNS):
        raise BadLine(f"{columns} columns instead of {len(COLUMNS)}")
    if not seq.isdigit() or len(seq) > MAX_DIGITS or seq.startswith(b"0"):
        raise BadLine("seq is not a whole number from 1")
    return int(seq)


def split_fields(raw: bytes) -> list[bytes]:
    """The fields of a line without its newline, unquoted.

    Raises:
        BadLine: a quote where none is needed, or one missing.
    """
    if b'"' not in raw:
        return raw.split(b",")
    import csv  # a quote is rare, and this import is not free at start-up

    text = raw.decode(errors="surrogateescape")
    try:
        fields = next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise BadLine("quotes are not as RFC 4180 has them") from error
    if ",".join(map(quoted, fields)) != text:
        raise BadLine("a field is quoted that needs no quotes, or not as RFC 4180 has it")
    return [field.encode(errors="surrogateescape") for field in fields]


def read_header(raw: bytes) -> list[Row | BadRow]:
    """Read line 1: nothing for the header, else what is wrong, and the row if it is one."""
    if raw == HEADER[:-1]:
        return []
    row = decode_row(raw, 1)
    if isinstance(row, Row):
        return [BadRow(1, "the header is missing", raw), row]
    if raw.rstrip(b"\r") == HEADER[:-1]:
        return [BadRow(1, "the header ends in CRLF; the ledger's lines end in LF alone", raw)]
    return [BadRow(1, "line 1 is not the ledger's header", row.raw)]


def decode_row(raw: bytes, line: int) -> Row | BadRow:
    """Read one line (without its newline); `line` is its 1-based number in the file."""
    try:
        return _decode(raw, line)
    except BadLine as error:
        return BadRow(line, str(error), raw[:MAX_LINE_BYTES])


def _decode(raw: bytes, line: int) -> Row:
    if len(raw) >= MAX_LINE_BYTES:
        raise BadLine(f"the line is longer than {MAX_LINE_BYTES} bytes")
    if not raw:
        raise BadLine("the line is empty")
    if raw == HEADER[:-1]:
        raise BadLine("a second header")
    if raw.endswith(b"\r"):
        raise BadLine("the line ends in CRLF; the ledger's lines end in LF alone")
    if b"\0" in raw:
        raise BadLine("the line holds a NUL byte")
    if len(raw.translate(None, CONTROLS)) != len(raw):
        raise BadLine("the line holds a control character")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise BadLine("the line is not UTF-8") from error
    fields = [field.decode() for field in split_fields(raw)]
    if len(fields) != len(COLUMNS):
        raise BadLine(f"{len(fields)} columns instead of {len(COLUMNS)}")
    return Row(_decode_entry(fields), *_decode_frame(fields), line)


def _decode_frame(fields: list[str]) -> tuple[str, datetime, int, str]:
    event_id, stamp, seq, digest = fields[0], fields[1], fields[15], fields[16]
    if not is_uuid7(event_id):
        raise BadLine("event_id is not a lowercase UUIDv7")
    if not _is_whole(seq) or seq == "0":
        raise BadLine("seq is not a whole number from 1")
    if not _is_hex(digest, HASH_CHARS):
        raise BadLine("row_hash is not 64 lowercase hex digits")
    return event_id, parse_timestamp(stamp), int(seq), digest


def is_uuid7(text: str) -> bool:
    """Whether that is a UUIDv7 in lowercase canonical form."""
    return (
        len(text) == 36
        and text[8] == text[13] == text[18] == text[23] == "-"
        and text[14] == "7"
        and text[19] in "89ab"
        and _is_hex(text.replace("-", ""), 32)
    )


def parse_timestamp(text: str) -> datetime:
    """Read YYYY-MM-DDTHH:MM:SS.ffffffZ as an aware UTC time.

    Raises:
        BadLine: another form, or no date of the calendar.
    """
    try:
        moment = datetime.fromisoformat(text)
        if timestamp_text(moment) == text:
            return moment
    except (ValueError, OverflowError, LedgerRowRefused):
        pass
    raise BadLine("timestamp_utc is not a time as YYYY-MM-DDTHH:MM:SS.ffffffZ")


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and not text.strip(_HEX)


def _is_digits(text: str) -> bool:
    return 0 < len(text) <= MAX_DIGITS and text.isascii() and text.isdigit()


def _is_whole(text: str) -> bool:
    return _is_digits(text) and (text[0] != "0" or text == "0")


def _is_decimal(text: str) -> bool:
    whole, point, fraction = text.partition(".")
    return _is_whole(whole) and (not point or _is_digits(fraction))


def _decode_entry(fields: list[str]) -> Entry:
    _check_entry(fields[2:15])
    ratio, tokens, seconds, cost = fields[8:12]
    return Entry(
        EventType(fields[2]),
        fields[3],
        fields[4],
        fields[5],
        CompletionStatus(fields[12]),
        fields[14],
        error_code=fields[13],
        input_hash=fields[6],
        adapter_versions=parse_adapters(fields[7]),
        cache_hit_ratio=Decimal(ratio) if ratio else None,
        tokens_processed=int(tokens) if tokens else None,
        gpu_seconds=Decimal(seconds) if seconds else None,
        cost_usd=Decimal(cost) if cost else None,
    )


def _check_entry(fields: list[str]) -> None:
    """Raise BadLine unless the columns from event_type to operator_id have their forms."""
    kind, module, node, job, input_hash, adapters = fields[:6]
    if kind not in _TYPES:
        raise BadLine(f"unknown event_type {kind[:40]!r}")
    if fields[10] not in _STATUSES:
        raise BadLine(f"unknown completion_status {fields[10][:40]!r}")
    _check_labels(module, node)
    if not job and kind in PAIRED:
        raise BadLine(f"job_id is empty, and {kind} needs one")
    if len(job.encode()) > MAX_JOB_ID_BYTES:
        raise BadLine(f"job_id is longer than {MAX_JOB_ID_BYTES} bytes")
    if input_hash and not (input_hash.startswith("sha256:") and _is_hex(input_hash[7:], 64)):
        raise BadLine("input_hash is not sha256: and 64 lowercase hex digits")
    if adapters:
        parse_adapters(adapters)
    if any(fields[6:10]):
        _check_numbers(*fields[6:10])


@lru_cache(maxsize=1024)  # a ledger names few nodes, many times
def _check_labels(module: str, node: str) -> None:
    try:
        ModuleId.parse(module)
        NodeName.parse(node)
    except InvalidLabel as error:
        raise BadLine(f"moduleId or node_id: {error}") from error


def _check_numbers(ratio: str, tokens: str, seconds: str, cost: str) -> None:
    if tokens and not _is_whole(tokens):
        raise BadLine("tokens_processed is not a whole number")
    for name, text in (("cache_hit_ratio", ratio), ("gpu_seconds", seconds), ("cost_usd", cost)):
        if text and not _is_decimal(text):
            raise BadLine(f"{name} is not a plain decimal")
    if ratio and ratio[0] != "0":
        whole, _, fraction = ratio.partition(".")
        if whole != "1" or fraction.strip("0"):
            raise BadLine("cache_hit_ratio is above 1")


def parse_adapters(text: str) -> tuple[str, ...]:
    """Read adapter_versions.

    Raises:
        BadLine: not id@version joined by semicolons.
    """
    if not text:
        return ()
    adapters = tuple(text.split(";"))
    for adapter in adapters:
        name, _, version = adapter.partition("@")
        if not name or not version or "@" in version:
            raise BadLine("adapter_versions is not id@version joined by ;")
    return adapters
