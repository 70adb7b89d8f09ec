"""The HTTP server in front of the API: keep-alive, one thread per connection."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from gce_api import PREFIX, Answer, Api

JSON = dict[str, Any]
Lab = Callable[[str, str, JSON], JSON]  # verb, path below /_lab/, body

# RST instead of FIN when the socket is closed.
ABORT = struct.pack("ii", 1, 0)


class Server(ThreadingHTTPServer):
    """Serves an Api, the token endpoint and the lab's own controls on a loopback port."""

    daemon_threads = True

    def __init__(self, port: int, api: Api, lab: Lab) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.api = api
        self.lab = lab
        self._open: set[socket.socket] = set()
        self._aborted: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def abort(self, connection: socket.socket) -> None:
        """Reset a connection as soon as its handler has ended."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        with self._lock:
            self._aborted.add(connection)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
            aborted = request in self._aborted
            self._aborted.discard(request)
        if aborted:
            request.close()  # without the orderly end that the base class would send first
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of a call is no news here."""

    def stop(self) -> None:
        """End the server and every connection that is still open."""
        self.shutdown()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "ESF"  # what Google's says of itself
    sys_version = ""
    wbufsize = -1  # head and body in one segment: no wait for a delayed acknowledgement
    disable_nagle_algorithm = True
    server: Server

    def _serve(self) -> None:
        length = self.headers.get("Content-Length")
        if self.command in ("POST", "PUT", "PATCH") and length is None:
            # As Google does: a POST without a body needs the header all the same.
            self._send(411, b"<title>Error 411 (Length Required)!!1</title>", "text/html")
            return
        raw = self.rfile.read(int(length or 0))
        if len(raw) < int(length or 0):
            self.close_connection = True  # the caller died over its request: that is none
            return
        if self.path.startswith(PREFIX):
            authorization = self.headers.get("Authorization", "")
            answer = self.server.api.answer(self.command, self.path, authorization, raw)
        elif self.path == "/token" and self.command == "POST":
            status, body = self.server.api.auth.grant(dict(parse_qsl(raw.decode())))
            answer = Answer(status, json.dumps(body).encode())
        elif self.path.startswith("/v1/projects/") and self.path.endswith(":testIamPermissions"):
            answer = self._permissions(json.loads(raw or b"{}"))
        elif self.path.startswith("/_lab/"):
            answer = self._lab(raw)
        else:
            answer = Answer(404, b"{}")
        if answer.reset:
            self.close_connection = True
            self.server.abort(self.connection)
        else:
            self._send(answer.status, answer.body, "application/json; charset=UTF-8")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

    def _permissions(self, asked: dict[str, list[str]]) -> Answer:
        """Resource Manager's projects.testIamPermissions: those that the caller has."""
        api = self.server.api
        if not api.auth.accepts(self.headers.get("Authorization", "")):
            return Answer(401, b"{}")
        denied = api.cloud.settings.denied_permissions
        granted = [each for each in asked.get("permissions", []) if each not in denied]
        return Answer(200, json.dumps({"permissions": granted} if granted else {}).encode())

    def _lab(self, raw: bytes) -> Answer:
        try:
            result = self.server.lab(
                self.command, self.path.removeprefix("/_lab/"), json.loads(raw or b"{}")
            )
        except (KeyError, TypeError, ValueError) as error:
            return Answer(400, json.dumps({"error": repr(error)}).encode())
        return Answer(200, json.dumps(result).encode())

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was called is in `fake.calls`."""
