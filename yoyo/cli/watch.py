"""Rendering `status`: once, or again and again."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from yoyo.cli.output import Output, clean
from yoyo.cli.render import moment, span, usd
from yoyo.model.machine import GuardStatus
from yoyo.model.status import NodeStatus


def document(status: NodeStatus) -> dict[str, Any]:
    """One node in the published shape."""
    return {
        "node_id": status.node_id,
        "moduleId": status.module_id,
        "driver": status.driver,
        "state": status.state,
        "since": status.since,
        "endpoint": status.endpoint,
        "engine": {
            "healthy": status.engine_healthy,
            "model": status.engine_model,
            "slots": status.slots,
        },
        "guards": [
            {
                "name": guard.name,
                "armed": guard.armed,
                "fires_at": guard.fires_at,
                "detail": guard.detail,
            }
            for guard in status.guards
        ],
        "cost": status.cost,
        "frozen": status.frozen,
        "adapters": status.adapters,
        "observed_at": status.observed_at,
        "notes": status.notes,
    }


def documents(found: list[NodeStatus]) -> dict[str, Any]:
    """All nodes; what is true of all of them stands beside them, too."""
    return {
        "nodes": [document(status) for status in found],
        "frozen": found[0].frozen if found else None,
        "observed_at": found[0].observed_at if found else None,
    }


def _fires(guard: GuardStatus, now: datetime) -> str:
    if not guard.armed:
        return "NOT ARMED" + (f": {guard.detail}" if guard.detail else "")
    detail = f" ({guard.detail})" if guard.detail else ""
    if guard.fires_at is None:
        return f"armed{detail}"
    left = (guard.fires_at - now).total_seconds()
    when = f"in {span(left)}" if left > 0 else "due"
    return f"armed, fires {moment(guard.fires_at)} ({when}){detail}"


def _engine(status: NodeStatus) -> str:
    if not status.engine_healthy:
        return "no answer" if status.endpoint else "-"
    slots = status.slots
    busy = f"{slots.busy} of {slots.total} slots busy" if slots else "slots unknown"
    return f"healthy, {busy}, {status.engine_model or 'model unknown'}"


def _cost_lines(status: NodeStatus) -> list[tuple[str, str]]:
    cost = status.cost
    hourly = "unknown" if cost.hourly_usd is None else f"{cost.hourly_usd:f} USD/h"
    boot = "" if cost.since_boot_usd is None else f"{usd(cost.since_boot_usd)} since boot, "
    lines = [
        ("price", hourly),
        ("cost", f"{boot}{usd(cost.today_usd)} today, {usd(cost.month_usd)} this month"),
    ]
    if cost.disk_month_usd is not None:
        lines.append(("disk", f"{usd(cost.disk_month_usd)} booked this month, beside the above"))
    return lines


def fields(status: NodeStatus) -> list[tuple[str, str]]:
    """Label and text of each line that describes a node."""
    now = status.observed_at
    since = f" since {moment(status.since)}" if status.since else ""
    lines = [("state", f"{status.state}{since}")]
    lines.append(("module", f"{status.module_id} (driver {status.driver})"))
    lines.append(("endpoint", status.endpoint or "-"))
    lines.append(("engine", _engine(status)))
    if status.adapters:
        lines.append(("adapters", ", ".join(status.adapters)))
    lines += [(guard.name, _fires(guard, now)) for guard in status.guards]
    lines += _cost_lines(status)
    if status.frozen is not None:
        frozen = status.frozen
        lines.append(("FROZEN", f"by {frozen.operator} since {frozen.since}: {frozen.reason}"))
    lines += [("note", note) for note in status.notes]
    return lines


def text(found: list[NodeStatus]) -> str:
    """All nodes as plain lines."""
    blocks = []
    for status in found:
        found_fields = fields(status)
        wide = max(9, *(len(label) for label, _ in found_fields))
        lines = [status.node_id]
        lines += [f"  {label:<{wide}} {value}" for label, value in found_fields]
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _table(found: list[NodeStatus]) -> Any:
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    colours = {
        "ready": "green",
        "booting": "yellow",
        "provisioning": "yellow",
        "stopping": "yellow",
        "failed": "red",
        "unknown": "red",
    }
    panels = []
    for status in found:
        table = Table.grid(padding=(0, 2))
        for label, value in fields(status):
            style = ""
            if label == "state":
                style = f"bold {colours.get(status.state, 'dim')}"
            elif label in ("FROZEN", "note") or value.startswith("NOT ARMED"):
                style = "yellow"
            table.add_row(Text(label, style="dim"), Text(clean(value), style=style))
        panels.append(Panel(table, title=Text(status.node_id, style="bold"), title_align="left"))
    return Group(*panels)


def show_once(out: Output, found: list[NodeStatus]) -> None:
    """Print the nodes' status."""
    if out.json:
        out.document(documents(found))
    elif out.fancy:
        from rich.console import Console

        Console(file=out.stdout, highlight=False).print(_table(found))
    else:
        out.print(text(found))


def show_until_interrupted(
    out: Output, look: Callable[[], list[NodeStatus]], interval: float
) -> None:
    """Look again every `interval` seconds. Ctrl-C is the way out, and no failure."""
    try:
        if out.fancy:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=out.stdout, highlight=False)
            with Live(_table(look()), console=console, auto_refresh=False, screen=False) as live:
                while True:
                    time.sleep(interval)
                    live.update(_table(look()), refresh=True)
        while True:
            show_once(out, look())
            time.sleep(interval)
    except KeyboardInterrupt:
        return
