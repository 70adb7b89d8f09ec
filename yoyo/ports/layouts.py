"""The port of packed artefacts: an OCI image layout in a directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from yoyo.model.oci import Descriptor


class Layouts(Protocol):
    """OCI image layouts (image-layout.md), one manifest each."""

    def write(
        self, directory: Path, manifest: bytes, blobs: Mapping[str, Path | bytes]
    ) -> Descriptor:
        """Make a layout of this manifest and these blobs (by digest, each checked); whole or not
        at all. A layout of the same manifest that is there is left as it is.

        Raises:
            ArtefactExists: the directory holds something else.
            ArtefactCorrupt, StateUnwritable, StoreFull.
        """
        ...

    def read(self, directory: Path) -> tuple[Descriptor, bytes]:
        """The manifest of a layout, checked against its digest.

        Raises:
            ArtefactMissing, ArtefactCorrupt, AdapterInvalid.
        """
        ...

    def blob(self, directory: Path, digest: str) -> Path:
        """Where a blob lies; its bytes are not checked here.

        Raises:
            ArtefactMissing.
        """
        ...
