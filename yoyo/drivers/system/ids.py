"""The ids port over the operating system's randomness."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from yoyo.core.uuid7 import RANDOM_BYTES, uuid7

if TYPE_CHECKING:
    from yoyo.ports.clock import Clock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class SystemIds:
    """UUIDv7 from that clock and os.urandom."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new_id(self) -> str:
        """A UUIDv7 in lowercase canonical form (36 characters)."""
        return uuid7((self._clock.now() - _EPOCH) // _MILLISECOND, os.urandom(RANDOM_BYTES))
