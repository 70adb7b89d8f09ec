"""`yoyo ledger correct`: a new row that says what another one should have said."""

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.session import session

if TYPE_CHECKING:
    from yoyo.core.corrections import Amounts
    from yoyo.ops.correct import Corrected


def correct(
    target: Annotated[
        str, typer.Argument(metavar="EVENT_ID|SEQ", help="The row that booked the amount.")
    ],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in a few words.")],
    cost: Annotated[
        str | None, typer.Option("--cost", metavar="USD", help="The cost, in US dollars.")
    ] = None,
    gpu_seconds: Annotated[
        str | None,
        typer.Option("--gpu-seconds", metavar="S", help="Seconds of the machine, or of the job."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", metavar="N", min=0, help="Tokens of a job.")
    ] = None,
    billed: Annotated[
        bool, typer.Option("--billed", help="The cost is what the platform billed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it and write nothing.")] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Correct what a row booked. The row stays; totals take the newest correction of it.

    \b
      yoyo ledger correct 1289 --cost 0.52 --reason "billed less" --billed
      yoyo ledger correct 0199... --gpu-seconds 3600 --reason "clock was wrong" --dry-run
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.core.corrections import Amounts
        from yoyo.ops.correct import correct as correct_row
        from yoyo.ops.correct import parse_amount
        from yoyo.wiring_audit import booking_ledger

        settings = work.loaded.settings
        amounts = Amounts(
            tokens, parse_amount("--gpu-seconds", gpu_seconds), parse_amount("--cost", cost), billed
        )
        done = correct_row(
            booking_ledger(settings),
            target,
            amounts,
            reason=reason,
            operator=settings.operator,
            dry_run=dry_run,
        )
        work.out.emit(_document(done), lambda: _text(done))


def _document(done: "Corrected") -> dict[str, Any]:
    row = done.row
    return {
        "corrected": {
            "seq": row.seq,
            "event_id": row.event_id,
            "event_type": row.entry.event_type,
            "node_id": row.entry.node_id,
            "job_id": row.entry.job_id,
        },
        "before": _amounts(done.before),
        "after": _amounts(done.after),
        "job_id": done.entry.job_id,
        "error_code": done.entry.error_code,
        "seq": done.written.seq if done.written else None,
        "written": done.written is not None,
    }


def _amounts(amounts: "Amounts") -> dict[str, Any]:
    return {
        "tokens_processed": amounts.tokens,
        "gpu_seconds": amounts.gpu_seconds,
        "cost_usd": amounts.cost_usd,
        "billed": amounts.billed,
    }


def _text(done: "Corrected") -> str:
    row, head = done.row, "would be corrected" if done.written is None else "corrected"
    lines = [f"row {row.seq} ({row.entry.event_type} of {row.entry.node_id}) {head}"]
    lines += _lines(done.before, done.after)
    if done.written is not None:
        lines.append(f"  written as row {done.written.seq}, {done.entry.error_code}")
    return "\n".join(lines)


def _lines(before: "Amounts", after: "Amounts") -> list[str]:
    lines = []
    for name, old, new in (
        ("tokens", before.tokens, after.tokens),
        ("GPU seconds", before.gpu_seconds, after.gpu_seconds),
        ("cost USD", before.cost_usd, after.cost_usd),
    ):
        if old != new:
            lines.append(f"  {name:12} {_shown(old)} -> {_shown(new)}")
    if before.billed != after.billed:
        lines.append(f"  {'billed':12} {'yes' if after.billed else 'no'}")
    return lines


def _shown(value: Decimal | int | None) -> str:
    return (
        "unknown" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)
    )
