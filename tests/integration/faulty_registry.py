"""A proxy before a real registry that does what networks and servers do on bad days."""

from __future__ import annotations

import http.client
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

_PIECE = 64 * 1024


class Answer(NamedTuple):
    """What the client gets. Without a Content-Length it goes out in chunks."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Fault(NamedTuple):
    """What happens to the next `times` requests of that method to a path with that pattern."""

    method: str
    path: str  # a regular expression, searched in path and query
    times: int = 1
    answer: Answer | None = None  # instead of the registry's
    change: Callable[[Answer], Answer] | None = None  # the registry's answer, changed
    cut_request: int | None = None  # break off when the registry got that many bytes of the body
    cut_answer: int | None = None  # break off when the client got that many bytes of the body
    drop: str = ""  # a header of the request that the registry never sees
    hold: threading.Barrier | None = None  # both sides of a race have come this far


class Seen(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]  # lower-case names


class QuietServer(ThreadingHTTPServer):
    """A client that goes away is part of the play."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class FaultyProxy:
    """Forwards to `upstream` (HOST:PORT) until a fault says otherwise; the first that fits acts."""

    def __init__(self, upstream: str, *faults: Fault) -> None:
        self.upstream = upstream
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self._faults = [[fault, fault.times] for fault in faults]
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def host(self) -> str:
        """HOST:PORT, as in a reference."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._faults += [[fault, fault.times] for fault in faults]

    def left(self) -> int:
        """Faults that have not happened yet."""
        with self._lock:
            return sum(left for _, left in self._faults if isinstance(left, int))

    def count(self, method: str, pattern: str) -> int:
        with self._lock:
            return sum(
                each.method == method and bool(re.search(pattern, each.path)) for each in self.seen
            )

    def take(self, seen: Seen) -> Fault | None:
        """The fault for this request, which has then happened."""
        with self._lock:
            self.seen.append(seen)
            for entry in self._faults:
                fault, left = entry
                assert isinstance(fault, Fault)
                assert isinstance(left, int)
                if left and fault.method == seen.method and re.search(fault.path, seen.path):
                    entry[1] = left - 1
                    return fault
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Cut(Exception):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = 1 << 16  # head and body in one packet: else each answer waits for the kernel
    owner: FaultyProxy

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.owner.take(Seen(self.command, self.path, headers))
        self._left = int(headers.get("content-length", "0"))
        try:
            if fault is not None and fault.answer is not None:
                self._drain()
                self._reply(fault.answer, fault)
            else:
                self._forward(headers, fault)
        except (_Cut, OSError, http.client.HTTPException):
            self.close_connection = True
            # Both directions at once: a peer that still sends must notice.
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _drain(self) -> None:
        while self._left:
            self._left -= len(self._read(self._left))

    def _read(self, limit: int) -> bytes:
        piece = self.rfile.read(min(_PIECE, limit))
        if not piece:
            raise _Cut
        return piece

    def _forward(self, headers: dict[str, str], fault: Fault | None) -> None:
        if fault is not None and fault.drop:
            headers.pop(fault.drop, None)
        upstream = http.client.HTTPConnection(self.owner.upstream, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                upstream.putheader(name, value)
            upstream.endheaders()
            until = None if fault is None else fault.cut_request
            while self._left:
                if until is not None and until <= 0:
                    raise _Cut
                piece = self._read(self._left if until is None else min(self._left, until))
                upstream.send(piece)
                self._left -= len(piece)
                until = None if until is None else until - len(piece)
            if fault is not None and fault.hold is not None:
                fault.hold.wait(30)
            got = upstream.getresponse()
            answer = Answer(got.status, dict(got.getheaders()), got.read())
        finally:
            upstream.close()
        if fault is not None and fault.change is not None:
            answer = fault.change(answer)
        self._reply(answer, fault)

    def _reply(self, answer: Answer, fault: Fault | None) -> None:
        self.send_response_only(answer.status)
        names = {name.lower() for name in answer.headers}
        bodiless = self.command == "HEAD" or answer.status in (204, 304)
        chunked = "content-length" not in names and bool(answer.body) and not bodiless
        for name, value in answer.headers.items():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "content-length" not in names and answer.status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()
        if bodiless:
            return
        body = answer.body
        if fault is not None and fault.cut_answer is not None:
            self.wfile.write(body[: fault.cut_answer])
            self.wfile.flush()
            raise _Cut
        if chunked:
            self.wfile.write(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""
