"""Blobs go out in constant memory, in one request, checked before the registry may keep them.

Artifact Registry takes no uploads in chunks, so that one PUT with everything is the way. Where it
breaks off and the registry knows how far it came, the rest is sent as one chunk (PATCH).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import quote, urlencode

from yoyo.core.oci_manifest import digest_of
from yoyo.drivers.oci import faults
from yoyo.drivers.oci.transfer import PIECE, Patience
from yoyo.errors import ArtefactCorrupt, RegistryUnavailable, SourceFailed, StoreFull
from yoyo.model.oci import Descriptor, Reference

if TYPE_CHECKING:
    import requests

    from yoyo.drivers.oci.session import Session
    from yoyo.ports.oci import Moved

_SCOPE: Final = "pull,push"
_OCTETS: Final = "application/octet-stream"
_RECEIVED: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})")  # distribution-spec: without a unit


def push(
    session: Session,
    sleep: Callable[[float], object],
    ref: Reference,
    blob: Descriptor,
    source: Path | bytes,
    moved: Moved,
    mount: str = "",
) -> None:
    """See ports.oci.OciRegistry.push.

    Raises:
        ArtefactCorrupt, StoreFull, SourceFailed, RegistryUnavailable, RegistryDenied.
    """
    if _there(session, ref, blob):
        moved(blob.size, blob.size)
        return
    with closing(_opened(source, blob)) as file:
        patience = Patience(sleep)
        location = _begin(session, ref, blob, mount)
        at = 0
        while location:
            try:
                _send(session, ref, blob, location, _Body(file, blob, at, moved))
                break
            except _BrokeOff as broke:
                found = _status(session, ref, blob, location)
                patience.pause(broke.fault, found[1] if found else -1)
                location, at = found or (_begin(session, ref, blob, ""), 0)
    moved(blob.size, blob.size)


class _BrokeOff(Exception):
    """The bytes did not all arrive; they may, at the next try."""

    def __init__(self, fault: RegistryUnavailable) -> None:
        super().__init__()
        self.fault = fault


class _Body:
    """The bytes from `start` on, for one request.

    The last piece is held back until the digest of all bytes is known to be right: a registry that
    never got it cannot keep the blob.
    """

    def __init__(self, file: BinaryIO, blob: Descriptor, start: int, moved: Moved) -> None:
        self.blob = blob
        self.start = start
        self._file = file
        self._moved = moved

    def __len__(self) -> int:
        return self.blob.size - self.start

    def __iter__(self) -> Iterator[bytes]:
        sha = hashlib.sha256()
        self._file.seek(0)
        at, size = 0, self.blob.size
        while at < size:
            piece = self._read((self.start if at < self.start else size) - at)
            sha.update(piece)
            at += len(piece)
            if at == size and f"sha256:{sha.hexdigest()}" != self.blob.digest:
                raise wrong(self.blob, "Its digest is another one.")
            if at > self.start:
                yield piece
                self._moved(at, size)

    def _read(self, limit: int) -> bytes:
        try:
            piece = self._file.read(min(PIECE, limit))
        except OSError as error:
            raise _unreadable(error) from error
        if not piece:
            raise wrong(self.blob, "It has become shorter.")
        return piece


def wrong(blob: Descriptor, why: str) -> ArtefactCorrupt:
    """What was to be pushed is not what its descriptor says."""
    return ArtefactCorrupt(
        f"What should be pushed is not {blob.digest} ({blob.size} bytes).",
        why=why,
        fix="Nothing of it was kept. Pack it again, and leave the file alone while it is pushed.",
    )


def _opened(source: Path | bytes, blob: Descriptor) -> BinaryIO:
    if isinstance(source, bytes):
        if digest_of(source) != blob.digest or len(source) != blob.size:
            raise wrong(blob, f"It has {len(source)} bytes, or other ones.")
        return BytesIO(source)
    try:
        file = source.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(error, source) from error
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size != blob.size:
        file.close()
        raise wrong(blob, f"{source} has {found.st_size} bytes, or is no file.")
    if not blob.size and blob.digest != digest_of(b""):
        file.close()
        raise wrong(blob, "Nothing at all has another digest.")
    return file


def _unreadable(error: OSError, source: Path | str = "The file to push") -> SourceFailed:
    return SourceFailed(
        f"{source} cannot be read.", why=f"{error.strerror or error}.", fix="Mend that."
    )


def _there(session: Session, ref: Reference, blob: Descriptor) -> bool:
    answer = session.request("HEAD", ref, f"blobs/{blob.digest}", actions=_SCOPE)
    length = answer.headers.get("Content-Length", str(blob.size))
    return answer.status_code == 200 and length == str(blob.size)


def _begin(session: Session, ref: Reference, blob: Descriptor, mount: str) -> str:
    """A place to send the blob to; "": the registry took it from the other repository."""
    path = "blobs/uploads/"
    if mount:
        path += "?" + urlencode({"mount": blob.digest, "from": mount}, quote_via=quote)
    answer = session.request("POST", ref, path, actions=_SCOPE, mount=mount)
    if mount and answer.status_code == 201:
        return ""
    location = session.location(answer)
    if answer.status_code != 202 or not location:
        raise _refused(ref, answer)
    return location


def _send(session: Session, ref: Reference, blob: Descriptor, location: str, body: _Body) -> None:
    """Everything in one request, or the rest and then an end.

    Raises:
        _BrokeOff, StoreFull, RegistryUnavailable, ArtefactCorrupt.
    """
    rest: _Body | bytes = body
    if body.start:
        span = {"Content-Range": f"{body.start}-{blob.size - 1}"}
        answer = _once(session, "PATCH", ref, location, body, span)
        location, rest = session.location(answer) or location, b""
    end = f"{location}{'&' if '?' in location else '?'}digest={quote(blob.digest)}"
    _once(session, "PUT", ref, end, rest if blob.size else b"", {})


def _once(
    session: Session,
    method: str,
    ref: Reference,
    location: str,
    body: _Body | bytes,
    headers: dict[str, str],
) -> requests.Response:
    sent = {"Content-Type": _OCTETS, "Content-Length": str(len(body)), **headers}
    try:
        answer = session.request(
            method, ref, location, actions=_SCOPE, headers=sent, data=body, retry=False
        )
    except RegistryUnavailable as error:
        raise _BrokeOff(error) from error
    if answer.status_code in (404, 416):  # the upload is gone, or stands somewhere else
        raise _BrokeOff(faults.unexpected(ref, answer))
    if answer.status_code not in (201, 202, 204):
        raise _refused(ref, answer)
    return answer


def _status(
    session: Session, ref: Reference, blob: Descriptor, location: str
) -> tuple[str, int] | None:
    """Where an upload that broke off goes on, and at which byte; None: nowhere."""
    answer = session.request("GET", ref, location, actions=_SCOPE)
    found = _RECEIVED.fullmatch(answer.headers.get("Range", "").strip())
    if answer.status_code not in (202, 204) or found is None:
        return None
    at = int(found[1]) + 1
    # `0-0` is also what registries say of nothing at all.
    if not 1 < at < blob.size:
        return None
    return session.location(answer) or location, at


def _refused(ref: Reference, answer: requests.Response) -> StoreFull | RegistryUnavailable:
    if answer.status_code in (413, 507):
        return StoreFull(
            f"{ref.place} does not take so many bytes.",
            why=faults.answered(ref.registry, answer),
            fix="Make room in the registry, or raise its limit, then run the command again.",
        )
    return faults.unexpected(ref, answer)
