"""Where the OIDC identity token of a keyless signature comes from; it is never printed."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.errors import SigningFailed

if TYPE_CHECKING:
    from sigstore.oidc import IdentityToken

# Ours first: somebody may have the other one set for another tool.
VARIABLES: Final = ("YOYO_IDENTITY_TOKEN", "SIGSTORE_ID_TOKEN")
MAX_TOKEN_BYTES: Final = 64 * 1024
_WAYS: Final = (
    "name a file in signing.token_file (mode 0600), or set YOYO_IDENTITY_TOKEN, "
    "or run where the platform gives one (GitHub Actions, GitLab CI, Google Cloud, ...)"
)
# RFC 7515, section 3.1: three parts, base64url each.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\Z")


def identity_token(token_file: Path | None, env: Mapping[str, str]) -> str:
    """The token from the file, else from the environment, else from the platform.

    A way that is there and fails is an error: the next one would be another identity.

    Raises:
        SigningFailed: none of the three has a token, or what one has is none.
    """
    if token_file is not None:
        return _checked(_from_file(token_file), f"the file {token_file}")
    for name in VARIABLES:
        if env.get(name):
            return _checked(env[name], f"the environment's {name}")
    return _checked(_ambient(), "the platform")


def claimed_subject(token: IdentityToken) -> str:
    """Whom a certificate for this token will most likely name.

    Fulcio names a verified e-mail address for people, and for machines what the issuer is
    configured for. `sigstore` knows that of the public instance's issuers alone.
    """
    encoded = str(token).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    email = claims.get("email")
    if claims.get("email_verified") is True and isinstance(email, str) and email:
        return email
    return token.identity


def _checked(text: str, source: str) -> str:
    token = text.strip()
    if not _TOKEN.match(token):
        raise SigningFailed(
            "The identity token is none.",
            why=f"what {source} holds is not a JSON Web Token",
            fix=_WAYS,
        )
    return token


def _from_file(path: Path) -> str:
    """The text of a regular file that only its owner can read, checked through the open file."""
    try:
        # O_NONBLOCK: a pipe in its place must not hold the command.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_TOKEN_BYTES:
                raise SigningFailed(
                    f"The identity token file {path} was not used.",
                    why="it is not a regular file of the size of a token",
                    fix=_WAYS,
                )
            if facts.st_mode & 0o077:
                raise SigningFailed(
                    f"The identity token file {path} was not used.",
                    why=f"its mode {stat.S_IMODE(facts.st_mode):04o} lets others at it",
                    fix=f"chmod 600 {shlex.quote(str(path))}",
                )
            return os.read(handle, MAX_TOKEN_BYTES).decode("ascii", "replace")
        finally:
            os.close(handle)
    except OSError as error:
        raise SigningFailed(
            f"The identity token file {path} could not be read.",
            why=error.strerror or type(error).__name__,
            fix=_WAYS,
        ) from error


def _ambient() -> str:
    from sigstore.oidc import detect_credential

    try:
        found = detect_credential()
    except Exception as error:
        # Of its text only the class is shown: the text may quote the token.
        kind = type(error.__cause__ or error).__name__
        raise SigningFailed(
            "The platform's identity token could not be had.",
            why=f"the platform offers one, and asking for it failed ({kind})",
            fix="let the job have one (GitHub Actions: permissions, id-token: write); or " + _WAYS,
        ) from None
    if not found:
        raise SigningFailed(
            "There is no identity token to sign with.",
            why="no file is configured, the environment has none, and no platform offers one",
            fix=_WAYS,
        )
    return found
