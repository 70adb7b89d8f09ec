"""Small requests to servers that may lie, dribble, or ask to come back later."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from yoyo.drivers.sources.names import shown
from yoyo.errors import DriverUnavailable, SourceFailed
from yoyo.model.fetch import Address

if TYPE_CHECKING:
    from requests import Response

_T = TypeVar("_T")

TIMEOUT_S: Final = 30.0  # until a connection, and between two packets
LONGEST_WAIT_S: Final = 60.0  # of a Retry-After that is honoured
_TRIES: Final = 4
_PATIENCE_S: Final = 60.0  # for an answer, beside its bytes' time; and for all tries together
_SLOWEST: Final = 100_000  # bytes a second; below it a read counts as stalled
_PIECE: Final = 1 << 20
_MAX_JSON: Final = 16 << 20
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\Z")


class Refused(Exception):
    """A server said no. `code` is its own word for the reason, where it has one."""

    def __init__(
        self, host: str, status: int, *, retry_after: float | None = None, code: str = ""
    ) -> None:
        super().__init__(f"{host} answered {status}")
        self.host = host
        self.status = status
        self.retry_after = retry_after
        self.code = code

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (408, 429) or self.status >= 500


class Broken(Exception):
    """No usable answer; the message names the host and never holds a query."""

    retry_after: float | None = None

    def __init__(self, message: str, *, passes: bool = True) -> None:
        super().__init__(message)
        self.passes = passes  # whether the same request may succeed later


class Look(NamedTuple):
    """What a server says of one file."""

    size: int | None  # bytes
    etag: str


def look(address: Address) -> Look:
    """Size and ETag by a request for one byte: a signed address allows no HEAD.

    Raises:
        Refused, Broken.
    """
    with _get(address, {"Range": "bytes=0-0"}) as answer:
        etag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
        if not re.fullmatch(r"[!-~]{1,128}", etag):
            etag = ""
        if answer.status_code == 206:
            total = _content_range(answer, 0)[1]
            return Look(total, etag)
        if answer.status_code == 416:
            return Look(0, etag)
        length = answer.headers.get("Content-Length", "")
        return Look(int(length) if re.fullmatch(r"\d{1,19}", length) else None, etag)


def read(address: Address, start: int, length: int) -> bytes:
    """At most `length` bytes from `start`, fewer at the file's end.

    Raises:
        Refused, Broken.
    """
    deadline = time.monotonic() + _PATIENCE_S + length / _SLOWEST
    wanted = {"Range": f"bytes={start}-{start + length - 1}"}
    with _get(address, wanted) as answer:
        if answer.status_code == 416:
            return b""
        if answer.status_code == 206:
            last = _content_range(answer, start)[0]
            data = _take(answer, 0, min(length, last - start + 1), deadline)
            if len(data) < min(length, last - start + 1):
                raise Broken(f"{_host(address.url)} broke off its answer")
            return data
        return _take(answer, start, length, deadline + start / _SLOWEST)


def get_json(address: Address) -> object:
    """A small JSON document.

    Raises:
        Refused, Broken.
    """
    deadline = time.monotonic() + _PATIENCE_S
    with _get(address, {}) as answer:
        data = _take(answer, 0, _MAX_JSON + 1, deadline)
        if len(data) > _MAX_JSON:
            raise Broken(f"{_host(address.url)} sent a list that is too long")
        import json

        try:
            return json.loads(data)
        except ValueError:
            raise Broken(f"{_host(address.url)} sent no JSON") from None


def patiently(attempt: Callable[[], _T]) -> _T:
    """Try again what may pass by itself, after the time that the server asks for.

    At most 4 times, and none that would begin after a minute, where the waits that the server
    itself asks for do not count. One that asks for more than a minute is taken at its word: raises.

    Raises:
        Refused, Broken: of the last attempt.
    """
    deadline = time.monotonic() + _PATIENCE_S
    for tries in range(1, _TRIES):
        try:
            return attempt()
        except (Refused, Broken) as error:
            if not error.passes or (error.retry_after or 0) > LONGEST_WAIT_S:
                raise
            asked = error.retry_after
            pause = 0.25 * 2**tries * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
            if time.monotonic() + (pause if asked is None else 0) > deadline:
                raise
        if asked is not None:
            pause = asked
            deadline += asked
        time.sleep(pause)
    return attempt()


def seconds_of(retry_after: str | None) -> float | None:
    """A Retry-After header in seconds from now (RFC 9110, 10.2.3); None: none, or no sense."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def explain(source: str, error: Refused | Broken, *, credentials: str) -> SourceFailed:
    """What an operator is told. `credentials` is what to do about a refusal."""
    if isinstance(error, Broken):
        return SourceFailed(
            f"The source {source} could not be read.",
            why=f"{error}.",
            fix="Check the network, then run the command again: it goes on where it was.",
        )
    said = f"{error.host} answered {error.status}"
    if error.status in (401, 403):
        return SourceFailed(
            f"The source {source} refused access.",
            why=f"{said}: there is no token, or it may not read this.",
            fix=credentials,
        )
    if error.status in (404, 410):
        return SourceFailed(
            f"The source {source} is not there.",
            why=f"{said}: it was moved, renamed or removed, or it is hidden without a token.",
            fix="Look it up at its host and give the address that it has now.",
        )
    if error.status == 412:
        return SourceFailed(
            f"The source {source} was changed since it was looked up.",
            why=f"{said}: it holds other bytes now.",
            fix="Run the command again to take what is there now.",
        )
    if error.status == 429:
        pause = "" if error.retry_after is None else f", and asks to wait {error.retry_after:.0f} s"
        return SourceFailed(
            f"The source {source} limits its rate.",
            why=f"{said}{pause}.",
            fix="Run the command again later, or with a token, or name a mirror.",
        )
    return SourceFailed(
        f"The source {source} could not be read.",
        why=f"{said}.",
        fix="Run the command again later, or name a mirror.",
    )


@contextlib.contextmanager
def _get(address: Address, headers: dict[str, str]) -> Iterator[Response]:
    """An answer whose body is still to come; 416 counts as one, as empty files give it."""
    try:
        import requests
        import urllib3
        from requests.utils import get_environ_proxies
    except ImportError as error:
        raise DriverUnavailable(
            "This source needs a part of yoyo that is not installed.",
            why=f"The package {error.name} is missing.",
            fix="pip install 'yoyo[weights]'",
        ) from error
    host = _host(address.url)
    # Bytes as they are: ranges and digests are of the file, not of a compressed form.
    sent = {"Accept-Encoding": "identity", "User-Agent": "yoyo", **dict(address.headers), **headers}
    try:
        # trust_env would send what ~/.netrc holds for the host, to wherever a redirect leads.
        # requests itself drops Authorization where a redirect leaves the origin.
        with requests.Session() as session:
            session.trust_env = False
            session.max_redirects = 5
            proxies = get_environ_proxies(address.url)
            with session.get(
                address.url, headers=sent, stream=True, timeout=TIMEOUT_S, proxies=proxies
            ) as answer:
                if answer.status_code not in (200, 206, 416):
                    raise Refused(
                        _host(answer.url),
                        answer.status_code,
                        retry_after=seconds_of(answer.headers.get("Retry-After")),
                    )
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise Broken(f"{host} compresses what it was asked for as it is")
                yield answer
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        tls = _tls_reason(error)
        raise Broken(f"{host}: {tls or _reason(error)}", passes=not tls) from None


def _tls_reason(error: Exception) -> str:
    """Why no TLS came about, where a further try would end in the same way; else ""."""
    import ssl

    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLError):
        found = found.__cause__ or found.__context__
    if isinstance(found, ssl.SSLCertVerificationError):
        return "its certificate is not accepted"
    # A connection that ends in the middle of TLS is one that was cut off.
    if found is None or isinstance(found, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ""
    if "ALERT" in str(found.reason):
        return "it refuses the TLS of this machine"
    return "it does not speak TLS"


def _reason(error: Exception) -> str:
    """In a few words: the exceptions' own texts hold whole addresses with their queries."""
    import urllib3
    from requests import exceptions

    names: tuple[tuple[type[Exception], str], ...] = (
        (exceptions.ProxyError, "the proxy does not answer"),
        (exceptions.Timeout, f"no answer within {TIMEOUT_S:.0f} s"),
        (exceptions.TooManyRedirects, "too many redirects"),
        (exceptions.ChunkedEncodingError, "the answer was cut off"),
        (urllib3.exceptions.TimeoutError, f"no answer within {TIMEOUT_S:.0f} s"),
        (urllib3.exceptions.ProtocolError, "the answer was cut off"),
    )
    for kind, words in names:
        if isinstance(error, kind):
            return words
    text = str(error)
    if "NameResolutionError" in text or "getaddrinfo" in text:
        return "its name is not known (DNS)"
    if "refused" in text:
        return "the connection was refused"
    if isinstance(error, exceptions.ConnectionError):
        return "the connection failed or was cut off"
    return "it does not speak HTTP, or redirects to where none is spoken"


def _take(answer: Response, skip: int, length: int, deadline: float) -> bytes:
    data = bytearray()
    # What is there, not a full piece: a server that sends a byte now and then is caught as well.
    while piece := answer.raw.read1(_PIECE, decode_content=True):
        if time.monotonic() > deadline:
            raise Broken(f"{_host(answer.url)} sends too slowly")
        data += piece[skip:] if skip else piece
        skip = max(0, skip - len(piece))
        if len(data) >= length:
            break
    return bytes(data[:length])


def _content_range(answer: Response, start: int) -> tuple[int, int | None]:
    """The last byte that is sent, and the size of the whole."""
    found = _RANGE.match(answer.headers.get("Content-Range", "").strip())
    if not found or int(found[1]) != start or int(found[2]) < start:
        raise Broken(f"{_host(answer.url)} sent another range than it was asked for")
    total = None if found[3] == "*" else int(found[3])
    if total is not None and int(found[2]) >= total:
        raise Broken(f"{_host(answer.url)} sent a range past the file's end")
    return int(found[2]), total


def _host(url: str) -> str:
    try:
        return shown(f"x://{urlsplit(url).netloc}").removeprefix("x://")
    except ValueError:
        return "(an address that is none)"
