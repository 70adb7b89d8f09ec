"""Commands that prove the ledger: checkpoint, keygen, rotate, seal, prune."""

import os
from pathlib import Path
from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.session import session


def checkpoint(
    if_due: Annotated[
        bool,
        typer.Option("--if-due", help="Only when the newest is older than checkpoints.every."),
    ] = False,
    refuse_keys: Annotated[
        bool,
        typer.Option(
            "--refuse-keys",
            help="Write that rows about keys which no command of yours wrote count for nothing.",
        ),
    ] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Sign the ledger as it is now, and copy the checkpoint to the second store.

    \b
    Every teardown and the monitor's timer do it too. Exit code 49: the ledger is not the
    one that was signed before, or the second store has another history of it.
      yoyo ledger checkpoint
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_prove import checkpoint_text
        from yoyo.ops.audit.checkpoint import checkpoint as sign
        from yoyo.ops.audit.checkpoint import forked, is_due
        from yoyo.ops.audit.checkpoint import refuse_keys as signed_without_them
        from yoyo.wiring_audit import audit_context_for

        ctx = audit_context_for(work.loaded.settings, os.environ)
        if if_due and not refuse_keys and not is_due(ctx):
            work.out.emit({"due": False}, lambda: "the newest checkpoint is young enough")
            return
        done = signed_without_them(ctx) if refuse_keys else sign(ctx)
        work.out.emit(done, lambda: checkpoint_text(done), forked(done))


def keygen(
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin",
            metavar="HOST/NAME",
            help="The ledger's name, unique in the world; else checkpoints.origin.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the private key goes.")
    ] = Path("ledger-key.pem"),
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make the Ed25519 key that signs checkpoints. The file is readable by you alone.

    \b
    With YOYO_KEY_PASSWORD set, it is encrypted with that. Give the printed verifier key to
    whoever audits the ledger, by a way that the ledger's writer does not control.
      yoyo ledger keygen --origin ledger.example.org/gpu
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_prove import key_text
        from yoyo.core.audit.note import format_vkey
        from yoyo.ops.audit.keys import origin_of
        from yoyo.wiring_audit import make_note_key

        name = origin_of(origin, lambda: work.loaded.settings.audit)
        path = out.absolute()
        vkey = format_vkey(make_note_key(path, name, os.environ))
        work.out.emit(
            {"key": path, "origin": name, "verifier_key": vkey},
            lambda: key_text(path, name, vkey),
        )


def rotate(
    new: Annotated[Path, typer.Argument(metavar="KEY", help="The new private key.")],
    lost: Annotated[
        bool,
        typer.Option("--lost", help="The old key is lost: it vouches for nothing any more."),
    ] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Change over to another key: the old one signs, with the new one, that it follows.

    \b
    Afterwards name the new key in checkpoints.key.
      yoyo ledger keygen --out ledger-key-2.pem
      yoyo ledger rotate ledger-key-2.pem
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_prove import rotated_text
        from yoyo.ops.audit.checkpoint import forked
        from yoyo.ops.audit.keys import origin_of
        from yoyo.ops.audit.keys import rotate as change
        from yoyo.wiring_audit import audit_context_for, signer_by

        settings = work.loaded.settings
        origin = origin_of(None, lambda: settings.audit)
        signer = signer_by(new.absolute(), origin, os.environ)
        done = change(audit_context_for(settings, os.environ), signer, lost=lost)
        work.out.emit(done, lambda: rotated_text(done, new), forked(done))


def seal(
    month: Annotated[
        str | None,
        typer.Argument(metavar="YYYY-MM", help="Up to this month; else all that are over."),
    ] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Move the months that are over into read-only files of their own, each with its proof.

    \b
      yoyo ledger seal
      yoyo ledger seal 2026-10
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_prove import sealed_text
        from yoyo.ops.audit.seal import held_up
        from yoyo.ops.audit.seal import seal as seal_months
        from yoyo.wiring_audit import audit_context_for

        ctx = audit_context_for(work.loaded.settings, os.environ)
        done = seal_months(ctx, month)
        late = held_up(ctx)
        work.out.emit({"sealed": done, "note": late}, lambda: sealed_text(done, late))


def prune(
    apply: Annotated[
        bool, typer.Option("--apply", help="Delete them; else they are only listed.")
    ] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List sealed months past sealing.retention_months; with --apply, delete them.

    \b
    A row says so before each file goes. sealing.legal_hold keeps everything.
      yoyo ledger prune
      yoyo ledger prune --apply
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_prove import pruned_text
        from yoyo.ops.audit.prune import prune as prune_months
        from yoyo.wiring_audit import audit_context_for

        done = prune_months(audit_context_for(work.loaded.settings, os.environ), apply=apply)
        work.out.emit(done, lambda: pruned_text(done))
