"""Who the tests are to a registry, and what must never be printed of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

from token_server import Asked, Reply, Scripted

from yoyo.drivers.oci.credentials import Credentials
from yoyo.errors import YoyoError
from yoyo.model.oci import Reference

PASSWORD = "a-password-that-nobody-may-see"
IDENTITY = "an-identity-token-that-nobody-may-see"
SECRETS = (PASSWORD, IDENTITY, base64.b64encode(f"ann:{PASSWORD}".encode()).decode())
NOBODY = Credentials(env={})


def logged_in(home: Path, host: str, user: str = "ann", password: str = PASSWORD) -> Credentials:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return configured(home, {"auths": {host: {"auth": pair}}})


def configured(home: Path, document: object) -> Credentials:
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.json").write_text(json.dumps(document))
    return Credentials(env={"DOCKER_CONFIG": str(home)})


def said_by(refused: YoyoError) -> str:
    """All that an operator sees of an error, which holds no secret."""
    text = " ".join((refused.what, refused.why, refused.fix, *refused.details))
    for secret in SECRETS:
        assert secret not in text
        assert secret not in repr(refused)
    return text


SIGNED = "Signature=who-has-this-may-read"


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def replies(*given: Reply) -> Callable[[Asked], Reply]:
    """One after the other, the last for ever."""
    left = list(given)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def ref(server: Scripted) -> Reference:
    return Reference(server.host, "team/adapter")
