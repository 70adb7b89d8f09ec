"""Signed checkpoints as text, so that any tool of the transparency ecosystem can read ours.

C2SP signed-note (c2sp.org/signed-note) and tlog-checkpoint (c2sp.org/tlog-checkpoint).
`docs/formats/checkpoint.md` is our page. Reading a note is not believing it: see `check_note`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Protocol

from yoyo.model.audit import (
    ED25519_ALGORITHM,
    HASH_BYTES,
    Checkpoint,
    NoteSignature,
    TreeHead,
    VerifierKey,
)

MAX_NOTE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 100  # the specification asks for at least 16
_KEY_ID_BYTES: Final = 4
_DASH: Final = "\u2014 "
# A size of more than 18 digits is no ledger of ours.
_SIZE: Final = re.compile("0|[1-9][0-9]{0,17}", re.ASCII)
_HEX8: Final = re.compile("[0-9a-f]{8}", re.ASCII)
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f]")


class NoteError(ValueError):
    """A note or a key is malformed, or a signature does not hold; the message says what."""


class Verifies(Protocol):
    """Checks Ed25519 signatures: what the port of notaries asks of a verifier."""

    def is_signed(self, key: VerifierKey, body: bytes, signature: bytes) -> bool:
        """Whether the signature is of that key over exactly these bytes."""
        ...


def is_key_name(name: str) -> bool:
    """Whether a key may have that name: not empty, no Unicode space, no control, no plus."""
    return bool(name) and not any(c.isspace() or c < " " or c == "+" for c in name)


def key_id(name: str, public: bytes) -> bytes:
    """SHA-256 over the name, LF, 0x01 and the key, cut to 4 bytes. C2SP signed-note."""
    return sha256(name.encode() + b"\n" + bytes((ED25519_ALGORITHM,)) + public).digest()[
        :_KEY_ID_BYTES
    ]


def verifier_key(name: str, public: bytes) -> VerifierKey:
    """The key of that name.

    Raises:
        NoteError: the name or the key's length is wrong.
    """
    if not is_key_name(name):
        raise NoteError("the key's name is empty, or holds a space or a plus")
    if len(public) != 32:  # RFC 8032, section 5.1.5
        raise NoteError("an Ed25519 public key has 32 bytes")
    return VerifierKey(name, key_id(name, public), public)


def format_vkey(key: VerifierKey) -> str:
    """`NAME+HEX8+BASE64`, as golang.org/x/mod/sumdb/note writes it."""
    material = bytes((ED25519_ALGORITHM,)) + key.public
    return f"{key.name}+{key.key_id.hex()}+{base64.b64encode(material).decode()}"


def parse_vkey(text: str) -> VerifierKey:
    """Read `NAME+HEX8+BASE64`; one newline at the end may be there.

    Raises:
        NoteError: another form, another algorithm, or the id is not the key's.
    """
    name, _, rest = text.removesuffix("\n").partition("+")
    identity, _, encoded = rest.partition("+")
    if not is_key_name(name) or not _HEX8.fullmatch(identity):
        raise NoteError("it is not a verifier key: NAME+HEX8+BASE64")
    material = _decoded(encoded, "the key")
    if material[:1] != bytes((ED25519_ALGORITHM,)):
        raise NoteError("the key is not of Ed25519")
    key = verifier_key(name, material[1:])
    if key.key_id.hex() != identity:
        raise NoteError("the key's id does not belong to its name and bytes")
    return key


def body_of(origin: str, head: TreeHead) -> bytes:
    """What a checkpoint's signature is over: three lines, each with its LF.

    Raises:
        NoteError: the origin cannot be one, or the root has another length.
    """
    if not is_key_name(origin):
        raise NoteError("the origin is empty, or holds a space or a plus")
    if len(head.root) != HASH_BYTES or head.size < 0:
        raise NoteError("that is no tree head")
    return f"{origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n".encode()


def note_name(checkpoint_size: int, key: VerifierKey) -> str:
    """What a checkpoint is called where it is kept: 20 digits of size, the key's id in hex."""
    return f"{checkpoint_size:020d}-{key.key_id.hex()}"


def format_note(body: bytes, signatures: Iterable[NoteSignature]) -> bytes:
    """The whole note. `body` ends in LF."""
    lines = (
        f"{_DASH}{each.name} {base64.b64encode(each.key_id + each.signature).decode()}\n"
        for each in signatures
    )
    return body + b"\n" + "".join(lines).encode()


def parse_checkpoint(note: bytes) -> Checkpoint:
    """Read a note strictly; its signatures are not verified by this.

    Raises:
        NoteError.
    """
    body, signatures = split_note(note)
    lines = body.decode().split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise NoteError("a checkpoint has three or more lines, and none of them is empty")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size):
        raise NoteError("the second line is not a number of rows")
    head = TreeHead(int(size), _decoded(root, "the root"))
    if len(head.root) != HASH_BYTES:
        raise NoteError(f"the root has not {HASH_BYTES} bytes")
    return Checkpoint(origin, head, tuple(lines[3:]), body, signatures)


def split_note(note: bytes) -> tuple[bytes, tuple[NoteSignature, ...]]:
    """A signed note's text, up to and with its last LF, and its signatures.

    Raises:
        NoteError.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise NoteError(f"it is larger than {MAX_NOTE_BYTES} bytes")
    try:
        text = note.decode()
    except UnicodeDecodeError:
        raise NoteError("it is not UTF-8") from None
    if _CONTROL.search(text):
        raise NoteError("it holds a control character")
    cut = text.rfind("\n\n")
    if cut < 0 or not text.endswith("\n"):
        raise NoteError("it has no signatures after an empty line, or no newline at its end")
    # Not splitlines: it knows ends of lines that a note does not have.
    lines = text[cut + 2 :].split("\n")[:-1]
    if not 0 < len(lines) <= MAX_SIGNATURES:
        raise NoteError(f"it has no signature, or more than {MAX_SIGNATURES}")
    return text[: cut + 1].encode(), tuple(map(_signature, lines))


def check_note(
    checkpoint: Checkpoint, keys: Sequence[VerifierKey], verifier: Verifies
) -> tuple[VerifierKey, ...]:
    """The keys whose signature holds, in the order of the lines; there is at least one.

    Lines of other keys are ignored, as the specification asks.

    Raises:
        NoteError: no line is of a known key, or a known key's signature does not hold.
    """
    known = {(key.name, key.key_id): key for key in keys}
    if len(known) != len(set(keys)):
        raise NoteError("two of the known keys have the same name and id")
    good: dict[VerifierKey, None] = {}
    for line in checkpoint.signatures:
        key = known.get((line.name, line.key_id))
        if key is None or key in good:
            continue
        if not verifier.is_signed(key, checkpoint.body, line.signature):
            raise NoteError(f"the signature of {key.name}+{key.key_id.hex()} does not hold")
        good[key] = None
    if not good:
        signers = ", ".join(f"{s.name}+{s.key_id.hex()}" for s in checkpoint.signatures[:4])
        raise NoteError(f"none of the known keys signed it; it is signed by {signers}")
    return tuple(good)


def _signature(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not is_key_name(name):
        raise NoteError("a line after the empty one is not a signature")
    blob = _decoded(encoded, "a signature")
    if len(blob) <= _KEY_ID_BYTES:
        raise NoteError("a signature is too short")
    return NoteSignature(name, blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])


def _decoded(text: str, what: str) -> bytes:
    """Base64 in its one spelling, RFC 4648 section 4: a second one would be a second note."""
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if not blob or base64.b64encode(blob).decode() != text:
        raise NoteError(f"{what} is not in base64")
    return blob
