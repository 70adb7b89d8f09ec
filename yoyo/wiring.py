"""The composition root: settings in, drivers built, contexts out."""

from __future__ import annotations

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
from yoyo.model.settings import NodeSettings, Settings
from yoyo.ops.context import Context
from yoyo.ports.machines import Tools

if TYPE_CHECKING:
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


def context_for(settings: Settings, node: NodeSettings, progress: Progress) -> Context:
    """Everything a use case on that node needs."""
    clock = SystemClock()
    return Context(
        node=node,
        operator=settings.operator,
        machines=machines_for(node, settings.state_dir),
        engine=LlamaServerClient(),
        ledger=CsvLedger(settings.ledger, clock, SystemIds(clock)),
        clock=clock,
        ids=SystemIds(clock),
        locks=FileLocks(settings.state_dir, clock),
        killswitch=FileKillSwitch(settings.state_dir),
        samples=FileSampleStore(settings.state_dir),
        progress=progress,
    )
