"""Who signs checkpoints, and who checks them: a key in a file, or the operator's own command."""

from __future__ import annotations

import base64
import binascii
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.core.audit.note import NoteError, verifier_key
from yoyo.drivers.keys.keyfile import load_private
from yoyo.errors import CheckpointFailed, SigningFailed
from yoyo.model.audit import VerifierKey
from yoyo.model.ids import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_BYTES: Final = 64  # RFC 8032, section 5.1.6
_LIMIT_S: Final = 30.0  # of the signer's command: a person may have to touch a token
_MOST_BYTES: Final = 8192  # of each of its outputs; a signature has 89
_KEYGEN: Final = (
    "Name an Ed25519 key in checkpoints.key. If it is lost: `yoyo ledger keygen --out NEW`, "
    "then `yoyo ledger rotate NEW --lost`."
)


class Ed25519NoteVerifier:
    """A `NoteVerifier`."""

    def is_signed(self, key: VerifierKey, body: bytes, signature: bytes) -> bool:
        """See the port. A key or a signature of another length signs nothing."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, body)
        except (InvalidSignature, ValueError):
            return False
        return True


class FileNoteSigner:
    """A `NoteSigner` by a private key in a file: PEM, PKCS #8, Ed25519, mode 0600."""

    def __init__(self, path: Path, name: str, password: Secret | None = None) -> None:
        """`name` is the key's in every note: the ledger's origin."""
        self._path = path
        self._name = name
        self._password = password
        self._loaded: Ed25519PrivateKey | None = None

    @property
    def key(self) -> VerifierKey:
        """See the port."""
        return _named(self._name, self._private.public_key().public_bytes_raw())

    def sign(self, body: bytes) -> bytes:
        """See the port."""
        return self._private.sign(body)

    @property
    def _private(self) -> Ed25519PrivateKey:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> Ed25519PrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            key = load_private(self._path, self._password)
        except SigningFailed as error:
            # Its remedy is about another setting, unless it is one for this very file.
            fix = error.fix if error.fix.startswith(("chmod", "set ", "check ")) else _KEYGEN
            raise CheckpointFailed(error.what, why=error.why, fix=fix) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise CheckpointFailed(
                f"The key {self._path} cannot sign checkpoints.",
                why="it is not an Ed25519 key",
                fix=_KEYGEN,
            )
        return key


class CommandNoteSigner:
    """A `NoteSigner` by a command: body on stdin, signature in base64 on stdout.

    For keys that no file holds: a token, a key service. It runs in a process group of its own.
    """

    def __init__(
        self, command: Sequence[str], vkey: VerifierKey, limit_s: float = _LIMIT_S
    ) -> None:
        """`vkey` is whose signature it must be: nothing else is believed."""
        self._command = list(command)
        self._key = vkey
        self._limit_s = limit_s

    @property
    def key(self) -> VerifierKey:
        """See the port."""
        return self._key

    def sign(self, body: bytes) -> bytes:
        """See the port."""
        said, complaint = self._run(body)
        try:
            signature = base64.b64decode(said.strip(), validate=True)
        except (binascii.Error, ValueError):
            signature = b""
        if len(signature) != SIGNATURE_BYTES:
            raise self._failed("it printed no Ed25519 signature in base64", complaint)
        if not Ed25519NoteVerifier().is_signed(self._key, body, signature):
            key = f"{self._key.name}+{self._key.key_id.hex()}"
            raise self._failed(f"its signature is not of {key}", complaint)
        return signature

    def _run(self, body: bytes) -> tuple[bytes, bytes]:
        pipe = subprocess.PIPE
        if not self._command:
            raise self._failed("it is empty")
        try:
            process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise self._failed(why or type(error).__name__) from error
        with process:
            try:
                said, complaint = self._heard(process, body)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != 0:
            how = process.returncode
            raise self._failed(
                f"it ended with {how}" if how > 0 else f"signal {-how} ended it", complaint
            )
        return said, complaint

    def _heard(self, process: subprocess.Popen[bytes], body: bytes) -> tuple[bytes, bytes]:
        """What it prints until it ends; the caller kills what is left of it."""
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("pipes were asked for")
        ends = time.monotonic() + self._limit_s
        with suppress(BrokenPipeError):  # it may know the body from elsewhere, or fail at once
            # A body is far smaller than a pipe's room: this waits for nobody.
            process.stdin.write(body)
            process.stdin.flush()
        with suppress(BrokenPipeError):
            process.stdin.close()
        heard = {process.stdout: b"", process.stderr: b""}
        with selectors.DefaultSelector() as waiting:
            for pipe in heard:
                waiting.register(pipe, selectors.EVENT_READ)
            while waiting.get_map():
                ready = waiting.select(max(0.0, ends - time.monotonic()))
                if not ready:
                    raise self._failed(f"it had not ended after {self._limit_s:g} s")
                for each, _ in ready:
                    pipe = process.stdout if each.fileobj is process.stdout else process.stderr
                    data = os.read(each.fd, _MOST_BYTES)
                    heard[pipe] += data
                    if len(heard[pipe]) > _MOST_BYTES:
                        raise self._failed(f"it printed more than {_MOST_BYTES} bytes")
                    if not data:
                        waiting.unregister(pipe)
        try:
            process.wait(max(0.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._failed(f"it had not ended after {self._limit_s:g} s") from None
        return heard[process.stdout], heard[process.stderr]

    def _failed(self, why: str, complaint: bytes = b"") -> CheckpointFailed:
        # Its arguments stay out of the error: a PIN may be among them.
        program = shlex.quote(self._command[0]) if self._command else "no command"
        lines = complaint.decode(errors="replace").strip().splitlines()
        return CheckpointFailed(
            f"The signer's command ({program}) did not sign the checkpoint.",
            why=f"{why}: {lines[-1][:400]}" if lines else why,
            fix="run the command of checkpoints.signer_command by hand: it reads the body from "
            "stdin and prints the Ed25519 signature in base64",
        )


def make_key(
    path: Path, name: str, password: Secret | None = None, *, beside: Path | None = None
) -> VerifierKey:
    """Make an Ed25519 key (PEM, PKCS #8, mode 0600) in a new file; gives its public half.

    `beside` is where the caller will write the public half.

    Raises:
        CheckpointFailed: there is something of either name, the two are one, it cannot be
            written, or `name` is none that a key may have.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    if beside == path:
        raise CheckpointFailed(
            f"No key was made: {path} is what its public half would be called.",
            why="a file of that ending is given to others, and this one must not be",
            fix="name another file, as --out ledger-key.pem",
        )
    if beside is not None and os.path.lexists(beside) and not os.path.lexists(path):
        raise CheckpointFailed(
            f"No key was made: {beside} is there already.",
            why="the public half would go there, and it may be that of a key in use",
            fix="name another file, as --out ledger-key-2.pem, or move that one away",
        )
    key = Ed25519PrivateKey.generate()
    found = _named(name, key.public_key().public_bytes_raw())
    phrase = password.reveal().encode() if password is not None else b""
    locked = BestAvailableEncryption(phrase) if phrase else NoEncryption()
    try:
        _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    except FileExistsError as error:
        raise CheckpointFailed(
            f"No key was made: {path} is there already.",
            why="a key that signed checkpoints must not be lost",
            fix="name another file, or move that one away",
        ) from error
    except OSError as error:
        raise CheckpointFailed(
            f"The key {path} could not be written.",
            why=error.strerror or type(error).__name__,
            fix=f"make {shlex.quote(str(path.parent))} a directory that you may write to",
        ) from error
    return found


def _write_new(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        try:
            os.fchmod(file, 0o600)  # a umask may have taken the owner's own rights
            left = memoryview(content)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        finally:
            os.close(file)
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    except OSError:
        path.unlink(missing_ok=True)  # a half of a key would stand in the next one's way
        raise


def _named(name: str, public: bytes) -> VerifierKey:
    try:
        return verifier_key(name, public)
    except NoteError as error:
        raise CheckpointFailed(
            f"{name[:80]!a} cannot be the name of a key.",
            why=str(error),
            fix="set checkpoints.origin to a name as HOST/PATH, without a scheme",
        ) from error
