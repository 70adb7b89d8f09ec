"""The tokens of a fake Compute Engine, let in to a fake store: one project, one identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gce_auth import JWT_BEARER, Auth

JSON = dict[str, Any]


def accepted_by(auth: Auth) -> Callable[[str], bool]:
    """What FakeGcs takes as `accept`: the tokens that `auth` has granted, and its key's own."""
    return lambda token: auth.accepts(f"Bearer {token}")


def granted(auth: Auth) -> JSON:
    """A token as a metadata server hands it out: access_token, expires_in, token_type."""
    status, body = auth.grant({"grant_type": JWT_BEARER, "assertion": "not.looked.at"})
    if status != 200:
        raise ValueError(body)
    return body
