"""Who signs checkpoints: keys in files that nobody else can read, and commands on a short lead."""

from __future__ import annotations

import os
import selectors
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from yoyo.core.audit.note import (
    body_of,
    check_note,
    format_note,
    format_vkey,
    parse_checkpoint,
    parse_vkey,
)
from yoyo.drivers.keys.notes import (
    CommandNoteSigner,
    Ed25519NoteVerifier,
    FileNoteSigner,
    make_key,
)
from yoyo.errors import CheckpointFailed
from yoyo.model.audit import NoteSignature, TreeHead
from yoyo.model.ids import Secret
from yoyo.ports.notary import NoteSigner, NoteVerifier

ORIGIN = "ledger.example/one"
BODY = body_of(ORIGIN, TreeHead(3, bytes(32)))
VERIFIER: NoteVerifier = Ed25519NoteVerifier()


def by_command(path: Path, script: str, limit_s: float = 30.0) -> CommandNoteSigner:
    """A signer whose command is that Python text; `K` is the key's path."""
    head = (
        "import base64, os, sys, time\n"
        "from cryptography.hazmat.primitives.serialization import load_pem_private_key\n"
        f"K = {str(path)!r}\n"
        "def key():\n    return load_pem_private_key(open(K, 'rb').read(), None)\n"
    )
    command = [sys.executable, "-c", head + script, "--pin", "1234"]
    return CommandNoteSigner(command, FileNoteSigner(path, ORIGIN).key, limit_s)


SIGN = "print(base64.b64encode(key().sign(sys.stdin.buffer.read())).decode())"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "key.pem", ORIGIN)
    return tmp_path / "key.pem"


def test_a_made_key_signs_notes_that_hold(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    old = os.umask(0o277)
    try:
        made = make_key(path, ORIGIN)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    signer: NoteSigner = FileNoteSigner(path, ORIGIN)
    assert signer.key == made == parse_vkey(format_vkey(made))
    note = format_note(BODY, [NoteSignature(ORIGIN, made.key_id, signer.sign(BODY))])
    assert check_note(parse_checkpoint(note), [made], VERIFIER) == (made,)
    assert not VERIFIER.is_signed(made, BODY + b"x", signer.sign(BODY))
    assert not VERIFIER.is_signed(made, BODY, signer.sign(BODY)[:-1])
    assert not VERIFIER.is_signed(made._replace(public=b"short"), BODY, signer.sign(BODY))
    assert str(path) not in repr(made)


def test_openssl_reads_the_key_and_says_the_same(key: Path) -> None:
    done = subprocess.run(
        ["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert done.stdout[-32:] == FileNoteSigner(key, ORIGIN).key.public


def test_no_key_is_ever_written_over(key: Path, tmp_path: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(CheckpointFailed, match="there already"):
        make_key(key, ORIGIN)
    assert key.read_bytes() == before
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointFailed, match="there already"):
        make_key(link, ORIGIN)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(CheckpointFailed, match="could not be written"):
        make_key(tmp_path / "none" / "key.pem", ORIGIN)
    with pytest.raises(CheckpointFailed, match="cannot be the name"):
        make_key(tmp_path / "other.pem", "two words")
    assert not (tmp_path / "other.pem").exists()


def test_an_encrypted_key(tmp_path: Path) -> None:
    path, password = tmp_path / "key.pem", Secret("correct horse")
    made = make_key(path, ORIGIN, password)
    assert b"ENCRYPTED" in path.read_bytes()
    assert FileNoteSigner(path, ORIGIN, password).key == made
    for wrong in (None, Secret("wrong")):
        with pytest.raises(CheckpointFailed) as caught:
            FileNoteSigner(path, ORIGIN, wrong).sign(BODY)
        assert "YOYO_KEY_PASSWORD" in caught.value.fix
        assert "wrong" not in f"{caught.value.what}{caught.value.fix}"


def test_keys_that_cannot_be_used(key: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointFailed, match="could not be read") as caught:
        _ = FileNoteSigner(tmp_path / "none", ORIGIN).key
    assert "keygen" in caught.value.fix
    with pytest.raises(CheckpointFailed, match="cannot be the name"):
        _ = FileNoteSigner(key, "a+b").key
    key.chmod(0o640)
    with pytest.raises(CheckpointFailed) as caught:
        FileNoteSigner(key, ORIGIN).sign(BODY)
    assert caught.value.fix.startswith("chmod 600")
    other = tmp_path / "ec.pem"
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    other.chmod(0o600)
    with pytest.raises(CheckpointFailed, match="cannot sign checkpoints") as caught:
        FileNoteSigner(other, ORIGIN).sign(BODY)
    assert "Ed25519" in caught.value.why


def test_a_command_signs(key: Path) -> None:
    signer: NoteSigner = by_command(key, SIGN)
    assert signer.sign(BODY) == FileNoteSigner(key, ORIGIN).sign(BODY)
    assert signer.key == FileNoteSigner(key, ORIGIN).key


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("sys.exit(3)", "it ended with 3"),
        ("sys.exit('no token\\nplease insert it')", "it ended with 1: please insert it"),
        ("os.kill(os.getpid(), 9)", "signal 9 ended it"),
        ("", "no Ed25519 signature"),
        ("print('???')", "no Ed25519 signature"),
        ("print(base64.b64encode(bytes(63)).decode())", "no Ed25519 signature"),
        ("print(base64.b64encode(bytes(64)).decode())", "its signature is not of ledger.example"),
        (SIGN.replace("read()", "read()[1:]"), "its signature is not of"),
        ("while True: print('x' * 1000)", "more than 8192 bytes"),
        ("while True: print('x' * 1000, file=sys.stderr)", "more than 8192 bytes"),
        (SIGN + "; sys.stdout.flush(); sys.exit(1)", "it ended with 1"),
    ],
)
def test_a_command_that_does_not(key: Path, script: str, why: str) -> None:
    with pytest.raises(CheckpointFailed) as caught:
        by_command(key, script).sign(BODY)
    assert why in caught.value.why
    assert "1234" not in f"{caught.value.what}{caught.value.why}{caught.value.fix}"


@pytest.mark.parametrize("command", [["/no/such/program"], ["/"], [""], []])
def test_a_command_that_is_none(key: Path, command: list[str]) -> None:
    with pytest.raises(CheckpointFailed):
        CommandNoteSigner(command, FileNoteSigner(key, ORIGIN).key).sign(BODY)


def test_a_command_that_hangs_is_ended_with_all_its_children(key: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    # All of them hold the pipe's other end: its end of file tells that all of them are gone.
    script = 'exec 9>"$0"; echo here >&9; sleep 1000 & exec sleep 1000'
    vkey = FileNoteSigner(key, ORIGIN).key
    with pytest.raises(CheckpointFailed, match="did not sign") as caught:
        CommandNoteSigner(["/bin/sh", "-c", script, str(pipe)], vkey, limit_s=2.0).sign(BODY)
    assert caught.value.why == "it had not ended after 2 s"
    with selectors.DefaultSelector() as waiting:
        waiting.register(reading, selectors.EVENT_READ)
        said: list[bytes] = []
        while not said or said[-1]:
            assert waiting.select(30.0), "something of the command still runs"
            said.append(os.read(reading, 100))
    os.close(reading)
    assert said == [b"here\n", b""]
