"""The ports of sessions: what the host says about itself, and the marker between commands."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from yoyo.core.session import HostFacts, Stamp


class Host(Protocol):
    """The machine that this runs on. What cannot be read is unknown, never an error."""

    def stamp(self) -> Stamp:
        """Boot and clocks, in well under a millisecond."""
        ...

    def facts(self) -> HostFacts:
        """What a session's record says besides."""
        ...


class SessionMarker(Protocol):
    """A cache of what the last command found. It may vanish at any time."""

    def read(self) -> bytes | None:
        """Its bytes; None: there is none, or it cannot be read."""
        ...

    def write(self, content: bytes) -> None:
        """Replace it in one step. Failing to is not an error."""
        ...

    def hold(self) -> AbstractContextManager[bool]:
        """Alone among commands for the block; False: another one did not let go in time."""
        ...
