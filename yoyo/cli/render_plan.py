"""The plan as text for people and as a document for machines."""

from typing import TYPE_CHECKING, Any

from yoyo.cli.render import size, span, usd

if TYPE_CHECKING:
    from yoyo.model.machine import MachinePlan, Resource
    from yoyo.ops.plan import PlanResult


def plan_document(result: "PlanResult") -> dict[str, Any]:
    """The plan for machines."""
    from yoyo.core.roofline import FORMULA

    machine = result.machine
    phases = machine.phases if machine else ()
    return {
        "node_id": result.node_id,
        "moduleId": result.module_id,
        "driver": result.driver,
        "state": result.state,
        "actions": result.actions,
        "resources": [_resource(each) for each in machine.resources] if machine else [],
        "calls": machine.calls if machine else [],
        "phases": [{"phase": name, "seconds": seconds} for name, seconds in phases],
        "notes": machine.notes if machine else [],
        "model": result.machine.model if result.machine else None,
        "caps": [{"name": name, "seconds": seconds} for name, seconds in result.caps],
        "cost": {
            "hourly_usd": result.hourly_usd,
            "worst_case_usd": result.outlook.worst,
            "today_usd": result.outlook.today.usd,
            "month_usd": result.outlook.month.usd,
        },
        "refusal": result.outlook.refusal,
        "roofline": {"formula": FORMULA, "tokens_per_second": result.roofline},
        "fit": result.fit,
        "from_store": [
            {
                "name": each.name,
                "manifest": each.manifest,
                "bytes": sum(s for _, s, _ in each.files),
            }
            for each in result.taken
        ],
        "adapters": [
            {"name": e.registered.adapter.name, "ref": e.registered.ref, "scale": e.scale}
            for e in result.adapters
        ],
        "left_out": result.left_out,
        "frozen": result.frozen,
    }


def plan_text(result: "PlanResult") -> str:
    """The plan for people."""
    lines = [f"{result.node_id} is {result.state}; `yoyo up` would:"]
    lines += [f"  - {action}" for action in result.actions]
    if result.machine is not None:
        lines.append("resources:")
        for each in result.machine.resources:
            lines.append(f"  {each.kind:<8} {each.name}  {each.detail}")
            about = [f"{key}={value}" for key, value in each.labels]
            about += [f"{each.hourly_usd} USD/h"] if each.hourly_usd is not None else []
            lines += [f"           {', '.join(about)}"] if about else []
    caps = ", ".join(f"{name} {span(seconds)}" for name, seconds in result.caps)
    outlook = result.outlook
    lines += [
        "cost:",
        f"  hourly      {usd(result.hourly_usd)}",
        f"  worst case  {usd(outlook.worst)} for this boot, under the guards it arms ({caps})",
        f"  spent       {usd(outlook.today.usd)} today, {usd(outlook.month.usd)} this month",
    ]
    lines += _machine_lines(result.machine) if result.machine else []
    lines += [
        f"from the store: {each.name}, {size(sum(count for _, count, _ in each.files))}, "
        f"manifest {each.manifest[:12]}"
        for each in result.taken
    ]
    lines += [
        f"adapter: {each.registered.adapter.name}, scale {each.scale:f}, {each.reason}"
        for each in result.adapters
    ]
    lines += [f"note: {each}" for each in result.left_out]
    lines += _roofline_lines(result)
    lines += _fit_lines(result)
    return "\n".join(lines)


def _resource(each: "Resource") -> dict[str, Any]:
    return each._asdict() | {"labels": dict(each.labels)}


def _machine_lines(machine: "MachinePlan") -> list[str]:
    """Calls, estimates and remarks; a local node has none of them."""
    lines = ["calls that change something:"] if machine.calls else []
    lines += [f"  {call}" for call in machine.calls]
    if machine.phases:
        total = sum(seconds for _, seconds in machine.phases)
        parts = ", ".join(f"{name} {span(seconds)}" for name, seconds in machine.phases)
        lines.append(f"time, roughly: {span(total)} ({parts})")
    return lines + [f"note: {note}" for note in machine.notes]


def _fit_lines(result: "PlanResult") -> list[str]:
    from yoyo.ops.suits import sums

    if result.fit is None:
        return []
    verdict = {True: "it fits", False: "IT DOES NOT FIT", None: "not known whether it fits"}
    return [f"memory: {verdict[result.fit.fits]}", *(f"  {line}" for line in sums(result.fit))]


def _roofline_lines(result: "PlanResult") -> list[str]:
    from yoyo.core.roofline import FORMULA

    model = result.machine.model if result.machine else None
    if model is None:
        return []
    head = f"model: {model.name} ({model.architecture}, {size(model.weight_bytes)} of weights)"
    if result.roofline is None:
        return [
            head,
            "speed: not computed; set hardware.memory_bandwidth_gb_s to this node's figure",
        ]
    roof = result.roofline
    lines = [head, "speed, at most (memory-bandwidth roofline):"]
    lines.append(f"  one stream, short context   {roof.one_stream:,.1f} tokens/s")
    if roof.one_stream_full is not None and roof.all_slots_full is not None:
        lines.append(f"  one stream, full context    {roof.one_stream_full:,.1f} tokens/s")
        lines.append(f"  all slots, full contexts    {roof.all_slots_full:,.1f} tokens/s in all")
    lines.append(f"  = {FORMULA}")
    return lines
