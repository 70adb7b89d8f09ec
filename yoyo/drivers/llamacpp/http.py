"""A small GET with a deadline for the whole call and a bound on its answer.

http.client takes 12 ms to import, which `yoyo status` would pay at every start, and its
timeout restarts with every byte, so that a server that dribbles could hold it for ever.
Requests are HTTP/1.0: the answer is then never chunked, and ends with the connection.
"""

from __future__ import annotations

import socket
import time

MAX_ANSWER_BYTES = 4 << 20


class HttpError(Exception):
    """No usable answer; the message says why and never holds the key."""


def parse_url(url: str) -> tuple[str, int]:
    """Host and port of `http://HOST:PORT` or `http://[V6]:PORT`.

    Raises:
        HttpError: it is no such URL.
    """
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if scheme != "http" or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise HttpError("the endpoint is not http://HOST:PORT")
    return host, int(port)


def get(url: str, path: str, *, key: str, timeout: float) -> tuple[int, bytes]:
    """Status and body of one GET, all within `timeout` seconds.

    Raises:
        HttpError: refused, reset, too slow, too large, or not HTTP.
    """
    deadline = time.monotonic() + timeout
    host, port = parse_url(url)
    check_key(key)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    request = (
        f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
        "Connection: close\r\n\r\n"
    )
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect((host, port))
            connection.sendall(request.encode("ascii"))
            return _split(_read(connection, deadline))
    except TimeoutError:
        raise HttpError(f"no answer within {timeout:g} s") from None
    except OSError as error:
        raise HttpError(error.strerror or type(error).__name__) from None
    except (ValueError, TypeError):  # from the encoding of a host name that is none
        raise HttpError("the endpoint's host is not a host name") from None


def check_key(key: str) -> None:
    """Refuse a key that would end its header line and begin another.

    Raises:
        HttpError: it is not printable ASCII.
    """
    if not (key.isascii() and key.isprintable()):
        raise HttpError("the endpoint's key holds characters that no header can carry")


def _read(connection: socket.socket, deadline: float) -> bytes:
    parts, size, expected = [], 0, MAX_ANSWER_BYTES + 1
    while size < expected:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
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
