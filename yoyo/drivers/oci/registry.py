"""Implements the registry port over HTTP (OCI distribution-spec 1.1)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.core.manifest_fields import ManifestError, parsed
from yoyo.core.oci_manifest import OciError, digest_of, parse_manifest
from yoyo.drivers.oci import faults
from yoyo.drivers.oci.documents import get_document, next_page, put_document
from yoyo.drivers.oci.referrers import Referrers
from yoyo.drivers.oci.transfer import corrupt, missing, pull
from yoyo.drivers.oci.upload import push
from yoyo.errors import AdapterInvalid
from yoyo.model.oci import MAX_MANIFEST_BYTES, Descriptor, Reference, Referrer

if TYPE_CHECKING:
    from yoyo.drivers.oci.session import Session
    from yoyo.ports.clock import Clock
    from yoyo.ports.oci import Moved

MAX_TAGS: Final = 10_000
_PAGES: Final = 100
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")  # distribution-spec, "Pulling"


class HttpRegistry:
    """Any OCI registry. `locks` is a directory of this user's for files that order attaches.

    The session stays the caller's, who closes it.
    """

    def __init__(self, session: Session, *, locks: Path, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._referrers = Referrers(session, locks, clock)

    def resolve(self, ref: Reference) -> Descriptor:
        """See the port.

        Raises:
            AdapterInvalid: it has neither tag nor digest, or it stands for an index, or for
                another thing that is no OCI manifest.
        """
        document = self._manifest(ref, ref.digest or ref.tag)
        try:
            found = parse_manifest(document)
        except OciError as error:
            raise AdapterInvalid(
                f"{ref} stands for no OCI image manifest.",
                why="What came is no JSON document."
                if f"{error}".startswith("not a JSON document")
                else f"{error}.",
                fix="Name the tag or the digest of one adapter: yoyo adapters ls",
            ) from error
        return Descriptor(found.media_type, digest_of(document), len(document))

    def manifest(self, ref: Reference) -> bytes:
        """See the port."""
        return self._manifest(ref, ref.digest)

    def tags(self, ref: Reference) -> tuple[str, ...]:
        """See the port: in the registry's order, at most MAX_TAGS."""
        found: dict[str, None] = {}
        path = "tags/list?n=1000"
        for _ in range(_PAGES):
            answer = self._session.request("GET", ref, path)
            if answer.status_code == 404:
                break
            if answer.status_code != 200:
                raise faults.unexpected(ref, answer)
            if faults.is_web_page(answer.content):
                raise faults.web_page(ref.registry, "a list of tags")
            for tag in _listed(ref, answer.content):
                found[tag] = None
            path = next_page(ref, answer)
            if not path or len(found) >= MAX_TAGS:
                break
        return tuple(found)[:MAX_TAGS]

    def blob(self, ref: Reference, blob: Descriptor) -> bytes:
        """See the port."""
        if blob.size > MAX_MANIFEST_BYTES:
            raise corrupt(ref, blob, f"At most {MAX_MANIFEST_BYTES} bytes are taken for it.")
        headers = {"Accept-Encoding": "identity"}
        answer = self._session.request("GET", ref, f"blobs/{blob.digest}", headers=headers)
        if answer.status_code == 404:
            raise missing(ref, f"blob {blob.digest}", answer)
        if answer.status_code != 200:
            raise faults.unexpected(ref, answer)
        data = answer.content
        if len(data) != blob.size or digest_of(data) != blob.digest:
            raise corrupt(
                ref, blob, f"It sent {len(data)} bytes with the digest {digest_of(data)}."
            )
        return data

    def pull(self, ref: Reference, blob: Descriptor, path: Path, moved: Moved) -> None:
        """See the port."""
        pull(self._session, self._clock.sleep, ref, blob, path, moved)

    def push(
        self, ref: Reference, blob: Descriptor, source: Path | bytes, moved: Moved, mount: str = ""
    ) -> None:
        """See the port."""
        push(self._session, self._clock.sleep, ref, blob, source, moved, mount)

    def put_manifest(self, ref: Reference, document: bytes, media_type: str) -> Descriptor:
        """See the port.

        Raises:
            ArtefactCorrupt: the reference has the digest of another document.
        """
        made = Descriptor(media_type, digest_of(document), len(document))
        if ref.digest and ref.digest != made.digest:
            raise corrupt(ref, made._replace(digest=ref.digest), "The document is another one.")
        put_document(self._session, ref, ref.tag or made.digest, document, media_type)
        return made

    def attach(self, ref: Reference, subject: Descriptor, document: bytes) -> Descriptor:
        """See the port."""
        return self._referrers.attach(ref, subject, document)

    def referrers(self, ref: Reference, subject: str) -> tuple[Referrer, ...]:
        """See the port."""
        return self._referrers.of(ref, subject)

    def _manifest(self, ref: Reference, name: str) -> bytes:
        if not name:
            raise AdapterInvalid(
                f"{ref} names a repository, and no artefact in it.",
                why="It has neither a tag nor a digest.",
                fix=f"Give a tag or a digest: {ref.place}:TAG or {ref.place}@sha256:DIGEST.",
            )
        found = get_document(self._session, ref, name)
        if isinstance(found, bytes):
            return found
        raise missing(ref, f"manifest {name}", found)


def _listed(ref: Reference, content: bytes) -> list[str]:
    """The tags of one page; what is no tag is left out."""
    try:
        found = parsed(content, "a list of tags")
    except ManifestError as error:
        raise faults.unavailable(ref.registry, f"Its list of tags is bad: {error}.") from error
    tags = found.get("tags") if isinstance(found, dict) else ()
    if tags is None:  # registries in Go write an empty list so
        return []
    if not isinstance(tags, list):
        raise faults.unavailable(ref.registry, "Its list of tags is none.")
    return [tag for tag in tags if isinstance(tag, str) and _TAG.fullmatch(tag)]
