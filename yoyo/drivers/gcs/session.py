"""A client of Cloud Storage that asks nobody but Cloud Storage: credentials and connections."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from yoyo.errors import StoreDenied

LOGIN: Final = "gcloud auth application-default login"
GOOGLE: Final = "https://storage.googleapis.com"
TIMEOUT_S: Final = (20.0, 60.0)  # to connect and send; to wait for each piece of an answer
_SCOPES: Final = ("https://www.googleapis.com/auth/devstorage.read_write",)
_CONNECTIONS: Final = 32  # more threads than that wait for each other
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# Where `gcloud auth application-default login` leaves its file:
# https://cloud.google.com/docs/authentication/application-default-credentials
_WELL_KNOWN: Final = "application_default_credentials.json"


class Session:
    """Made at the first use and kept. Safe from threads."""

    def __init__(self, endpoint: str | None, credentials: Path | None, patience_s: float) -> None:
        self.endpoint = (endpoint or GOOGLE).rstrip("/")
        self.patience_s = patience_s
        self._custom = endpoint is not None
        self._file = credentials
        self._lock = threading.Lock()
        self._made: tuple[Any, Any] | None = None

    @property
    def client(self) -> Any:
        """google.cloud.storage.Client."""
        return self._both()[0]

    @property
    def http(self) -> Any:
        """requests.Session that adds the token and fetches a new one where it is refused."""
        return self._both()[1]

    @property
    def retry(self) -> Any:
        """The library's retry: what passes by itself, with jitter, within the patience."""
        from google.cloud.storage.retry import DEFAULT_RETRY

        made = DEFAULT_RETRY.with_timeout(self.patience_s)
        return made.with_delay(initial=min(1.0, self.patience_s / 16), maximum=16.0, multiplier=2.0)

    def close(self) -> None:
        """Close the connections; the next use makes new ones."""
        with self._lock:
            if self._made:
                self._made[1].close()
            self._made = None

    def _both(self) -> tuple[Any, Any]:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> tuple[Any, Any]:
        from google.api_core.client_options import ClientOptions
        from google.auth.transport.requests import AuthorizedSession
        from google.cloud.storage import Client
        from requests.adapters import HTTPAdapter

        # Else each client looks the bucket up in the background, for traces that nobody takes,
        # with a permission that no account needs for the rest.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        credentials = self._credentials()
        http = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        for scheme in ("https://", "http://"):
            http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS))
        # The endpoint is always said: else the library looks for it in the environment.
        client = Client(
            project=None,
            credentials=credentials,
            client_options=ClientOptions(api_endpoint=self.endpoint),
            _http=http,
        )
        return client, http

    def _credentials(self) -> Any:
        from google.auth import default
        from google.auth.credentials import AnonymousCredentials

        if self._file is not None:
            return _token_only(_from_file(self._file))
        if self._custom and _is_loopback(self.endpoint) and not _has_default_credentials():
            # Else Google's library would go and look for a metadata server, for seconds.
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        return _token_only(default(scopes=list(_SCOPES))[0])


def _is_loopback(endpoint: str) -> bool:
    return urlsplit(endpoint).hostname in _LOOPBACK


def _has_default_credentials() -> bool:
    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return True
    folder = os.environ.get("CLOUDSDK_CONFIG") or "~/.config/gcloud"
    return (Path(folder).expanduser() / _WELL_KNOWN).is_file()


def _from_file(path: Path) -> Any:
    """Credentials of the two kinds that ask nobody but Google's token service."""
    from google.oauth2.credentials import Credentials
    from google.oauth2.service_account import Credentials as ServiceAccount

    why = "It is no key file of a service account, and none that gcloud wrote."
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        kind = said.get("type") if isinstance(said, dict) else None
        if kind == "service_account":
            return ServiceAccount.from_service_account_info(said, scopes=list(_SCOPES))  # type: ignore[no-untyped-call]
        if kind == "authorized_user":
            return Credentials.from_authorized_user_info(said)  # type: ignore[no-untyped-call]
    except OSError as error:
        why = f"{error.strerror or error}."
    except ValueError:
        pass  # its text may quote the key
    raise StoreDenied(
        f"The credentials in {path} could not be used.",
        why=why,
        fix="Set store_credentials to a service account's key file, or leave it out and run: "
        f"{LOGIN}",
    )


def _token_only(found: Any) -> Any:
    """Credentials that fetch a token and do nothing else.

    Google's own also find out, in the background and at other addresses, where an account may
    be used from.
    """
    from google.oauth2.credentials import Credentials

    def fetch(request: Any, scopes: Any) -> tuple[str, Any]:  # noqa: ARG001 - google-auth's form
        found.refresh(request)
        return found.token, found.expiry

    return Credentials(token=None, refresh_handler=fetch)  # type: ignore[no-untyped-call]
