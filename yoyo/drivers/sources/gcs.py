"""Objects of Cloud Storage that are not in the store: read with the operator's own credentials."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from yoyo.drivers.sources import names, web
from yoyo.errors import DriverUnavailable, SourceFailed
from yoyo.model.fetch import Address, RemoteFile, Resolved

_ENDPOINT: Final = "https://storage.googleapis.com"
_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_only"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{2,221}")
_MOST_PAGES: Final = 20  # of 1000 objects
_CREDENTIALS: Final = (
    "Run `gcloud auth application-default login`, or give the account that yoyo uses "
    "`roles/storage.objectViewer` on the bucket."
)


def resolve(rest: str, *, endpoint: str | None, credentials: Path | None) -> Resolved:
    """`BUCKET/OBJECT`, or `BUCKET/FOLDER/` for a set; each object pinned to its generation.

    Raises:
        SourceFailed, DriverUnavailable.
    """
    source, bucket, key = names.bucket_and_key(rest, "gs", _BUCKET)
    reader = _Reader(
        (endpoint or _ENDPOINT).rstrip("/"), bucket, _headers(source, credentials), source
    )
    folder = key[: key.rfind("/") + 1]
    wanted: tuple[str, ...]
    if key == folder:
        listed = reader.list(folder)
        wanted = names.set_of(tuple(sorted(listed)), source)
    else:
        name = names.checked_path(key, source).removeprefix(folder)
        wanted = names.shards_of(name, source)
        listed = {name: reader.stat(key)} if len(wanted) == 1 else reader.list(folder)
        names.missing(wanted, tuple(listed), source)
    files = tuple(
        reader.file(names.checked_path(name, source), folder + name, listed[name])
        for name in wanted
    )
    revisions = tuple(str(listed[name].get("generation", "")) for name in wanted)
    return Resolved(source, names.combined(revisions), "", files)


class _Reader:
    """One bucket, by Google's JSON API for what is said of objects and by XML paths for bytes."""

    def __init__(
        self, endpoint: str, bucket: str, headers: tuple[tuple[str, str], ...], source: str
    ) -> None:
        self._endpoint = endpoint
        self._bucket = bucket
        self._headers = headers
        self._source = source

    def stat(self, key: str) -> Mapping[str, Any]:
        return self._json(f"/{quote(key, safe='')}")

    def list(self, folder: str) -> dict[str, Mapping[str, Any]]:
        """Objects directly in the folder, by their name in it."""
        found: dict[str, Mapping[str, Any]] = {}
        page = ""
        for _ in range(_MOST_PAGES):
            query = {"prefix": folder, "delimiter": "/"} | ({"pageToken": page} if page else {})
            answer = self._json(f"?{urlencode(query)}")
            for item in answer.get("items") or ():
                name = str(item.get("name", "")).removeprefix(folder)
                if name:
                    found[name] = item
            page = str(answer.get("nextPageToken") or "")
            if not page:
                return found
        raise SourceFailed(
            f"The source {self._source} has too many objects.",
            why="More than 20 000 lie in that folder.",
            fix="Name one file of it.",
        )

    def file(self, path: str, key: str, said: Mapping[str, Any]) -> RemoteFile:
        generation = str(said.get("generation", ""))
        size = str(said.get("size", ""))
        url = f"{self._endpoint}/{self._bucket}/{quote(key)}"
        if generation.isdecimal():
            url += f"?generation={generation}"
        return RemoteFile(
            path, int(size) if size.isdecimal() else None, None, (Address(url, self._headers),)
        )

    def _json(self, rest: str) -> Mapping[str, Any]:
        address = Address(f"{self._endpoint}/storage/v1/b/{self._bucket}/o{rest}", self._headers)
        try:
            answer = web.patiently(lambda: web.get_json(address))
        except (web.Refused, web.Broken) as error:
            raise web.explain(self._source, error, credentials=_CREDENTIALS) from None
        if not isinstance(answer, dict):
            raise SourceFailed(
                f"The source {self._source} could not be read.",
                why="What answered is not Cloud Storage.",
                fix="Check the endpoint in the configuration.",
            )
        return answer


def _headers(source: str, credentials: Path | None) -> tuple[tuple[str, str], ...]:
    """A bearer token where there are credentials; public objects need none."""
    try:
        import google.auth
        import google.auth.exceptions
        import google.auth.transport.requests
    except ImportError as error:
        raise DriverUnavailable(
            "Cloud Storage needs a part of yoyo that is not installed.",
            why=f"The package {error.name} is missing.",
            fix="pip install 'yoyo[gcs]'",
        ) from error
    auth: Any = google.auth  # annotated in part only
    found: Any
    try:
        if credentials is None:
            found, _ = auth.default(scopes=[_SCOPE])
        else:
            with warnings.catch_warnings():
                # The method warns of files from strangers; this one is the operator's own.
                warnings.simplefilter("ignore", DeprecationWarning)
                found, _ = auth.load_credentials_from_file(str(credentials), scopes=[_SCOPE])
        found.refresh(google.auth.transport.requests.Request())
    except google.auth.exceptions.DefaultCredentialsError as error:
        if credentials is None:
            return ()
        raise _denied(source, error) from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise _denied(source, error) from None
    return (("Authorization", f"Bearer {found.token}"),)


def _denied(source: str, error: Exception) -> SourceFailed:
    return SourceFailed(
        f"No token for the source {source} could be had.",
        # The library's texts may quote the answer of the token's server.
        why=f"Google's client said {type(error).__name__}.",
        fix=_CREDENTIALS,
    )
