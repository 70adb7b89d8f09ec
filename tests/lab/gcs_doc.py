"""Google's discovery document of storage v1: which call a request is, and what it may say."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import discovery

JSON = dict[str, Any]

API, UPLOAD, DOWNLOAD = "/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/"
# The document's own path for resumable uploads; gcloud takes it, Google's libraries do not.
RESUMABLE = "/resumable"
# Parameters that no method lists: the session's own, and the media form of `alt`.
SESSION = "upload_id"
MEDIA = ("alt", "media")


class Violation(NamedTuple):
    """Something that the discovery document does not allow."""

    side: discovery.Side
    kind: str
    where: str
    message: str


class Route(NamedTuple):
    """What a request asks for."""

    kind: str  # the method's id, or one of upload.* media.get xml.get xml.head; "" for nothing
    method: discovery.Method | None
    path: dict[str, str]  # parameters, decoded
    query: list[tuple[str, str]]

    @property
    def asked(self) -> dict[str, str]:
        """The query as a mapping."""
        return dict(self.query)


@functools.cache
def load() -> discovery.Document:
    """The document as google-api-python-client brings it along."""
    place = files("googleapiclient").joinpath("discovery_cache/documents/storage.v1.json")
    raw: JSON = json.loads(place.read_bytes())
    for resource in raw["resources"].values():
        for entry in resource.get("methods", {}).values():
            # This document leaves out what is the same as `path`, and empty lists.
            entry.setdefault("flatPath", entry["path"])
            entry.setdefault("parameters", {})
    return discovery.Document(raw)


def route(verb: str, target: str, content_range: str = "") -> Route:
    """The call that a request line makes; `content_range` tells a chunk from a query."""
    url = urlsplit(target)
    query = parse_qsl(url.query, keep_blank_values=True)
    at = url.path.removeprefix(RESUMABLE)
    for prefix in (API, DOWNLOAD, UPLOAD):
        if at.startswith(prefix):
            return _json(verb, prefix, at.removeprefix(prefix), query, content_range)
    bucket, _, name = url.path.removeprefix("/").partition("/")
    if verb in ("GET", "HEAD") and bucket and name:
        path = {"bucket": unquote(bucket), "object": unquote(name)}
        return Route(f"xml.{verb.lower()}", None, path, query)
    return Route("", None, {}, query)


def _json(
    verb: str, prefix: str, rest: str, query: list[tuple[str, str]], content_range: str
) -> Route:
    document = load()
    session = prefix == UPLOAD and any(name == SESSION for name, _ in query)
    found = document.find("POST" if session else verb, rest)
    if found is None:
        return Route("", None, {}, query)
    method, raw = found
    path = {name: unquote(value) for name, value in raw.items()}
    kind = method.id
    if prefix == UPLOAD and kind != "storage.objects.insert":
        return Route("", None, {}, query)
    if session:
        kinds = {"PUT": "chunk", "POST": "chunk", "DELETE": "cancel"}
        kind = f"upload.{kinds.get(verb, '')}"
        if kind == "upload.chunk" and content_range.startswith("bytes */"):
            kind = "upload.query"
    elif prefix == UPLOAD:
        kind = f"upload.{dict(query).get('uploadType', '')}"
    elif kind == "storage.objects.get" and MEDIA in query:
        kind = "media.get"
    return Route(kind, method, path, query)


def wrong_call(asked: Route) -> list[Violation]:
    """What the document does not allow of a call's parameters."""
    if asked.method is None:
        return []
    query = [pair for pair in asked.query if pair[0] != SESSION and pair != MEDIA]
    found = load().check_call(asked.method, asked.path, query)
    return [Violation("request", asked.kind, where, message) for where, message, _ in found]


def wrong_body(kind: str, schema: str, value: object, side: discovery.Side) -> list[Violation]:
    """What the document does not allow of a body."""
    method = "storage.objects.insert" if kind.startswith("upload.") else kind
    found = load().check(schema, value, side, method)
    return [Violation(side, kind, where, message) for where, message, _ in found]
