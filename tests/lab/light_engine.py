"""An engine that answers like llama.cpp's server, over TLS, with a few made-up tokens."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKENS = ("Up", " and", " running", ".")
MODEL = "light"


class LightEngine:
    """Serves from the moment it is made until `close`. Fields may be changed while it serves."""

    def __init__(
        self, address: str, port: int, cert_pem: bytes, cert_key_pem: bytes, key: str
    ) -> None:
        self.key = key
        self.ready = True  # False: /health says 503, still loading
        self.processing = 0
        self.deferred = 0
        self.prompt_tokens = 0
        self.predicted_tokens = 0
        self.slots = 2
        self.adapters: list[str] = []  # paths
        self.scales: list[float] = []  # theirs; the rest are 0
        self._server = _Server((address, port), _context(cert_pem, cert_key_pem), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving, whoever is still connected."""
        self._server.shutdown()
        self._server.drop_all()
        self._server.server_close()
        self._thread.join()


def _context(cert_pem: bytes, cert_key_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as place:
        both = Path(place, "both.pem")  # ssl takes files alone
        both.touch(mode=0o600)
        both.write_bytes(cert_key_pem + cert_pem)
        context.load_cert_chain(both)
    return context


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, engine: LightEngine
    ) -> None:
        self.engine = engine
        self._context = context
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        # The handshake is left to the connection's own thread: a silent client blocks nobody.
        secure = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(secure)
        return secure, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or that speaks no TLS, is no news."""

    def drop_all(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = 30
    server: _Server

    def do_GET(self) -> None:
        engine = self.server.engine
        if self.path == "/health":
            if engine.ready:
                self._json(200, {"status": "ok"})
            else:
                self._json(503, _error(503, "Loading model", "unavailable_error"))
        elif self._allowed():
            self._get(engine)

    def _get(self, engine: LightEngine) -> None:
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        elif self.path == "/metrics":
            self._send(200, _metrics(engine).encode(), "text/plain; version=0.0.4")
        elif self.path == "/slots":
            busy = engine.processing
            slots = [{"id": n, "is_processing": n < busy} for n in range(engine.slots)]
            self._json(200, slots)
        elif self.path == "/lora-adapters":
            scales = [*engine.scales, *[0.0] * len(engine.adapters)]
            pairs = enumerate(zip(engine.adapters, scales, strict=False))
            self._json(200, [{"id": n, "path": path, "scale": x} for n, (path, x) in pairs])
        else:
            self._json(404, _error(404, "File Not Found", "not_found_error"))

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if not self._allowed():
            return
        if self.path == "/v1/chat/completions":
            self._complete(json.loads(asked))
        elif self.path == "/lora-adapters":
            told = {each["id"]: float(each["scale"]) for each in json.loads(asked)}
            count = len(self.server.engine.adapters)
            self.server.engine.scales = [told.get(n, 0.0) for n in range(count)]
            self._json(200, {"success": True})
        elif self.path == "/completion":
            self._json(200, {"id_slot": json.loads(asked).get("id_slot", 0), "content": ""})
        else:
            self._json(404, _error(404, "File Not Found", "not_found_error"))

    def _complete(self, asked: dict[str, Any]) -> None:
        engine = self.server.engine
        tokens = TOKENS[: int(asked.get("max_tokens") or len(TOKENS))]
        finish = "stop" if tokens == TOKENS else "length"
        prompt = sum(len(str(m.get("content", "")).split()) for m in asked["messages"])
        engine.prompt_tokens += prompt
        engine.predicted_tokens += len(tokens)
        usage = {"prompt_tokens": prompt, "completion_tokens": len(tokens)}
        timings = {"prompt_ms": 1.0, "predicted_ms": 4.0, "cache_n": 0}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "".join(tokens)}
            choice = {"index": 0, "finish_reason": finish, "message": message}
            self._json(200, {"choices": [choice], "usage": usage, "timings": timings})
            return
        events: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": token}, "finish_reason": None}]}
            for token in tokens
        ]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        events.append({"choices": [], "usage": usage, "timings": timings})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.wfile.flush()
        self.close_connection = True

    def _allowed(self) -> bool:
        if self.headers.get("Authorization", "") == f"Bearer {self.server.engine.key}":
            return True
        self._json(401, _error(401, "Invalid API Key", "authentication_error"))
        return False

    def _json(self, status: int, document: object) -> None:
        self._send(status, json.dumps(document).encode(), "application/json; charset=utf-8")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _error(code: int, message: str, kind: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": kind}}


def _metrics(engine: LightEngine) -> str:
    values = {
        "prompt_tokens_total": engine.prompt_tokens,
        "tokens_predicted_total": engine.predicted_tokens,
        "requests_processing": engine.processing,
        "requests_deferred": engine.deferred,
    }
    return "".join(f"llamacpp:{name} {value}\n" for name, value in values.items())
