"""The kill switch as it was thrown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Freeze:
    """Who froze starts, why, and since when (UTC, ISO 8601)."""

    reason: str
    operator: str
    since: str
