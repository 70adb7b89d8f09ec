"""Who may call: service account files, the token endpoint, bearer tokens."""

from __future__ import annotations

import base64
import functools
import json
import secrets
import time
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

JSON = dict[str, Any]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_LIFE_S = 3600


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    # One for the process: making one takes longer than most tests.
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _kept_key(state_file: Path) -> rsa.RSAPrivateKey:
    """The key beside a state file: key files written by an earlier process stay good."""
    path = state_file.with_name(state_file.name + ".key")
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(_pem(_key()))
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"no RSA key: {path}")
    return key


class Auth:
    """Grants and accepts. `revoked` refuses everything from then on."""

    def __init__(self, project: str, state_file: Path | None = None) -> None:
        self.project = project
        self.email = f"yoyo@{project}.iam.gserviceaccount.com"
        self.revoked = False
        self._key = _kept_key(state_file) if state_file else _key()
        self._tokens: dict[str, float] = {}

    def service_account_file(self, token_uri: str, universe: str) -> JSON:
        """The contents of a service account's key file."""
        return {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": _pem(self._key).decode(),
            "client_email": self.email,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{self.email}",
            "universe_domain": universe,
        }

    def grant(self, form: dict[str, str]) -> tuple[int, JSON]:
        """Answer the token endpoint: status and body."""
        if form.get("grant_type") != JWT_BEARER or form.get("assertion", "").count(".") != 2:
            return 400, {"error": "unsupported_grant_type", "error_description": "Invalid grant"}
        if self.revoked:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        token = f"ya29.{secrets.token_urlsafe(48)}"
        self._tokens[token] = time.time() + TOKEN_LIFE_S
        return 200, {"access_token": token, "expires_in": TOKEN_LIFE_S - 1, "token_type": "Bearer"}

    def expire_tokens(self) -> None:
        """Every token given out so far is dead; new ones are granted."""
        self._tokens.clear()

    def accepts(self, header: str) -> bool:
        """Whether a call with this Authorization header is let in."""
        kind, _, token = header.partition(" ")
        if kind != "Bearer" or self.revoked:
            return False
        # Google's client signs a token of its own instead of asking for one.
        return self._tokens.get(token, 0.0) > time.time() or self._signed(token)

    def _signed(self, token: str) -> bool:
        try:
            head, claims, signature = token.split(".")
            said = json.loads(_decoded(claims))
            self._key.public_key().verify(
                _decoded(signature),
                f"{head}.{claims}".encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except (ValueError, InvalidSignature):
            return False
        return bool(said.get("iss") == self.email and said.get("exp", 0) > time.time())


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
