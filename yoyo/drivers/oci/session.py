"""One way to talk to registries: tokens kept to their owner, patience with limits, no surprises."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from yoyo.core.oci_names import is_loopback
from yoyo.drivers.oci import faults, wire
from yoyo.drivers.oci.auth import Auth, Grant
from yoyo.drivers.oci.credentials import Credentials
from yoyo.drivers.oci.faults import Passing
from yoyo.model.oci import MAX_MANIFEST_BYTES, Reference

if TYPE_CHECKING:
    import requests

PATIENCE_S: Final = 60.0  # for the tries of a request together
# A registry's documents: no manifest is larger, and no list needs to be.
MAX_BODY: Final = 2 * MAX_MANIFEST_BYTES
_MAX_REFUSAL: Final = 64 * 1024
_REDIRECTS: Final = 5
_LONG_PAUSE_S: Final = 2.0  # one that an operator would wonder about
_PASSING: Final = frozenset((408, 429, 500, 502, 503, 504))
_DENIALS: Final = frozenset((401, 403))
_ADDRESS: Final = re.compile(r"[!-\[\]-~]{1,8192}\Z")  # printable ASCII without the backslash
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
# Docker Hub's registry does not answer at the name that its references have.
_SERVED_AT: Final = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}

Body = bytes | Iterable[bytes]


class _SourceBroke(Exception):
    """Reading what is to be sent failed: no fault of the registry's."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


class _Pieces:
    """A body that is sent piece by piece, and whether that has begun."""

    def __init__(self, source: Iterable[bytes]) -> None:
        self.source = source
        self.begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        read = getattr(self.source, "read", None)
        try:
            if read is None:
                yield from self.source
                return
            while piece := read(wire.PIECE):
                yield piece
        except OSError as error:
            raise _SourceBroke(error) from error


class _Call:
    """One request, and what may be needed to make it again."""

    def __init__(
        self,
        method: str,
        ref: Reference,
        url: str,
        headers: Mapping[str, str],
        data: Body | None,
        rewind: Callable[[], object] | None,
        *,
        stream: bool,
    ) -> None:
        self.method = method
        self.ref = ref
        self.url = url
        self.headers = dict(headers)
        self.data = data if data is None or isinstance(data, bytes) else _Pieces(data)
        self.stream = stream
        self._rewind = rewind

    @property
    def spent(self) -> bool:
        """Whether a body was begun that nobody can rewind."""
        return isinstance(self.data, _Pieces) and self.data.begun and self._rewind is None

    def prepare(self) -> None:
        """Put the body back to its start, if some of it went out."""
        if isinstance(self.data, _Pieces) and self.data.begun:
            if self._rewind is not None:
                self._rewind()
            self.data.begun = False


class Session:
    """Requests to any registry, with what its host asks for. Safe from threads.

    Credentials and tokens go to the registry's own scheme, host and port (and, credentials, to the
    token service that it names), never further along a redirect or an upload's location.
    """

    def __init__(
        self,
        *,
        credentials: Credentials,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        patience_s: float = PATIENCE_S,
        waiting: Callable[[str], object] | None = None,
    ) -> None:
        """`waiting` is told, in words for the operator, why a request takes long: once when it is
        first tried again, and at each long pause that the registry asks for.
        """
        self._clock = clock
        self._sleep = sleep
        self._patience_s = patience_s
        self._waiting = waiting
        self._lock = threading.Lock()
        self._http: requests.Session | None = None
        self._auth = Auth(credentials, self._fetch, clock)

    def request(
        self,
        method: str,
        ref: Reference,
        path: str,
        *,
        actions: str = "pull",
        mount: str = "",
        headers: Mapping[str, str] | None = None,
        data: Body | None = None,
        stream: bool = False,
        retry: bool = True,
        rewind: Callable[[], object] | None = None,
    ) -> requests.Response:
        """The registry's answer, whatever its status is other than those below.

        `path` is relative to /v2/REPOSITORY/, or begins with '/', or is a whole address (an
        upload's location, a redirect's target, a page's link: see `location`). `actions` is the
        scope to hold ("pull" or "pull,push"), `mount` another repository to pull from as well.
        `data` that is no bytes is sent with the Content-Length of `headers`, or of the file that
        it is, else in chunks; `rewind` puts it back to its start, without which a request whose
        body was begun is not made twice. An OSError of reading `data` comes out as it is.

        Answers are read here, up to 8 MiB; with `stream` a successful one is left to the caller,
        who must close it. Without `retry` there is one try, and one more after a fresh token.

        Raises:
            RegistryUnavailable: no answer, or 408, 429, 500, 502, 503 or 504, tried for a minute.
            RegistryDenied: 401 or 403, after a fresh token.
        """
        call = _Call(
            method, ref, _target(ref, path), headers or {}, data, rewind, stream=stream
        )  # fmt: skip
        grant = Grant.of(ref, actions, mount)
        began = self._clock()
        tries = 0
        while True:
            tries += 1
            try:
                return self._authorised(call, grant)
            except Passing as trouble:
                now = self._clock()
                if tries == 1 and isinstance(call.data, _Pieces):
                    began = now  # minutes of sending are not minutes of waiting
                pause = _pause_s(tries, trouble.retry_after_s)
                if not retry or call.spent or now + pause > began + self._patience_s:
                    raise trouble.fault from None
                self._tell(call.ref.registry, trouble, tries, began + self._patience_s - now)
            except _SourceBroke as broke:
                raise broke.error from None
            self._sleep(pause)

    @staticmethod
    def location(response: requests.Response, header: str = "Location") -> str:
        """The address in a response's header, for `request`; "" where there is none."""
        found = response.headers.get(header, "").strip()
        try:
            return urljoin(response.url, found) if found else ""
        except ValueError:
            return found  # no address, which `request` says

    def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, host: str, trouble: Passing, tries: int, left_s: float) -> None:
        asked = trouble.retry_after_s or 0.0
        if self._waiting is not None and (tries == 1 or asked > _LONG_PAUSE_S):
            self._waiting(
                f"no answer from {host} ({trouble.cause}): trying for up to {left_s:.0f} s"
            )

    def _authorised(self, call: _Call, grant: Grant) -> requests.Response:
        if isinstance(call.data, _Pieces) and not self._auth.knows(grant.host):
            # A registry that asks for a token only after gigabytes would get them twice.
            self._learn(call.ref, grant)
        sent = self._auth.header(grant)
        response = self._follow(call, sent)
        if response.status_code not in _DENIALS:
            return response
        self._check_own(call, response)
        renewed = self._auth.renew(grant, sent, response)
        if renewed is None:
            raise faults.denied(call.ref, response, self._auth.asked_as(grant.host))
        if call.spent:
            why = f"{faults.answered(grant.host, response)} The token ran out on the way."
            raise Passing(faults.unavailable(grant.host, why))
        response = self._follow(call, renewed)
        if response.status_code in _DENIALS:
            self._check_own(call, response)
            raise faults.denied(call.ref, response, self._auth.asked_as(grant.host))
        return response

    def _learn(self, ref: Reference, grant: Grant) -> None:
        url = f"{_origin(ref.registry)}/v2/"
        call = _Call("GET", ref, url, {}, None, None, stream=False)
        response = self._follow(call, None)
        if response.status_code == 401:
            self._auth.renew(grant, None, response)
        elif response.ok:
            self._auth.open(grant.host)

    @staticmethod
    def _check_own(call: _Call, response: requests.Response) -> None:
        """A storage host's refusal says nothing about the registry's credentials."""
        if not _same_origin(response.url, _origin(call.ref.registry)):
            host = urlsplit(response.url).netloc
            why = f"It sent the request on to {host}, which answered {response.status_code}."
            fault = faults.unavailable(call.ref.registry, why)
            # Asked again, the registry signs a new address; one that it gave before stays refused.
            redirected = _same_origin(call.url, _origin(call.ref.registry))
            raise Passing(fault) if redirected else fault

    def _follow(self, call: _Call, authorization: str | None) -> requests.Response:
        """Send, and go where a read is sent on to."""
        call.prepare()
        url, own = call.url, _origin(call.ref.registry)
        for _ in range(_REDIRECTS + 1):
            headers = dict(call.headers)
            if authorization and _same_origin(url, own):
                headers["Authorization"] = authorization
            response = self._send(call, url, headers)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            target = self.location(response)
            if call.method not in ("GET", "HEAD") or not target:
                return response
            url = _safe(call.ref.registry, target)
        raise faults.unavailable(call.ref.registry, "It redirects in circles.")

    def _send(self, call: _Call, url: str, headers: dict[str, str]) -> requests.Response:
        return self._exchange(
            call.ref.registry, call.method, url, headers, call.data, stream=call.stream
        )

    def _fetch(
        self, host: str, method: str, url: str, headers: dict[str, str], data: bytes | None
    ) -> requests.Response:
        """A token service's answer, never redirected."""
        return self._exchange(host, method, url, headers, data, stream=False)

    def _exchange(
        self,
        host: str,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | _Pieces | None,
        *,
        stream: bool,
    ) -> requests.Response:
        try:
            http = self._pooled()
            response = wire.transmit(http, method, url, headers, data)
            if response.status_code >= 300:
                wire.read(response, _MAX_REFUSAL, self._clock)
            elif not stream and not wire.read(response, MAX_BODY, self._clock):
                raise faults.unavailable(host, f"It sent more than {MAX_BODY >> 20} MiB at once.")
        except Exception as error:
            if not wire.is_ours(error):
                raise
            raise faults.broken(host, error) from None
        if response.status_code in _PASSING:
            where = urlsplit(url).netloc
            raise faults.busy(host if _same_origin(url, _origin(host)) else where, response)
        return response

    def _pooled(self) -> requests.Session:
        with self._lock:
            if self._http is None:
                self._http = wire.connections()
            return self._http


def _pause_s(tries: int, asked: float | None) -> float:
    """Half a second at first, doubled each time up to 16, spread by half; or what is asked for."""
    spread = random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
    pause: float = min(16.0, 0.25 * 2**tries) * spread
    return pause if asked is None else asked + pause * 0.1


def _origin(registry: str) -> str:
    """SCHEME://HOST[:PORT] at which a registry answers; only this machine's own is without TLS."""
    registry = _SERVED_AT.get(registry.lower(), registry)
    return f"{'http' if is_loopback(registry) else 'https'}://{registry}"


def _same_origin(url: str, origin: str) -> bool:
    return _origin_key(url) == _origin_key(origin)


def _origin_key(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _target(ref: Reference, path: str) -> str:
    """Where a request goes: to the registry, or to an address that it named."""
    origin = _origin(ref.registry)
    if path.startswith("//"):
        path = f"{origin.partition(':')[0]}:{path}"
    if "://" in path.partition("?")[0]:
        return _safe(ref.registry, path)
    if path.startswith("/"):
        return _safe(ref.registry, origin + path)
    return _safe(ref.registry, f"{origin}/v2/{ref.repository}/{path}")


def _safe(registry: str, url: str) -> str:
    """The address, if a registry may send a client there.

    Raises:
        RegistryUnavailable: no https (but http on this machine from a registry on this machine), a
            user in it, or anything that is no address.
    """
    origin = _origin(registry)
    try:
        parts = urlsplit(url)
        known = bool(_ADDRESS.match(url) and parts.hostname and parts.port != 0)
    except ValueError:
        known = False
    if not known or parts.username is not None or parts.password is not None:
        raise faults.unavailable(registry, "It named an address that is none.")
    mine = urlsplit(origin)
    own = parts.hostname == mine.hostname and parts.port in (None, 80, mine.port)
    if own and parts.scheme == "http" and mine.scheme == "https":
        # A registry behind a proxy that ends TLS may not know how it is reached.
        return urlunsplit(("https", mine.netloc, parts.path, parts.query, ""))
    local = mine.scheme == "http" and is_loopback(parts.netloc)
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise faults.unavailable(
            registry, f"It sends the request on to {parts.hostname} without TLS."
        )
    return url
