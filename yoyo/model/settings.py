"""The effective settings, frozen. Durations are whole seconds, money is Decimal USD."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from yoyo.model.ids import ModuleId, NodeName, Secret

SMOKE_MODEL = "smoke"
EMBEDDED_SERVER = "embedded"


class EngineSettings(NamedTuple):
    """How the engine is started."""

    model: str  # SMOKE_MODEL, or an absolute path to a GGUF file
    server: str  # EMBEDDED_SERVER, or a llama-server: a name on PATH or a path
    ctx: int  # tokens, over all slots together
    parallel: int  # slots
    cache_type_k: str
    cache_type_v: str
    port: int  # 0: a free one
    extra_flags: tuple[str, ...]
    api_key: Secret | None  # None: generated per node


class GuardSettings(NamedTuple):
    """When a node is stopped, and how long each wait may be. All in seconds."""

    idle_after_s: int
    sample_every_s: int
    unreachable_after_s: int
    boot_grace_s: int
    boot_timeout_s: int
    lease_s: int
    lifetime_s: int
    drain_timeout_s: int
    stop_grace_s: int
    job_lease_s: int


class BudgetSettings(NamedTuple):
    """Spending caps in USD; None: no cap."""

    day_usd: Decimal | None
    month_usd: Decimal | None


class PriceSettings(NamedTuple):
    """What an hour of the node costs in USD; None: unknown, and booked as unknown."""

    hourly_usd: Decimal | None


class HardwareSettings(NamedTuple):
    """Facts about the machine that the roofline needs; None: unknown."""

    memory_bandwidth_gb_s: Decimal | None  # 1 GB = 1e9 bytes


class NodeSettings(NamedTuple):
    """One node of the configuration."""

    name: NodeName
    module_id: ModuleId
    driver: str
    engine: EngineSettings
    guards: GuardSettings
    budget: BudgetSettings
    prices: PriceSettings
    hardware: HardwareSettings


class Settings(NamedTuple):
    """Everything configuration decides."""

    config_file: Path
    state_dir: Path
    ledger: Path
    operator: str
    default_node: NodeName | None  # None: several nodes and none chosen
    nodes: tuple[NodeSettings, ...]
