"""Where an address leads to, found out before aria2 is told.

aria2 sends its headers to whatever server a redirect names, so that a hub's token would reach its
CDN, which refuses it at best. Redirects are followed here, and the token stays where it belongs.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from yoyo.errors import DriverUnavailable
from yoyo.model.fetch import Address

if TYPE_CHECKING:
    from requests import Response

_TIMEOUT_S: Final = 20.0
_MAX_REDIRECTS: Final = 5
_TOTAL: Final = re.compile(r"bytes 0-\d{1,19}/(\d{1,19})\Z")


class Unusable(Exception):
    """An address that gives nothing now; the message names the host and the reason alone."""

    def __init__(self, reason: str, *, passes: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.passes = passes
        self.retry_after = retry_after


class Settled(NamedTuple):
    """The address that the bytes come from."""

    address: Address
    size: int | None  # bytes
    ranges: bool


def settle(address: Address) -> Settled:
    """Follow redirects with a request for one byte; headers stay within their origin.

    Raises:
        Unusable, DriverUnavailable.
    """
    try:
        import requests
        from requests.utils import get_environ_proxies
    except ImportError as error:
        raise DriverUnavailable(
            "Downloads need a part of yoyo that is not installed.",
            why=f"The package {error.name} is missing.",
            fix="pip install 'yoyo[weights]'",
        ) from error
    _check(address)
    with requests.Session() as session:
        # Nothing from ~/.netrc: it would be sent to wherever a redirect leads.
        session.trust_env = False
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                with session.get(
                    address.url,
                    headers={
                        "Range": "bytes=0-0",
                        "Accept-Encoding": "identity",
                        "User-Agent": "yoyo",
                        **dict(address.headers),
                    },
                    stream=True,
                    allow_redirects=False,
                    timeout=_TIMEOUT_S,
                    proxies=get_environ_proxies(address.url),
                ) as answer:
                    if not answer.is_redirect:
                        return _settled(address, answer)
                    address = _next(address, answer.headers["Location"])
            except requests.exceptions.RequestException as error:
                raise Unusable(f"{host_of(address.url)}: {_reason(error)}", passes=True) from None
    raise Unusable(f"{host_of(address.url)}: too many redirects", passes=False)


def host_of(url: str) -> str:
    """The host and port alone: paths may be long, and queries secret."""
    try:
        return ascii(urlsplit(url).netloc.rpartition("@")[2])[1:-1]
    except ValueError:
        return "(no host)"


def _settled(address: Address, answer: Response) -> Settled:
    host, status = host_of(address.url), answer.status_code
    if status == 206:
        found = _TOTAL.match(answer.headers.get("Content-Range", "").strip())
        if not found:
            raise Unusable(f"{host} sent another range than it was asked for", passes=False)
        return Settled(address, int(found[1]), ranges=True)
    if status == 416 and answer.headers.get("Content-Range", "").strip() == "bytes */0":
        return Settled(address, 0, ranges=True)
    if status == 200:
        length = answer.headers.get("Content-Length", "")
        size = int(length) if re.fullmatch(r"\d{1,19}", length) else None
        return Settled(address, size, ranges=False)
    words = {
        401: " (no token, or a wrong one)",
        403: " (no access)",
        404: " (moved, renamed or removed)",
        410: " (removed)",
        429: " (too many requests)",
    }
    raise Unusable(
        f"{host} answered {status}{words.get(status, '')}",
        passes=status in (408, 429) or status >= 500,
        retry_after=_seconds_of(answer.headers.get("Retry-After", "")),
    )


def _next(address: Address, location: str) -> Address:
    try:
        url = urljoin(address.url, location)
        same = urlsplit(url)[:2] == urlsplit(address.url)[:2]
    except ValueError:
        raise Unusable(f"{host_of(address.url)} redirects to nowhere", passes=False) from None
    there = Address(url, address.headers if same else ())
    _check(there)
    return there


def _check(address: Address) -> None:
    """Only what an address and a header line may hold, as both go into requests as they are."""
    parts = urlsplit(address.url)
    text = "".join((address.url, *(f"{name}{value}" for name, value in address.headers)))
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in parts.netloc
        or not text.isprintable()
    ):
        raise Unusable(f"{host_of(address.url)}: not an address of a web server", passes=False)


def _seconds_of(text: str) -> float | None:
    """A Retry-After header in seconds from now (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _reason(error: Exception) -> str:
    from requests import exceptions

    text = str(error)
    if isinstance(error, exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, exceptions.Timeout):
        return f"no answer within {_TIMEOUT_S:.0f} s"
    if "NameResolutionError" in text:
        return "its name is not known (DNS)"
    if "refused" in text:
        return "the connection was refused"
    return "the connection failed or was cut off"
