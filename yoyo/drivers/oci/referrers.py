"""What refers to a manifest: signatures and attestations, however the registry keeps the list.

Registries either keep it themselves (the Referrers API), or clients keep it, as an index under the
tag `sha256-<hex>` (distribution-spec, "Referrers Tag Schema"). Nothing in HTTP makes a change of
that index atomic: of two clients that read the same one, the second to write loses the first
one's entry. Two measures together keep all entries:

- On one machine, a lock makes attaches take turns.
- Between machines, each writer watches until the index has stood still, with its entry in it, for
  longer than reading and writing take, and adds the entry again if it is gone. An entry that was
  there all that time was there when any later writer read: it can be lost only to a writer that
  needs longer than that from its reading to its writing. Such a writer never retries a write
  without reading anew.
"""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.core.oci_manifest import OciError, digest_of, index_with, parse_index, parse_manifest
from yoyo.core.oci_names import fallback_tag
from yoyo.drivers.oci import faults
from yoyo.drivers.oci.documents import get_document, next_page, put_document
from yoyo.drivers.oci.transfer import Patience
from yoyo.errors import AdapterInvalid, ArtefactCorrupt, RegistryUnavailable, StateUnwritable
from yoyo.model.oci import IMAGE_INDEX, IMAGE_MANIFEST, Descriptor, Reference, Referrer
from yoyo.model.signing import BUNDLE_TYPE

if TYPE_CHECKING:
    from yoyo.drivers.oci.session import Session
    from yoyo.ports.clock import Clock

MAX_REFERRERS: Final = 256
MAX_REFERRER_BYTES: Final = 16 * 1024 * 1024  # all of them; one of a bundle has 1 KiB
_PAGES: Final = MAX_REFERRERS + 1  # with one entry each, they are too many
SETTLE_S: Final = 0.5  # at least; four times what reading and writing took, if that is more
_LOOKS: Final = 60  # while others keep changing the index


class Referrers:
    """The lists of one session's registries."""

    def __init__(self, session: Session, locks: Path, clock: Clock) -> None:
        self._session = session
        self._locks = locks
        self._clock = clock

    def of(self, ref: Reference, subject: str) -> tuple[Referrer, ...]:
        """See ports.oci.OciRegistry.referrers: in the order of the lists, the API's first."""
        claimed: dict[str, Descriptor] = {}
        for entry in chain(self._api(ref, subject), self._tagged(ref, subject)):
            claimed.setdefault(entry.digest, entry)
            if len(claimed) > MAX_REFERRERS:
                raise _too_much(ref, subject, f"More than {MAX_REFERRERS} manifests refer to it.")
        found: list[Referrer] = []
        size = 0
        for entry in claimed.values():
            referrer = self._checked(ref, subject, entry.digest)
            if referrer is None:
                if entry.artifact_type != BUNDLE_TYPE:
                    continue
                # Of what calls itself a bundle, nothing may be lost without being shown.
                referrer = Referrer(Descriptor(entry.media_type, entry.digest, entry.size), b"")
            size += len(referrer.document)
            if size > MAX_REFERRER_BYTES:
                why = f"What refers to it has more than {MAX_REFERRER_BYTES} bytes."
                raise _too_much(ref, subject, why)
            found.append(referrer)
        return tuple(found)

    def attach(self, ref: Reference, subject: Descriptor, document: bytes) -> Descriptor:
        """See ports.oci.OciRegistry.attach.

        Raises:
            AdapterInvalid: the document is no image manifest with that subject.
            ArtefactCorrupt: under the fallback tag is something else than an index.
            StateUnwritable: the lock cannot be taken.
        """
        try:
            entry = _entry(document, subject.digest)
        except OciError as error:
            raise AdapterInvalid(
                f"The manifest cannot be attached to {subject.digest}.",
                why=f"{error}.",
                fix="Sign or attest it again with this yoyo.",
            ) from error
        answer = put_document(self._session, ref, entry.digest, document, IMAGE_MANIFEST)
        if answer.headers.get("OCI-Subject", "") != subject.digest:
            self._list(ref, subject.digest, entry)
        return entry

    def _api(self, ref: Reference, subject: str) -> Iterator[Descriptor]:
        """What the registry's own list claims; nothing where it has no such list."""
        path = f"referrers/{subject}"
        for _ in range(_PAGES):
            answer = self._session.request("GET", ref, path, headers={"Accept": IMAGE_INDEX})
            if answer.status_code != 200:
                return
            try:
                entries = parse_index(answer.content)
            except OciError:
                return  # such as a page of HTML, of something before a registry without the API
            yield from entries
            path = next_page(ref, answer)
            if not path:
                return
        raise _too_much(ref, subject, f"Its list has more than {_PAGES} pages.")

    def _tagged(self, ref: Reference, subject: str) -> Iterator[Descriptor]:
        """What the index under the fallback tag claims."""
        try:
            found = get_document(self._session, ref, fallback_tag(subject))
            entries = parse_index(found) if isinstance(found, bytes) else ()
        except (ArtefactCorrupt, OciError):
            return
        yield from entries

    def _checked(self, ref: Reference, subject: str, digest: str) -> Referrer | None:
        """The manifest, if it is there and says itself that it refers to the subject."""
        try:
            document = get_document(self._session, ref, digest)
            if not isinstance(document, bytes):
                return None
            return Referrer(_entry(document, subject), document)
        except (ArtefactCorrupt, OciError):
            return None

    def _list(self, ref: Reference, subject: str, entry: Descriptor) -> None:
        """Put the entry into the index under the fallback tag, and see it stay there."""
        tag = fallback_tag(subject)
        patience = Patience(self._clock.sleep)
        while True:
            try:
                with self._turn(ref, subject):
                    began = self._clock.monotonic()
                    self._add(ref, tag, entry)
                    took = self._clock.monotonic() - began
                if self._stays(ref, tag, entry, max(SETTLE_S, 4 * took)):
                    return
                fault = faults.unavailable(
                    ref.registry, f"Others keep removing {entry.digest} from the index {tag}."
                )
            except RegistryUnavailable as error:
                fault = error
            patience.pause(fault, 0)

    def _add(self, ref: Reference, tag: str, entry: Descriptor) -> None:
        found = get_document(self._session, ref, tag)
        before = found if isinstance(found, bytes) else None
        try:
            if before is not None and entry in parse_index(before):
                return
            after = index_with(before, entry)
        except OciError as error:
            raise ArtefactCorrupt(
                f"{ref.place} has something else than a list of referrers under the tag {tag}.",
                why=f"{error}.",
                fix=f"Look at it, then remove the tag {tag} in the registry, and run this again.",
            ) from error
        # Written once: what was read is too old for a second try.
        put_document(self._session, ref, tag, after, IMAGE_INDEX, retry=False)

    def _stays(self, ref: Reference, tag: str, entry: Descriptor, settle_s: float) -> bool:
        """Whether the entry is there while the index stands still for `settle_s` seconds."""
        last: bytes | None = None
        for _ in range(_LOOKS):
            found = get_document(self._session, ref, tag)
            document = found if isinstance(found, bytes) else b""
            try:
                if entry.digest not in {each.digest for each in parse_index(document)}:
                    return False
            except OciError:
                return False
            if document == last:
                return True
            last = document
            self._clock.sleep(settle_s * random.uniform(1.0, 1.5))  # noqa: S311 - jitter
        return False

    @contextmanager
    def _turn(self, ref: Reference, subject: str) -> Iterator[None]:
        """Only one attach of this machine at a time to a subject (of the same 256th of them)."""
        part = digest_of(f"{ref.place}@{subject}".encode()).removeprefix("sha256:")[:2]
        path = self._locks / f"attach-{part}.lock"
        try:
            self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateUnwritable(
                f"{path} could not be written.",
                why=f"{error.strerror or error}.",
                fix=f"Make {self._locks} a directory that you may write to.",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _too_much(ref: Reference, subject: str, why: str) -> AdapterInvalid:
    return AdapterInvalid(
        f"{ref.place}@{subject} cannot be judged.",
        why=f"{why} To look at a part of them could miss the one that counts.",
        fix="Remove from the registry what was attached to it in vain, or push it to a repository "
        "where only you may push, and sign it there.",
    )


def _entry(document: bytes, subject: str) -> Descriptor:
    """How a list of referrers names the manifest: by what it says of itself.

    Raises:
        OciError: it is no manifest, or it has another subject.
    """
    found = parse_manifest(document)
    if found.subject is None or found.subject.digest != subject:
        raise OciError("its subject is another manifest")
    return Descriptor(
        found.media_type, digest_of(document), len(document), found.annotations, found.kind
    )
