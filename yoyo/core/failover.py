"""What a refused start means, and where to try next. Pure.

Google reports a stockout inside the operation, after an HTTP 200; which codes and which quota
metrics say what is in the design's section 7 (https://cloud.google.com/compute/docs/
troubleshooting/troubleshooting-vm-creation and .../resource-error list them).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Scope(StrEnum):
    """How far a refusal reaches."""

    ZONE = "zone"  # another zone may do
    REGION = "region"  # another region may do
    GLOBAL = "global"  # nowhere: stop at once
    UNKNOWN = "unknown"  # it may have happened: look before anything else


class Refusal(NamedTuple):
    """One refused attempt in one zone. `code` and `message` are the platform's."""

    zone: str
    scope: Scope
    code: str
    message: str


class Attempt(NamedTuple):
    """A zone and the kind of capacity to ask it for."""

    zone: str
    spot: bool


_ZONE_CODES = frozenset(
    {
        "ZONE_RESOURCE_POOL_EXHAUSTED",
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "RESOURCE_POOL_EXHAUSTED",
        "GPU_STOCKOUT",
        "insufficientCapacity",
        "UNSUPPORTED_OPERATION",
    }
)
_REGION_CODES = frozenset({"REGION_RESOURCE_POOL_EXHAUSTED"})
_QUOTA_CODES = frozenset({"QUOTA_EXCEEDED", "quotaExceeded"})
_STOCKOUT_CODES = (_ZONE_CODES | _REGION_CODES) - {"UNSUPPORTED_OPERATION"}
_UNKNOWN_STATUS = (0, 408, 500, 502, 503, 504)  # 0: no answer at all


def is_stockout(code: str) -> bool:
    """Whether the code says that the place has no capacity now."""
    return code in _STOCKOUT_CODES


def scope_of(code: str, message: str, http_status: int = 200) -> Scope:
    """How far a refusal reaches. `http_status` is that of the call; 200 for operation errors."""
    if code in _ZONE_CODES:
        return Scope.ZONE
    if code in _REGION_CODES:
        return Scope.REGION
    if "machineTypes/" in message and http_status in (400, 404):
        return Scope.ZONE  # that zone has no machines of the type
    if code in _QUOTA_CODES:
        # Quota metrics of all regions together end so: GPUS_ALL_REGIONS, CPUS_ALL_REGIONS.
        return Scope.GLOBAL if "ALL_REGIONS" in message.upper().replace("-", "_") else Scope.REGION
    if http_status in _UNKNOWN_STATUS:
        return Scope.UNKNOWN
    return Scope.GLOBAL


def region_of(zone: str) -> str:
    """`us-central1` of `us-central1-a`."""
    return zone.rpartition("-")[0]


def attempts(zones: Sequence[str], provisioning: str) -> tuple[Attempt, ...]:
    """Every attempt in order: all zones for spot first where that is preferred."""
    kinds = {"standard": (False,), "spot": (True,), "spot-then-standard": (True, False)}
    return tuple(Attempt(zone, spot) for spot in kinds[provisioning] for zone in zones)


def next_attempt(
    order: Sequence[Attempt], done: Sequence[tuple[Attempt, Refusal]]
) -> Attempt | None:
    """The first attempt that no refusal rules out; None when there is none left.

    A regional refusal rules out the region for that kind of capacity alone: spot and standard
    have quotas of their own.
    """
    if any(refusal.scope in (Scope.GLOBAL, Scope.UNKNOWN) for _, refusal in done):
        return None
    tried = {attempt for attempt, _ in done}
    closed = {
        (region_of(attempt.zone), attempt.spot)
        for attempt, refusal in done
        if refusal.scope is Scope.REGION
    }
    for attempt in order:
        if attempt not in tried and (region_of(attempt.zone), attempt.spot) not in closed:
            return attempt
    return None


def backoff_s(round_number: int, share: float) -> float:
    """Seconds before round `round_number` (1, 2, ...) over all zones; `share` is in [0, 1).

    Doubles from 15 s to 5 min, with up to a quarter more by chance, so that several
    controllers do not come back together.
    """
    base: float = min(15.0 * 2 ** min(round_number - 1, 10), 300.0)
    return base * (1 + share / 4)
