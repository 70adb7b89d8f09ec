"""A rescale over TLS, where a server ends connections without announcing it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tls_parts import CLIENT, Certificate, make_certificate, ok, read_request, tls

from yoyo.errors import EngineFailed

LISTED = ok(b'[{"id":0,"path":"/a/dka-style@1.0.0.gguf","scale":0.0}]')
ANSWERS = {
    b"GET /lora-adapters": LISTED,
    b"POST /lora-adapters": ok(b'{"success":true}'),
    b"GET /slots": ok(b'[{"id":0}]'),
    b"POST /completion": ok(b'{"id_slot":0}'),
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    path: Path = tmp_path_factory.mktemp("tls") / "engine.pem"
    return make_certificate(path, ec.generate_private_key(ec.SECP256R1()))


def test_an_answer_ends_where_its_length_says(certificate: Certificate) -> None:
    asked = []

    def engine(connection: socket.socket) -> None:
        asked.append(b" ".join(read_request(connection).split(b" ", 2)[:2]))
        connection.sendall(ANSWERS[asked[-1]])  # and closes, without a close_notify

    with tls(certificate, engine) as endpoint:
        CLIENT.rescale(endpoint, {0: 1.0}, 60)
    assert asked == list(ANSWERS)


def test_an_answer_that_is_cut_short_is_none(certificate: Certificate) -> None:
    def engine(connection: socket.socket) -> None:
        if read_request(connection).startswith(b"GET"):
            connection.sendall(LISTED)
            return
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"success":true}')

    with tls(certificate, engine) as endpoint, pytest.raises(EngineFailed, match="rescaled"):
        CLIENT.rescale(endpoint, {0: 1.0}, 60)


def test_an_end_that_is_announced_before_the_length_is_none(certificate: Certificate) -> None:
    def engine(connection: socket.socket) -> None:
        if read_request(connection).startswith(b"GET"):
            connection.sendall(LISTED)
            return
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"success":true}')
        connection.unwrap()  # type: ignore[attr-defined]

    with tls(certificate, engine) as endpoint, pytest.raises(EngineFailed) as refused:
        CLIENT.rescale(endpoint, {0: 1.0}, 60)
    assert "cut short" in refused.value.why
