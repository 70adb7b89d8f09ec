"""One row between its bytes and its value: round trip, one spelling only, what is refused."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.ledger_format import (
    HEADER,
    MAX_LINE_BYTES,
    decode_row,
    encode_entry,
    encode_row,
    read_header,
    row_hash,
    stored_hash,
)
from yoyo.errors import LedgerRowRefused
from yoyo.model.ledger import (
    COLUMNS,
    GENESIS_HASH,
    BadRow,
    CompletionStatus,
    Entry,
    EventType,
    Row,
)

ID = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
PLAIN = Entry(
    EventType.JOB_COMPLETE, "team-a", "node-1", "job-1", CompletionStatus.SUCCESS, "someone"
)

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
# Surrogates (Cs) are no text, C0 is refused; everything else has to survive.
CHARACTERS = st.characters(exclude_categories=["Cs"], min_codepoint=32)
TEXT = st.text(CHARACTERS, max_size=40)
PART = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="@;", min_codepoint=32),
    min_size=1,
    max_size=10,
)
DIGITS = st.text("0123456789", min_size=1, max_size=18)
DECIMALS = st.builds(
    lambda whole, fraction: Decimal(f"{int(whole)}.{fraction}" if fraction else str(int(whole))),
    DIGITS,
    st.none() | DIGITS,
)
RATIOS = st.just(Decimal("1.00")) | st.builds(lambda d: Decimal(f"0.{d}"), DIGITS)
ENTRIES = st.builds(
    Entry,
    event_type=st.sampled_from(EventType),
    module_id=LABELS,
    node_id=LABELS,
    job_id=st.text(CHARACTERS, min_size=1, max_size=32),
    completion_status=st.sampled_from(CompletionStatus),
    operator_id=TEXT,
    error_code=TEXT,
    input_hash=st.just("") | st.binary(min_size=32, max_size=32).map(lambda b: f"sha256:{b.hex()}"),
    adapter_versions=st.lists(st.builds("{}@{}".format, PART, PART), max_size=3).map(tuple),
    cache_hit_ratio=st.none() | RATIOS,
    tokens_processed=st.none() | st.integers(0, 10**18 - 1),
    gpu_seconds=st.none() | DECIMALS,
    cost_usd=st.none() | DECIMALS,
)
TIMES = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 (hypothesis adds the zone)
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def encode(entry: Entry, seq: int = 1, prev: str = GENESIS_HASH, at: datetime = NOON) -> bytes:
    text = encode_entry(entry, ID)
    return encode_row(text, event_id=ID, timestamp=at, seq=seq, prev_hash=prev)


def with_field(column: str, text: str) -> bytes:
    """A sound row with one field put in as it is, and its hash made right again."""
    fields = encode(PLAIN)[:-1].split(b",")
    fields[COLUMNS.index(column)] = text.encode()
    prefix = b",".join(fields[:-1])
    return prefix + b"," + row_hash(GENESIS_HASH, prefix).encode()


@given(ENTRIES, TIMES, st.integers(1, 10**18 - 1))
def test_any_legal_entry_reads_back_as_itself(entry: Entry, at: datetime, seq: int) -> None:
    line = encode(entry, seq, at=at)
    digest = row_hash(GENESIS_HASH, line[:-66])
    assert decode_row(line[:-1], seq + 1) == Row(entry, ID, at, seq, digest, seq + 1)
    # and any other CSV reader sees the same fields
    assert len(next(csv.reader([line.decode()[:-1]], strict=True))) == len(COLUMNS)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise(raw: bytes) -> None:
    assert isinstance(decode_row(raw, 7), BadRow)


@given(ENTRIES, st.data())
def test_what_is_read_has_one_spelling(entry: Entry, data: st.DataObject) -> None:
    raw = bytearray(encode(entry)[:-1])
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    row = decode_row(bytes(raw), 2)
    if isinstance(row, Row):
        again = encode_row(
            encode_entry(row.entry, row.event_id),
            event_id=row.event_id,
            timestamp=row.timestamp,
            seq=row.seq,
            prev_hash=GENESIS_HASH,
        )
        assert again[:-66] == bytes(raw)[:-65]


def test_quotes_only_where_needed() -> None:
    line = encode(PLAIN._replace(operator_id='O"Hara, J.', error_code="plain"))
    assert b',plain,"O""Hara, J.",1,' in line
    assert line.count(b'"') == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+3", b"1000"), ("0.10", b"0.10"), ("1E-7", b"0.0000001"), ("0", b"0"), ("7", b"7")],
)
def test_decimals_are_plain(value: str, text: bytes) -> None:
    line = encode(PLAIN._replace(cost_usd=Decimal(value)))
    assert line.split(b",")[COLUMNS.index("cost_usd")] == text


def test_times_are_utc_with_microseconds() -> None:
    east = timezone(timedelta(hours=2))
    line = encode(PLAIN, at=datetime(2026, 1, 1, 1, 2, 3, tzinfo=east))
    assert line.split(b",")[1] == b"2025-12-31T23:02:03.000000Z"


REFUSED: list[dict[str, Any]] = [
    {"operator_id": "a\rb"},
    {"operator_id": "a\nb"},
    {"job_id": "a\0b"},
    {"error_code": "tab\there"},
    {"operator_id": "\x1b[31m"},
    {"operator_id": "\ud800"},
    {"module_id": "../etc"},
    {"module_id": "Upper"},
    {"module_id": "a" * 64},
    {"module_id": 'qu"ote'},
    {"module_id": "new\nline"},
    {"module_id": ""},
    {"node_id": "-a"},
    {"job_id": ""},
    {"job_id": "x" * 129},
    {"input_hash": "sha256:abc"},
    {"input_hash": "sha256:" + "A" * 64},
    {"input_hash": "md5:" + "a" * 64},
    {"adapter_versions": ("no-version",)},
    {"adapter_versions": ("a@1;b@2",)},
    {"adapter_versions": ("",)},
    {"adapter_versions": ("a@1@2",)},
    {"cost_usd": Decimal("NaN")},
    {"cost_usd": Decimal("Infinity")},
    {"cost_usd": Decimal("-1")},
    {"cost_usd": Decimal("-0")},
    {"cost_usd": Decimal("1E+999999999")},
    {"cost_usd": Decimal("1E-999999999")},
    {"cost_usd": 0.71},
    {"gpu_seconds": Decimal("0.1234567890123456789")},
    {"cache_hit_ratio": Decimal("1.01")},
    {"cache_hit_ratio": Decimal("10")},
    {"tokens_processed": -1},
    {"tokens_processed": 10**18},
    {"tokens_processed": True},
    {"operator_id": "x" * MAX_LINE_BYTES},
]


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: repr(change)[:40])
def test_what_the_format_does_not_allow_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LedgerRowRefused) as caught:
        encode(PLAIN._replace(**change))
    assert caught.value.why
    assert caught.value.fix


def test_an_id_of_another_version_is_refused() -> None:
    with pytest.raises(LedgerRowRefused, match="event_id"):
        encode_entry(PLAIN, "017f22e2-79b0-4cc3-98c4-dc0c0c07398f")


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(LedgerRowRefused):
        encode(PLAIN, at=datetime(2026, 1, 1))  # noqa: DTZ001 (that is the point)


def test_the_longest_line_and_one_more() -> None:
    room = MAX_LINE_BYTES - len(encode(PLAIN._replace(operator_id="")))
    assert len(encode(PLAIN._replace(operator_id="x" * room))) == MAX_LINE_BYTES
    with pytest.raises(LedgerRowRefused, match="cannot be written"):
        encode(PLAIN._replace(operator_id="x" * (room + 1)))


BAD_FIELDS = [
    ("event_id", ID.upper(), "UUIDv7"),
    ("event_id", "017f22e2-79b0-4cc3-98c4-dc0c0c07398f", "UUIDv7"),
    ("event_id", "017f22e2-79b0-7cc3-18c4-dc0c0c07398f", "UUIDv7"),
    ("timestamp_utc", "2026-11-21T12:00:00.123456", "timestamp_utc"),
    ("timestamp_utc", "2026-11-21 12:00:00.123456Z", "timestamp_utc"),
    ("timestamp_utc", "2026-11-21T12:00:00Z", "timestamp_utc"),
    ("timestamp_utc", "2026-02-30T12:00:00.000000Z", "timestamp_utc"),
    ("timestamp_utc", "2026-11-21T24:00:00.000000Z", "timestamp_utc"),
    ("timestamp_utc", "2026-11-21T12:60:00.000000Z", "timestamp_utc"),
    ("timestamp_utc", "2026-11-21T12:00:60.000000Z", "timestamp_utc"),
    ("timestamp_utc", "0000-01-01T12:00:00.000000Z", "timestamp_utc"),
    ("event_type", "BOOT", "unknown event_type 'BOOT'"),
    ("event_type", "", "unknown event_type"),
    ("completion_status", "done", "unknown completion_status 'done'"),
    ("moduleId", "Team", "moduleId"),
    ("node_id", "", "node_id"),
    ("job_id", "", "job_id is empty"),
    ("job_id", "x" * 129, "job_id is longer"),
    ("input_hash", "sha256:", "input_hash"),
    ("input_hash", "sh0256:" + "0" * 64, "input_hash"),
    ("adapter_versions", "a", "adapter_versions"),
    ("adapter_versions", "a@1;", "adapter_versions"),
    ("cache_hit_ratio", "1.1", "cache_hit_ratio"),
    ("cache_hit_ratio", "10", "cache_hit_ratio"),
    ("cache_hit_ratio", "100", "cache_hit_ratio"),
    ("tokens_processed", "07", "tokens_processed"),
    ("tokens_processed", "1.0", "tokens_processed"),
    ("tokens_processed", "\u0661", "tokens_processed"),
    ("gpu_seconds", "1e3", "gpu_seconds"),
    ("gpu_seconds", "1.", "gpu_seconds"),
    ("gpu_seconds", ".5", "gpu_seconds"),
    ("gpu_seconds", "1.x5", "gpu_seconds"),
    ("cost_usd", "00.5", "cost_usd"),
    ("cost_usd", "-0.5", "cost_usd"),
    ("cost_usd", "NaN", "cost_usd"),
    ("cost_usd", "1" * 19, "cost_usd"),
    ("cost_usd", "0." + "1" * 19, "cost_usd"),
    ("seq", "0", "seq"),
    ("seq", "01", "seq"),
    ("seq", "", "seq"),
    ("operator_id", "a\tb", "control character"),
    ("operator_id", "a\0b", "NUL"),
    ("operator_id", '"a"', "quoted that needs no quotes"),
    ("operator_id", '"a', "RFC 4180"),
    ("operator_id", 'a"b', "RFC 4180"),
    ("operator_id", "a,b", "18 columns"),
]


@pytest.mark.parametrize(("column", "text", "reason"), BAD_FIELDS)
def test_each_wrong_field_has_its_own_reason(column: str, text: str, reason: str) -> None:
    row = decode_row(with_field(column, text), 7)
    assert isinstance(row, BadRow)
    assert reason in row.reason
    assert row.line == 7


BAD_LINES = [
    (b"", "empty"),
    (HEADER[:-1], "a second header"),
    (encode(PLAIN)[:-1] + b"\r", "CRLF"),
    (encode(PLAIN)[:-1].replace(b"someone", b"some\xff"), "not UTF-8"),
    (b"a,b", "2 columns instead of 17"),
    (encode(PLAIN)[:-2], "row_hash"),
    (b"x" * MAX_LINE_BYTES, "longer than"),
]


@pytest.mark.parametrize(("raw", "reason"), BAD_LINES)
def test_each_wrong_line_has_its_own_reason(raw: bytes, reason: str) -> None:
    row = decode_row(raw, 3)
    assert isinstance(row, BadRow)
    assert reason in row.reason


def test_the_hash_of_a_spoilt_line_is_still_found() -> None:
    line = encode(PLAIN)[:-1]
    assert stored_hash(line) == stored_hash(line + b"\r") == line[-64:].decode()
    assert stored_hash(line[:-1]) is None
    assert stored_hash(b"") is None


def test_the_header_and_what_may_stand_in_its_place() -> None:
    row = encode(PLAIN)[:-1]
    assert read_header(HEADER[:-1]) == []
    missing = read_header(row)
    assert [type(item) for item in missing] == [BadRow, Row]
    for raw, reason in (
        (HEADER[:-1] + b"\r", "CRLF"),
        (b"\xef\xbb\xbf" + HEADER[:-1], "not the ledger's header"),
        (b"", "not the ledger's header"),
    ):
        (bad,) = read_header(raw)
        assert isinstance(bad, BadRow)
        assert reason in bad.reason
