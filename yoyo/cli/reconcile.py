"""The command that compares the ledger with the platform and its bill."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, NodeOption, SetOption
from yoyo.cli.session import session

if TYPE_CHECKING:
    from decimal import Decimal

    from yoyo.model.reconcile import Reconciliation

_SHOWN_BOOKABLE = 20


SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Lives that ended since, UTC.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Lives that began before, UTC.")
]
BillingOption = Annotated[
    Path | None,
    typer.Option(
        "--billing", metavar="FILE", help="Google's detailed billing export, CSV or Parquet."
    ),
]
ToleranceOption = Annotated[
    str, typer.Option("--tolerance", metavar="SHARE", help="How far figures may lie apart.")
]
BookOption = Annotated[
    bool, typer.Option("--book", help="Book billed amounts as rows that correct.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="With --book: only show what would be booked.")
]


def reconcile(
    since: SinceOption = None,
    until: UntilOption = None,
    billing: BillingOption = None,
    tolerance: ToleranceOption = "1%",
    book: BookOption = False,
    dry_run: DryRunOption = False,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare the ledger with what the platform says, and with its bill.

    \b
    Exit code 0: they agree. 95: they differ, or the platform did not answer.
      yoyo reconcile
      yoyo reconcile --since 2026-10 --until 2026-11 --billing october.csv
      yoyo reconcile --billing october.csv --book
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.model.reconcile import Bounds
        from yoyo.ops.reconcile import Asked, verdict
        from yoyo.ops.reconcile import reconcile as reconcile_op
        from yoyo.wiring import ledger_for, machines_for
        from yoyo.wiring_reconcile import means_for

        if book and billing is None:
            raise typer.BadParameter("--book needs --billing FILE.")
        settings, nodes = work.loaded.settings, work.nodes()
        asked = Asked(
            nodes,
            len(nodes) == len(settings.nodes),
            _moment(since, "--since", work.out.note),
            _moment(until, "--until", work.out.note),
            billing,
            Bounds(share=_share(tolerance)),
            book and not dry_run,
        )
        means = means_for(settings, billing, ledger_for(settings.ledger), machines_for)
        result = reconcile_op(means, asked)
        work.out.emit(
            _document(result),
            lambda: reconcile_text(result, dry_run=book and dry_run),
            verdict(result),
        )


def _document(result: "Reconciliation") -> dict[str, object]:
    document: dict[str, object] = {"agrees": result.agrees, **result._asdict()}
    document["bookable"] = [
        {
            "seq": each.closing.seq,
            "event_id": each.closing.event_id,
            "node_id": each.closing.entry.node_id,
            "job_id": each.closing.entry.job_id,
            "booked_usd": each.closing.entry.cost_usd,
            "billed_usd": each.usd,
        }
        for each in result.bookable
    ]
    return document


def reconcile_text(result: "Reconciliation", *, dry_run: bool) -> str:
    """The findings, each with its cause and what to do, and what was or could be booked."""
    from yoyo.core.wording import counted

    lines: list[str] = []
    for each in result.findings:
        lines += [f"{each.kind}  {each.what}", f"  cause  {each.cause}", f"  do     {each.fix}"]
    lines += [f"settled  {each.kind}  {each.what}" for each in result.settled]
    lines += [f"unknown  {each}" for each in result.unknown]
    lines += [f"note  {each}" for each in result.notes]
    if dry_run:
        lines += [
            f"would book  row {each.closing.seq}: {each.usd} USD instead of "
            f"{'unknown' if each.closing.entry.cost_usd is None else each.closing.entry.cost_usd}"
            for each in result.bookable[:_SHOWN_BOOKABLE]
        ]
        more = len(result.bookable) - _SHOWN_BOOKABLE
        lines += [f"would book  {more} more (all of them with --json)"] if more > 0 else []
    elif result.bookable:
        lines.append(
            f"{counted(len(result.bookable), 'life', 'lives')} can be booked as billed: --book"
        )
    if result.booked:
        booked = counted(result.booked, "life was", "lives were")
        lines.append(f"{booked} booked as billed")
    words = {True: "ledger and platform agree", False: "they differ", None: "not known"}
    compared = counted(result.compared_lives, "life", "lives")
    lines.append(f"{compared} compared: {words[result.agrees]}")
    return "\n".join(lines)


def _moment(text: str | None, option: str, note: object) -> datetime | None:
    if text is None:
        return None
    from datetime import UTC

    from yoyo.core.times import TimeUnclear, parse_time

    try:
        found = parse_time(text, datetime.now(UTC))
    except TimeUnclear as error:
        raise typer.BadParameter(f"{option}: {error}.") from None
    if found.note and callable(note):
        note(f"{option}: {found.note}")
    return found.at


def _share(text: str) -> "Decimal":
    from yoyo.core.reconcile.tolerance import BadShare, parse_share

    try:
        return parse_share(text)
    except BadShare as error:
        raise typer.BadParameter(f"--tolerance: {error}.") from None
