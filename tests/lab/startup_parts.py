"""A node without a machine: a root directory, a metadata server, and stubs for what changes hosts.

The rendered startup script runs in a real bash with a private PATH in front of the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from node_state import decode
from sample_startup import CPU, render

from yoyo.core import store_keys
from yoyo.model.settings import Provided
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


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: a client that hangs up is no fault of a test's server."""


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

        self._server = _Listener(("127.0.0.1", 0), Handler)
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
        self.token, self.token_life_s, self.tokens_given = "the-token", 3000, 0
        self.ahead_s: int | None = 0  # of the real time, as its answers are dated; None: undated
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
        if self.ahead_s != 0:
            date = (
                "" if self.ahead_s is None else formatdate(time.time() + self.ahead_s, usegmt=True)
            )
            handler.date_time_string = lambda *_: date  # type: ignore[method-assign]
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
            self.tokens_given += 1
            token = {"access_token": self.token, "expires_in": self.token_life_s}
            reply(handler, 200, json.dumps(token).encode())
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


class StoreServer:
    """A bucket as a node reads it: objects by range, with a bearer token.

    `fault` sees every request before it is answered and says whether it has answered itself.
    """

    CHUNK: ClassVar[int] = 1 << 20

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.tokens = {"the-token"}
        self.requests: list[tuple[str, int, int]] = []  # key, first byte, the one after the last
        self.fault: Callable[[BaseHTTPRequestHandler, str, int, int], bool] = lambda *_: False
        self._server = Server(self._answer)
        self.url = self._server.url

    def add(self, name: str, files: Mapping[str, bytes], chunk: int = CHUNK) -> Provided:
        """Puts a set there; what a node's settings say of it."""
        entries, provided = [], []
        for path, data in files.items():
            digest = hashlib.sha256(data).hexdigest()
            pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)]
            self.objects[store_keys.artefact(digest)] = data
            provided.append((path, len(data), digest))
            entries.append(
                {
                    "bytes": len(data),
                    "chunks": [hashlib.sha256(piece).hexdigest() for piece in pieces],
                    "path": path,
                    "sha256": digest,
                }
            )
        document = {"facts": {"sha256": "00" * 32}, "files": entries, "name": name, "schema": 1}
        body = json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
        manifest = hashlib.sha256(body).hexdigest()
        self.objects[store_keys.document(manifest)] = body
        return Provided(name, manifest, tuple(provided))

    def asked(self, part: str = "artefacts/") -> list[tuple[str, int, int]]:
        """The requests for such keys."""
        return [request for request in self.requests if part in request[0]]

    def close(self) -> None:
        self._server.close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        key = handler.path.removeprefix("/bucket/team/")
        body = self.objects.get(key)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range") or "")
        size = len(body or b"")
        first = int(wanted[1]) if wanted else 0
        end = min(int(wanted[2]) + 1, size) if wanted else size
        self.requests.append((key, first, end))
        if self.fault(handler, key, first, end):
            return
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in self.tokens:
            reply(handler, 401)
        elif body is None:
            reply(handler, 404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif first >= end and wanted:
            reply(handler, 416)
        elif wanted:
            about = {"Content-Range": f"bytes {first}-{end - 1}/{size}"}
            reply(handler, 206, body[first:end], **about)
        else:
            reply(handler, 200, body)


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
