"""Verifies bundles against public keys that the operator has: nothing else is asked or believed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from yoyo.core.dsse import PUBLIC_KEY, DsseError, pae, read_bundle
from yoyo.drivers.keys.keyfile import BadPublicKey, hint_of, identity_of_key, load_public
from yoyo.errors import BundleRefused
from yoyo.model.signing import PAYLOAD_TYPE, Attestation, Identity

if TYPE_CHECKING:
    from yoyo.drivers.keys.keyfile import PublicKey


def identity_of(pem: bytes) -> Identity:
    """Who signs with the private half of this public key.

    Raises:
        BundleRefused: `untrusted`: it is no public key that may be used.
    """
    return identity_of_key(_public(pem))


class KeyVerifier:
    """A `Verifier` by public keys (PEM, EC P-256 or Ed25519)."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        """Raise BundleRefused(`untrusted`) where one of the keys is none that may be used."""
        self._keys = {hint_of(key): key for key in map(_public, keys)}

    def verify(self, bundle: bytes, accepted: tuple[Identity, ...]) -> Attestation:
        """The signature, by one of the keys, whose identity is accepted.

        A log entry or a timestamp in the bundle is not looked at: in this mode the key is all.

        Raises:
            BundleRefused.
        """
        try:
            found = read_bundle(bundle)
        except DsseError as error:
            raise BundleRefused("malformed", str(error)) from error
        if found.material != PUBLIC_KEY:
            raise BundleRefused("mode", "it was signed keyless, and keys are what is trusted here")
        if found.payload_type != PAYLOAD_TYPE:
            raise BundleRefused("payload", f"its payload is not {PAYLOAD_TYPE}")
        key = self._keys.get(found.hint)
        if key is None:
            raise BundleRefused(
                "identity",
                f"it names the key {found.hint!a}, which is none of the trusted ones",
            )
        identity = identity_of_key(key)
        if identity not in accepted:
            raise BundleRefused("identity", f"{identity} is not accepted for this")
        if not _signed_by(key, found.signature, pae(found.payload_type, found.payload)):
            raise BundleRefused("signature", f"the signature is not of {identity}")
        digest = "sha256:" + hashlib.sha256(bundle).hexdigest()
        return Attestation(found.payload_type, found.payload, identity, None, None, digest)


def _public(pem: bytes) -> PublicKey:
    try:
        return load_public(pem)
    except BadPublicKey as error:
        raise BundleRefused("untrusted", f"a trusted public key is of no use: {error}") from error


def _signed_by(key: PublicKey, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, message, ECDSA(SHA256()))
        else:
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
