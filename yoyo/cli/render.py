"""Results as text for people and as documents for machines. No decisions here."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from yoyo.cli.output import Output, clean

if TYPE_CHECKING:
    from pathlib import Path

    from yoyo.config.load import Value
    from yoyo.ops.ask import Answer
    from yoyo.ops.doctor import Check
    from yoyo.ops.down import DownResult
    from yoyo.ops.monitor import MonitorResult
    from yoyo.ops.monitor_install import UnitFile
    from yoyo.ops.sweep import SweepResult
    from yoyo.ops.up import UpResult


def usd(amount: Decimal | None) -> str:
    """Money for people; what is unknown is said to be so."""
    return "unknown" if amount is None else f"{amount:f} USD"


def moment(at: datetime | None) -> str:
    """A time in UTC to the second."""
    return "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%SZ")


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    left = max(0, int(seconds))
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    parts = []
    for name, size in units:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts[:2]) or "0s"


def size(count: int) -> str:
    """Bytes in decimal units, as storage and bandwidth are sold."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count} B"


def up_text(result: "UpResult") -> str:
    """What `up` did."""
    how = "was up already" if result.already_up else f"up in {result.seconds:.2f} s"
    lines = [*result.notes, f"{result.node_id} is {result.state} ({how})"]
    if result.endpoint:
        lines.append(f"  endpoint  {result.endpoint}")
    wide = max((len(guard.name) for guard in result.guards), default=0)
    for guard in result.guards:
        fires = f"fires {moment(guard.fires_at)}" if guard.armed else "NOT ARMED"
        lines.append(f"  guard     {guard.name:<{max(9, wide)}} {fires}")
    if result.state != "ready":
        lines.append("  not waited for: `yoyo status` shows when it is ready, and books it")
    return "\n".join(lines)


def down_text(result: "DownResult") -> str:
    """What `down` did."""
    lines = list(result.notes)
    if result.already_down:
        lines.append(f"{result.node_id} was down already")
    else:
        seconds = "unknown" if result.gpu_seconds is None else f"{result.gpu_seconds} s"
        lines.append(f"{result.node_id} is {result.state}")
        lines.append(f"  ran   {seconds}")
        lines.append(f"  cost  {usd(result.cost_usd)}")
        if result.disk_cost_usd is not None:
            lines.append(f"  disk  {usd(result.disk_cost_usd)} since it was booked last")
    if result.deleted:
        lines.append("  the machine and all that was made for it are removed")
    return "\n".join(lines)


def doctor_document(
    found: "Sequence[tuple[str, list[Check]]]", proof: "list[Check]"
) -> dict[str, Any]:
    """The doctor's findings for machines; `proof` is about the ledger, which all nodes share."""
    nodes = [{"node_id": name, "checks": checks} for name, checks in found]
    return {"nodes": nodes, "ledger": proof}


def doctor_text(found: "Sequence[tuple[str, list[Check]]]", proof: "list[Check]") -> str:
    """The doctor's findings for people."""
    lines = []
    for name, checks in (*found, ("the ledger's proof", proof)):
        lines.append(f"{name}:")
        for check in checks:
            lines.append(f"  {check.level:<5} {check.name:<14} {check.finding}")
            if check.remedy:
                lines.append(f"        remedy: {check.remedy}")
    return "\n".join(lines)


def monitor_text(result: "MonitorResult") -> str:
    """What the monitor saw and did."""
    lines = [*result.notes, f"{result.node_id}: {result.verdict}"]
    lines += [f"  {reason}" for reason in result.reasons]
    if result.stopped:
        lines.append("  the node is stopped, and booked")
    elif result.fires_at is not None:
        lines.append(f"  would stop it at {moment(result.fires_at)} if nothing changes")
    return "\n".join(lines)


def units_text(files: "Sequence[UnitFile]", written: "Sequence[Path]", steps: Sequence[str]) -> str:
    """The monitor's units, or where they were written and what to do next."""
    if written:
        lines = [f"wrote {path}" for path in written]
        return "\n".join([*lines, "next:", *(f"  {step}" for step in steps)])
    return "\n".join(f"# {file.name}\n{file.text}" for file in files)


def print_answer(out: Output, pieces: "Iterator[str | Answer]") -> "Answer":
    """Stream the text to stdout as it comes (not with --json) and give the end."""
    from yoyo.errors import EngineFailed

    safe = clean if out.stdout.isatty() else str
    for piece in pieces:
        if not isinstance(piece, str):
            if not out.json:
                out.stdout.write("\n")
            return piece
        if not out.json:
            out.stdout.write(safe(piece))
            out.stdout.flush()
    raise EngineFailed("The answer had no end.", fix="See `yoyo logs`.")


def answer_text(answer: "Answer") -> str:
    """Tokens and speed of an answer, for stderr."""
    done = answer.completion
    text = f"[{done.completion_tokens} tokens"
    if done.engine_seconds and done.completion_tokens:
        text += f" in {done.engine_seconds:.2f} s"
    used = f", with {', '.join(answer.adapters)}" if answer.adapters else ""
    return f"{text}{used}, job {answer.job_id}]"


def values_text(file: "Path", values: "tuple[Value, ...]") -> str:
    """Effective settings with their sources."""
    wide = max((len(value.key) for value in values), default=0)
    text_wide = min(40, max((len(value.text) for value in values), default=0))
    lines = [f"# {file}"]
    lines += [f"{v.key:<{wide}}  {v.text:<{text_wide}}  {v.source}" for v in values]
    return "\n".join(lines)


def sweep_text(result: "SweepResult", *, apply: bool) -> str:
    """What is left, what it costs, and what became of it."""
    if not result.found:
        return "nothing is left"
    why = {id(each): reason for each, reason in result.kept}
    lines = []
    for each in result.found:
        price = "-" if each.monthly_usd is None else f"{each.monthly_usd} USD/month"
        done = "removed" if each in result.removed else why.get(id(each), "")
        lines.append(
            f"{each.kind:<9} {each.name:<24} {each.place:<16} {price:>16}  {each.why}"
            + (f"  [{done}]" if done else "")
        )
    lines.append(f"in all    {usd(result.monthly_usd)} a month")
    if not apply:
        lines.append("nothing was removed: `yoyo sweep --apply` removes what does not run")
    return "\n".join(lines)
