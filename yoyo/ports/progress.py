"""Where a use case says how far it is."""

from __future__ import annotations

from typing import Protocol

from yoyo.model.machine import BootStep


class Progress(Protocol):
    """Phases of a long command, for people; machines read the result."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins; the one before is done."""
        ...

    def note(self, text: str) -> None:
        """A line that stays: what went wrong beside the command's own work, for people."""
        ...

    def steps(self, steps: tuple[BootStep, ...]) -> None:
        """How far the steps are that run side by side within the phase. () says nothing."""
        ...
