"""Debian's docker-registry on loopback: open, behind passwords, or behind tokens."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

DEADLINE_S = 30.0
_LISTENING = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")


class TokenAuth(NamedTuple):
    """What the registry is told of a token server; token_server.TokenServer.auth gives it."""

    realm: str
    service: str
    issuer: str
    roots: Path  # a PEM bundle of certificates that sign tokens


class RegistryLab:
    """A registry from `with` to its end; `stop` and `start` in between keep port and content.

    `users` (name to password) puts it behind basic authentication, `tokens` behind a token server.
    """

    def __init__(
        self,
        home: Path,
        *,
        users: Mapping[str, str] | None = None,
        tokens: TokenAuth | None = None,
    ) -> None:
        self.home = home / "registry"
        self.storage = self.home / "storage"
        self.log = self.home / "registry.log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._users = dict(users or {})
        self._tokens = tokens

    @property
    def host(self) -> str:
        """HOST:PORT, as in a reference."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def blob_file(self, digest: str) -> Path:
        """Where the bytes of that digest lie on the registry's disk."""
        hexadecimal = digest.removeprefix("sha256:")
        blobs = self.storage / "docker/registry/v2/blobs/sha256"
        return blobs / hexadecimal[:2] / hexadecimal / "data"

    def start(self) -> None:
        """Begin to serve; again at the same port if it served before."""
        assert self.process is None
        binary = shutil.which("docker-registry")
        assert binary, "docker-registry is not installed: sudo apt-get install docker-registry"
        self.home.mkdir(parents=True, exist_ok=True)
        config = self.home / "config.yml"
        config.write_text(json.dumps(self._config(), indent=1))  # YAML as well
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.home)},
                start_new_session=True,
            )
        deadline = time.monotonic() + DEADLINE_S
        while not (found := _LISTENING.search(self.log.read_bytes())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)
        # The socket listens before this line is logged: from here on, requests wait, none fails.
        self.port = int(found[1])

    def stop(self) -> None:
        """End it and cut every connection; nothing of its storage is lost."""
        process, self.process = self.process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)

    def _config(self) -> dict[str, object]:
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                # No cache of descriptors: a test changes what lies on the disk.
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            # The secret signs the state of uploads, which a restart must not lose.
            "http": {"addr": f"127.0.0.1:{self.port}", "secret": "of-the-laboratory"},
        }
        if self._users:
            config["auth"] = {"htpasswd": {"realm": "laboratory", "path": str(self._passwords())}}
        if self._tokens:
            config["auth"] = {
                "token": {
                    "realm": self._tokens.realm,
                    "service": self._tokens.service,
                    "issuer": self._tokens.issuer,
                    "rootcertbundle": str(self._tokens.roots),
                }
            }
        return config

    def _passwords(self) -> Path:
        import bcrypt

        path = self.home / "htpasswd"
        cheap = bcrypt.gensalt(4)
        lines = (
            f"{name}:{bcrypt.hashpw(password.encode(), cheap).decode()}\n"
            for name, password in self._users.items()
        )
        path.write_text("".join(lines))
        return path

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
