"""The command that says what things cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.row_options import (
    LedgerFileOption,
    SinceOption,
    UntilOption,
    ledger_path,
    time_option,
)
from yoyo.cli.session import session
from yoyo.model.accounts import GROUPS

if TYPE_CHECKING:
    from yoyo.cli.output import Output
    from yoyo.model.accounts import CostTable

ENGINES = ("auto", "plain", "duckdb")
_SUFFIXES = (".svg", ".png")


def cost(
    by: Annotated[
        str,
        typer.Option("--by", metavar="LIST", help=f"Any of {', '.join(GROUPS)}, with commas."),
    ] = "",
    since: SinceOption = None,
    until: UntilOption = None,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="NAME", help="This node alone. May be repeated."),
    ] = None,
    as_booked: Annotated[
        bool, typer.Option("--as-booked", help="Leave corrections out: what was known then.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV for a spreadsheet.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw bars.")] = False,
    plot_to: Annotated[
        Path | None,
        typer.Option("--plot-to", metavar="FILE", help="Draw into this file: .svg or .png."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option("--engine", metavar="NAME", help=f"What reads: {', '.join(ENGINES)}."),
    ] = "auto",
    file: LedgerFileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what machines and disks cost, and what they did for it.

    \b
      yoyo cost --by module,month
      yoyo cost --since 2026-10 --until 2026-11 --by day --plot
      yoyo cost --by adapter --since 7d --json
      yoyo cost --by guard --plot-to guards.svg
    """
    groups = _groups(by)
    if sum((json, csv, plot)) > 1:
        raise typer.BadParameter("give one of --json, --csv and --plot", param_hint="--json")
    if engine not in ENGINES:
        raise typer.BadParameter(f"none of {', '.join(ENGINES)}", param_hint="--engine")
    if plot_to is not None and plot_to.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter("the name ends in neither .svg nor .png", param_hint="--plot-to")
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.share import Share
        from yoyo.ops.cost import Question
        from yoyo.ops.cost import cost as answer
        from yoyo.wiring import ledger_for
        from yoyo.wiring_audit import accounts_reader

        start = time_option(since, "--since", work)
        end = time_option(until, "--until", work)
        if start is not None and end is not None and start >= end:
            raise typer.BadParameter("it is not after --since", param_hint="--until")
        question = Question(groups, start, end, tuple(node or ()), as_booked)
        settings = work.loaded.settings if file is None else None
        ledger = ledger_for(ledger_path(work, file))
        reader = accounts_reader(engine, ledger.parts())
        with Share(work.out, "reading") as share, _without_collection():
            table = answer(
                ledger, reader, question, now=datetime.now(UTC),
                nodes=settings.nodes if settings is not None else (), progress=share,
            )  # fmt: skip
        if plot_to is not None:
            from yoyo.cli.plot import write_plot

            write_plot(table, plot_to)
            work.out.note(f"wrote {plot_to}")
        _show(work.out, table, "json" if json else "csv" if csv else "plot" if plot else "")


@contextmanager
def _without_collection() -> Iterator[None]:
    """Rows by the ten thousand hold no cycle: looking for some took a tenth of the time."""
    import gc

    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _show(out: "Output", table: "CostTable", form: str) -> None:
    from yoyo.cli.render_cost import cost_csv, cost_document, cost_text

    if form in ("csv", "plot"):
        for note in table.notes:  # beside the figures, not among them
            out.note(f"note: {note}")
    if form == "csv":
        # Made safe already, and its lines end in CRLF as RFC 4180 has it.
        out.stdout.write(cost_csv(table))
        out.stdout.flush()
    elif form == "plot":
        from yoyo.cli.plot import bars_text

        out.print(bars_text(table, _columns(), getattr(out.stdout, "encoding", None)))
    elif form == "json":
        out.document(cost_document(table))
    else:
        out.print(cost_text(table, _columns() if out.fancy else None))


def _columns() -> int:
    from shutil import get_terminal_size

    return get_terminal_size((80, 24)).columns


def _groups(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text.strip() else ()
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0][:40]!a} is none of {', '.join(GROUPS)}", param_hint="--by"
        )
    if len(set(names)) < len(names):
        raise typer.BadParameter("a group is named twice", param_hint="--by")
    return names
