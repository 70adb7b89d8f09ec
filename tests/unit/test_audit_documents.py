"""Extracts and seal records: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from ledger_lines import CYCLE, entry, ledger
from merkle_parts import build_extract, inclusion_proofs

from yoyo.core.audit.documents import DocumentError
from yoyo.core.audit.extract import (
    MAX_PROBLEMS,
    ExtractError,
    ExtractReport,
    check_extract,
    header_line,
    module_of,
    parse_header,
    parse_row,
    row_line,
)
from yoyo.core.audit.merkle import Tree, root_of
from yoyo.core.audit.note import body_of, format_note, parse_checkpoint, verifier_key
from yoyo.core.audit.seal_record import SealRecord, parse_seal_record, seal_record
from yoyo.drivers.keys.notes import Ed25519NoteVerifier
from yoyo.model.audit import Frontier, InclusionProof, MonthPiece, NoteSignature
from yoyo.model.ledger import EventType

ORIGIN = "ledger.example/one"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = verifier_key(ORIGIN, PRIVATE.public_key().public_bytes_raw())
VERIFIER = Ed25519NoteVerifier()
MINE = [
    entry(EventType.CHECKPOINT)._replace(module_id="acme", error_code="Zoë, \x85") for _ in range(3)
]
LINES = ledger([*CYCLE[:3], MINE[0], *CYCLE[3:], *MINE[1:]])[1:]
POSITIONS = [3, 8, 9]


def note_of(lines: list[bytes]) -> bytes:
    tree = Tree()
    tree.extend(lines)
    body = body_of(ORIGIN, tree.head())
    return format_note(body, [NoteSignature(ORIGIN, KEY.key_id, PRIVATE.sign(body))])


NOTE = note_of(LINES)


def extract(positions: list[int] = POSITIONS, module: str = "acme") -> list[bytes]:
    proofs = inclusion_proofs([LINES], len(LINES), positions)
    rows = [(LINES[proof.position], proof) for proof in proofs]
    return list(build_extract(NOTE, module, rows))


def check(document: list[bytes]) -> ExtractReport:
    return check_extract(document, [KEY], VERIFIER)


def changed(line: bytes, /, **fields: Any) -> bytes:
    return json.dumps({**json.loads(line), **fields}).encode() + b"\n"


def reasons(document: list[bytes]) -> list[tuple[int, str]]:
    return [(problem.number, problem.reason) for problem in check(document).problems]


def test_a_sound_extract() -> None:
    report = check(extract())
    assert report.ok
    assert (report.rows, report.first_seq, report.last_seq, report.others) == (3, 4, 10, 7)
    assert report.signers == (KEY,)
    assert report.module == "acme"
    assert not any(b"team-a" in line for line in extract())
    empty = check(extract([]))
    assert empty.ok
    assert (empty.rows, empty.first_seq, empty.last_seq) == (0, None, None)


def test_every_flipped_byte_of_a_row_is_found() -> None:
    document = extract()
    text = json.loads(document[2])["line"]
    for at in range(len(text)):
        other = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
        assert not check([*document[:2], changed(document[2], line=other), document[3]]).ok


OUT = "the row is not in the signed tree: its path does not lead to the root"


def test_what_is_wrong_is_named() -> None:
    head, one, two, three = extract()
    path = json.loads(one)["path"]
    assert reasons([head, one, one, three]) == [(3, "the row is there twice")]
    assert reasons([head, two, one, three]) == [(3, "the rows are not in order")]
    assert reasons([head, one, two]) == [(1, "the header says 3 rows, and there are 2")]
    assert reasons([head, changed(one, seq=5), two, three]) == [
        (2, "the line's own seq is another one"),
        (2, OUT),
    ]
    assert reasons([head, changed(one, path=path[:-1]), two, three]) == [(2, OUT)]
    assert reasons([head, changed(one, path=[*path, path[0]]), two, three]) == [(2, OUT)]
    assert reasons([head, changed(one, seq=len(LINES) + 1), two, three])[0][0] == 2
    assert reasons([head, changed(one, line="a,b"), two, three]) == [
        (2, "the line is no row of a ledger"),
        (2, OUT),
    ]
    assert reasons(extract([0, *POSITIONS])) == [(2, "the row is of another module")]
    assert reasons([head, b"{}\n", two, three])[0][0] == 2


def test_problems_are_counted_beyond_those_listed() -> None:
    head, one = extract()[:2]
    report = check([changed(head, rows=500), *[one] * 500])
    assert (report.problem_count, len(report.problems)) == (499, MAX_PROBLEMS)


def test_the_checkpoint_must_be_signed_by_a_known_key() -> None:
    stranger = verifier_key(ORIGIN, bytes(32))
    with pytest.raises(ExtractError, match="none of the known keys"):
        check_extract(extract(), [stranger], VERIFIER)
    head, *rows = extract()
    forged = changed(head, checkpoint=NOTE.decode().replace("\n10\n", "\n11\n"))
    with pytest.raises(ExtractError, match="does not hold"):
        check([forged, *rows])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        changed(extract()[0], format="yoyo-extract/2"),
        changed(extract()[0], more=1),
        changed(extract()[0], rows=True),
        changed(extract()[0], rows=-1),
        changed(extract()[0], rows=1.0),
        changed(extract()[0], rows=10**18),
        changed(extract()[0], module="Not A Label"),
        changed(extract()[0], checkpoint="x"),
        changed(extract()[0], checkpoint="\ud800"),
        extract()[0].replace(b'{"checkpoint"', b'{"rows":3,"checkpoint"'),
        extract()[0].replace(b'"rows":3', b'"rows":NaN'),
        b" " * 600_000,
    ],
)
def test_headers_that_are_none(line: bytes) -> None:
    with pytest.raises(ExtractError):
        parse_header(line)


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": 0},
        {"seq": "4"},
        {"line": 5},
        {"line": "\ud800"},
        {"path": "x"},
        {"path": ["x"]},
        {"path": [None]},
        {"path": ["A" * 43 + "="] * 65},
        {"path": ["A" * 42 + "B="]},
        {"more": 1},
    ],
)
def test_rows_that_are_none(fields: dict[str, Any]) -> None:
    with pytest.raises(ExtractError):
        parse_row(changed(extract()[1], **fields))


def test_what_cannot_be_built() -> None:
    with pytest.raises(ExtractError, match="UTF-8"):
        row_line(b"\xff", InclusionProof(6, ()))
    with pytest.raises(ExtractError):
        header_line(NOTE, "No Label", 0)
    with pytest.raises(ExtractError):
        header_line(b"", "acme", 0)


def test_the_module_of_a_line() -> None:
    assert module_of(LINES[3]) == "acme"
    assert module_of(b"a,b") is None
    assert module_of(b'"') is None


@given(st.binary(max_size=300), st.sampled_from([parse_header, parse_row]))
def test_any_bytes_are_read_or_refused(data: bytes, parse: Callable[[bytes], object]) -> None:
    for line in (data, b'{"seq":1,"line":"' + data + b'","path":[]}'):
        try:
            parse(line)
        except ExtractError:
            continue


# --- seal records


def sealed(note: bytes = NOTE) -> SealRecord:
    tree = Tree()
    tree.extend(LINES)
    last = LINES[-1][-64:].decode()
    piece = MonthPiece("2026-10", 4, len(LINES), last, 4096, "ab" * 32)
    return SealRecord(piece, "ledger-2026-10.csv", tree.frontier(last), note.decode())


def test_a_seal_record_is_read_as_it_was_written() -> None:
    for record in (sealed(), sealed(b"")):
        document = seal_record(record)
        assert parse_seal_record(document) == record
        assert seal_record(parse_seal_record(document)) == document
    tree = json.loads(seal_record(sealed()))["tree"]
    assert tree["size"] == len(LINES)
    assert root_of(sealed().frontier) == parse_checkpoint(NOTE).head


@pytest.mark.parametrize(
    "fields",
    [
        {"month": "2026-13"},
        {"month": "2026-10\n"},
        {"file": "a/b"},
        {"file": ".."},
        {"file": ""},
        {"sha256": "AB" * 32},
        {"last_hash": ""},
        {"first_seq": 11},
        {"first_seq": 0},
        {"last_seq": 9},
        {"bytes": 0},
        {"checkpoint": "x"},
        {"checkpoint": note_of([*LINES, b"one more"]).decode()},
        {"format": "yoyo-seal/2"},
        {"tree": []},
        {"tree": {"size": 10, "root": "", "frontier": []}},
        {"extra": 1},
    ],
)
def test_seal_records_that_are_none(fields: dict[str, Any]) -> None:
    with pytest.raises(DocumentError):
        parse_seal_record(changed(seal_record(sealed()), **fields))


def test_a_seal_record_whose_tree_was_changed() -> None:
    tree = json.loads(seal_record(sealed()))["tree"]
    tree["frontier"] = tree["frontier"][::-1]
    with pytest.raises(DocumentError, match="root"):
        parse_seal_record(changed(seal_record(sealed()), tree=tree))
    with pytest.raises(DocumentError):
        parse_seal_record(b" " * 200_000)
    wrong = sealed()._replace(frontier=Frontier(1, (bytes(32),), "x"))
    with pytest.raises(DocumentError):
        seal_record(wrong)
