"""The sources port: one door for every scheme that weights may come by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from yoyo.drivers.sources import gcs, http, huggingface, local, names, s3, web
from yoyo.errors import SourceFailed
from yoyo.model.fetch import RemoteFile, Resolved

MAX_READ: Final = 64 << 20  # bytes at once
_PATH_LIKE: Final = re.compile(r"(file:|(?![A-Za-z][A-Za-z0-9+.-]*:).)", re.DOTALL)


class WeightSources:
    """Sources by their scheme; `ports.fetch.Sources` says what holds for all of them.

    `hub`: the hub's address; None: HF_ENDPOINT, else the public one. `hub_mirrors`: addresses of
    hubs with the same paths. `storage_endpoint` and `storage_credentials`: for gs://, None being
    Google's own and Application Default Credentials. `env`: where tokens are looked for.
    """

    def __init__(
        self,
        *,
        hub: str | None,
        hub_mirrors: tuple[str, ...],
        storage_endpoint: str | None,
        storage_credentials: Path | None,
        env: Mapping[str, str],
    ) -> None:
        self._hub = hub
        self._hub_mirrors = hub_mirrors
        self._storage_endpoint = storage_endpoint
        self._storage_credentials = storage_credentials
        self._env = env

    def resolve(
        self, source: str, *, sha256: str | None = None, mirrors: tuple[str, ...] = ()
    ) -> Resolved:
        """What the source has now. `mirrors`: of an hf:// source hubs, of https:// addresses.

        Raises:
            SourceFailed, DriverUnavailable.
        """
        scheme, separator, rest = source.partition(":")
        if scheme == "inline" and separator:
            resolved = local.inline(rest)
            return _with_digest(resolved, names.checked_digest(sha256, resolved.url))
        shown = names.shown(source)
        if not source.isprintable():
            raise SourceFailed(
                f"The source {shown} is not understood.",
                why="It holds characters that cannot be printed, such as a line break.",
                fix="Type it anew, or percent-encode them in an https:// address.",
            )
        if not rest.startswith("//"):
            raise _unknown(source)
        digest = names.checked_digest(sha256, shown)
        if mirrors and scheme not in ("hf", "http", "https"):
            raise SourceFailed(
                f"The source {shown} takes no mirrors.",
                why="Mirrors are for hf:// and https:// alone.",
                fix="Leave the mirrors out.",
            )
        return _with_digest(self._resolve(scheme, source, rest[2:], digest, mirrors), digest)

    def _resolve(
        self, scheme: str, source: str, rest: str, digest: str | None, mirrors: tuple[str, ...]
    ) -> Resolved:
        match scheme:
            case "hf":
                hubs = self._hub_mirrors + mirrors
                return huggingface.resolve(rest, hub=self._hub, mirrors=hubs, env=self._env)
            case "http" | "https":
                return http.resolve(source, sha256=digest, mirrors=mirrors)
            case "gs":
                return gcs.resolve(
                    rest, endpoint=self._storage_endpoint, credentials=self._storage_credentials
                )
            case "s3":
                return s3.resolve(rest, env=self._env)
            case "file":
                return local.resolve(source)
        raise _unknown(source)

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        """A range of it; the first address that gives it is taken.

        Raises:
            SourceFailed: the details have every address's reason.
            ValueError: a negative range, or more than 64 MiB.
        """
        if start < 0 or not 0 <= length <= MAX_READ:
            raise ValueError("a range is from 0 on, and of at most 64 MiB")
        if not length:
            return b""
        if file.data is not None:
            return file.data[start : start + length]
        if file.local is not None:
            return local.read(file.local, start, length)
        reasons: list[str] = []
        failure: SourceFailed | None = None
        for address in file.addresses:
            try:
                return web.patiently(lambda at=address: web.read(at, start, length))  # type: ignore[misc]
            except (web.Refused, web.Broken) as error:
                shown = names.shown(address.url)
                failure = failure or web.explain(
                    shown, error, credentials="Give a token that may read it, then run it again."
                )
                reasons.append(f"{shown}: {error}")
        if failure is None:
            raise ValueError("a file without addresses, data or path")
        failure.details = tuple(reasons)
        raise failure


def _with_digest(resolved: Resolved, digest: str | None) -> Resolved:
    """The operator's digest beside the source's own: they must agree, and be of one file."""
    if digest is None:
        return resolved
    if len(resolved.files) != 1:
        raise SourceFailed(
            f"The source {resolved.url} is a set of {len(resolved.files)} files.",
            why="One digest cannot be that of several files.",
            fix="Leave the digest out, or name one file.",
        )
    file = resolved.files[0]
    if file.sha256 not in (None, digest):
        raise SourceFailed(
            f"The source {resolved.url} has another digest than was asked for.",
            why=f"It says sha256:{file.sha256}; asked for was sha256:{digest}.",
            fix="Find out which is right before you go on: the file was changed, or exchanged.",
        )
    return resolved._replace(files=(file._replace(sha256=digest),))


def _unknown(source: str) -> SourceFailed:
    return SourceFailed(
        f"The source {names.shown(source)} is not understood.",
        why="Sources begin with hf://, https://, http://, gs://, s3://, file:/// or inline:.",
        fix="For a file or a folder of this machine give file:///ABSOLUTE/PATH, for a model of a "
        "hub hf://ORG/REPO/FILE."
        if _PATH_LIKE.match(source)
        else "Give the source in one of these forms.",
    )
