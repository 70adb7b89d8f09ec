"""What an OCI registry holds: references, descriptors, manifests that refer to others."""

from __future__ import annotations

from typing import Final, NamedTuple

# OCI image specification 1.1: media-types.md, manifest.md; cosign's bundle layout.
IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX: Final = "application/vnd.oci.image.index.v1+json"
EMPTY_CONFIG: Final = "application/vnd.oci.empty.v1+json"
# What most registries take at the most for one manifest (distribution-spec, "Pushing Manifests").
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024


class Reference(NamedTuple):
    """HOST[:PORT]/REPOSITORY[:TAG][@DIGEST], parsed by core.oci_names."""

    registry: str  # host[:port]
    repository: str
    tag: str = ""
    digest: str = ""  # sha256:<hex>

    @property
    def place(self) -> str:
        """HOST[:PORT]/REPOSITORY: without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def at(self, digest: str) -> Reference:
        """The same repository, pinned to that digest."""
        return self._replace(tag="", digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.place}{tag}{digest}"


class Descriptor(NamedTuple):
    """What names bytes of a registry (descriptor.md)."""

    media_type: str
    digest: str  # sha256:<hex>
    size: int  # bytes
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""

    @property
    def annotated(self) -> dict[str, str]:
        """The annotations by their key."""
        return dict(self.annotations)


class Referrer(NamedTuple):
    """A manifest that names another as its subject, fetched and checked against its digest."""

    descriptor: Descriptor  # artifact_type is the manifest's own, never the index's claim
    document: bytes
