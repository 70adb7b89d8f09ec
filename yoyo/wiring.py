"""The composition root: settings in, drivers built, contexts out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from yoyo import entry_points
from yoyo.drivers.files.killswitch import FileKillSwitch
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.files.locks import FileLocks
from yoyo.drivers.files.samples import FileSampleStore
from yoyo.drivers.llamacpp.client import LlamaServerClient
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import DriverUnavailable
from yoyo.model.ledger import SHARED
from yoyo.model.settings import NodeSettings, Settings
from yoyo.ops.context import Context
from yoyo.ports.machines import Tools
from yoyo.wiring_audit import booking_ledger, checkpoints_beside, proofs_beside, prover
from yoyo.wiring_stores import objects_for

if TYPE_CHECKING:
    from yoyo.model.store import EngineBuild
    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.ops.store_context import BytesProgress, StoreContext
    from yoyo.ports.builder import Builder
    from yoyo.ports.clock import Clock
    from yoyo.ports.files import FileWriter
    from yoyo.ports.killswitch import KillSwitch
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.machines import Machines
    from yoyo.ports.progress import Progress
    from yoyo.ports.templates import Templates

DRIVER_GROUP = "yoyo.machines"


def machines_for(node: NodeSettings, state_dir: Path) -> Machines:
    """Load and build the node's machine driver; no other driver is imported.

    Raises:
        DriverUnavailable: unknown, or its extra is not installed.
    """
    try:
        driver = entry_points.load(DRIVER_GROUP, node.driver)
    except LookupError:
        known = ", ".join(entry_points.names(DRIVER_GROUP)) or "none"
        raise DriverUnavailable(
            f"There is no machine driver {node.driver!r}.",
            why=f"Installed: {known}.",
            fix=f"Correct `driver:`, or install it: pip install 'yoyo[{node.driver}]'.",
        ) from None
    except ModuleNotFoundError as error:
        raise DriverUnavailable(
            f"The machine driver {node.driver!r} cannot be loaded.",
            why=f"The module {error.name} is not installed.",
            fix=f"Run: pip install 'yoyo[{node.driver}]'",
        ) from error
    tools = Tools(SystemClock(), LlamaServerClient(), _templates())
    return cast("Machines", driver(state_dir=state_dir, tools=tools))


def _templates() -> Templates:
    from yoyo.config.templates import template_text
    from yoyo.drivers.jinja.templates import JinjaTemplates

    return JinjaTemplates(template_text)


def ledger_for(path: Path) -> Ledger:
    """The ledger at that path."""
    clock = SystemClock()
    return CsvLedger(path, clock, SystemIds(clock))


def kill_switch_for(settings: Settings) -> tuple[KillSwitch, Clock]:
    """The kill switch, and the clock to date it with."""
    return FileKillSwitch(settings.state_dir), SystemClock()


def unit_tools() -> tuple[Templates, FileWriter]:
    """What renders and writes the monitor's units."""
    from yoyo.drivers.files.writer import AtomicFileWriter

    return _templates(), AtomicFileWriter()


def store_context_for(
    settings: Settings, node: NodeSettings | None, env: Mapping[str, str], progress: BytesProgress
) -> StoreContext:
    """Everything a use case on the store needs; rows are booked under the node's module."""
    from yoyo.drivers.aria2.transfers import Aria2Transfers
    from yoyo.drivers.files.disk import LocalDisk
    from yoyo.drivers.sources.resolve import WeightSources
    from yoyo.ops.store_context import StoreContext

    clock = SystemClock()
    workplace = settings.state_dir / "staging"
    store, transfers = objects_for(settings.store), Aria2Transfers(workplace)
    return StoreContext(
        store=store,
        sources=WeightSources(
            hub=settings.hub,
            hub_mirrors=settings.hub_mirrors,
            storage_endpoint=settings.store.endpoint,
            storage_credentials=settings.store.credentials,
            env=env,
        ),
        transfers=transfers,
        disk=LocalDisk(),
        ledger=booking_ledger(settings, env),
        clock=clock,
        locks=FileLocks(workplace, clock),
        operator=settings.operator,
        module_id=node.module_id if node is not None else SHARED,
        nodes=settings.nodes,
        workplace=workplace,
        cores=os.cpu_count() or 1,
        progress=progress,
    )


def builder_for(settings: Settings) -> tuple[Builder, Callable[[], Path] | None]:
    """What builds bundles, and what gives the model that a bundle is tried with.

    None: the extra that writes it is not installed.
    """
    import importlib.util

    from yoyo.drivers.build.builder import ScriptBuilder

    def smoke_model() -> Path:
        from yoyo.drivers.local.smoke_model import ensure

        return ensure(settings.state_dir / "models")

    has_writer = importlib.util.find_spec("gguf") is not None
    return ScriptBuilder(_templates()), smoke_model if has_writer else None


def inspect_bundle(path: Path) -> EngineBuild:
    """Read a bundle whole; what it was made from.

    Raises:
        ArtefactMissing, ArtefactCorrupt.
    """
    from yoyo.drivers.build.archive import verify

    return verify(path).engine


class _Steps:
    """Bytes on their way, shown as a step of the phase."""

    def __init__(self, progress: Progress, clock: SystemClock) -> None:
        self.phase = progress.phase
        self._progress, self._clock = progress, clock
        self._name, self._begun = "", 0.0

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """See BytesProgress."""
        from yoyo.model.machine import BootStep

        if name != self._name:
            self._name, self._begun = name, self._clock.monotonic()
        seconds = int(self._clock.monotonic() - self._begun)
        share = done * 100 // total if total else 0
        state = "done" if done == total else "running"
        self._progress.steps((BootStep(name, state, share, seconds),))


def context_for(
    settings: Settings,
    node: NodeSettings,
    progress: Progress,
    env: Mapping[str, str] | None = None,
) -> Context:
    """Everything a use case on that node needs."""
    clock = SystemClock()
    return Context(
        node=node,
        operator=settings.operator,
        machines=machines_for(node, settings.state_dir),
        engine=LlamaServerClient(),
        ledger=booking_ledger(settings, env, progress.note),
        clock=clock,
        ids=SystemIds(clock),
        locks=FileLocks(settings.state_dir, clock),
        killswitch=FileKillSwitch(settings.state_dir),
        samples=FileSampleStore(settings.state_dir),
        progress=progress,
        on_store=cache(
            lambda: store_context_for(settings, node, env or {}, _Steps(progress, clock))
        ),
        on_adapters=_adapters_if_any(settings, env or {}, _Steps(progress, clock)),
        proofs=proofs_beside(settings.ledger),
        prove=prover(settings, env or {}),
        on_checkpoints=lambda: checkpoints_beside(settings.ledger),
    )


def _adapters_if_any(
    settings: Settings, env: Mapping[str, str], progress: BytesProgress
) -> Callable[[], AdapterContext] | None:
    """None where there is no registry file: nothing of adapters is loaded then."""
    if settings.adapters is None or not settings.adapters.book.is_file():
        return None

    def opened() -> AdapterContext:
        from yoyo.wiring_adapters import adapter_context_for

        return adapter_context_for(settings, env, progress)

    return cache(opened)
