"""A node without a machine: a root directory, a metadata server, and stubs for what changes hosts.

The rendered startup script runs in a real bash with a private PATH in front of the real one.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from node_state import decode
from sample_startup import CPU, render

from yoyo.model.startup import StartupValues

REQUEST = "01990000-0000-7000-8000-000000000001"
BOOT_ID = "11111111-2222-3333-4444-555555555555"

# Says what was asked of it; a unit is active while a file of its name is in $YOYO_ROOT/active.
_SYSTEMCTL = r"""
echo "$*" >>"$YOYO_ROOT/systemctl.calls"
mkdir -p "$YOYO_ROOT/active" "$YOYO_ROOT/enabled"
for unit; do :; done
case "$*" in
  *quiet*is-active*) [ -e "$YOYO_ROOT/active/$unit" ] || exit 3 ;;
  *is-active*) [ -e "$YOYO_ROOT/active/$unit" ] && echo active || { echo inactive; exit 3; } ;;
  *is-enabled*) [ -e "$YOYO_ROOT/enabled/$unit" ] ;;
  *is-failed*) [ -e "$YOYO_ROOT/failed/$unit" ] ;;
  *reset-failed* | *daemon-reload*) ;;
  *stop*) rm -f "$YOYO_ROOT/active/$unit" ;;
  *)
    for word; do
      case $word in
        *.timer | *.service)
          case "$*" in *enable*) : >"$YOYO_ROOT/enabled/$word" ;; esac
          case "$*" in *start*) : >"$YOYO_ROOT/active/$word" ;; esac
          case "$*" in *--now*) : >"$YOYO_ROOT/active/$word" ;; esac ;;
      esac
    done ;;
esac
"""


class Server:
    """An HTTP server on loopback; `answer` gives every reply."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer(self)

            do_PUT = do_DELETE = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def wrap(self, context: ssl.SSLContext) -> None:
        """From here on, TLS."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def reply(handler: BaseHTTPRequestHandler, code: int, body: bytes = b"", **headers: str) -> None:
    """One whole answer."""
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class Metadata:
    """Google's metadata server, as far as the node asks it."""

    PREFIX: ClassVar[str] = "/computeMetadata/v1/"

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {"yoyo-request": REQUEST, "yoyo-lease": "first"}
        self.published: dict[str, str] = {}
        self.history: list[tuple[str, str]] = []
        self.writes = 0
        self.closing = False
        self._changed = threading.Condition()
        self._etag = 1
        self._server = Server(self._answer)
        self.url = self._server.url + self.PREFIX.rstrip("/")

    def set(self, name: str, value: str) -> None:
        with self._changed:
            self.attributes[name] = value
            self._etag += 1
            self._changed.notify_all()

    def wait_for(self, key: str, value: str = "") -> str:
        """The guest attribute, once it is there (and is `value`)."""
        with self._changed:
            there = self._changed.wait_for(
                lambda: key in self.published and value in self.published[key], timeout=60
            )
            assert there, f"{key} never became {value!r}: {self.published}"
            return self.published[key]

    def close(self) -> None:
        with self._changed:
            self.closing = True
            self._changed.notify_all()
        self._server.close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Metadata-Flavor") != "Google":
            reply(handler, 403)
            return
        parts = urlsplit(handler.path)
        path = parts.path.removeprefix(self.PREFIX)
        if path.startswith("instance/guest-attributes/yoyo/"):
            self._guest_attribute(handler, path.rsplit("/", 1)[1])
        elif path == "instance/attributes/":
            self._await_change(handler, parse_qs(parts.query))
        elif path.startswith("instance/attributes/"):
            value = self.attributes.get(path.rsplit("/", 1)[1])
            reply(handler, 404) if value is None else reply(handler, 200, value.encode())
        elif path == "instance/service-accounts/default/token":
            reply(handler, 200, b'{"access_token": "the-token", "expires_in": 3000}')
        else:
            reply(handler, 404)

    def _guest_attribute(self, handler: BaseHTTPRequestHandler, key: str) -> None:
        with self._changed:
            length = int(handler.headers.get("Content-Length", "0"))
            text = handler.rfile.read(length).decode()
            assert (handler.command, key) == ("PUT", "state")
            self.writes += 1
            for name, value in decode(text).items():
                if self.published.get(name) != value:
                    self.published[name] = value
                    self.history.append((name, value))
            self._changed.notify_all()
        reply(handler, 200)

    def _await_change(self, handler: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self.closing or str(self._etag) != query["last_etag"][0],
                timeout=float(query["timeout_sec"][0]),
            )
            etag, body = str(self._etag), json.dumps(self.attributes).encode()
        reply(handler, 200, body, ETag=etag)


class Node:
    """The root directory, the stubs and the processes of one node under test."""

    def __init__(self, root: Path, values: StartupValues) -> None:
        self.publish_every_s = 0  # all that is said arrives at once
        self.root = root / "root"
        self.stubs = root / "stubs"
        self.stubs.mkdir(parents=True)
        self.metadata = Metadata()
        self.script = root / "startup.sh"
        self.configure(values)
        for folder in (
            "dev",
            "proc/sys/kernel/random",
            "etc/yoyo",
            "run/yoyo",
            "var/lib/yoyo/models",
        ):
            (self.root / folder).mkdir(parents=True)
        (self.root / "proc/sys/kernel/random/boot_id").write_text(BOOT_ID + "\n")
        # The real uptime, unless a test turns the clock: waits must come to an end.
        (self.root / "proc/uptime").symlink_to("/proc/uptime")
        self.stub("systemctl", _SYSTEMCTL)
        self.stub("ldconfig", "echo 'libgomp.so.1 => /lib/libgomp.so.1'")
        for name in ("useradd", "chown", "wall", "who", "journalctl", "nvidia-modprobe"):
            self.stub(name, "exit 0")

    def configure(self, values: StartupValues) -> None:
        self.values = values
        self.script.write_text(render(values))
        self.script.chmod(0o755)

    def stub(self, name: str, body: str) -> None:
        path = self.stubs / name
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)

    def uptime(self, seconds: int) -> None:
        path = self.root / "proc/uptime"
        path.unlink()
        path.write_text(f"{seconds}.25 1.00\n")

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.stubs}:{os.environ['PATH']}",
            "YOYO_ROOT": str(self.root),
            "YOYO_METADATA": self.metadata.url,
            "YOYO_PUBLISH_EVERY_S": str(self.publish_every_s),
            **more,
        }

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def bash(self, code: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs code with the script's functions defined, as `main` would."""
        prepared = f"source {self.script}\nprepare_directories\n{code}\n"
        return self.run("bash", "-c", prepared, **more)

    def step(self, name: str, **more: str) -> str:
        """Runs one step; returns its report: state, percent and message."""
        self.bash(f"run_step {name}", **more)
        state, percent, _, message = self.metadata.published[f"step-{name}"].split(" ", 3)
        return f"{state} {percent} {message}".strip()

    def log(self, name: str) -> str:
        return (self.root / "var/log/yoyo" / f"{name}.log").read_text()

    @property
    def calls(self) -> str:
        """What systemctl was asked."""
        path = self.root / "systemctl.calls"
        return path.read_text() if path.exists() else ""

    @property
    def serial(self) -> str:
        return (self.root / "dev/console").read_text()


@contextmanager
def node_in(root: Path, values: StartupValues = CPU) -> Iterator[Node]:
    """A node whose metadata server is gone afterwards."""
    node = Node(root, values)
    try:
        yield node
    finally:
        node.metadata.close()
