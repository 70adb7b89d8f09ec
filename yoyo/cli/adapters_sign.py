"""Commands that make a signed statement about an adapter."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.session import Session, session

if TYPE_CHECKING:
    from yoyo.ops.adapters.sign import Attached

RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="id@version, or HOST/REPOSITORY[:TAG][@DIGEST].")
]
PublicOption = Annotated[
    bool,
    typer.Option(
        "--public-log",
        help="Sign a tenant's adapter in a log that everybody can read, for ever.",
    ),
]


def sign(
    ref: RefArgument,
    public_log: PublicOption = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Sign an adapter, by its digest, and attach the signature.

    \b
      yoyo adapters sign acme-tone@1.2.0
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.adapters.refs import pinned
        from yoyo.ops.adapters.sign import sign as sign_op

        with work.on_adapters() as ctx:
            result = sign_op(ctx, pinned(ctx, ref), public_log=public_log)
        _emit(work, result)


def attest(
    ref: RefArgument,
    training: Annotated[
        Path, typer.Option("--training", metavar="FILE", help="How it was trained, as YAML.")
    ],
    public_log: PublicOption = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Attach an adapter's provenance (SLSA v1): from which base, data, trainer and source.

    \b
      yoyo adapters attest acme-tone@1.2.0 --training training.yaml
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.config.training import load_training
        from yoyo.ops.adapters.refs import pinned
        from yoyo.ops.adapters.sign import attest as attest_op

        described = load_training(training)
        with work.on_adapters() as ctx:
            result = attest_op(ctx, pinned(ctx, ref), described, public_log=public_log)
        _emit(work, result)


def evaluate(
    ref: RefArgument,
    result: Annotated[
        str, typer.Option("--result", metavar="passed|warned|failed", help="The verdict.")
    ],
    suite: Annotated[str, typer.Option("--suite", metavar="NAME", help="What was run.")],
    suite_uri: Annotated[str, typer.Option("--suite-uri", metavar="URI")] = "",
    suite_digest: Annotated[str, typer.Option("--suite-digest", metavar="sha256:HEX")] = "",
    passed: Annotated[list[str] | None, typer.Option("--passed", metavar="TEST")] = None,
    warned: Annotated[list[str] | None, typer.Option("--warned", metavar="TEST")] = None,
    failed: Annotated[list[str] | None, typer.Option("--failed", metavar="TEST")] = None,
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where the report is.")] = "",
    public_log: PublicOption = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Sign off an adapter, or refuse to: by somebody else than who signed or built it.

    \b
      yoyo adapters evaluate acme-tone@1.2.0 --result passed --suite tone-2026-11
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.adapters.refs import pinned
        from yoyo.ops.adapters.sign import TestResult
        from yoyo.ops.adapters.sign import evaluate as evaluate_op

        if result not in ("passed", "warned", "failed"):
            raise typer.BadParameter("one of passed, warned, failed", param_hint="--result")
        found = TestResult(
            result.upper(),
            suite,
            suite_uri,
            suite_digest,
            tuple(passed or ()),
            tuple(warned or ()),
            tuple(failed or ()),
            url,
        )
        with work.on_adapters() as ctx:
            done = evaluate_op(ctx, pinned(ctx, ref), found, public_log=public_log)
        _emit(work, done)


def _emit(work: Session, result: "Attached") -> None:
    from yoyo.cli.render_adapters import attached_document, attached_text

    work.out.emit(attached_document(result), lambda: attached_text(result))
    if not work.out.json:
        for note in result.notes:
            work.out.note(f"note: {note}")
