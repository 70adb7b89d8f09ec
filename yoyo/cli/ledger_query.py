"""The command `ledger query`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.row_options import ledger_path
from yoyo.cli.session import session

if TYPE_CHECKING:
    from yoyo.cli.output import Output
    from yoyo.ports.query import QueryResult

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LOWEST_MEMORY = 64 * 10**6  # with less DuckDB cannot open a Parquet file


def query(
    sql: Annotated[str, typer.Argument(help="One statement that reads; `-` takes it from stdin.")],
    csv: Annotated[
        bool, typer.Option("--csv", help="CSV on stdout, safe for spreadsheets.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000, help="At most that many rows.")
    ] = 10_000,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="Give up after that.")
    ] = "60s",
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Use at most that much memory.")
    ] = "1GB",
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="CSV", help="This ledger; no configuration is read then."),
    ] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Ask the ledger in SQL (DuckDB). It reads, and can do nothing else.

    \b
    Views: ledger (every row, as docs/formats/ledger.md has it) and money (what totals are made
    of, corrections applied). Times are UTC, amounts exact decimals, unknown is NULL.
      yoyo ledger query "DESCRIBE ledger"
      yoyo ledger query "SELECT moduleId, sum(cost_usd) FROM money GROUP BY ALL ORDER BY ALL"
    """
    timeout_s, memory_bytes = _time(timeout), _size(memory)
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.core.wording import counted
        from yoyo.ops.kept import deleted
        from yoyo.ops.query import query as ask
        from yoyo.ports.query import QueryLimits
        from yoyo.wiring import ledger_for
        from yoyo.wiring_audit import query_engine

        path = ledger_path(work, file)
        text = typer.get_text_stream("stdin").read() if sql == "-" else sql
        limits = QueryLimits(limit, timeout_s, memory_bytes)
        ledger = ledger_for(path)
        result = ask(ledger, query_engine(), text, limits)
        gone = deleted(ledger)
        if csv and not json:
            print_csv(work.out, result)
        else:
            work.out.emit(query_document(result), lambda: query_text(result))
        if result.cut:
            work.out.note(f"cut after {counted(limit, 'row')}: there are more (--limit)")
        if gone is not None:
            work.out.note(gone.text())
        if result.bad_rows:
            bad = counted(result.bad_rows, "bad row")
            work.out.note(f"{bad} left out: `yoyo ledger verify` names what is wrong")


def query_document(result: "QueryResult") -> dict[str, object]:
    """The result for machines: amounts and times as text, so that nothing is rounded."""
    return {
        "columns": [
            {"name": name, "type": kind}
            for name, kind in zip(result.columns, result.types, strict=True)
        ],
        "rows": [[plain(cell) for cell in row] for row in result.rows],
        "cut": result.cut,
        "bad_rows": result.bad_rows,
    }


def query_text(result: "QueryResult") -> str:
    """The result as a table of text, figures to the right."""
    from decimal import Decimal

    head = [_flat(name) for name in result.columns]
    table = [[_flat(text_of(cell)) for cell in row] for row in result.rows]
    widths = [
        max(len(head[place]), *(len(row[place]) for row in table)) if table else len(head[place])
        for place in range(len(head))
    ]
    right = [
        any(isinstance(row[place], int | float | Decimal) for row in result.rows)
        for place in range(len(head))
    ]

    def line(cells: list[str]) -> str:
        return "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(cells, widths, right, strict=True)
        ).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *map(line, table)])


def print_csv(out: "Output", result: "QueryResult") -> None:
    """The result as CSV that no spreadsheet takes for a formula."""
    import csv
    from decimal import Decimal
    from io import StringIO

    from yoyo.cli.output import clean
    from yoyo.core.wording import amount_text

    def cell(value: object) -> str:
        text = amount_text(value) if isinstance(value, Decimal) else text_of(value)
        text = clean(text).replace("\n", " ").replace("\t", " ")
        # A figure may begin with a minus; text that does could be a formula.
        figure = not isinstance(value, str) and not isinstance(value, list | dict | tuple)
        return text if figure or not text.startswith(("=", "+", "-", "@")) else f"'{text}"

    page = StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow([cell(name) for name in result.columns])
    writer.writerows([[cell(value) for value in row] for row in result.rows])
    out.print(page.getvalue())


def text_of(cell: object) -> str:
    """A cell for people; NULL is empty."""
    from decimal import Decimal

    value = plain(cell)
    if value is None:
        return ""
    if isinstance(cell, Decimal) and "." in str(value):
        # A type of 18 digits after the point does not make them worth reading.
        return str(value).rstrip("0").rstrip(".")
    return value if isinstance(value, str) else str(value)


def plain(cell: object) -> object:  # noqa: PLR0911 - one return a type reads best
    """A cell as what JSON can say without rounding it."""
    from datetime import date, datetime
    from decimal import Decimal
    from math import isfinite

    match cell:
        case None | bool() | int() | str():
            return cell
        case float():
            return cell if isfinite(cell) else str(cell)
        case Decimal():
            return format(cell, "f")
        case datetime():
            return cell.isoformat(timespec="microseconds")[:26] + "Z"
        case date():
            return cell.isoformat()
        case bytes():
            return cell.hex()
        case dict():
            return {str(key): plain(value) for key, value in cell.items()}
        case list() | tuple():
            return [plain(value) for value in cell]
        case _:
            return str(cell)


def _flat(text: str) -> str:
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _time(text: str) -> float:
    number = text.rstrip("msh")
    try:
        seconds = float(number) * _SECONDS[text[len(number) :] or "s"]
    except (ValueError, KeyError):
        seconds = 0
    if not 0 < seconds <= 86_400:
        raise typer.BadParameter(f"{text[:40]!r} is no time such as 30s, 5m or 1h")
    return seconds


def _size(text: str) -> int:
    number = text.rstrip("KMGiBkmgb")
    try:
        size = int(float(number) * _UNITS[text[len(number) :].upper()])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if not _LOWEST_MEMORY <= size <= 2**50:
        raise typer.BadParameter(f"{text[:40]!r} is no size of 64MB or more, such as 500MB or 2GB")
    return size
