"""What `yoyo status` reports of one node."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from yoyo.model.engine import Slots
from yoyo.model.freeze import Freeze
from yoyo.model.machine import GuardStatus


class NodeState(StrEnum):
    """A node's state in one word."""

    ABSENT = "absent"
    PROVISIONING = "provisioning"
    BOOTING = "booting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    FAILED = "failed"


class CostStatus(NamedTuple):
    """Money in USD; None when it cannot be known (no price configured)."""

    hourly_usd: Decimal | None
    since_boot_usd: Decimal | None
    today_usd: Decimal | None
    month_usd: Decimal | None
    disk_month_usd: Decimal | None = None  # booked this month for the disk, not part of the above


class NodeStatus(NamedTuple):
    """One node, observed at `observed_at`."""

    node_id: str
    module_id: str
    driver: str
    state: NodeState
    since: datetime | None
    endpoint: str | None
    engine_healthy: bool
    engine_model: str | None
    slots: Slots | None
    guards: tuple[GuardStatus, ...]
    cost: CostStatus
    frozen: Freeze | None
    observed_at: datetime
    notes: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()  # id@version, as the ledger says they were loaded
