"""The options that choose rows of the ledger, said once for every command that reads it."""

# No `from __future__ import annotations`: see options.py.
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.model.ledger import CompletionStatus, EventType
from yoyo.model.row_filter import RowFilter

if TYPE_CHECKING:
    from yoyo.cli.session import Session

_TIMES = "2026-10, 2026-10-03, an RFC 3339 time, 7d or 24h ago. UTC."

LedgerFileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="CSV", help="This ledger; no configuration is read then."),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help=f"Not before: {_TIMES}")
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="TIME", help="Before, in the same forms; a month is its first moment."
    ),
]
RowNodeOption = Annotated[
    list[str] | None,
    typer.Option("--node", metavar="NAME", help="Of this node. May be repeated, as all below."),
]
ModuleOption = Annotated[
    list[str] | None, typer.Option("--module", metavar="MODULE", help="Of this moduleId.")
]
JobOption = Annotated[
    list[str] | None,
    typer.Option("--job", metavar="ID", help="With this job_id: a job's, or a machine life's."),
]
TypeOption = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Of this event_type.")
]
StatusOption = Annotated[
    list[str] | None, typer.Option("--status", metavar="STATUS", help="With this status.")
]
CodeOption = Annotated[
    list[str] | None, typer.Option("--code", metavar="CODE", help="With this error_code.")
]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="SHA256", help="With this input_hash, with or without sha256:"),
]


def ledger_path(work: "Session", file: Path | None) -> Path:
    """The ledger that is asked for: `--file`, else the configuration's.

    Raises:
        LedgerUnreadable: `--file` names nothing: an empty ledger would pass every check.
        ConfigInvalid, ConfigNotFound.
    """
    return named_ledger(file) if file is not None else work.loaded.settings.ledger


def named_ledger(file: Path) -> Path:
    """That path, which has to be there. What it is, the ledger finds out.

    Raises:
        LedgerUnreadable.
    """
    try:
        file.stat()
    except OSError as error:
        from yoyo.errors import LedgerUnreadable

        raise LedgerUnreadable(
            f"There is no ledger at {file}.",
            why=f"{error.strerror or type(error).__name__}.",
            fix="Check what --file names.",
        ) from error
    return file


def time_option(text: str | None, name: str, work: "Session") -> datetime | None:
    """A time as it was given, UTC; how it was read is noted on stderr where that is not plain.

    Raises:
        BadParameter.
    """
    from yoyo.core.times import TimeUnclear, parse_time

    if text is None:
        return None
    try:
        moment = parse_time(text, datetime.now(UTC))
    except TimeUnclear as error:
        raise typer.BadParameter(str(error), param_hint=name) from None
    if moment.note:
        work.out.note(f"{name}: {moment.note}")
    return moment.at


def row_filter(
    work: "Session",
    *,
    since: str | None = None,
    until: str | None = None,
    node: list[str] | None = None,
    module: list[str] | None = None,
    job: list[str] | None = None,
    kind: list[str] | None = None,
    status: list[str] | None = None,
    code: list[str] | None = None,
    inputs: list[str] | None = None,
) -> RowFilter:
    """The options as one filter.

    Raises:
        BadParameter: an unknown type or status (the valid ones are listed), no sha256, no time,
            or a span of time that is empty.
    """
    first = time_option(since, "--since", work)
    end = time_option(until, "--until", work)
    if first is not None and end is not None and first >= end:
        raise typer.BadParameter(
            f"{end:%Y-%m-%dT%H:%M:%SZ} is not after --since, {first:%Y-%m-%dT%H:%M:%SZ}",
            param_hint="--until",
        )
    return RowFilter(
        since=first,
        until=end,
        nodes=tuple(node or ()),
        modules=tuple(module or ()),
        jobs=tuple(job or ()),
        types=tuple(_one_of(each.upper(), EventType, "--type") for each in kind or ()),
        statuses=tuple(
            _one_of(each.lower(), CompletionStatus, "--status") for each in status or ()
        ),
        codes=tuple(code or ()),
        inputs=tuple(_digest(each) for each in inputs or ()),
    )


def _one_of(text: str, known: type[EventType] | type[CompletionStatus], name: str) -> str:
    if text not in {each.value for each in known}:
        valid = ", ".join(each.value for each in known)
        raise typer.BadParameter(f"{text[:60]!a} is none of {valid}", param_hint=name)
    return text


def _digest(text: str) -> str:
    from yoyo.core.trace import as_digest

    digest = as_digest(text)
    if digest is None:
        raise typer.BadParameter(
            f"{text[:80]!a} is no sha256: 64 of 0-9, a-f", param_hint="--input"
        )
    return digest
