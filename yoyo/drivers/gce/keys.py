"""Key material: the bearer key sealed for one node, and the node's SSH identity.

Why sealed with RSA-OAEP, and why through metadata: docs/adr/0007.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

_LEAST_BITS, _MOST_BITS = 3072, 8192
_BEARER_BYTES = 32  # 64 hex characters


class BadSealKey(ValueError):
    """What the node published is no RSA key that may be used."""


def new_bearer_key() -> str:
    """A fresh key of 64 hex characters."""
    return os.urandom(_BEARER_BYTES).hex()


def seal(bearer: str, seal_key_pem: str, request_id: str) -> str:
    """The bearer key for that node's eyes alone, base64: RSA-OAEP (RFC 8017) with SHA-256.

    The label binds it to one life, so that an old one cannot be played back.

    Raises:
        BadSealKey: the PEM is hostile or broken.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(seal_key_pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadSealKey(f"the node's seal key is no public key ({error})"[:200]) from None
    if not isinstance(key, rsa.RSAPublicKey) or not _LEAST_BITS <= key.key_size <= _MOST_BITS:
        raise BadSealKey(f"the node's seal key is not RSA of {_LEAST_BITS} to {_MOST_BITS} bits")
    digest = hashes.SHA256()
    box = padding.OAEP(padding.MGF1(digest), digest, request_id.encode())
    return base64.b64encode(key.encrypt(bearer.encode(), box)).decode()


def digest_of(bearer: str) -> str:
    """What the node publishes of the key it uses: its sha256, hex."""
    return hashlib.sha256(bearer.encode()).hexdigest()


def ssh_public_key(private_key: Path) -> str:
    """The node's SSH identity, made at the first call: `ssh-ed25519 AAAA... yoyo`.

    The private half stays in `private_key`, mode 0600.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_ssh_private_key,
    )

    try:
        key = load_ssh_private_key(private_key.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        key = Ed25519PrivateKey.generate()
        text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        part = private_key.with_name(f"{private_key.name}.{os.getpid()}.part")
        part.touch(mode=0o600)
        part.write_bytes(text)
        part.replace(private_key)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return f"{public.decode()} yoyo"
