"""The lab's OpenID Connect issuer: says who somebody is, in signed tokens (OIDC Core 1.0)."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from sigstore_wire import Answer, Refused, Request, key_id

AUDIENCE = "sigstore"
DISCOVERY_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/oidc/keys"


class Issuer:
    """Issues ES256 tokens, and checks its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = key_id(self._key.public_key()).hex()[:16]

    def token(
        self,
        email: str = "",
        *,
        sub: str = "",
        audience: str = AUDIENCE,
        lifetime_s: float = 600.0,
        claims: dict[str, Any] | None = None,
    ) -> str:
        """A token for a person (by e-mail address) or a workload (by subject URI).

        A negative lifetime gives one that has expired.
        """
        now = int(time.time())
        said: dict[str, Any] = {
            "iss": self.url,
            "aud": audience,
            "sub": sub or f"user:{email}",
            "iat": now - 1 if lifetime_s > 0 else now - 1 + int(lifetime_s) - 60,
            "exp": now + int(lifetime_s),
        }
        if email:
            said |= {"email": email, "email_verified": True}
        headers = {"kid": self._kid}
        return jwt.encode(said | (claims or {}), self._key, algorithm="ES256", headers=headers)

    def verify(self, token: str) -> dict[str, Any]:
        """The token's claims.

        Raises:
            Refused: it is not one of ours, or no longer, or not for Sigstore.
        """
        try:
            found: dict[str, Any] = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["ES256"],
                audience=AUDIENCE,
                issuer=self.url,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Refused(
                401, f"There was an error processing the identity token: {error}"
            ) from error
        return found

    def discovery(self, _request: Request) -> Answer:
        """The discovery document (OIDC Discovery 1.0, section 3)."""
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/oidc/auth",
            "token_endpoint": f"{self.url}/oidc/token",
            "jwks_uri": f"{self.url}{KEYS_PATH}",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        return Answer(json.dumps(document).encode())

    def keys(self, _request: Request) -> Answer:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        jwk = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        jwk |= {"kid": self._kid, "alg": "ES256", "use": "sig"}
        return Answer(json.dumps({"keys": [jwk]}).encode())


def identity(claims: dict[str, Any]) -> str:
    """Whom a certificate names for these claims: the e-mail address, or the subject."""
    if "email" in claims:
        if claims.get("email_verified") is not True:
            raise Refused(403, "email_verified claim is false")
        return str(claims["email"])
    return str(claims["sub"])
