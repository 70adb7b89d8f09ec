"""A token service that docker-registry believes, and servers that answer by script."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from registry_lab import TokenAuth


class Asked(NamedTuple):
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Message
    body: bytes
    connection: int  # which one it came by

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    raw: bytes | None = None  # sent in place of all that, and then the connection is closed


Script = Callable[[Asked], Reply]


class Scripted:
    """A server on loopback that answers as its script says, from `with` to its end."""

    def __init__(self, script: Script) -> None:
        self.asked: list[Asked] = []
        self.connections: list[socket.socket] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                outer.connections.append(self.connection)

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                outer.answer(self, script)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def answer(self, handler: BaseHTTPRequestHandler, script: Script) -> None:
        parts = urlsplit(handler.path)
        asked = Asked(
            handler.command, parts.path, parse_qs(parts.query), handler.headers,
            _body(handler), handler.client_address[1],
        )  # fmt: skip
        self.asked.append(asked)
        reply = script(asked)
        try:
            if reply.raw is not None:
                handler.close_connection = True
                handler.wfile.write(reply.raw)
                return
            handler.send_response(reply.status)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            if "Content-Length" not in reply.headers:
                handler.send_header("Content-Length", str(len(reply.body)))
            handler.end_headers()
            if asked.method != "HEAD":
                handler.wfile.write(reply.body)
        except OSError:
            handler.close_connection = True  # the client went away

    def paths(self) -> list[str]:
        """METHOD PATH of each request so far."""
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # waits for the connections' threads


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") == "chunked":
        found = b""
        while size := int(handler.rfile.readline(), 16):
            found += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return found
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


class TokenServer(Scripted):
    """Signs tokens (ES256, x5c) for whoever it knows: `may` says what each user gets.

    `passwords` by user, `identities` users by their identity token; "" is a stranger, who gets
    nothing unless `may` has the name "". `tokens_first` are given out before real ones.
    """

    def __init__(
        self,
        home: Path,
        *,
        passwords: Mapping[str, str] | None = None,
        identities: Mapping[str, str] | None = None,
        may: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(self._token)
        self.passwords = dict(passwords or {})
        self.identities = dict(identities or {})
        self.may = dict(may or {})
        self.stale = 0  # how many tokens more are given out that have expired
        self.expires_in: int | None = 300
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _self_signed(self._key)
        home.mkdir(parents=True, exist_ok=True)
        roots = home / "token-roots.pem"
        roots.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.auth = TokenAuth(f"{self.url}/token", "laboratory", "yoyo-tests", roots)

    def scopes(self) -> list[list[str]]:
        """What each request asked for, in turn."""
        found = []
        for asked in self.asked:
            form = parse_qs(asked.body.decode()) if asked.method == "POST" else asked.query
            found.append(" ".join(form.get("scope", [])).split())
        return found

    def _token(self, asked: Asked) -> Reply:
        user = self._user(asked)
        if user is None:
            return Reply(401, b'{"details":"incorrect username or password"}')
        allowed = set(self.may.get(user, "").split(","))
        access: list[dict[str, object]] = []
        for scope in self.scopes()[-1]:
            kind, name, actions = scope.split(":")
            given = [action for action in actions.split(",") if action in allowed]
            access.append({"type": kind, "name": name, "actions": given})
        document: dict[str, object] = {"token": self._signed(user, access)}
        if self.expires_in is not None:
            document["expires_in"] = self.expires_in
        return Reply(200, json.dumps(document).encode())

    def _user(self, asked: Asked) -> str | None:
        if asked.method == "POST":
            form = parse_qs(asked.body.decode())
            return self.identities.get(form["refresh_token"][0])
        if not asked.authorization:
            return "" if "" in self.may else None
        pair = base64.b64decode(asked.authorization.removeprefix("Basic ")).decode()
        user, _, password = pair.partition(":")
        return user if self.passwords.get(user) == password else None

    def _signed(self, user: str, access: list[dict[str, object]]) -> str:
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        now = int(datetime.now(UTC).timestamp())
        if self.stale:
            self.stale -= 1
            now -= 7200
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": self.auth.issuer, "sub": user, "aud": self.auth.service, "exp": now + 3600,
            "nbf": now - 60, "iat": now, "jti": str(len(self.asked)), "access": access,
        }  # fmt: skip
        signed = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        der_signature = self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der_signature)
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
    now = datetime.now(UTC)
    begins, ends = now - timedelta(days=1), now + timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends)
    return made.sign(key, hashes.SHA256())
