"""Where a use case says how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Phases of a long command, for people; machines read the result."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins; the one before is done."""
        ...
