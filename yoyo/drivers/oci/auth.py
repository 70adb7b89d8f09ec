"""What a registry asks for before it answers, and how little of it is ever sent anywhere."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from yoyo.core.oci_names import is_loopback
from yoyo.drivers.oci import faults
from yoyo.drivers.oci.credentials import AskedAs, Basic, Credentials, IdentityToken
from yoyo.errors import RegistryDenied
from yoyo.model.ids import Secret
from yoyo.model.oci import Reference

if TYPE_CHECKING:
    import requests

_MAX_HEADER: Final = 8192
_MAX_CHALLENGES: Final = 16
# RFC 9110: 5.6.2 token, 5.6.4 quoted-string, 11.2 auth-param and token68.
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ENDS: Final = r"(?=[ \t]*(?:,|\Z))"
_PARAMETER: Final = re.compile(
    rf"({_WORD})[ \t]*=[ \t]*"
    rf'(?:"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*)"|({_WORD})){_ENDS}'
)
_SCHEME: Final = re.compile(
    rf"({_WORD})(?:{_ENDS}|[ \t]+(?:[A-Za-z0-9._~+/-]+=*{_ENDS}|(?={_WORD}[ \t]*=)))"
)
_GAP: Final = re.compile(r"[ \t,]*")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*\Z")  # RFC 6749, 3.3
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,65536}=*\Z")  # RFC 6750, 2.1
_REALM: Final = re.compile(r"[!-\[\]-~]{1,2048}\Z")
# Distribution's token specification: 60 seconds where nothing is said.
_LIFE_S: Final = 60.0
_MAX_LIFE_S: Final = 86400.0
_MARGIN: Final = 0.2  # of a token's life, at most 10 s: a request takes its time
_MAX_SCOPE: Final = 2048


class Challenge(NamedTuple):
    """One way in, as a WWW-Authenticate header offers it."""

    scheme: str  # lowercase
    parameters: dict[str, str]  # by lowercase names


class Grant(NamedTuple):
    """What a request needs to be allowed to do."""

    host: str  # as in the reference
    scopes: tuple[str, ...]

    @classmethod
    def of(cls, ref: Reference, actions: str, mount: str = "") -> Grant:
        """`actions` on the reference's repository, and pull on the one that is mounted from."""
        scopes = [f"repository:{ref.repository}:{actions}"]
        if mount and mount != ref.repository:
            scopes.append(f"repository:{mount}:pull")
        return cls(ref.registry, tuple(scopes))


class _Token(NamedTuple):
    header: Secret
    until: float  # of the clock


# (host, method, url, headers, body) -> the answer, read
Fetch = Callable[[str, str, str, dict[str, str], bytes | None], "requests.Response"]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a WWW-Authenticate header (RFC 9110, 11.6.1); () where it is malformed.

    At most 16, in at most 8192 characters. A parameter that is there twice makes it malformed.
    """
    if len(header) > _MAX_HEADER:
        return ()
    found: list[Challenge] = []
    at = 0
    while gap := _GAP.match(header, at):
        at = gap.end()
        if at == len(header):
            break
        if parameter := _PARAMETER.match(header, at):
            name = parameter[1].lower()
            if not found or name in found[-1].parameters:
                return ()
            quoted, plain = parameter[2], parameter[3]
            found[-1].parameters[name] = plain or re.sub(r"\\(.)", r"\1", quoted)
            at = parameter.end()
        elif scheme := _SCHEME.match(header, at):
            if len(found) == _MAX_CHALLENGES:
                return ()
            found.append(Challenge(scheme[1].lower(), {}))
            at = scheme.end()
        else:
            return ()
    return tuple(found)


class Auth:
    """What to send to which registry: learned from its challenges, kept while it holds.

    Safe from threads; two that ask at once may both fetch a token.
    """

    def __init__(self, credentials: Credentials, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._credentials = credentials
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._challenges: dict[str, Challenge | None] = {}  # None: the host asks for nothing
        self._tokens: dict[Grant, _Token] = {}
        self._basic: dict[str, Secret] = {}
        self._named: set[str] = set()

    def knows(self, host: str) -> bool:
        """Whether it is known what the host asks for."""
        with self._lock:
            return host in self._challenges

    def open(self, host: str) -> None:
        """The host answered a request without any credentials."""
        with self._lock:
            self._challenges.setdefault(host, None)

    def asked_as(self, host: str) -> AskedAs:
        """Whose credentials are in use at the host."""
        with self._lock:
            anonymous = host not in self._named
        return self._credentials.asked_as(host, anonymous=anonymous)

    def header(self, grant: Grant) -> str | None:
        """The Authorization header for a request; None while nothing was asked for.

        Raises:
            RegistryDenied: credentials are malformed, or the token service refuses them.
            Passing: the token service may answer later.
            RegistryUnavailable: it answers nonsense.
        """
        with self._lock:
            challenge = self._challenges.get(grant.host)
            basic = self._basic.get(grant.host)
            token = self._kept(grant)
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            return basic.reveal() if basic else None
        return (token or self._token(grant, challenge, grant.scopes)).header.reveal()

    def renew(self, grant: Grant, sent: str | None, response: requests.Response) -> str | None:
        """The header to try once more after a 401 or a 403; None where there is nothing to try.

        Artifact Registry answers 403, without a challenge, to a token of too little scope.

        Raises:
            RegistryDenied, Passing, RegistryUnavailable: as `header`.
        """
        offered = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        with self._lock:
            challenge = _chosen(offered) or self._challenges.get(grant.host)
            if challenge is None:
                return None
            self._challenges[grant.host] = challenge
            for kept in [kept for kept in self._tokens if kept.host == grant.host]:
                if set(grant.scopes) & set(kept.scopes) or _covers(kept, grant):
                    del self._tokens[kept]
        if challenge.scheme == "bearer":
            scopes = grant.scopes + _asked(challenge, grant.scopes)
            return self._token(grant, challenge, scopes).header.reveal()
        found = self._credentials.for_host(grant.host)
        if not isinstance(found, Basic):
            return None
        header = _basic(found)
        with self._lock:
            self._basic[grant.host] = Secret(header)
            self._named.add(grant.host)
        return header if header != sent else None

    def _kept(self, grant: Grant) -> _Token | None:
        now = self._clock()
        for kept, token in list(self._tokens.items()):
            if token.until <= now:
                del self._tokens[kept]
        return next((token for kept, token in self._tokens.items() if _covers(kept, grant)), None)

    def _token(self, grant: Grant, challenge: Challenge, scopes: tuple[str, ...]) -> _Token:
        realm = _checked_realm(challenge.parameters.get("realm", ""), grant.host)
        service = challenge.parameters.get("service", "")
        found = self._credentials.for_host(grant.host)
        with self._lock:
            if found is not None:
                self._named.add(grant.host)
        began = self._clock()
        if isinstance(found, IdentityToken):
            answer = self._exchanged(grant.host, realm, service, scopes, found)
        else:
            answer = self._asked_for(grant.host, realm, service, scopes, found)
        if answer.status_code in (400, 401, 403):
            who = self._credentials.asked_as(grant.host, anonymous=found is None)
            raise _refused(grant.host, realm, answer, who)
        token, life = _parse_token(answer, grant.host, realm)
        kept = _Token(Secret(f"Bearer {token}"), began + life - min(10.0, life * _MARGIN))
        with self._lock:
            self._tokens[grant] = kept
        return kept

    def _asked_for(
        self, host: str, realm: str, service: str, scopes: tuple[str, ...], found: Basic | None
    ) -> requests.Response:
        """By GET, with a password or without (distribution's token specification)."""
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        headers = {} if found is None else {"Authorization": _basic(found)}
        return self._fetch(host, "GET", url, headers, None)

    def _exchanged(
        self, host: str, realm: str, service: str, scopes: tuple[str, ...], found: IdentityToken
    ) -> requests.Response:
        """By POST, for an identity token (distribution's OAuth 2 token specification)."""
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": "yoyo",
            "scope": " ".join(scopes),
            "refresh_token": found.token.reveal(),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._fetch(host, "POST", realm, headers, urlencode(form).encode())


def _chosen(offered: tuple[Challenge, ...]) -> Challenge | None:
    for challenge in offered:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
    return next((found for found in offered if found.scheme == "basic"), None)


def _covers(kept: Grant, grant: Grant) -> bool:
    """Whether a token for `kept` is good for `grant`: its repositories and actions, or more."""
    return kept.host == grant.host and all(_within(scope, kept.scopes) for scope in grant.scopes)


def _within(scope: str, held: tuple[str, ...]) -> bool:
    """Whether the scopes held together give all that the scope does."""
    name, _, actions = scope.rpartition(":")
    given: set[str] = set()
    for other in held:
        if other.rpartition(":")[0] == name:
            given.update(other.rpartition(":")[2].split(","))
    return given.issuperset(actions.split(","))


def _asked(challenge: Challenge, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes that the registry names itself, beside ours."""
    scope = challenge.parameters.get("scope", "")
    if len(scope) > _MAX_SCOPE or not _SCOPE.match(scope):
        return ()
    return tuple(part for part in dict.fromkeys(scope.split(" ")) if not _within(part, scopes))


def _checked_realm(realm: str, host: str) -> str:
    """The token service's address, to which credentials may go.

    Raises:
        RegistryDenied: no https, but http on this machine from a registry on this machine.
    """
    try:
        parts = urlsplit(realm)
        known = bool(_REALM.match(realm) and parts.hostname and parts.port != 0)
    except ValueError:
        known = False
    if known and parts.username is None and parts.password is None and not parts.fragment:
        local = is_loopback(host) and is_loopback(parts.netloc)
        if parts.scheme == "https" or (parts.scheme == "http" and local):
            return realm
    raise RegistryDenied(
        f"The registry {host} asks for a token in a way that is not safe.",
        why="The token service that it names is no https address: credentials are not sent there.",
        fix="Check the registry's name. If it is right, tell whoever runs the registry.",
    )


def _parse_token(answer: requests.Response, host: str, realm: str) -> tuple[str, float]:
    """The token and its life in seconds."""
    where = urlsplit(realm).netloc
    if not answer.ok or answer.status_code >= 300:
        raise faults.unavailable(host, f"Its token service: {faults.answered(where, answer)}")
    try:
        document = json.loads(answer.content)
    except (ValueError, RecursionError):
        document = None
    fields = document if isinstance(document, dict) else {}
    token = fields.get("token") or fields.get("access_token")
    if not isinstance(token, str) or not _BEARER.match(token):
        raise faults.unavailable(host, f"Its token service {where} sent no token.")
    life = fields.get("expires_in")
    said = isinstance(life, (int, float)) and 0 < life <= _MAX_LIFE_S
    return token, float(life) if said and life else _LIFE_S


def _refused(host: str, realm: str, answer: requests.Response, who: AskedAs) -> RegistryDenied:
    where = urlsplit(realm).netloc
    if who.anonymous:
        what = f"The registry {host} gives no token without credentials."
    else:
        what = f"The registry {host} did not accept the credentials."
    return RegistryDenied(
        what,
        why=f"Its token service: {faults.answered(where, answer)} {who.said}",
        fix=faults.login(host),
    )


def _basic(found: Basic) -> str:
    pair = f"{found.user}:{found.password.reveal()}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"
