"""Who the operator is to a registry, as docker, podman and oras have it on file."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from yoyo.errors import ConfigInvalid, RegistryDenied
from yoyo.model.ids import Secret

_MAX_FILE: Final = 4 << 20
_HELPER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HELPER_S: Final = 30.0
_MAX_HELPER: Final = 1 << 20
# The user of a helper's answer whose secret is an identity token (docker's credential helpers).
_TOKEN_USER: Final = "<token>"  # noqa: S105 - a name, no secret
_HUB: Final = "https://index.docker.io/v1/"
_HUB_NAMES: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
_NOT_FOUND: Final = b"credentials not found"  # what docker-credential-helpers print, and exit 1
_GOOGLE_USER: Final = "oauth2accesstoken"
_GOOGLE_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)


class Basic(NamedTuple):
    """A user and a password."""

    user: str
    password: Secret


class IdentityToken(NamedTuple):
    """What a token service takes in place of a password."""

    token: Secret


Found = Basic | IdentityToken


class AskedAs(NamedTuple):
    """Who asked the registry, for its refusal's error: never a secret."""

    anonymous: bool
    said: str  # whole sentences


class Credentials:
    """Docker's config.json and its helpers, podman's auth.json, and Google's own for its hosts.

    The first of these that has the host: the file of $REGISTRY_AUTH_FILE; config.json of
    $DOCKER_CONFIG or of ~/.docker; ${XDG_RUNTIME_DIR}/containers/auth.json. In each a helper comes
    before what the file itself holds. Files are read at each call: a login counts at once.
    Entries for a single repository (`auths` with a path) are not looked at.
    """

    def __init__(self, *, env: Mapping[str, str]) -> None:
        self._env = env
        self._lock = threading.Lock()
        self._google: Any = None
        self._whose: dict[str, str] = {}  # by host

    def for_host(self, host: str) -> Found | None:
        """What to tell HOST[:PORT]; None: nothing, the operator is a stranger there.

        Raises:
            ConfigInvalid: a file, or the entry for this host, is malformed or not readable.
            RegistryDenied: a helper is missing or failed, or Google gave no token.
        """
        for path in self._files():
            document = _read(path)
            if document is not None and (found := self._in_file(path, document, host)):
                return found
        found = self._google_token() if is_google(host) else None
        if found is not None:
            self._note(host, found, "Google's Application Default Credentials")
        return found

    def asked_as(self, host: str, *, anonymous: bool) -> AskedAs:
        """Whose credentials `for_host` found last, and where; what was wrong with the search."""
        whose = "" if anonymous else self._whose.get(host, "credentials")
        said = f"The request was made {f'with {whose}' if whose else 'without credentials'}."
        named = self._env.get("REGISTRY_AUTH_FILE")
        if named and not Path(named).exists():
            said += f" $REGISTRY_AUTH_FILE names {named}: that file is missing."
        return AskedAs(anonymous, said)

    def _note(self, host: str, found: Found, source: str) -> None:
        what = "the identity token"
        if isinstance(found, Basic):
            what = f"the credentials of the user {found.user}"
        self._whose[host] = f"{what} from {source}"

    def _files(self) -> Iterator[Path]:
        if named := self._env.get("REGISTRY_AUTH_FILE"):
            yield Path(named)
        home = self._env.get("HOME")
        if folder := self._env.get("DOCKER_CONFIG"):
            yield Path(folder) / "config.json"
        elif home:
            yield Path(home) / ".docker" / "config.json"
        if runtime := self._env.get("XDG_RUNTIME_DIR"):
            yield Path(runtime) / "containers" / "auth.json"

    def _in_file(self, path: Path, document: dict[str, Any], host: str) -> Found | None:
        helpers = _object(document, "credHelpers", path)
        missing: RegistryDenied | None = None
        for name in (_by_host(helpers, host), document.get("credsStore") or None):
            if name is None:
                continue
            if not isinstance(name, str) or not _HELPER.match(name):
                raise _malformed(path, "it names a credential helper that cannot be one")
            binary = shutil.which(f"docker-credential-{name}", path=self._env.get("PATH", ""))
            if binary is None:
                missing = missing or _no_helper(name, path)
            elif found := self._ask(binary, name, _HUB if _is_hub(host) else host):
                self._note(host, found, f"docker-credential-{name}, which {path} names")
                return found
        entry = _by_host(_object(document, "auths", path), host)
        if found := _parse_entry(entry, host, path):
            self._note(host, found, str(path))
            return found
        if missing is not None:
            raise missing
        return None

    def _ask(self, binary: str, name: str, server: str) -> Found | None:
        """docker-credential-helpers' protocol: the server on stdin, a JSON document on stdout."""
        status, said = self._run(binary, name, server)
        if status != 0:
            if _NOT_FOUND in said[:1024].lower():
                return None
            raise _helper_failed(name, f"It ended with {status}.")
        document = _parse_json(said) if len(said) <= _MAX_HELPER else None
        user, secret = (
            (document.get("Username"), document.get("Secret"))
            if isinstance(document, dict)
            else (None, None)
        )
        if not isinstance(user, str) or not isinstance(secret, str):
            raise _helper_failed(name, "Its answer has no Username and Secret.")
        if not secret:
            return None
        return IdentityToken(Secret(secret)) if user == _TOKEN_USER else Basic(user, Secret(secret))

    def _run(self, binary: str, name: str, server: str) -> tuple[int, bytes]:
        try:
            process = subprocess.Popen(
                [binary, "get"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(self._env),
            )
        except OSError as error:
            raise _helper_failed(name, f"It did not start ({error.strerror}).") from error
        with process:
            try:
                said, _ = process.communicate(server.encode(), timeout=_HELPER_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise _helper_failed(name, f"It gave no answer in {_HELPER_S:.0f} s.") from None
            except BaseException:
                process.kill()
                raise
        return process.returncode, said

    def _google_token(self) -> Found | None:
        """Application Default Credentials, which are None where there are none."""
        try:
            import google.auth
            from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
            from google.auth.transport.requests import Request
        except ModuleNotFoundError:
            return None
        with self._lock:
            try:
                if self._google is None:
                    self._google = google.auth.default(scopes=list(_GOOGLE_SCOPES))[0]
                if not self._google.valid:
                    self._google.refresh(Request())
                return Basic(_GOOGLE_USER, Secret(self._google.token))
            except DefaultCredentialsError:
                return None
            except GoogleAuthError:
                # Its text quotes the answer of the token service.
                raise RegistryDenied(
                    "Google gave no token for the registry.",
                    why="The Application Default Credentials were revoked, or have expired, or "
                    "Google's token service was not reached.",
                    fix="Run: gcloud auth application-default login",
                ) from None


def is_google(host: str) -> bool:
    """Whether HOST is one of Artifact Registry's or Container Registry's."""
    host = host.lower()
    return host == "gcr.io" or host.endswith((".gcr.io", ".pkg.dev"))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _malformed(path, f"it cannot be read ({error.strerror})") from error
    if not data.strip():
        return None  # what a first `podman login` finds
    document = _parse_json(data) if len(data) <= _MAX_FILE else None
    if not isinstance(document, dict):
        raise _malformed(path, "it is no JSON object")
    return document


def _parse_json(data: bytes) -> object:
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found


def _object(document: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    found = document.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _malformed(path, f"{key} is no JSON object")
    return found


def _by_host(entries: dict[str, Any], host: str) -> Any:
    """The value for a host: under its name, else under an address of it (older forms)."""
    wanted = set(_HUB_NAMES) if _is_hub(host) else {host.lower()}
    for exact in (True, False):
        for key, value in entries.items():
            if (key.lower() if exact else _host_of(key)) in wanted:
                return value
    return None


def _host_of(key: str) -> str | None:
    rest = key.lower()
    for scheme in ("https://", "http://"):
        rest = rest.removeprefix(scheme)
    name, _, path = rest.partition("/")
    return name if path.strip("/") in ("", "v1", "v2") else None


def _is_hub(host: str) -> bool:
    return host.lower() in _HUB_NAMES


def _parse_entry(entry: Any, host: str, path: Path) -> Found | None:
    if entry is None:
        return None
    broken = _malformed(path, f"the entry for {host} is malformed")
    if not isinstance(entry, dict):
        raise broken
    fields = dict.fromkeys(("identitytoken", "auth", "username", "password"), "")
    for key in fields:
        value = entry.get(key)
        if value is not None and not isinstance(value, str):
            raise broken
        fields[key] = value or ""
    if fields["identitytoken"]:
        return IdentityToken(Secret(fields["identitytoken"]))
    if fields["auth"]:
        try:
            pair = base64.b64decode(fields["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise broken from None  # the cause would show what is in there
        user, colon, password = pair.partition(":")
        if not colon or not user:
            raise broken
        # Docker's own first versions wrote zeros behind it, and docker still takes them off.
        return Basic(user, Secret(password.strip("\0")))
    if fields["username"] and fields["password"]:
        return Basic(fields["username"], Secret(fields["password"]))
    return None


def _malformed(path: Path, why: str) -> ConfigInvalid:
    return ConfigInvalid(
        "The registries' credentials could not be read.",
        why=f"{path}: {why}.",
        fix="Mend or remove that file, then log in again: docker login HOST",
    )


def _no_helper(name: str, path: Path) -> RegistryDenied:
    return RegistryDenied(
        "The registry's credentials could not be read.",
        why=f"{path} leaves them to docker-credential-{name}, which is not in the PATH.",
        fix="Install that helper, or take it out of the file and log in again.",
    )


def _helper_failed(name: str, why: str) -> RegistryDenied:
    return RegistryDenied(
        f"The credential helper docker-credential-{name} failed.",
        why=why,
        fix="Log in again (docker login HOST), and see that the helper works in this session.",
    )
