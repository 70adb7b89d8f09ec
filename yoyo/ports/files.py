"""Files that yoyo hands to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class FileWriter(Protocol):
    """Writes whole files."""

    def write(self, path: Path, text: str, *, mode: int) -> None:
        """Make or replace a file: a reader sees the old one or the new one, never a part.

        Raises:
            MonitorNotInstallable: the directory is missing or not writable, the disk full.
        """
        ...
