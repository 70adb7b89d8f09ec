"""HTTP without the comforts that leak: no netrc, no cookies, no redirects, no endless bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from yoyo import __version__
from yoyo.core.oci_names import is_loopback

if TYPE_CHECKING:
    import requests

TIMEOUT_S: Final = (10.0, 60.0)  # until a connection; between two packets
PIECE: Final = 1 << 20  # bytes handed to the connection at once
_READING_S: Final = 60.0  # for a whole small answer
_CONNECTIONS: Final = 8  # kept for each host


class Pieces(Protocol):
    """A body that is sent piece by piece."""

    source: Any

    def __iter__(self) -> Iterator[bytes]: ...


def connections() -> requests.Session:
    """A pool; of the session nothing else is used."""
    from requests import Session
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            # 16 KiB a time, which is the default, costs a fifth of the speed on loopback.
            super().init_poolmanager(*args, **kwargs, blocksize=PIECE)

    pool = Session()
    for scheme in ("https://", "http://"):
        pool.mount(scheme, Adapter(pool_connections=16, pool_maxsize=_CONNECTIONS))
    return pool


def transmit(
    pool: requests.Session,
    method: str,
    url: str,
    headers: Mapping[str, str],
    data: bytes | Pieces | None,
) -> requests.Response:
    """Send one request and give the head of its answer; its body waits to be read.

    Raises:
        requests.RequestException, urllib3's HTTPError, and what iterating `data` raises.
    """
    from requests import Request

    prepared = Request(
        method,
        url,
        headers={
            "User-Agent": f"yoyo/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # digests are of the bytes as they are
            **headers,
        },
        data=data if isinstance(data, bytes) else None,
    ).prepare()
    if data is not None and not isinstance(data, bytes):
        prepared.body = data  # type: ignore[assignment]
        _frame(prepared, headers, data)
    host = urlsplit(url).netloc
    settings: Any = pool.merge_environment_settings(url, {}, True, None, None)
    if is_loopback(host):
        settings["proxies"] = {}  # a proxy has a loopback of its own
    # The adapter, not the session: that one reads a redirect's body whole, and keeps cookies.
    adapter = pool.get_adapter(url)
    return adapter.send(prepared, timeout=TIMEOUT_S, **settings)


def _frame(prepared: requests.PreparedRequest, headers: Mapping[str, str], data: Pieces) -> None:
    """Say how long the body is, or that it comes in chunks."""
    from requests.utils import super_len

    given = {name.lower(): value for name, value in headers.items()}
    length = given.get("content-length") or super_len(data.source)  # type: ignore[no-untyped-call]
    for name in ("Content-Length", "Transfer-Encoding"):
        prepared.headers.pop(name, None)
    if length:
        prepared.headers["Content-Length"] = str(length)
    else:
        prepared.headers["Transfer-Encoding"] = "chunked"


def read(response: requests.Response, limit: int, clock: Callable[[], float]) -> bool:
    """Read the body into `response.content`, at most `limit` bytes; False: there were more.

    Raises:
        requests.ReadTimeout: it dribbles; and urllib3's HTTPError.
    """
    from requests import ReadTimeout

    deadline = clock() + _READING_S
    found = bytearray()
    while len(found) <= limit:
        if clock() > deadline:
            response.close()
            raise ReadTimeout
        piece = response.raw.read1(64 * 1024)
        if not piece:
            break
        found += piece
    whole = len(found) <= limit
    if not whole:
        response.close()
    response._content = bytes(found[:limit])
    response._content_consumed = True  # type: ignore[attr-defined]
    return whole


def is_ours(error: Exception) -> bool:
    """Whether an exception comes from the HTTP libraries, or says that they are missing."""
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "").partition(".")[0] in ("requests", "urllib3")
    try:
        from requests import RequestException
        from urllib3.exceptions import HTTPError
    except ModuleNotFoundError:
        return False
    return isinstance(error, (RequestException, HTTPError))
