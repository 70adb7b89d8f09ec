"""Randomness as a port."""

from __future__ import annotations

from typing import Protocol


class Ids(Protocol):
    """Source of unique ids."""

    def new_id(self) -> str:
        """A UUIDv7 in lowercase canonical form (36 characters)."""
        ...
