"""The kill switch as it was thrown."""

from __future__ import annotations

from typing import NamedTuple


class Freeze(NamedTuple):
    """Who froze starts, why, and since when (UTC, ISO 8601)."""

    reason: str
    operator: str
    since: str
