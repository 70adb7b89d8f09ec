"""`yoyo ledger export`: the ledger for other tools."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.row_options import ledger_path
from yoyo.cli.session import Session, session

if TYPE_CHECKING:
    from yoyo.ops.export import Exported, ExportWanted


class Form(StrEnum):
    """What `--to` takes."""

    FOCUS = "focus"
    FOCUS_VALIDATOR = "focus-validator"
    OTEL = "otel"
    SPREADSHEET = "spreadsheet"
    PARQUET = "parquet"
    BIGQUERY_DDL = "bigquery-ddl"


ToOption = Annotated[
    Form,
    typer.Option(
        "--to",
        help="focus: FinOps FOCUS 1.2 charges, CSV. focus-validator: the same with the older "
        "names that focus-validator 1.0.0 asks for. otel: OpenTelemetry spans of the jobs, OTLP "
        "JSON lines. spreadsheet: every row, CSV that is safe to open in Excel. parquet: sealed "
        "months as partitions, into the directory -o. bigquery-ddl: the statement that makes them "
        "a table.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", metavar="FILE", help="Default: standard output; with parquet, a directory."
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="2026-10, 2026-10-03, 7d or RFC 3339. UTC."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Up to, not including. UTC.")
]
ModuleOption = Annotated[
    list[str] | None,
    typer.Option("--module", metavar="ID", help="Only of this moduleId. May be repeated."),
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="With parquet: the running month, too, as month=live.")
]
TableOption = Annotated[
    str, typer.Option("--table", metavar="DATASET.TABLE", help="With bigquery-ddl.")
]
UriOption = Annotated[
    str, typer.Option("--uri", metavar="gs://...", help="With bigquery-ddl: where the files lie.")
]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="CSV", help="This ledger; no configuration is read then."),
]


def export(
    to: ToOption,
    out: OutOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    module: ModuleOption = None,
    live: LiveOption = False,
    table: TableOption = "yoyo.ledger",
    uri: UriOption = "",
    file: FileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the ledger for another tool; a file that is there is replaced when all is written.

    \b
      yoyo ledger export --to focus --since 2026-10 --until 2026-11 -o october.csv
      yoyo ledger export --to otel --since 1d -o spans.jsonl
      yoyo ledger export --to parquet -o warehouse/
      yoyo ledger export --to bigquery-ddl --uri gs://my-bucket/ledger
    """
    with session(json=json, config=config, sets=sets) as work:
        if to in (Form.PARQUET, Form.BIGQUERY_DDL):
            if since or until or module:
                raise typer.BadParameter(
                    "Months go to a warehouse whole: --since, --until and --module are for the "
                    "query there."
                )
            if to is Form.PARQUET:
                _partitions(work, file, out, live)
            else:
                _statement(work, table, uri)
            return
        if out is None and json:
            raise typer.BadParameter("--json needs -o FILE: both would go to standard output.")
        wanted = _wanted(work, since, until, module)
        if out is None:
            _told(work, _run(work, to, file, wanted, sys.stdout.write))
            return
        from yoyo.cli.result_file import result_file

        with result_file(out) as write:
            done = _run(work, to, file, wanted, write)
        work.out.emit(
            {"file": out, "to": to, **done._asdict()},
            lambda: f"{out}: {done.records} record(s).",
        )
        _told(work, done)


def _partitions(work: Session, file: Path | None, out: Path | None, live: bool) -> None:
    from yoyo.cli.share import Share
    from yoyo.core.wording import amount_text
    from yoyo.ops.export_parquet import export_parquet
    from yoyo.wiring import ledger_for
    from yoyo.wiring_audit import partition_writer

    if out is None:
        raise typer.BadParameter("--to parquet needs -o DIRECTORY.")
    ledger = ledger_for(ledger_path(work, file))
    with Share(work.out, "writing partitions") as share:
        done = export_parquet(ledger, partition_writer(), out, live=live, progress=share)
    work.out.emit(
        {"directory": out, "months": done},
        lambda: (
            "\n".join(
                f"{each.month}: {each.rows} row(s), {amount_text(each.cost_usd)} USD"
                + ("" if each.written else ", was there already")
                for each in done
            )
            or "There is no sealed month to write: see yoyo ledger seal, or give --live."
        ),
    )
    bad = sum(each.bad_rows for each in done)
    if bad:
        work.out.note(f"{bad} bad row(s) are in no partition: `yoyo ledger verify` names them.")


def _statement(work: Session, table: str, uri: str) -> None:
    from yoyo.ops.export_parquet import bigquery_table

    text = bigquery_table(table, uri)
    work.out.emit({"table": table, "uri": uri, "sql": text}, lambda: text)


def _run(
    work: Session,
    to: Form,
    file: Path | None,
    wanted: "ExportWanted",
    write: Callable[[str], object],
) -> "Exported":
    from yoyo import __version__
    from yoyo.ops.export import export_focus, export_otel, export_sheet, focus_nodes
    from yoyo.wiring import ledger_for

    settings = work.loaded.settings if file is None else None
    ledger = ledger_for(ledger_path(work, file))
    if to is Form.OTEL:
        return export_otel(ledger, wanted, write, version=__version__)
    if to is Form.SPREADSHEET:
        return export_sheet(ledger, wanted, write)
    account = (settings.audit.origin if settings is not None else "") or "yoyo"
    return export_focus(
        ledger,
        wanted,
        write,
        account=account,
        nodes=focus_nodes(settings.nodes) if settings is not None else {},
        old_names=to is Form.FOCUS_VALIDATOR,
    )


def _wanted(
    work: Session, since: str | None, until: str | None, modules: list[str] | None
) -> "ExportWanted":
    from datetime import UTC, datetime

    from yoyo.core.times import TimeUnclear, parse_time
    from yoyo.model.ids import InvalidLabel, ModuleId
    from yoyo.ops.export import ExportWanted

    now = datetime.now(UTC)
    try:
        begin, end = (None if text is None else parse_time(text, now) for text in (since, until))
        named = tuple(ModuleId.parse(each) for each in modules or ())
    except (TimeUnclear, InvalidLabel) as error:
        raise typer.BadParameter(str(error)) from None
    for moment in (begin, end):
        if moment is not None and moment.note:
            work.out.note(moment.note)
    return ExportWanted(None if begin is None else begin.at, None if end is None else end.at, named)


def _told(work: Session, done: "Exported") -> None:
    for note in done.notes:
        work.out.note(note)
    if done.bad_rows:
        work.out.note(
            f"{done.bad_rows} bad row(s) are in no record: `yoyo ledger verify` names them."
        )
