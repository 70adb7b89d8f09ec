"""The second verifier: it agrees with the first one, and shares nothing with it."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_parts import jobs, open_ledger
from merkle_parts import build_extract, inclusion_proofs

from yoyo.core.audit.extract import check_extract
from yoyo.core.audit.merkle import Tree
from yoyo.core.audit.note import body_of, format_note, format_vkey, verifier_key
from yoyo.drivers.keys.notes import Ed25519NoteVerifier
from yoyo.model.audit import NoteSignature

SCRIPT = Path(__file__).parents[2] / "scripts" / "audit_check.py"
ORIGIN = "ledger.example/one"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = verifier_key(ORIGIN, PRIVATE.public_key().public_bytes_raw())
ORDER = 2**252 + 27742317777372353535851937790883648493  # RFC 8032, section 5.1
# RFC 8032, section 7.1, tests 1, 2, 3 and SHA(abc): public key, message, signature.
VECTORS = (
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
        "1cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613"
        "d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760"
        "984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23"
        "a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c6"
        "6431e0303dca179c138ac17ad9bef1177331a704",
    ),
)


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECK = loaded()


def run(*words: str | Path) -> tuple[int, str]:
    # -I: neither the environment nor this directory gives it anything of ours.
    command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert said.count("\n") == 1, said
    assert (done.returncode == 0) == said.startswith("OK: ")
    return done.returncode, said


def note_of(lines: list[bytes], private: Ed25519PrivateKey = PRIVATE) -> bytes:
    tree = Tree()
    tree.extend(lines)
    body = body_of(ORIGIN, tree.head())
    return format_note(body, [NoteSignature(ORIGIN, KEY.key_id, private.sign(body))])


@pytest.fixture
def book(tmp_path: Path) -> Path:
    ledger = open_ledger(tmp_path / "ledger.csv")
    for n, entry in enumerate(jobs(23)):
        ledger.append(
            entry._replace(module_id="acme" if n % 5 == 1 else "team-a", operator_id='o,"')
        )
    return tmp_path / "ledger.csv"


def rows_of(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[1:-1]


def ledger(book: Path, size: int = 23, note: bytes = b"") -> tuple[int, str]:
    file = book.with_suffix(".note")
    file.write_bytes(note or note_of(rows_of(book)[:size]))
    return run("ledger", book, "--note", file, "--vkey", format_vkey(KEY))


def test_it_is_short_and_needs_nothing_of_ours() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) < 100
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    assert names <= sys.stdlib_module_names


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_the_vectors_of_rfc_8032(public: str, message: str, signature: str) -> None:
    key, text, good = (bytes.fromhex(each) for each in (public, message, signature))
    assert CHECK.ed25519(key, text, good)
    assert not CHECK.ed25519(key, text + b"x", good)
    for at in (32, 63):
        assert not CHECK.ed25519(key, text, good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :])
    second = int.from_bytes(good[32:], "little") + ORDER
    assert not CHECK.ed25519(key, text, good[:32] + second.to_bytes(32, "little"))
    assert not CHECK.ed25519(key, text, good + b"\0")


@given(message=st.binary(max_size=80), seed=st.binary(min_size=32, max_size=32))
@settings(max_examples=15, deadline=None)
def test_it_agrees_with_the_library_on_signatures(message: bytes, seed: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    assert CHECK.ed25519(public, message, private.sign(message))
    assert not CHECK.ed25519(public, message + b"\0", private.sign(message))


def test_points_that_are_not_on_the_curve() -> None:
    minus_zero = b"\1" + bytes(30) + b"\x80"
    too_large = (2**255 - 18).to_bytes(32, "little")
    for data in (bytes((2,)) + bytes(31), minus_zero, too_large, b"", bytes(33)):
        with pytest.raises(SystemExit, match="curve"):
            CHECK.point(data)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 16, 22, 23])
def test_a_ledger_that_holds(book: Path, size: int) -> None:
    code, said = ledger(book, size)
    assert code == 0
    assert said == f"OK: 23 rows, of which the first {size} are signed\n"


def test_a_ledger_in_several_files_and_a_torn_tail(book: Path) -> None:
    whole = book.read_bytes()
    lines = whole.split(b"\n")
    header = lines[0] + b"\n"
    first = book.with_name("ledger-2026-10.csv")
    first.write_bytes(b"\n".join(lines[:11]) + b"\n")
    book.write_bytes(header + b"\n".join(lines[11:]) + b"torn")
    note = book.with_suffix(".note")
    note.write_bytes(note_of(lines[1:-1]))
    option = ("--note", note, "--vkey", format_vkey(KEY))
    assert run("ledger", first, book, *option)[0] == 0
    assert run("ledger", book, first, *option)[0] == 1
    assert run("ledger", book, *option)[0] == 1
    assert run("ledger", first, *option)[0] == 1
    first.write_bytes(first.read_bytes()[:-1])
    assert run("ledger", first, book, *option)[0] == 1


def test_tampering_with_a_ledger(book: Path) -> None:
    note, lines = note_of(rows_of(book)), book.read_bytes().split(b"\n")
    for at in range(1, 24):
        edited = [*lines[:at], lines[at].replace(b",N", b",M", 1), *lines[at + 1 :]]
        assert edited != lines
        book.write_bytes(b"\n".join(edited))
        assert ledger(book, note=note)[1].startswith(f"NOT OK: 'row {at}: chain")
    book.write_bytes(b"\n".join(lines[:-2]) + b"\n")
    assert ledger(book, note=note) == (1, "NOT OK: 'not the 23 signed rows'\n")
    book.write_bytes(b"\n".join([b"a,b", *lines[1:]]))
    assert "header" in ledger(book, note=note)[1]


def test_a_full_rewrite_that_keeps_the_chain(tmp_path: Path, book: Path) -> None:
    note = note_of(rows_of(book))
    other = open_ledger(tmp_path / "other.csv")
    for entry in jobs(23):
        other.append(entry)
    assert ledger(tmp_path / "other.csv", note=note) == (1, "NOT OK: 'not the 23 signed rows'\n")


def test_notes_and_keys_that_do_not_hold(book: Path) -> None:
    lines = rows_of(book)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert ledger(book, note=note_of(lines, stranger))[1] == "NOT OK: 'the signature is false'\n"
    good = note_of(lines)
    assert ledger(book, note=good.replace(b"\n23\n", b"\n22\n"))[0] == 1
    renamed = good.replace("— ledger".encode(), "— ledges".encode())
    assert "did not sign" in ledger(book, note=renamed)[1]
    # A note whose size and root do not belong together, signed nevertheless.
    body = good.split(b"\n\n")[0].replace(b"\n23\n", b"\n24\n") + b"\n"
    lie = format_note(body, [NoteSignature(ORIGIN, KEY.key_id, PRIVATE.sign(body))])
    assert ledger(book, note=lie)[0] == 1
    file = book.with_suffix(".note")
    file.write_bytes(good)
    for vkey in (format_vkey(KEY).replace("ledger", "ledges"), format_vkey(KEY)[:-4]):
        assert run("ledger", book, "--note", file, "--vkey", vkey)[0] == 1


def test_a_ledger_without_a_note_and_what_is_not_said_of_it(book: Path) -> None:
    said = "OK: 23 rows, the chain holds; nothing says that it is the signed one\n"
    assert run("ledger", book) == (0, said)
    lines = book.read_bytes().split(b"\n")
    book.write_bytes(b"\n".join([*lines[:5], *lines[6:]]))
    assert run("ledger", book) == (1, "NOT OK: 'row 5: chain or seq'\n")


def test_a_ledger_whose_first_month_was_deleted(book: Path) -> None:
    lines = book.read_bytes().split(b"\n")
    book.write_bytes(b"\n".join([lines[0], *lines[8:]]))
    code, said = run("ledger", book)
    assert code == 1
    assert said.endswith("ledger.csv: needed are all rows from 1 on'\n")


def test_what_cannot_be_read_and_what_cannot_be_asked(book: Path) -> None:
    note, vkey = book.with_suffix(".note"), format_vkey(KEY)
    note.write_bytes(note_of(rows_of(book)))
    gone = book.with_name("gone")
    for words in (
        ("ledger", gone), ("ledger", book, "--note", gone, "--vkey", vkey),
        ("ledger", gone, "--note", note, "--vkey", vkey), ("extract", gone, "--vkey", vkey),
        ("ledger", book.parent),
    ):  # fmt: skip
        code, said = run(*words)
        assert code == 2
        assert said.startswith("cannot be read: ")
    asked = (
        ("ledger", book, "--note", note), ("ledger", book, "--vkey", vkey), ("extract", book),
        ("report", book), ("ledger", book, "--note", note, "--vkey", "key.vkey"),
        ("ledger", book, "--note", note, "--vkey", ""), ("extract", book, "--vkey", ""),
    )  # fmt: skip
    for each in asked:
        command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, each)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: ")
        assert not done.stdout


def extract(book: Path, positions: list[int], size: int = 23) -> list[bytes]:
    lines = rows_of(book)
    proofs = inclusion_proofs([lines], size, positions)
    rows = [(lines[proof.position], proof) for proof in proofs]
    return list(build_extract(note_of(lines[:size]), "acme", rows))


def both(book: Path, document: list[bytes]) -> bool:
    """What both verifiers say of it: the same."""
    file = book.with_suffix(".jsonl")
    file.write_bytes(b"".join(document))
    second = run("extract", file, "--vkey", format_vkey(KEY))[0] == 0
    try:
        first = check_extract(document, [KEY], Ed25519NoteVerifier()).ok
    except ValueError:
        first = False
    assert first == second
    return second


MINE = [1, 6, 11, 16, 21]


@pytest.mark.parametrize("size", [22, 23])
def test_an_extract_that_holds(book: Path, size: int) -> None:
    assert both(book, extract(book, MINE, size))
    assert both(book, extract(book, [], size))


def test_tampering_with_an_extract(book: Path) -> None:
    document = extract(book, MINE)
    head, one, *rest = document
    row = json.loads(one)

    def with_row(**fields: object) -> list[bytes]:
        return [head, json.dumps({**row, **fields}).encode() + b"\n", *rest]

    assert both(book, with_row())
    assert not both(book, with_row(line=row["line"].replace("N1", "N9")))
    assert not both(book, with_row(seq=3))
    assert not both(book, with_row(seq=24))
    assert not both(book, with_row(seq=0))
    assert not both(book, with_row(path=row["path"][:-1]))
    assert not both(book, with_row(path=[*row["path"], row["path"][0]]))
    assert not both(book, with_row(path=row["path"][::-1]))
    assert not both(book, with_row(line=""))
    assert not both(book, [head, one, one, *rest[1:]])
    assert not both(book, [head, *reversed(document[1:])])
    assert not both(book, document[:-1])
    assert not both(book, [*document, b"\n"])
    assert not both(book, [head.replace(b"acme", b"team-a"), one, *rest])
    assert not both(book, [head.replace(b"\\n23\\n", b"\\n24\\n"), one, *rest])
    assert not both(book, extract(book, [0, *MINE]))
    assert not both(book, [])
    assert not both(book, [b"{}\n", *document])


def test_hostile_text_does_not_reach_the_terminal(book: Path) -> None:
    document = extract(book, MINE)
    said = []
    for header in ({"module": "\x1b[2J"}, {"checkpoint": "\x1b[2J\n\n\u202e"}):
        file = book.with_suffix(".jsonl")
        hostile = {**json.loads(document[0]), **header}
        file.write_bytes(json.dumps(hostile).encode() + b"\n" + b"".join(document[1:]))
        said.append(run("extract", file, "--vkey", format_vkey(KEY)))
    assert all(code == 1 and text[:-1].isprintable() and text.isascii() for code, text in said)


def test_rows_with_a_wrong_number_of_their_own(book: Path) -> None:
    """Chained and signed all the same: whoever writes the ledger can do that."""
    header, *lines = book.read_bytes().split(b"\n")[:-1]
    wrong, prev = list[bytes](), "0" * 64
    for at, line in enumerate(lines, 1):
        prefix = line.rpartition(b",")[0].rpartition(b",")[0] + b",%d" % (at if at != 7 else 70)
        prev = sha256(prev.encode() + prefix).hexdigest()
        wrong.append(prefix + b"," + prev.encode())
    book.write_bytes(b"\n".join([header, *wrong]) + b"\n")
    assert ledger(book)[1] == "NOT OK: 'row 7: chain or seq'\n"
    assert both(book, extract(book, [1, 11, 16, 21]))
    assert not both(book, extract(book, MINE))
