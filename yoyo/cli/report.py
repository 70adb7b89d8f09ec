"""`yoyo report`: a month on one page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.session import Session, session

if TYPE_CHECKING:
    from yoyo.core.report.facts import ReportFacts

MonthOption = Annotated[
    str | None,
    typer.Option("--month", metavar="YYYY-MM", help="Default: the newest month that is over."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="HTML", help="Default: report-YYYY-MM.html here."),
]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="CSV", help="This ledger; no configuration is read then."),
]


def report(
    month: MonthOption = None,
    out: OutOption = None,
    file: FileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a month's report as one page that needs nothing but a browser.

    A report of that name is replaced. The ledger is verified first, and the page says the result.
    Where it is not intact the command fails, with the page written.

    \b
      yoyo report --month 2026-10 -o october.html
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.result_file import result_file
        from yoyo.core.report.page import page
        from yoyo.ops.report import trouble

        facts = _gathered(work, month, file)
        path = out if out is not None else Path(f"report-{facts.month}.html")
        text = page(facts)
        with result_file(path) as write:
            write(text)
        work.out.emit(
            _document(path, text, facts), lambda: _told(path, facts), trouble(facts.integrity)
        )


def _gathered(work: Session, month: str | None, file: Path | None) -> "ReportFacts":
    import os
    from datetime import UTC, datetime

    from yoyo import __version__
    from yoyo.cli.row_options import named_ledger
    from yoyo.cli.share import Share
    from yoyo.ops.ledger import refuse_deleted
    from yoyo.ops.report import ReportQuestion, gather, last_month, month_span
    from yoyo.wiring_audit import (
        accounts_reader,
        audit_context_for,
        bare_audit_context,
        trusted_keys,
    )

    now = datetime.now(UTC)
    since, until = month_span(month or last_month(now))
    if since > now:
        raise typer.BadParameter(f"{month} has not begun", param_hint="--month")
    asked = ReportQuestion(since, until, now, __version__, "")
    if file is not None:
        path = named_ledger(file)
        ctx = bare_audit_context(path)
    else:
        settings = work.loaded.settings
        ctx, path = audit_context_for(settings, os.environ), settings.ledger
        audit = settings.audit
        named = "checkpoints.key" if audit.key else ""
        named = "checkpoints.public_key" if audit.public_key else named
        keys = tuple(trusted_keys((), audit)) if named else ()
        asked = asked._replace(nodes=settings.nodes, keys=keys, keys_from=named)
    refuse_deleted(ctx.ledger, until)
    reader = accounts_reader("auto", ctx.ledger.parts())
    with Share(work.out, "reading the ledger") as share:
        return gather(
            ctx,
            reader,
            asked._replace(ledger_name=path.name),
            lambda _step, done: share(done),
        )


def _document(path: Path, text: str, facts: "ReportFacts") -> dict[str, object]:
    from hashlib import sha256

    whole = text.encode()
    total = facts.by_module.total
    return {
        "file": path,
        "bytes": len(whole),
        "sha256": sha256(whole).hexdigest(),
        "month": facts.month,
        "made_at": facts.made_at,
        "usd": total.usd,
        "estimated_usd": total.estimated_usd,
        "utilisation": total.utilisation,
        "total": total,
        "forecast": facts.by_module.forecast,
        "notes": facts.by_module.notes,
        "tenants": len(facts.by_module.lines),
        "nodes": len(facts.strips) + facts.strips_left_out,
        "open_items": facts.open_count,
        "corrections": facts.change_count,
        "integrity": {**facts.integrity._asdict(), "holds": facts.integrity.holds},
    }


def _told(path: Path, facts: "ReportFacts") -> str:
    from yoyo.core.report.markup import usd

    state = "holds" if facts.integrity.holds else "FAILS: see the page's integrity statement"
    return (
        f"{path}: {facts.month}, {usd(facts.by_module.total.usd)} USD, "
        f"{len(facts.by_module.lines)} tenant(s); what was checked of the ledger {state}."
    )
