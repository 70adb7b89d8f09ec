"""The OCI registry port: content by digest, in both directions, and what refers to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from yoyo.model.oci import Descriptor, Reference, Referrer

Moved = Callable[[int, int], None]  # bytes so far, bytes in all


class OciRegistry(Protocol):
    """Registries, by their references. Whatever leaves it has the digest that it was asked by.

    Drivers retry what may pass by itself (429, 5xx, broken connections) with jittered backoff
    within a minute before they raise RegistryUnavailable. Every method may raise
    RegistryUnavailable and RegistryDenied.
    """

    def resolve(self, ref: Reference) -> Descriptor:
        """What a tag or a digest stands for now; the manifest's digest is computed, not believed.

        Raises:
            ArtefactMissing, ArtefactCorrupt.
            AdapterInvalid: it is no OCI image manifest.
        """
        ...

    def manifest(self, ref: Reference) -> bytes:
        """The manifest's bytes; `ref` has a digest. At most MAX_MANIFEST_BYTES.

        Raises:
            ArtefactMissing, ArtefactCorrupt.
        """
        ...

    def tags(self, ref: Reference) -> tuple[str, ...]:
        """The repository's tags; () where there is no such repository."""
        ...

    def blob(self, ref: Reference, blob: Descriptor) -> bytes:
        """A small blob whole, at most 4 MiB.

        Raises:
            ArtefactMissing, ArtefactCorrupt.
        """
        ...

    def pull(self, ref: Reference, blob: Descriptor, path: Path, moved: Moved) -> None:
        """Write a blob to `path`, by way of `path.part`, from which a later call goes on.

        A file of that name that has the digest is left as it is. In constant memory.

        Raises:
            ArtefactMissing, ArtefactCorrupt: other bytes or another size; nothing is left.
            StoreFull, StateUnwritable.
        """
        ...

    def push(
        self, ref: Reference, blob: Descriptor, source: Path | bytes, moved: Moved, mount: str = ""
    ) -> None:
        """Bring a blob into the repository; one that is there is not sent again.

        `mount` names another repository of the same registry that may have it. The bytes of
        `source` are checked against the digest before the registry is told to keep them.

        Raises:
            ArtefactCorrupt: `source` has other bytes.
            SourceFailed: it cannot be read.
            StoreFull.
        """
        ...

    def put_manifest(self, ref: Reference, document: bytes, media_type: str) -> Descriptor:
        """Push a manifest, under the reference's tag where it has one."""
        ...

    def attach(self, ref: Reference, subject: Descriptor, document: bytes) -> Descriptor:
        """Push an image manifest whose `subject` is that, so that `referrers` finds it.

        Where the registry does not keep the list itself, the fallback tag of the subject gets it:
        read, changed, written and read again until the entry is there.

        Raises:
            AdapterInvalid, ArtefactCorrupt: something else lies under the fallback tag.
            StateUnwritable.
        """
        ...

    def referrers(self, ref: Reference, subject: str) -> tuple[Referrer, ...]:
        """What refers to the manifest with that digest: each fetched, with this very subject.

        An entry that is not there, is no manifest, or has another subject is left out, unless the
        list calls it a bundle: then it comes with an empty document, to be shown as refused.

        Raises:
            AdapterInvalid: there are more than 256 of them, or more than 16 MiB: all or none.
        """
        ...
