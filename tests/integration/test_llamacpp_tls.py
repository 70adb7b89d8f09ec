"""The engine client over TLS: one pinned certificate, and not a byte for any other server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given
from hypothesis import strategies as st
from tls_parts import (
    CLIENT,
    KEY,
    PIECE,
    STREAM,
    Certificate,
    Script,
    ask,
    canned_engine,
    failure,
    make_certificate,
    ok,
    read_request,
    refusal,
    reset,
    server_context,
    serving,
    tls,
    until_closed,
)

from yoyo.drivers.llamacpp.http import MAX_ANSWER_BYTES, HttpError, WrongCertificate, get, parse_url
from yoyo.errors import EngineFailed
from yoyo.model.engine import Completion, Health, Load, Slots
from yoyo.model.ids import Secret
from yoyo.model.machine import Endpoint


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    path = tmp_path_factory.mktemp("tls") / "engine.pem"
    return make_certificate(path, ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    path = tmp_path_factory.mktemp("tls") / "other.pem"
    return make_certificate(path, ec.generate_private_key(ec.SECP256R1()))


def answers_everything(endpoint: Endpoint) -> None:
    assert CLIENT.health(endpoint, timeout=60) is Health.OK
    assert CLIENT.model_name(endpoint, timeout=60) == "smoke"
    assert CLIENT.load(endpoint, timeout=60) == Load(1, 0, Slots(1, 2), 7)
    assert ask(endpoint) == ["a", "a", Completion("aa", None, None, None, None, "")]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_pinned_server_answers_everything(
    certificate: Certificate, version: ssl.TLSVersion
) -> None:
    context = server_context(certificate)
    context.minimum_version = context.maximum_version = version
    with tls(certificate, canned_engine, context) as endpoint:
        answers_everything(endpoint)


@pytest.mark.parametrize(
    "lifetime",
    [
        {"ends": datetime(2020, 1, 2, tzinfo=UTC)},
        {"begins": datetime.now(UTC) + timedelta(days=365)},
    ],
)
def test_a_pin_is_not_a_matter_of_dates(tmp_path: Path, lifetime: dict[str, datetime]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = make_certificate(tmp_path / "dated.pem", key, **lifetime)
    with tls(certificate, canned_engine) as endpoint:
        answers_everything(endpoint)


def test_a_pin_is_not_a_matter_of_the_kind_of_key(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with tls(make_certificate(tmp_path / "rsa.pem", key), canned_engine) as endpoint:
        answers_everything(endpoint)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_another_server_is_refused_before_it_hears_a_byte(
    certificate: Certificate, other: Certificate, version: ssl.TLSVersion
) -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        place = len(heard)
        heard.append(b"")
        heard[place] = read_request(connection)

    context = server_context(other)
    context.minimum_version = context.maximum_version = version
    with tls(other, listen, context) as there:
        endpoint = there._replace(pin=certificate.pin)
        assert CLIENT.health(endpoint, timeout=60) is Health.REFUSED
        assert CLIENT.model_name(endpoint, timeout=60) == ""
        load = CLIENT.load(endpoint, timeout=60)
        assert load[:4] == (None,) * 4
        for why in (load.error, failure(endpoint)):
            assert "not the pinned one" in why
            assert other.pin[:16] in why
            assert certificate.pin[:16] in why
    # health, model name, metrics, slots, completion: each shook hands, and said nothing then.
    assert heard == [b""] * 5


def test_the_pinned_certificate_in_another_servers_chain_proves_nothing(
    tmp_path: Path, certificate: Certificate, other: Certificate
) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(other.path.read_bytes() + certificate.path.read_bytes())
    impostor = Certificate(chain, certificate.pin)
    with tls(impostor, read_request) as endpoint, pytest.raises(WrongCertificate):
        get(endpoint.url, "/health", key=KEY, timeout=60, pin=endpoint.pin)


def test_https_without_a_pin_does_not_even_connect(certificate: Certificate) -> None:
    connections: list[socket.socket] = []
    with serving(connections.append) as address:
        endpoint = Endpoint(f"https://{address}", Secret(KEY))
        assert CLIENT.health(endpoint) is Health.UNREACHABLE
        assert "no pinned certificate" in CLIENT.load(endpoint).error
        assert "no pinned certificate" in failure(endpoint)
        # Who gave a pin does not mean the key to travel in the clear.
        plain = Endpoint(f"http://{address}", Secret(KEY), certificate.pin)
        assert CLIENT.health(plain) is Health.UNREACHABLE
        assert "not https://" in failure(plain)
    assert not connections


def test_tls_before_1_2_is_refused(certificate: Certificate) -> None:
    context = server_context(certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with tls(certificate, canned_engine, context) as endpoint:
        assert "TLS handshake failed" in refusal(endpoint)
        assert "TLS handshake failed" in failure(endpoint)


def test_a_plain_server_behind_https_gets_no_key(certificate: Certificate) -> None:
    heard: list[bytes] = []

    def plain(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        heard.append(connection.recv(65536))

    with serving(plain) as address:
        endpoint = Endpoint(f"https://{address}", Secret(KEY), certificate.pin)
        assert CLIENT.health(endpoint, timeout=60) is Health.UNREACHABLE
        assert "TLS handshake failed" in refusal(endpoint)
        assert "TLS handshake failed" in failure(endpoint)
    assert any(heard)
    assert KEY.encode() not in b"".join(heard)


def test_a_tls_server_behind_http_is_no_answer(certificate: Certificate) -> None:
    with tls(certificate, canned_engine) as there:
        endpoint = Endpoint(there.url.replace("https", "http"), Secret(KEY))
        assert CLIENT.health(endpoint, timeout=60) is Health.UNREACHABLE
        assert failure(endpoint)


def dribble_handshake(connection: socket.socket) -> None:
    # The head of a handshake record of 16 KiB, whose body never comes to an end.
    connection.sendall(b"\x16\x03\x03\x40\x00")
    while True:
        connection.sendall(b"\0")
        time.sleep(0.01)


@pytest.mark.parametrize("script", [until_closed, dribble_handshake])
def test_a_slow_handshake_does_not_hold_a_question_longer_than_its_deadline(
    certificate: Certificate, script: Script
) -> None:
    with serving(script) as address:
        endpoint = Endpoint(f"https://{address}", Secret(KEY), certificate.pin)
        # The handshake would never end: that the calls return at all is the deadline's.
        assert CLIENT.health(endpoint, timeout=0.2) is Health.UNREACHABLE
        assert refusal(endpoint, timeout=0.2) == "no answer within 0.2 s"
        assert failure(endpoint, timeout=0.2) == "no answer within 0.2 s"


def dribble(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.01)


def test_a_slow_answer_does_not_hold_a_question_longer_than_its_deadline(
    certificate: Certificate,
) -> None:
    with tls(certificate, dribble) as endpoint:
        assert refusal(endpoint, timeout=0.5) == "no answer within 0.5 s"


def test_the_deadline_is_that_of_handshake_and_answer_together(certificate: Certificate) -> None:
    """Each takes just less than the time that both have."""
    context = server_context(certificate)

    def late(connection: socket.socket) -> None:
        time.sleep(0.3)
        with context.wrap_socket(connection, server_side=True) as inside:
            read_request(inside)
            time.sleep(0.3)
            inside.sendall(ok(b"{}"))

    with serving(late) as address:
        endpoint = Endpoint(f"https://{address}", Secret(KEY), certificate.pin)
        assert refusal(endpoint, timeout=0.5) == "no answer within 0.5 s"


def test_an_endless_answer_is_cut_off(certificate: Certificate) -> None:
    def flood(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with tls(certificate, flood) as endpoint:
        assert f"{MAX_ANSWER_BYTES}" in refusal(endpoint)


def test_a_handshake_that_breaks_off(certificate: Certificate) -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.recv(65536)

    with serving(hang_up) as address:
        endpoint = Endpoint(f"https://{address}", Secret(KEY), certificate.pin)
        assert CLIENT.health(endpoint, timeout=60) is Health.UNREACHABLE
        assert "TLS handshake failed" in refusal(endpoint)
        assert "TLS handshake failed" in failure(endpoint)


def test_a_reset_in_the_handshake(certificate: Certificate) -> None:
    def cut(connection: socket.socket) -> None:
        connection.recv(65536)
        reset(connection)

    with serving(cut) as address:
        endpoint = Endpoint(f"https://{address}", Secret(KEY), certificate.pin)
        assert "reset" in refusal(endpoint)
        assert "reset" in failure(endpoint)


@pytest.mark.parametrize("length", [b"Content-Length: 100\r\n", b""])
@pytest.mark.parametrize("cut", [reset, socket.socket.close])
def test_an_answer_that_is_cut_is_none(
    certificate: Certificate, length: bytes, cut: Script
) -> None:
    """Only TLS itself can say where an answer without a length ends; here it does not."""

    def begin(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n%b\r\nsome" % length)
        cut(connection)

    with tls(certificate, begin) as endpoint:
        assert CLIENT.health(endpoint, timeout=60) is Health.UNREACHABLE
        assert "EOF" in refusal(endpoint)


@pytest.mark.parametrize(
    ("length", "why"), [(b"Content-Length: 100\r\n", "the answer was cut short"), (b"", "")]
)
def test_an_end_that_is_announced_is_one(certificate: Certificate, length: bytes, why: str) -> None:
    def begin(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n%b\r\nsome" % length)
        assert isinstance(connection, ssl.SSLSocket)
        connection.unwrap()

    with tls(certificate, begin) as endpoint:
        if why:
            assert refusal(endpoint) == why
        else:
            whole_answer = get(endpoint.url, "/", key=KEY, timeout=60, pin=endpoint.pin)
            assert whole_answer == (200, b"some")


@pytest.mark.parametrize(
    ("end", "why"),
    [(reset, "EOF"), (socket.socket.close, "EOF"), (until_closed, "nothing came for 1 s")],
)
def test_a_stream_that_breaks_off_is_an_error(
    certificate: Certificate, end: Script, why: str
) -> None:
    received = threading.Event()

    def begin(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(STREAM + PIECE)
        # A reset would overtake what was not read yet.
        assert received.wait(60)
        end(connection)

    with tls(certificate, begin) as endpoint:
        timeout = 1 if end is until_closed else 60
        answer = iter(CLIENT.complete(endpoint, "hello", max_tokens=8, timeout=timeout))
        assert next(answer) == "a"
        received.set()
        with pytest.raises(EngineFailed) as failed:
            next(answer)
        assert why in failed.value.why


def test_a_stream_that_nobody_reads_on_closes_its_connection(certificate: Certificate) -> None:
    closed = threading.Event()

    def begin(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(STREAM + PIECE)
        with contextlib.suppress(OSError):
            until_closed(connection)
        closed.set()

    with tls(certificate, begin) as endpoint:
        answer = CLIENT.complete(endpoint, "hello", max_tokens=8, timeout=60)
        assert next(answer) == "a"
        answer.close()  # type: ignore[attr-defined]
        assert closed.wait(60)


DIGITS = "0123456789abcdef"


@given(st.text(max_size=70) | st.text(DIGITS + "ABCDEFg \n", min_size=63, max_size=65))
@example("")
@example("A" * 64)
@example("a" * 63)
@example("a" * 65)
@example("a" * 64 + "\n")
@example(" " + "a" * 63)
@example("\u0661" * 64)  # a digit, and not one of these
@example("sha256:" + "a" * 57)
def test_what_is_no_pin_is_refused(pin: str) -> None:
    if len(pin) == 64 and set(pin) <= set(DIGITS):
        return
    with pytest.raises(HttpError, match="pin"):
        parse_url("https://127.0.0.1:1", pin)
    endpoint = Endpoint("https://127.0.0.1:1", Secret(KEY), pin)
    assert "pin" in CLIENT.load(endpoint).error


@given(st.text(DIGITS, min_size=64, max_size=64), st.integers(1, 65535))
def test_every_sha256_is_a_pin_of_https_alone(pin: str, port: int) -> None:
    assert parse_url(f"https://[::1]:{port}", pin) == ("::1", port)
    with pytest.raises(HttpError, match="not https://"):
        parse_url(f"http://[::1]:{port}", pin)


def test_plain_http_does_not_import_ssl() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from yoyo.drivers.llamacpp.client import LlamaServerClient\n"
        "from yoyo.model.ids import Secret\n"
        "from yoyo.model.machine import Endpoint\n"
        "LlamaServerClient().load(Endpoint('http://127.0.0.1:1', Secret('key')), timeout=1)\n"
        "sys.exit('ssl' in sys.modules)"
    )
    source = str(Path(__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code, source], check=False).returncode == 0
