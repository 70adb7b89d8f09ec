"""The monitor's memory."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from yoyo.model.samples import Sample


class SampleStore(Protocol):
    """A cache that may be deleted at will: idleness is then unproven, and nothing is stopped."""

    def load(self, node: str) -> list[Sample]:
        """All kept samples, oldest first; unreadable ones are left out."""
        ...

    def add(self, node: str, sample: Sample, *, keep_after: datetime) -> None:
        """Add one and drop those older than `keep_after`.

        Raises:
            StateUnwritable.
        """
        ...
