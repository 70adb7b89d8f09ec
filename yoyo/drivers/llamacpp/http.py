"""A small GET with a deadline for the whole call and a bound on its answer.

http.client takes 12 ms to import, which `yoyo status` would pay at every start, and its
timeout restarts with every byte, so that a server that dribbles could hold it for ever.
Requests are HTTP/1.0: the answer is then never chunked, and ends with the connection.

Over https:// the server proves itself by one pinned certificate, and by nothing else: there is
no authority to ask and no trust on first use.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl import SSLSocket

MAX_ANSWER_BYTES = 4 << 20
# \Z, not $: "$" lets a newline pass.
_PIN = re.compile(r"[0-9a-f]{64}\Z")


class HttpError(Exception):
    """No usable answer; the message says why and never holds the key."""


class WrongCertificate(HttpError):
    """A server answered that is not the pinned one; it was sent no request."""


def parse_url(url: str, pin: str = "") -> tuple[str, int]:
    """Host and port of `http://HOST:PORT`, or of `https://HOST:PORT` with its pin.

    HOST may be `[V6]`. A pin is the lowercase hex sha256 of the server certificate's DER.

    Raises:
        HttpError: it is no such URL, https:// has no pin, or http:// has one.
    """
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if (
        scheme not in ("http", "https")
        or not host
        or not port.isdecimal()
        or not 0 < int(port) < 65536
    ):
        raise HttpError("the endpoint is not http://HOST:PORT or https://HOST:PORT")
    if scheme == "https" and not pin:
        raise HttpError("the endpoint has no pinned certificate")
    if scheme == "https" and not _PIN.match(pin):
        raise HttpError("the endpoint's pin is not 64 lowercase hexadecimal digits")
    # Whoever gave a pin expects that the key is read by that server alone.
    if scheme == "http" and pin:
        raise HttpError("the endpoint has a pinned certificate, but is not https://")
    return host, int(port)


def get(url: str, path: str, *, key: str, timeout: float, pin: str = "") -> tuple[int, bytes]:
    """Status and body of one GET, all within `timeout` seconds.

    Raises:
        WrongCertificate: the server is not the pinned one.
        HttpError: refused, reset, too slow, too large, or not HTTP.
    """
    deadline = time.monotonic() + timeout
    host, port = parse_url(url, pin)
    check_key(key)
    request = (
        f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
        "Connection: close\r\n\r\n"
    )
    with _explained(timeout), connect(url, timeout=timeout, pin=pin) as connection:
        connection.settimeout(_left(deadline))
        connection.sendall(request.encode("ascii"))
        return read_answer(connection, deadline)


def connect(url: str, *, timeout: float, pin: str = "") -> socket.socket:
    """A connection to the endpoint within `timeout` seconds; with a pin, to that server alone.

    Each later operation on it has `timeout` seconds of its own.

    Raises:
        WrongCertificate: the server is not the pinned one.
        HttpError: refused, reset, too slow, or not TLS.
    """
    deadline = time.monotonic() + timeout
    host, port = parse_url(url, pin)
    connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        with _explained(timeout):
            connection.settimeout(timeout)
            connection.connect((host, port))
            # A request is several writes: none waits for the server's ACK of the one before.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if pin:
                connection = secured = _with_tls(connection)
                secured.settimeout(_left(deadline))
                _prove(secured, pin)
            connection.settimeout(timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def check_key(key: str) -> None:
    """Refuse a key that would end its header line and begin another.

    Raises:
        HttpError: it is not printable ASCII.
    """
    if not (key.isascii() and key.isprintable()):
        raise HttpError("the endpoint's key holds characters that no header can carry")


def _with_tls(connection: socket.socket) -> SSLSocket:
    """The connection as one of TLS, before its handshake."""
    # Here, as it takes 7 ms to import, which plain http:// does not pay.
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The pin names one certificate and says more than an authority, a host name or a date can:
    # they are not asked. That the server holds the certificate's key is part of every handshake.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # An end that the server does not announce may be anybody's cut, and ends no answer (RFC 9112,
    # 9.8). The option hides it in Pythons before 3.11.3 (gh-95494); OpenSSL 1.1 does not have it.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context.wrap_socket(
        connection, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )


def _prove(connection: SSLSocket, pin: str) -> None:
    """Shake hands, and go on only with the pinned server: before this, nothing may be sent."""
    import hashlib
    import ssl

    try:
        # One deadline for all of it, however often a byte comes.
        connection.do_handshake()
    except ssl.SSLError as error:
        reason = (error.reason or "broken off").replace("_", " ").lower()
        raise HttpError(f"the TLS handshake failed: {reason}") from None
    certificate = connection.getpeercert(binary_form=True)
    found = hashlib.sha256(certificate).hexdigest() if certificate else "none"
    if found != pin:
        raise WrongCertificate(
            f"the server's certificate is not the pinned one: it is {found[:16]}..., "
            f"pinned is {pin[:16]}..."
        )


@contextmanager
def _explained(timeout: float) -> Iterator[None]:
    """Turn what the operating system says into an HttpError."""
    try:
        yield
    except TimeoutError:
        raise HttpError(f"no answer within {timeout:g} s") from None
    except OSError as error:
        raise HttpError(error.strerror or type(error).__name__) from None
    except (ValueError, TypeError):  # from the encoding of a host name that is none
        raise HttpError("the endpoint's host is not a host name") from None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def read_answer(connection: socket.socket, deadline: float) -> tuple[int, bytes]:
    """Status and body of an answer; it ends where its length says, else with the connection.

    Raises:
        HttpError: too large, cut short, or not HTTP.
        TimeoutError: `deadline`, as `time.monotonic` counts, has passed. OSError.
    """
    return _split(_read(connection, deadline))


def _read(connection: socket.socket, deadline: float) -> bytes:
    parts, size, expected = [], 0, MAX_ANSWER_BYTES + 1
    while size < expected:
        connection.settimeout(_left(deadline))
        part = connection.recv(65536)
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise HttpError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        if expected > MAX_ANSWER_BYTES:
            expected = _expected_size(b"".join(parts))
    return b"".join(parts)


def _expected_size(so_far: bytes) -> int:
    """Bytes of the whole answer when its length is known, else more than may come."""
    head, found, _ = so_far.partition(b"\r\n\r\n")
    if not found:
        return MAX_ANSWER_BYTES + 1
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(head) + 4 + int(value.strip()[:18])
    return MAX_ANSWER_BYTES + 1


def _split(answer: bytes) -> tuple[int, bytes]:
    head, found, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(None, 2)
    if (
        not found
        or len(words) < 2
        or not words[0].startswith(b"HTTP/1.")
        or not words[1].isdigit()
        or len(words[1]) != 3
    ):
        raise HttpError("the answer is not HTTP")
    if len(answer) < _expected_size(answer) <= MAX_ANSWER_BYTES:
        raise HttpError("the answer was cut short")
    return int(words[1]), body
