"""One node's settings, for every test that needs some; `_replace` what the test is about."""

from __future__ import annotations

from decimal import Decimal

from yoyo.config.templates import template_text
from yoyo.drivers.jinja.templates import JinjaTemplates
from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.drivers.system.clock import SystemClock
from yoyo.model.ids import ModuleId, NodeName
from yoyo.model.settings import (
    BudgetSettings,
    EngineSettings,
    GuardSettings,
    HardwareSettings,
    NodeSettings,
    PriceSettings,
)
from yoyo.ports.machines import Tools

TOOLS = Tools(SystemClock(), LlamaServerClient(), JinjaTemplates(template_text))
ENGINE = EngineSettings(
    model="smoke",
    server="embedded",
    ctx=4096,
    parallel=2,
    cache_type_k="f16",
    cache_type_v="f16",
    port=0,
    extra_flags=("--no-warmup",),
    api_key=None,
)
GUARDS = GuardSettings(
    idle_after_s=1800,
    sample_every_s=300,
    unreachable_after_s=3600,
    boot_grace_s=600,
    boot_timeout_s=600,
    lease_s=2700,
    lifetime_s=28800,
    drain_timeout_s=120,
    stop_grace_s=10,
    job_lease_s=900,
)
NODE = NodeSettings(
    name=NodeName.parse("local"),
    module_id=ModuleId.parse("demo"),
    driver="local",
    engine=ENGINE,
    guards=GUARDS,
    budget=BudgetSettings(None, None),
    prices=PriceSettings(Decimal("0.71")),
    hardware=HardwareSettings(None),
)
