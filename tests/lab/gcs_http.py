"""The HTTP server in front of the store: keep-alive, one thread per connection, sendfile."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import gcs_doc
import gcs_errors
from gce_errors import ApiError
from gcs_api import Store
from gcs_disk import Extent
from gcs_errors import Disconnected
from gcs_faults import Fault, Seen
from gcs_wire import Answer, Body, Call

# RST instead of FIN when the socket is closed.
ABORT = struct.pack("ii", 1, 0)
SEND_BYTES = 1 << 30  # Linux sends no more than 2 GiB at once
BODILESS = (204, 304)


class Server(ThreadingHTTPServer):
    """Serves a store; `stop` returns when no thread touches it any more."""

    daemon_threads = False
    request_queue_size = 128  # many ranges begin at once

    def __init__(self, host: str, port: int, store: Store) -> None:
        super().__init__((host, port), Handler)
        self.store = store
        self.closing = threading.Event()
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
        self.closing.set()
        self.shutdown()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "UploadServer"  # what Google's says of itself
    sys_version = ""
    rbufsize = 1 << 18
    wbufsize = -1  # head and small body in one segment
    disable_nagle_algorithm = True
    server: Server

    def _serve(self) -> None:
        ranged = self.headers.get("Content-Range", "")
        route = gcs_doc.route(self.command, self.path, ranged)
        seen = Seen(self.command, self.path, route.kind, ranged or self.headers.get("Range", ""))
        store = self.server.store
        fault = store.faults.choose(seen)
        store.log.add(seen)
        body = Body(
            self.rfile, int(self.headers.get("Content-Length") or 0), seen, fault.cut_received
        )
        host = self.headers.get("Host", "")
        call = Call(route, self.headers, body, f"http://{host}", route.asked)
        try:
            answer = self._answer(call, fault, seen)
            with answer.held:
                self._send(answer, fault, seen)
        except Disconnected:
            self.close_connection = True
            self.server.abort(self.connection)
        except OSError:
            self.close_connection = True  # the client has gone
        finally:
            store.log.touch()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _answer(self, call: Call, fault: Fault, seen: Seen) -> Answer:
        answer = Answer(0)
        try:
            if fault.stall and fault.stall_at < 0:
                self._stall(fault.stall, seen)
            if not fault.after:
                self._spoil(fault)
            if self.command in ("POST", "PUT", "PATCH") and "Content-Length" not in self.headers:
                raise ApiError(411, "Length Required", "lengthRequired")
            answer = self.server.store.answer(call, fault)
            if fault.after:
                self._spoil(fault)
        except ApiError as error:
            answer.held.close()
            answer = self._refused(error, call, fault)
        except Disconnected:
            answer.held.close()
            raise
        call.body.drain()
        call.body.check()
        return answer

    def _spoil(self, fault: Fault) -> None:
        if fault.reset:
            raise Disconnected
        if fault.status:
            raise ApiError(fault.status, "Planned by the test.", fault.reason)

    def _refused(self, error: ApiError, call: Call, fault: Fault) -> Answer:
        xml = call.route.kind.startswith("xml.")
        kind = "application/xml" if xml else "application/json"
        headers = {"Content-Type": f"{kind}; charset=UTF-8"}
        if error.status == 411:
            headers["Connection"] = "close"  # there may be a body, of unknown length
        if error.status == 401:
            headers["WWW-Authenticate"] = gcs_errors.CHALLENGE
        if fault.status and fault.retry_after:
            headers["Retry-After"] = fault.retry_after
        body = gcs_errors.as_xml(error) if xml else gcs_errors.as_json(error)
        return Answer(error.status, headers, body)

    def _stall(self, release: threading.Event, seen: Seen) -> None:
        seen.stalled = True
        self.server.store.log.touch()
        # Two things end it, and Python waits for one event only.
        while not release.wait(0.05):
            if self.server.closing.is_set():
                raise Disconnected
        seen.stalled = False

    def _send(self, answer: Answer, fault: Fault, seen: Seen) -> None:
        self.send_response(answer.status, answer.phrase)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in BODILESS:
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        wanted = self.command != "HEAD" and answer.status not in BODILESS
        seen.status = answer.status
        seen.sent = answer.length if wanted else 0
        if fault.cut_sent is not None:
            seen.sent = min(seen.sent, fault.cut_sent)
        self.server.store.log.touch()
        if wanted and answer.extents:
            self.wfile.flush()
            self._stream(answer, fault, seen)
        elif wanted:
            cut = fault.cut_sent if fault.cut_sent is not None else len(answer.body)
            self.wfile.write(answer.body[:cut])
            self.wfile.flush()
            if cut < len(answer.body):
                raise Disconnected
        else:
            self.wfile.flush()

    def _stream(self, answer: Answer, fault: Fault, seen: Seen) -> None:
        """Send the extents; stop on the way where the fault says so."""
        flip = -1 if fault.flip is None else fault.flip - answer.first
        stops = {fault.cut_sent, fault.stall_at if fault.stall else None, flip, flip + 1}
        at = 0
        try:
            for extent in answer.extents:
                start, end = extent.start, at + extent.length
                for stop in sorted({end} | {p for p in stops if p is not None and at < p < end}):
                    if at == fault.cut_sent:
                        raise Disconnected
                    if fault.stall and at == fault.stall_at:
                        self._stall(fault.stall, seen)
                    piece = Extent(extent.file, start, stop - at)
                    if at == flip:
                        wrong = os.pread(extent.file.fileno(), 1, start)[0] ^ 0xFF
                        self.connection.sendall(bytes([wrong]))
                    else:
                        self._send_file(piece)
                    start, at = start + piece.length, stop
        except (Disconnected, OSError):
            seen.sent = at
            raise

    def _send_file(self, extent: Extent) -> None:
        at, left = extent.start, extent.length
        while left:
            sent = os.sendfile(
                self.connection.fileno(), extent.file.fileno(), at, min(left, SEND_BYTES)
            )
            if not sent:
                raise Disconnected  # the file has become shorter, or the socket is closed
            at, left = at + sent, left - sent

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was called is in the log."""
