"""Commands of disclosure: extract, verify-extract."""

import os
from pathlib import Path
from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.session import session


def extract(
    module: Annotated[
        str, typer.Option("--module", metavar="MODULE", help="Whose rows: a moduleId.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where the extract goes.")
    ],
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="CSV", help="This ledger; no configuration is read then."),
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Write one that has no row, too.")
    ] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write one module's rows with proofs that they stand in the signed ledger.

    \b
    It holds nothing of anybody else's. Rows after the newest checkpoint are not in it. Exit
    code 97: the module has no row.
      yoyo ledger extract --module acme -o acme.jsonl
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_prove import extracted_text
        from yoyo.cli.row_options import named_ledger
        from yoyo.ops.audit.extract import extract as write_extract
        from yoyo.ops.audit.extract import module_named, no_rows
        from yoyo.wiring_audit import audit_context_for, bare_audit_context, written_whole

        ctx = (
            bare_audit_context(named_ledger(file))
            if file is not None
            else audit_context_for(work.loaded.settings, os.environ)
        )
        with written_whole(out) as write:
            done = write_extract(ctx, module_named(module), write)
            if not (done.rows or allow_empty):
                raise no_rows(ctx, done)
        work.out.emit({"file": out, **done._asdict()}, lambda: extracted_text(out, done))


def verify_extract(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The extract.")],
    key: Annotated[
        list[str],
        typer.Option("--key", metavar="KEY", help="A verifier key or its file. May be repeated."),
    ],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check an extract: it needs the file and the verifier key, and nothing of the ledger.

    \b
    Exit code 0: every row is in the signed tree. 48: no extract, or not signed by the key.
    49: a row does not hold.
      yoyo ledger verify-extract acme.jsonl --key ledger-key.vkey
    """
    with session(json=json) as work:
        from yoyo.cli.render_prove import extract_document, extract_text
        from yoyo.ops.audit.extract import verdict
        from yoyo.ops.audit.extract import verify_extract as check
        from yoyo.wiring_audit import note_verifier, read_vkey, whole_lines

        keys = [read_vkey(each) for each in key]
        with whole_lines(file) as lines:
            report = check(lines, keys, note_verifier())
        work.out.emit(extract_document(report), lambda: extract_text(report), verdict(report))
