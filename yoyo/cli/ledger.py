"""Commands on the ledger: show, tail, verify; the others live in modules of their own."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.row_options import (
    CodeOption,
    InputOption,
    JobOption,
    LedgerFileOption,
    ModuleOption,
    RowNodeOption,
    SinceOption,
    StatusOption,
    TypeOption,
    UntilOption,
    ledger_path,
    row_filter,
)
from yoyo.cli.session import Session, session
from yoyo.errors import Interrupted

if TYPE_CHECKING:
    from yoyo.model.ledger import LedgerHead, VerifyReport
    from yoyo.ports.ledger import Ledger

app = typer.Typer(help="Inspect and prove the ledger.", no_args_is_help=True, rich_markup_mode=None)

_LOOK_EVERY_S = 0.5  # a person's idea of at once, and no load at all


@app.command()
def show(
    since: SinceOption = None,
    until: UntilOption = None,
    node: RowNodeOption = None,
    module: ModuleOption = None,
    job: JobOption = None,
    type_: TypeOption = None,
    status: StatusOption = None,
    code: CodeOption = None,
    input_: InputOption = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="A CSV that is safe to open in a spreadsheet.")
    ] = False,
    file: LedgerFileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print the rows that pass all filters, bad rows included. With --json, one object per line.

    \b
      yoyo ledger show --since 2026-10 --until 2026-11 --module acme --type JOB_COMPLETE
      yoyo ledger show --since 24h --status error --csv > errors.csv
      yoyo ledger show --json | jq 'select(.event_type == "TEARDOWN_COMPLETE")'
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_ledger import print_csv, print_rows
        from yoyo.wiring import ledger_for

        if csv and json:
            raise typer.BadParameter("one of --csv and --json", param_hint="--csv")
        wanted = row_filter(
            work, since=since, until=until, node=node, module=module, job=job, kind=type_,
            status=status, code=code, inputs=input_,
        )  # fmt: skip
        rows = ledger_for(ledger_path(work, file)).matching(wanted)
        (print_csv if csv else print_rows)(work.out, rows)


@app.command()
def tail(
    count: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new rows.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    node: RowNodeOption = None,
    module: ModuleOption = None,
    job: JobOption = None,
    type_: TypeOption = None,
    status: StatusOption = None,
    code: CodeOption = None,
    input_: InputOption = None,
    file: LedgerFileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print the last rows that pass all filters, and with -f each new one until Ctrl-C.

    \b
      yoyo ledger tail -n 3
      yoyo ledger tail -f --status error --json
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_ledger import print_row, print_rows, row_head
        from yoyo.ops.ledger import follow_rows, last_rows
        from yoyo.wiring import ledger_for

        wanted = row_filter(
            work, since=since, until=until, node=node, module=module, job=job, kind=type_,
            status=status, code=code, inputs=input_,
        )  # fmt: skip
        ledger = ledger_for(ledger_path(work, file))
        if not follow:
            print_rows(work.out, last_rows(ledger, wanted, count))
            return
        row_head(work.out)
        try:
            follow_rows(ledger, wanted, count, lambda row: print_row(work.out, row), _nap)
        except KeyboardInterrupt:
            # It is how following ends, and no failure to explain.
            raise typer.Exit(Interrupted.exit_code) from None


def _nap() -> None:
    from time import sleep

    sleep(_LOOK_EVERY_S)


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
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="PLACE",
            help="Checkpoints: a file, a directory, or the second store's address. Repeatable.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="KEY", help="A verifier key, or its file. Repeatable."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on intents without an outcome, too.")
    ] = False,
    file: LedgerFileOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check format, chain, sequence and pairing of the whole ledger, and what was signed of it.

    \b
    Exit code 0: all hold. 40: they do not. 42: open intents (--strict). 44: --expect not met.
    45: a file is missing, or cannot be read. 49: the ledger is not the one that was signed.
      yoyo ledger verify
      yoyo ledger verify --file copy.csv --expect 21:9f2c...
      yoyo ledger verify --against gs://our-auditors/ledger --key ledger-key.vkey
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_ledger import verify_document, verify_text
        from yoyo.ops.kept import deleted
        from yoyo.ops.ledger import cut_below, hole, parse_head, signed_rows, verdict, with_problem
        from yoyo.wiring import ledger_for
        from yoyo.wiring_audit import checkpoints_beside

        if key and not against:
            raise typer.BadParameter("--key needs --against", param_hint="--key")
        head = parse_head(expect) if expect is not None else None
        path = ledger_path(work, file)
        ledger, signed = ledger_for(path), signed_rows(checkpoints_beside(path))
        report = _checked(work, ledger, head)
        missing = hole(ledger, report)
        cut = cut_below(ledger, report, signed) if missing is None else None
        trouble = missing or cut or verdict(report, head, strict=strict)
        shown = report if cut is None else with_problem(report, _as_reason(cut.why))
        document, text = verify_document(path, shown), verify_text(path, shown)
        gone = deleted(ledger) if missing is None else None
        if gone is not None:
            text = f"{text}\nnote  {gone.text()}"
        if against and missing is None:
            from yoyo.cli.ledger_against import hold

            found, more, mismatch = hold(work, file, against, key or [])
            document, text, trouble = document | found, f"{text}\n{more}", mismatch or trouble
        work.out.emit(document, lambda: text, trouble)


def _checked(work: Session, ledger: "Ledger", head: "LedgerHead | None") -> "VerifyReport":
    from yoyo.cli.share import Share

    with Share(work.out, "verifying") as share:
        return ledger.verify(head, share)


def _as_reason(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")


# Name -> module and function, in the order of `yoyo ledger --help`.
ELSEWHERE = {
    "trace": "ledger_trace:trace",
    "query": "ledger_query:query",
    "export": "ledger_export:export",
    "correct": "ledger_correct:correct",
    "checkpoint": "ledger_prove:checkpoint",
    "extract": "ledger_extract:extract",
    "verify-extract": "ledger_extract:verify_extract",
    "seal": "ledger_prove:seal",
    "prune": "ledger_prove:prune",
    "keygen": "ledger_prove:keygen",
    "rotate": "ledger_prove:rotate",
}


def _add_elsewhere() -> None:
    """Add the one that is asked for: a module that is not imported costs nothing at start."""
    if sys.argv[1:] == ["--help"]:
        return  # the list of all commands says nothing of those below a group
    asked = sys.argv[2] if len(sys.argv) > 2 and sys.argv[1] == "ledger" else ""
    own = {each.callback.__name__ for each in app.registered_commands if each.callback}
    wanted = (asked,) if asked in ELSEWHERE else () if asked in own else tuple(ELSEWHERE)
    for name in wanted:
        module, _, attribute = ELSEWHERE[name].partition(":")
        found: Any = getattr(import_module(f"yoyo.cli.{module}"), attribute)
        app.command(name)(found)


_add_elsewhere()
