"""Signed notes against the specification's own examples, and against everything malformed."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.audit.note import (
    MAX_NOTE_BYTES,
    NoteError,
    body_of,
    check_note,
    format_note,
    format_vkey,
    key_id,
    note_name,
    parse_checkpoint,
    parse_vkey,
    split_note,
    verifier_key,
)
from yoyo.drivers.keys.notes import Ed25519NoteVerifier
from yoyo.model.audit import Checkpoint, NoteSignature, TreeHead, VerifierKey

# golang.org/x/mod/sumdb/note, note_test.go.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotp"
    "RZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox"
    "33WWd1RvMc+QQ=\n"
)
# c2sp.org/tlog-checkpoint.
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcy"
    "v2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
VERIFIER = Ed25519NoteVerifier()


def opened(text: str) -> Checkpoint:
    """A signed text that is no checkpoint, so that its signatures can be checked."""
    body, signatures = split_note(text.encode())
    return Checkpoint("", TreeHead(0, b""), (), body, signatures)


def test_the_published_key_reads_and_writes() -> None:
    key = parse_vkey(PETER)
    assert key.name == "PeterNeumann"
    assert key.key_id == key_id(key.name, key.public) == bytes.fromhex("c74f20a3")
    assert format_vkey(key) == PETER
    assert parse_vkey(PETER + "\n") == key
    assert note_name(42, key) == "00000000000000000042-c74f20a3"


def test_no_mangled_key_is_a_key() -> None:
    for start in range(len(PETER) + 1):
        for end in range(start, len(PETER) + 1):
            if (start, end) != (0, len(PETER)):
                with pytest.raises(NoteError):
                    parse_vkey(PETER[start:end])
    for at in range(len(PETER)):
        with pytest.raises(NoteError):
            parse_vkey(PETER[:at] + chr(ord(PETER[at]) + 1) + PETER[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER + "\n\n",
        PETER.replace("c74f", "C74F"),
        "",
        "++",
    ],
)
def test_other_algorithms_lengths_and_spellings_are_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_vkey(text)


def test_the_published_note_holds() -> None:
    peter, enoch = parse_vkey(PETER), parse_vkey(ENOCH)
    both = opened(f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}")
    assert both.body == TEXT.encode()
    assert check_note(both, [peter], VERIFIER) == (peter,)
    assert check_note(both, [enoch, peter], VERIFIER) == (peter, enoch)
    assert check_note(opened(f"{TEXT}\n{PETER_LINE}{PETER_LINE}"), [peter], VERIFIER) == (peter,)
    with pytest.raises(NoteError, match="none of the known keys"):
        check_note(both, [], VERIFIER)
    with pytest.raises(NoteError, match="none of the known keys"):
        check_note(opened(f"{TEXT}\n{PETER_LINE}"), [enoch], VERIFIER)


def test_a_known_keys_false_signature_is_an_error_even_beside_a_good_one() -> None:
    peter, enoch = parse_vkey(PETER), parse_vkey(ENOCH)
    false = opened(f"{TEXT.replace('answer', 'question')}\n{PETER_LINE}")
    with pytest.raises(NoteError, match=r"PeterNeumann\+c74f20a3 does not hold"):
        check_note(false, [peter], VERIFIER)
    blob = base64.b64encode(enoch.key_id + bytes(64)).decode()
    mixed = opened(f"{TEXT}\n{PETER_LINE}— EnochRoot {blob}\n")
    assert check_note(mixed, [peter], VERIFIER) == (peter,)
    with pytest.raises(NoteError, match="EnochRoot"):
        check_note(mixed, [peter, enoch], VERIFIER)


def test_a_name_or_an_id_alone_is_no_known_key() -> None:
    peter = parse_vkey(PETER)
    renamed = peter._replace(name="Somebody")
    numbered = peter._replace(key_id=b"\0\0\0\0")
    for key in (renamed, numbered):
        with pytest.raises(NoteError, match="none of the known keys"):
            check_note(opened(f"{TEXT}\n{PETER_LINE}"), [key], VERIFIER)
    twin = peter._replace(public=bytes(32))
    with pytest.raises(NoteError, match="same name and id"):
        check_note(opened(f"{TEXT}\n{PETER_LINE}"), [peter, twin], VERIFIER)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT + "\n",
        TEXT + "\n" + PETER_LINE[:-1],
        "\x01" + TEXT + "\n" + PETER_LINE,
        TEXT + "\r\n\n" + PETER_LINE,
        TEXT + "\n— Bad Name " + PETER_LINE.split()[2] + "\n",
        TEXT + "\n" + PETER_LINE + "Unexpected line.\n",
        TEXT + "\n" + PETER_LINE * 101,
        TEXT + "\n— PeterNeumann\n",
        TEXT + "\n— PeterNeumann AAAAAA==\n",
        TEXT + "\n— PeterNeumann x08go/ZJ\u2028\n",
        TEXT + "\n— Peter+Neumann " + PETER_LINE.split()[2] + "\n",
        TEXT + "\n" + PETER_LINE.replace("AM=", "AN="),
        "x" * MAX_NOTE_BYTES + "\n\n" + PETER_LINE,
    ],
)
def test_what_is_no_note(text: str) -> None:
    with pytest.raises(NoteError):
        split_note(text.encode())


def test_a_note_is_utf8() -> None:
    with pytest.raises(NoteError, match="UTF-8"):
        split_note(b"\xff" + TEXT.encode() + b"\n" + PETER_LINE.encode())


def test_the_published_checkpoint() -> None:
    found = parse_checkpoint(SOFA.encode())
    assert found.origin == "example.com/behind-the-sofa"
    assert found.head.size == 20852163
    assert base64.b64encode(found.head.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert found.extensions == ()
    assert found.body == body_of(found.origin, found.head)
    assert [s.name for s in found.signatures] == [found.origin]
    assert format_note(found.body, found.signatures) == SOFA.encode()


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "body",
    [
        f"o\n1\n{ROOT}",
        "o\n1\n",
        f"\n1\n{ROOT}\n",
        f"o\n01\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n+1\n{ROOT}\n",
        f"o\n1 \n{ROOT}\n",
        f"o\n\u0661\n{ROOT}\n",
        f"o\n{10**18}\n{ROOT}\n",
        f"o\n1\n{ROOT[:-1]}\n",
        f"o\n1\n{ROOT[:-2]}B=\n",
        f"o\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"o\n1\n{ROOT}\nextension\n\nmore\n",
    ],
)
def test_what_is_no_checkpoint(body: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(f"{body}\n{PETER_LINE}".encode())


def test_extensions_are_kept() -> None:
    found = parse_checkpoint(f"o\n0\n{ROOT}\none\ntwo\n\n{PETER_LINE}".encode())
    assert found.extensions == ("one", "two")


def test_bodies_and_keys_that_cannot_be() -> None:
    for origin in ("", "a b", "a+b", "a\nb", "a\u00a0b"):
        with pytest.raises(NoteError):
            body_of(origin, TreeHead(0, bytes(32)))
        with pytest.raises(NoteError):
            verifier_key(origin, bytes(32))
    with pytest.raises(NoteError):
        body_of("o", TreeHead(0, bytes(31)))
    with pytest.raises(NoteError):
        verifier_key("o", bytes(31))


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1
).filter(lambda name: "+" not in name and not any(c.isspace() for c in name))


@given(
    origin=NAMES,
    size=st.integers(0, 10**18 - 1),
    root=st.binary(min_size=32, max_size=32),
    lines=st.lists(
        st.tuples(NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)),
        min_size=1,
        max_size=16,
    ),
)
def test_what_is_written_is_read(
    origin: str, size: int, root: bytes, lines: list[tuple[str, bytes, bytes]]
) -> None:
    signatures = tuple(NoteSignature(*line) for line in lines)
    body = body_of(origin, TreeHead(size, root))
    found = parse_checkpoint(format_note(body, signatures))
    assert found == Checkpoint(origin, TreeHead(size, root), (), body, signatures)


@given(
    st.binary(max_size=400)
    | st.text(max_size=400).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for note in (
        data,
        SOFA.encode() + data,
        data + SOFA.encode(),
        data + b"\n\n" + PETER_LINE.encode(),
    ):
        try:
            found = parse_checkpoint(note)
        except NoteError:
            continue
        assert format_note(found.body, found.signatures) == note


@given(name=NAMES, public=st.binary(min_size=32, max_size=32))
def test_a_key_has_one_spelling(name: str, public: bytes) -> None:
    key = verifier_key(name, public)
    assert key == VerifierKey(name, sha256(name.encode() + b"\n\x01" + public).digest()[:4], public)
    assert parse_vkey(format_vkey(key)) == key


def test_a_text_may_hold_empty_lines() -> None:
    """The signatures come after the last one."""
    body, signatures = split_note(f"one\n\ntwo\n\n{PETER_LINE}".encode())
    assert body == b"one\n\ntwo\n"
    assert len(signatures) == 1
