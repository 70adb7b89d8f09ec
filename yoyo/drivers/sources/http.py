"""Files on web servers: only with a digest, as an address alone promises nothing."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from yoyo.drivers.sources import names, web
from yoyo.errors import SourceFailed
from yoyo.model.fetch import Address, RemoteFile, Resolved

_CREDENTIALS: Final = "Give an address that may be read, such as a newly signed one, or a mirror."


def resolve(url: str, *, sha256: str | None, mirrors: tuple[str, ...]) -> Resolved:
    """The file's size and ETag from the first address that answers.

    Raises:
        SourceFailed: no digest, user information in the address, or no address answers.
    """
    source = names.shown(url)
    if sha256 is None:
        raise SourceFailed(
            f"The source {source} has no digest.",
            why="A web server's file can be exchanged in silence; its sha256 says which is meant.",
            fix="Add `--sha256 DIGEST`, as the model's page or `sha256sum FILE` gives it.",
        )
    addresses = tuple(Address(_checked(one)) for one in (url, *mirrors))
    name = unquote(urlsplit(url).path.rpartition("/")[2]) or "file"
    path = names.checked_path(name, source)
    reasons = []
    first: SourceFailed | None = None
    for place in addresses:
        shown = names.shown(place.url)
        try:
            seen = web.patiently(lambda place=place: web.look(place))  # type: ignore[misc]
        except (web.Refused, web.Broken) as error:
            first = first or web.explain(shown, error, credentials=_CREDENTIALS)
            reasons.append(f"{shown}: {error}")
            continue
        return Resolved(source, seen.etag, "", (RemoteFile(path, seen.size, sha256, addresses),))
    assert first is not None  # noqa: S101 - there is at least one address
    first.details = tuple(reasons)
    raise first


def _checked(url: str) -> str:
    shown = names.shown(url)
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
        raise SourceFailed(
            f"The address {shown} is not understood.",
            why="It is not https://HOST/PATH.",
            fix="Give the whole address, with anything unusual percent-encoded.",
        )
    if "@" in parts.netloc:
        raise SourceFailed(
            f"The address {shown} holds a user or a password.",
            why="Such an address ends up in histories, logs and manifests.",
            fix="Use a signed address (its query is never shown or kept), or a file.",
        )
    return url
