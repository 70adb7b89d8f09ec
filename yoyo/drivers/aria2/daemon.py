"""One aria2c for this process: started when a transfer needs it, gone when none is left.

It ends with the process that started it, even one killed: within a second or two, as aria2 looks
for it by its number. A successor waits for that, as two of them on one file would each write their
own account of it. How it knows: whoever is alive holds a lock, and so does its aria2c.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from yoyo.errors import DriverUnavailable, SourceFailed

_PATIENCE_S: Final = 20.0  # for a start, and for the end of a predecessor's aria2c
_RPC_S: Final = 10.0
_PORT_TRIES: Final = 5
# Below it a connection is opened anew; a bound on patience, no figure of any source.
_LOWEST_SPEED: Final = "1K"


class Gone(Exception):
    """aria2c does not answer; the message says why and holds no secret."""


class Refused(Exception):
    """aria2c answered that it cannot do this, as it knows no such transfer."""


class Daemon:
    """aria2c and its remote control; safe from threads."""

    def __init__(self, directory: Path, connections: int) -> None:
        self._directory = directory
        self._connections = connections
        self._guard = threading.RLock()
        self._users = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._owner: int | None = None
        self._name = ""
        self._client: Any = None
        self._close: Callable[[], None] = lambda: None

    def acquire(self) -> None:
        """Count a user, and start aria2c where none runs.

        Raises:
            DriverUnavailable, SourceFailed.
        """
        with self._guard:
            self.ensure()
            self._users += 1

    def release(self) -> None:
        """Count a user out; the last one stops aria2c."""
        with self._guard:
            self._users = max(0, self._users - 1)
            if not self._users:
                self.stop()

    def ensure(self) -> None:
        """Start aria2c if none runs.

        Raises:
            DriverUnavailable, SourceFailed.
        """
        with self._guard:
            if self._process is not None and self._process.poll() is None:
                return
            self.stop()
            self._start()

    def call(self, method: str, *arguments: Any) -> Any:
        """One call over aria2c's RPC, by the name that aria2p gives it.

        Raises:
            Gone, Refused.
        """
        with self._guard:
            if self._client is None or self._process is None:
                raise Gone("aria2c does not run")
            from aria2p import ClientException
            from requests.exceptions import RequestException

            try:
                return getattr(self._client, method)(*arguments)
            except ClientException as error:
                raise Refused(f"aria2c refused {method} (code {error.code})") from None
            # A broken answer is no JSON: aria2c was killed while it wrote it.
            except (RequestException, ValueError) as error:
                raise Gone(f"aria2c does not answer ({type(error).__name__})") from None

    def stop(self) -> None:
        """End aria2c, which saves what it knows of every transfer first."""
        with self._guard:
            process, self._process = self._process, None
            if process is not None:
                process.terminate()
                try:
                    process.wait(_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            self._close()
            self._close = lambda: None
            self._client = None
            if self._owner is not None:
                self._forget(self._name)
                os.close(self._owner)
                self._owner = None

    def _start(self) -> None:
        binary = shutil.which("aria2c")
        if binary is None:
            raise DriverUnavailable(
                "Downloads need aria2c, which is not installed.",
                why="No aria2c is on PATH.",
                fix="sudo apt-get install aria2",
            )
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._await_predecessors()
            for _ in range(_PORT_TRIES):
                if self._spawn(binary):
                    return
                self.stop()
        except OSError as error:
            self.stop()
            raise _not_started(error.strerror or type(error).__name__) from None
        raise _not_started("it ended at once, or did not answer")

    def _spawn(self, binary: str) -> bool:
        self._name = name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._owner = _lock(self._directory / f"{name}.owner")
        alive = _lock(self._directory / f"{name}.daemon")
        secret, port = secrets.token_urlsafe(32), _free_port()
        conf = self._directory / f"{name}.conf"
        try:
            # In a file of ours: every user of the machine can read an argv.
            with open(
                conf, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)
            ) as file:
                file.write(self._options(secret, port))
            self._process = subprocess.Popen(
                [binary, f"--conf-path={conf}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(alive,),
                # Control-C is for yoyo, which then ends it in order.
                start_new_session=True,
            )
        finally:
            os.close(alive)
        self._client, self._close = _remote(port, secret)
        return self._answers()

    def _answers(self) -> bool:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            try:
                self.call("get_version")
            except Gone:
                time.sleep(0.01)
            except Refused:  # somebody else's, on a port that was free a moment ago
                return False
            else:
                return True
        return False

    def _options(self, secret: str, port: int) -> str:
        options = {
            "enable-rpc": "true",
            "rpc-listen-all": "false",
            "rpc-listen-port": port,
            "rpc-secret": secret,
            "stop-with-process": os.getpid(),
            "quiet": "true",
            "no-netrc": "true",
            # A model is a file, whatever its server calls it.
            "follow-torrent": "false",
            "follow-metalink": "false",
            "continue": "true",
            "always-resume": "false",
            "max-resume-failure-tries": 0,
            "allow-overwrite": "true",
            "auto-file-renaming": "false",
            "auto-save-interval": 1,
            "file-allocation": "none",
            # A piece that counts as fetched is read at once: it must not wait in memory.
            "disk-cache": 0,
            "piece-length": "1M",
            "split": self._connections,
            "max-connection-per-server": self._connections,
            "stream-piece-selector": "inorder",
            "max-concurrent-downloads": 64,
            "max-tries": 3,
            "retry-wait": 1,
            "timeout": 20,
            "connect-timeout": 20,
            "lowest-speed-limit": _LOWEST_SPEED,
            "user-agent": "yoyo",
        }
        return "".join(f"{name}={value}\n" for name, value in options.items())

    def _await_predecessors(self) -> None:
        """Wait for every aria2c here whose process is dead."""
        deadline = time.monotonic() + _PATIENCE_S
        for owner in sorted(self._directory.glob("*.owner")):
            if not _is_free(owner):
                continue
            name = owner.name.removesuffix(".owner")
            while not _is_free(self._directory / f"{name}.daemon"):
                if time.monotonic() > deadline:
                    raise SourceFailed(
                        "The aria2c of an earlier command still runs.",
                        why=f"It was process {name.partition('-')[0]}'s, and should have ended.",
                        fix=f"End the aria2c with {name}.conf in its command line.",
                    )
                time.sleep(0.02)
            self._forget(name)

    def _forget(self, name: str) -> None:
        for suffix in (".conf", ".daemon", ".owner"):
            (self._directory / f"{name}{suffix}").unlink(missing_ok=True)


def _remote(port: int, secret: str) -> tuple[Any, Callable[[], None]]:
    try:
        import aria2p
        import requests
    except ImportError as error:
        raise DriverUnavailable(
            "Downloads need a part of yoyo that is not installed.",
            why=f"The package {error.name} is missing.",
            fix="pip install 'yoyo[weights]'",
        ) from error
    session = requests.Session()
    # aria2p's own would send the secret to a proxy that the environment names.
    session.trust_env = False

    class Remote(aria2p.Client):
        def post(self, payload: str) -> Any:
            return session.post(self.server, data=payload, timeout=self.timeout).json()

    return Remote("http://127.0.0.1", port, secret, _RPC_S), session.close


def _lock(path: Path) -> int:
    """A new file, locked before it has its name: nobody sees it free."""
    new = path.with_name(path.name + ".new")
    opened = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(opened, fcntl.LOCK_EX)
    new.replace(path)
    return opened


def _is_free(path: Path) -> bool:
    try:
        opened = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(opened)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _not_started(reason: str) -> SourceFailed:
    return SourceFailed(
        "aria2c could not be started.",
        why=f"{reason}.",
        fix="Run `aria2c --version`, and check memory and the state directory.",
    )
