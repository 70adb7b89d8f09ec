"""What the lab's Sigstore services share: encodings, key ids, and one small HTTP server.

Formats: <https://docs.sigstore.dev/about/bundle/> and the protobuf JSON mapping, in which bytes
are standard base64 and 64-bit integers are strings.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAX_REQUEST_BYTES = 4 * 1024 * 1024
P256_DETAILS = "PKIX_ECDSA_P256_SHA_256"
ED25519_DETAILS = "PKIX_ED25519"

Json = dict[str, Any]


class Refused(Exception):
    """A request that a service does not grant, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Request(NamedTuple):
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Json:
        """The body as a JSON object."""
        try:
            found = json.loads(self.body)
        except ValueError as error:
            raise Refused(400, f"no JSON: {error}") from error
        if not isinstance(found, dict):
            raise Refused(400, "no JSON object")
        return found


class Answer(NamedTuple):
    """What it gets."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Route = Callable[[Request], Answer]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def unb64(text: object) -> bytes:
    """Strict base64, as the services take it."""
    if not isinstance(text, str):
        raise Refused(400, "expected base64")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused(400, f"bad base64: {error}") from error


def canonical(value: Json) -> bytes:
    """RFC 8785 for what the services write: ASCII strings and integers only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def spki(key: PublicKeyTypes) -> bytes:
    """A public key's SubjectPublicKeyInfo in DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: PublicKeyTypes) -> bytes:
    """A log's id by RFC 6962, section 3.2: the hash of its key."""
    return hashlib.sha256(spki(key)).digest()


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def public_pem(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def signer_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key in a PEM certificate or a PEM public key."""
    try:
        if b"BEGIN CERTIFICATE" in data:
            key: PublicKeyTypes = x509.load_pem_x509_certificate(data).public_key()
        else:
            key = serialization.load_pem_public_key(data)
    except ValueError as error:
        raise Refused(400, f"no certificate or key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused(400, "only ECDSA keys are taken")
    return key


class Server:
    """Serves routes on loopback until it is stopped. One connection per request."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Route] = {}
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.routes = self.routes
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when no request is being served any more."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for them
    routes: Mapping[tuple[str, str], Route]

    def server_bind(self) -> None:
        # Not the base class's: it looks the host's name up, which can take seconds.
        socketserver.TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    timeout = 10  # a client that says nothing must not hold `stop` up

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        path = self.path.partition("?")[0]
        route = self.server.routes.get((self.command, path))
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_REQUEST_BYTES:
                raise Refused(413, "too large")
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True  # the caller died over it
                return
            if route is None:
                raise Refused(404, "no such path")
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = route(Request(self.command, path, headers, body))
        except Refused as refused:
            said = {"code": refused.status, "message": refused.message}
            answer = Answer(json.dumps(said).encode(), refused.status)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for header in answer.headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(answer.body)
