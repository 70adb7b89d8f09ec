"""Keys in files: a private one is read only if nobody else can, and both kinds get one name."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.errors import SigningFailed
from yoyo.model.ids import Secret
from yoyo.model.signing import Identity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey
    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey

PASSWORD_VARIABLE: Final = "YOYO_KEY_PASSWORD"  # noqa: S105 (its name)
MAX_KEY_BYTES: Final = 64 * 1024
# RFC 7468: sections 10 and 11.
_PLAIN, _ENCRYPTED = b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PUBLIC: Final = b"-----BEGIN PUBLIC KEY-----"  # RFC 7468, section 13
_MAKE: Final = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256"


class BadPublicKey(ValueError):
    """The PEM is no public key that may be used; the message says why."""


def load_private(path: Path, password: Secret | None) -> PrivateKey:
    """A private key for signing: PEM, PKCS #8, EC P-256 or Ed25519.

    Raises:
        SigningFailed: it cannot be read, others can read it, the password is wrong, another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = _private_bytes(path).strip()
    if pem.startswith(_PUBLIC):
        raise SigningFailed(
            f"The signing key {path} is of no use.",
            why="that is the public half",
            fix="name the private one in signing.key",
        )
    if not pem.startswith((_PLAIN, _ENCRYPTED)):
        raise _unusable(path, "it is not a private key in PEM, PKCS #8")
    encrypted = pem.startswith(_ENCRYPTED)
    if encrypted and password is None:
        raise SigningFailed(
            f"The signing key {path} is encrypted, and no password was given.",
            why=f"the environment has no {PASSWORD_VARIABLE}",
            fix=f"set {PASSWORD_VARIABLE} for this one command",
        )
    # A password for another key is no reason to refuse one that needs none.
    phrase = password.reveal().encode() if encrypted and password is not None else None
    try:
        key = load_pem_private_key(pem, phrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's own text goes no further: it may quote what it read.
        if not encrypted:
            raise _unusable(path, "it is damaged") from None
        raise SigningFailed(
            f"The signing key {path} could not be opened.",
            why="the password is wrong, or the file is damaged",
            fix=f"check {PASSWORD_VARIABLE}",
        ) from None
    usable = _usable_private(key)
    if usable is None:
        raise _unusable(path, "it is neither EC P-256 nor Ed25519")
    return usable


def load_public(pem: bytes) -> PublicKey:
    """A public key to verify with: PEM, SubjectPublicKeyInfo, EC P-256 or Ed25519.

    Raises:
        BadPublicKey.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem[:MAX_KEY_BYTES]:
        raise BadPublicKey("it is a private key; the public half belongs here")
    if len(pem) > MAX_KEY_BYTES or pem.count(b"-----BEGIN ") != 1:
        raise BadPublicKey("it is not one public key in PEM")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadPublicKey("it is not a public key in PEM") from None
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    raise BadPublicKey("it is neither EC P-256 nor Ed25519")


def fingerprint(key: PublicKey) -> bytes:
    """sha256 of the key's SubjectPublicKeyInfo, DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()


def hint_of(key: PublicKey) -> str:
    """What a bundle calls its key, as cosign and sigstore-go write it."""
    return base64.b64encode(fingerprint(key)).decode()


def identity_of_key(key: PublicKey) -> Identity:
    """Who signs with it."""
    return Identity(f"key:sha256:{fingerprint(key).hex()}", "")


def _private_bytes(path: Path) -> bytes:
    """The bytes of a regular file that only its owner can read.

    Looked at through the open file: what is checked is what is read.
    """
    try:
        # O_NONBLOCK: a pipe in its place must not hold the command.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise _unusable(path, "it is not a regular file")
            if facts.st_mode & 0o077:
                raise SigningFailed(
                    f"The signing key {path} was not used.",
                    why=f"its mode {stat.S_IMODE(facts.st_mode):04o} lets others at it",
                    fix=f"chmod 600 {shlex.quote(str(path))}",
                )
            data = os.read(handle, MAX_KEY_BYTES + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise SigningFailed(
            f"The signing key {path} could not be read.",
            why=error.strerror or type(error).__name__,
            fix=f"name a key in signing.key, or make one: {_MAKE} -out {shlex.quote(str(path))}",
        ) from error
    if len(data) > MAX_KEY_BYTES:
        raise _unusable(path, "it is too large for a key")
    return data


def _usable_private(key: object) -> PrivateKey | None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return key
    return None


def _unusable(path: Path, why: str) -> SigningFailed:
    return SigningFailed(
        f"The signing key {path} is of no use.",
        why=why,
        fix=f"make one: {_MAKE} -out KEY (or convert one: openssl pkcs8 -topk8 -in OLD -out KEY)",
    )
