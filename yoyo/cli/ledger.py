"""Commands on the ledger: show, tail, verify."""

from pathlib import Path
from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.session import Session, session

app = typer.Typer(help="Inspect and prove the ledger.", no_args_is_help=True, rich_markup_mode=None)

FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="CSV", help="This ledger; no configuration is read then."),
]


def _path(work: Session, file: Path | None) -> Path:
    return file if file is not None else work.loaded.settings.ledger


@app.command()
def show(
    node: Annotated[
        str | None, typer.Option("--node", metavar="NAME", help="Only rows of this node.")
    ] = None,
    file: FileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print every row, bad ones included. With --json, one object per line.

    \b
      yoyo ledger show
      yoyo ledger show --json | jq 'select(.event_type == "TEARDOWN_COMPLETE")'
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render import print_rows
        from yoyo.ops.ledger import rows_of
        from yoyo.wiring import ledger_for

        print_rows(work.out, rows_of(ledger_for(_path(work, file)), node))


@app.command()
def tail(
    count: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many.")] = 10,
    file: FileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print the last rows, read from the end of the file.

    \b
      yoyo ledger tail -n 3
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render import print_rows
        from yoyo.wiring import ledger_for

        print_rows(work.out, iter(ledger_for(_path(work, file)).tail(count)))


@app.command()
def verify(
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="SEQ:HASH",
            help="A head noted earlier: finds a cut tail or a rewrite, which a chain cannot.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on intents without an outcome, too.")
    ] = False,
    file: FileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check format, chain, sequence and pairing of the whole ledger.

    \b
    Exit code 0: all hold. 40: they do not. 42: open intents (--strict). 44: --expect not met.
      yoyo ledger verify
      yoyo ledger verify --file copy.csv --expect 21:9f2c...
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render import verify_document, verify_text
        from yoyo.cli.share import Share
        from yoyo.ops.ledger import parse_head, verdict
        from yoyo.wiring import ledger_for

        head = parse_head(expect) if expect is not None else None
        path = _path(work, file)
        with Share(work.out, "verifying") as share:
            report = ledger_for(path).verify(head, share)
        trouble = verdict(report, head, strict=strict)
        work.out.emit(verify_document(path, report), lambda: verify_text(path, report), trouble)
