"""`yoyo ledger trace`: an output's whole provenance as a tree, or as JSON."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.row_options import LedgerFileOption, ledger_path
from yoyo.cli.session import Session, session

if TYPE_CHECKING:
    from decimal import Decimal

    from yoyo.errors import TraceNotFound

# An answer's document is as long as the answer.
_MAX_OUTPUT_BYTES = 64 * 1024 * 1024


def trace(
    thing: Annotated[
        str,
        typer.Argument(
            metavar="THING",
            help="A job's or boot's id, an event_id, '#SEQ', an input's sha256, or a saved "
            "`yoyo ask --json` (a file, or - for standard input).",
        ),
    ],
    file: LedgerFileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what made an output: job, adapters and signers, boot, engine, weights, price, cost.

    \b
    What the ledger does not know is listed as not known. Exit code 97: nothing was found.
      yoyo ask --json "Why?" > answer.json && yoyo ledger trace answer.json
      yoyo ledger trace '#1289'
      printf %s "Why?" | sha256sum | cut -d' ' -f1 | xargs yoyo ledger trace --json
    """
    with session(json=json, config=config, sets=sets) as work:
        from datetime import UTC, datetime

        from yoyo.cli.render_trace import trace_document, trace_text
        from yoyo.errors import TraceNotFound
        from yoyo.ops.trace import TraceContext
        from yoyo.ops.trace import trace as trace_op
        from yoyo.wiring import ledger_for
        from yoyo.wiring_audit import checkpoints_beside, proofs_beside

        path = ledger_path(work, file)
        context = TraceContext(
            ledger=ledger_for(path),
            proofs=proofs_beside(path),
            checkpoints=checkpoints_beside(path),
            now=datetime.now(UTC),
            hourly_usd=_prices(work) if file is None else {},
        )
        try:
            found = trace_op(context, _asked(thing))
        except TraceNotFound as error:
            raise _as_file(thing, error) from error
        if json:
            work.out.document(trace_document(found))
        else:
            work.out.print(trace_text(found))


def _prices(work: Session) -> "dict[str, Decimal | None]":
    return {str(node.name): node.prices.hourly_usd for node in work.loaded.settings.nodes}


def _asked(thing: str) -> str:
    """The thing itself, or the job that a saved answer names.

    Raises:
        TraceNotFound: the file names none, or cannot be read.
    """
    from yoyo.core.trace import job_of_output
    from yoyo.errors import TraceNotFound

    if thing != "-" and not _is_file(thing):
        return thing
    try:
        if thing == "-":
            document = sys.stdin.buffer.read(_MAX_OUTPUT_BYTES)
        else:
            with Path(thing).open("rb") as source:
                document = source.read(_MAX_OUTPUT_BYTES)
    except OSError as error:
        raise TraceNotFound(
            f"{thing[:200]!a} could not be read.",
            why=f"{error.strerror or error}.",
            fix="Give yourself permission to read it, or name the job by its id.",
        ) from error
    job = job_of_output(document)
    if job is None:
        raise TraceNotFound(
            f"{thing[:200]!a} names no job.",
            why="It is not what `yoyo ask --json` prints: one JSON object with a job_id.",
            fix="Save the answer with `yoyo ask --json PROMPT > FILE`, or name the job by its id.",
        )
    return job


def _as_file(thing: str, error: "TraceNotFound") -> "TraceNotFound":
    """The error, which of what looks like a path says that there is no such file.

    Ids of jobs have slashes, too: so the ledger is asked first.
    """
    if _is_file(thing) or not ("/" in thing or thing.lower().endswith(".json")):
        return error
    return type(error)(
        f"There is no file {thing[:200]!a}, and no job, life, event or input of that name.",
        why=error.why,
        fix="Check the path, or see `yoyo ledger tail` for ids.",
    )


def _is_file(thing: str) -> bool:
    try:
        return Path(thing).is_file()
    except (OSError, ValueError):
        return False  # too long for a path, or with a NUL: some other thing
