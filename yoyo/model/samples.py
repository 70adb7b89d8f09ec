"""One look of the idle monitor at a node."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Sample(NamedTuple):
    """What was seen at one moment. `boot` ties it to one machine life.

    None means that the reading failed. A failed reading is never idleness.
    """

    at: datetime
    boot: str
    reachable: bool
    processing: int | None
    deferred: int | None
    slots_busy: int | None
    tokens_total: int | None
    open_jobs: int
    error: str = ""
