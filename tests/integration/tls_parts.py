"""A TLS server for tests of the engine client: its certificate, and scripts for what it does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.drivers.llamacpp.http import HttpError, get
from yoyo.errors import EngineFailed
from yoyo.model.engine import Completion
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint

KEY = "key-that-must-not-be-read-by-strangers"
CLIENT = LlamaServerClient()


class Certificate(NamedTuple):
    """A server's own certificate and key in one PEM file, and what a client pins."""

    path: Path
    pin: str


def make_certificate(
    path: Path,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    *,
    begins: datetime = datetime(2020, 1, 1, tzinfo=UTC),
    ends: datetime = datetime(2100, 1, 1, tzinfo=UTC),
) -> Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "yoyo")])
    signed = (x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends)).sign(
        key, hashes.SHA256()
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + signed.public_bytes(pem))
    der = signed.public_bytes(serialization.Encoding.DER)
    return Certificate(path, hashlib.sha256(der).hexdigest())


Script = Callable[[socket.socket], object]


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """A server that does with each connection as the script says; gives its HOST:PORT."""
    threads: list[threading.Thread] = []
    mishaps: list[Exception] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                script(connection)
            except OSError:
                pass  # the client went away
            except Exception as error:
                mishaps.append(error)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            # shutdown wakes the accept; close alone does not.
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(60)
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
    assert not mishaps


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    # Without tickets a handshake ends with what the client sends: no race with a client that
    # closes after it.
    context.num_tickets = 0
    return context


@contextmanager
def tls(
    certificate: Certificate, script: Script, context: ssl.SSLContext | None = None
) -> Iterator[Endpoint]:
    """A server that does as the script says behind a handshake; gives its endpoint, pinned."""
    context = context or server_context(certificate)

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            script(inside)

    with serving(secured) as address:
        yield Endpoint(f"https://{address}", Secret(KEY), certificate.pin)


def read_request(connection: socket.socket) -> bytes:
    request = b""
    while not whole(request) and (data := connection.recv(65536)):
        request += data
    return request


def whole(request: bytes) -> bool:
    head, found, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(found) and len(body) == (int(length[1]) if length else 0)


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(event: dict[str, object] | str) -> bytes:
    """One server-sent event, in a chunk of its own as llama-server sends it."""
    text = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(text), text)


PIECE = chunk({"choices": [{"delta": {"content": "a"}}]})
ANSWERS = {
    b"/health": ok(b'{"status":"ok"}'),
    b"/v1/models": ok(b'{"data":[{"id":"smoke"}]}'),
    b"/metrics": ok(
        b"llamacpp:requests_processing 1\nllamacpp:requests_deferred 0\n"
        b"llamacpp:prompt_tokens_total 3\nllamacpp:tokens_predicted_total 4\n"
    ),
    b"/slots": ok(b'[{"is_processing":true},{"is_processing":false}]'),
    b"/v1/chat/completions": STREAM + PIECE + PIECE + chunk("[DONE]") + b"0\r\n\r\n",
}


def canned_engine(connection: socket.socket) -> None:
    request = read_request(connection)
    assert f"Authorization: Bearer {KEY}\r\n".encode() in request
    connection.sendall(ANSWERS[request.split(b" ", 2)[1]])


def until_closed(connection: socket.socket) -> None:
    """Say nothing until the client gives up."""
    while connection.recv(65536):
        pass


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def ask(endpoint: Endpoint, timeout: float = 60) -> list[str | Completion]:
    return list(CLIENT.complete(endpoint, "hello", max_tokens=8, timeout=timeout))


def failure(endpoint: Endpoint, timeout: float = 60) -> str:
    with pytest.raises(EngineFailed) as refusal:
        ask(endpoint, timeout)
    assert KEY not in refusal.value.why
    return refusal.value.why


def refusal(endpoint: Endpoint, timeout: float = 60) -> str:
    """Why a GET fails."""
    with pytest.raises(HttpError) as refused:
        get(endpoint.url, "/health", key=KEY, timeout=timeout, pin=endpoint.pin)
    assert KEY not in str(refused.value)
    return str(refused.value)
