"""Signs statements with a key of one's own: no service is asked, no log learns of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.core.dsse import key_bundle, pae
from yoyo.drivers.keys.keyfile import hint_of, identity_of_key, load_private
from yoyo.errors import SigningFailed
from yoyo.model.ids import Secret
from yoyo.model.signing import MAX_BUNDLE_BYTES, PAYLOAD_TYPE, Identity

if TYPE_CHECKING:
    from yoyo.drivers.keys.keyfile import PrivateKey


class KeySigner:
    """A `Signer` by a private key in a file (PEM, PKCS #8, EC P-256 or Ed25519, mode 0600)."""

    def __init__(self, path: Path, password: Secret | None) -> None:
        self._path = path
        self._password = password
        self._loaded: PrivateKey | None = None

    @property
    def identity(self) -> Identity:
        """`key:sha256:<hex>` of the public half.

        Raises:
            SigningFailed: the key cannot be read, or is of no use.
        """
        return identity_of_key(self._key.public_key())

    @property
    def public(self) -> bool:
        """Never: no log learns of it."""
        return False

    def sign(self, statement: bytes) -> bytes:
        """A bundle v0.3 with the key's hint, and without a log entry or a time.

        Raises:
            SigningFailed.
        """
        key = self._key
        signature = _signature(key, pae(PAYLOAD_TYPE, statement))
        bundle = key_bundle(statement, signature, hint_of(key.public_key()))
        if len(bundle) > MAX_BUNDLE_BYTES:
            raise SigningFailed(
                "The statement is too large to be signed.",
                why=f"its bundle has {len(bundle)} bytes, and at most {MAX_BUNDLE_BYTES} are read",
                fix="sign a shorter statement",
            )
        return bundle

    @property
    def _key(self) -> PrivateKey:
        if self._loaded is None:
            self._loaded = load_private(self._path, self._password)
        return self._loaded


def _signature(key: PrivateKey, message: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, EllipticCurvePrivateKey):
        return key.sign(message, ECDSA(SHA256()))
    return key.sign(message)
