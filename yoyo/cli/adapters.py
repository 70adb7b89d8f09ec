"""Commands on LoRA adapters: packed, moved, looked at, verified."""

import re
from pathlib import Path
from typing import Annotated

import typer

from yoyo.cli import adapters_sign, adapters_stage
from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, NodeOption, SetOption
from yoyo.cli.session import session

app = typer.Typer(
    help="LoRA adapters: packed, signed, evaluated, promoted; refused when anything is off.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="id@version, or HOST/REPOSITORY[:TAG][@DIGEST].")
]


@app.command()
def pack(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A LoRA in GGUF, or a PEFT directory.")
    ],
    name: Annotated[str, typer.Argument(metavar="ID@VERSION", help="acme-tone@1.2.0")],
    data: Annotated[
        str,
        typer.Option("--data", metavar="FILE|sha256:HEX", help="The training data, or its digest."),
    ],
    base: Annotated[
        Path | None,
        typer.Option("--base", metavar="GGUF", help="The base model; else the node's."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="What it is for; without one, for any. May be repeated."),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            "--module",
            metavar="MODULE",
            help="Whose it is, dka: everybody's; else the node's moduleId.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIRECTORY", help="Else ./ID-VERSION.oci")
    ] = None,
    readme: Annotated[Path | None, typer.Option("--readme", metavar="FILE")] = None,
    licence: Annotated[str, typer.Option("--licence", metavar="SPDX")] = "",
    base_config: Annotated[
        Path | None,
        typer.Option(
            "--base-config",
            metavar="DIRECTORY",
            help="The base's config.json and tokenizer, for converting PEFT.",
        ),
    ] = None,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check an adapter against its base model and make an OCI image layout of it.

    \b
      yoyo adapters pack tone.gguf acme-tone@1.2.0 --data train.jsonl
      yoyo adapters push acme-tone-1.2.0.oci
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import packed_document, packed_text
        from yoyo.core.adapters.names import parse_name
        from yoyo.model.ids import ModuleId
        from yoyo.ops.adapters import pack as op
        from yoyo.ops.adapters.base import of_file, of_node
        from yoyo.ops.adapters.refs import named
        from yoyo.ops.provide import provided

        adapter_id, version = parse_name(named(name))
        with work.on_adapters() as ctx:
            if base is not None:
                model = of_file(ctx, base)
            else:
                context = provided(work.context())
                model = of_node(ctx, context.node, context.on_store)
            try:
                owner = ModuleId.parse(module) if module else work.one_node().module_id
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="--module") from None
            request = op.PackRequest(
                source,
                adapter_id,
                version,
                owner,
                op.data_digest(ctx, data),
                tuple(task or ()),
                (to or Path(f"{adapter_id}-{version}.oci")).absolute(),
                base_config,
                readme,
                licence,
            )
            result = op.pack(ctx, request, model)
        work.out.emit(packed_document(result), lambda: packed_text(result))


@app.command()
def push(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="What `pack` made.")],
    to: Annotated[
        str | None,
        typer.Argument(metavar="[REF]", help="Else adapters.repository/ID:VERSION."),
    ] = None,
    mount: Annotated[
        str,
        typer.Option(
            "--mount",
            metavar="REPOSITORY",
            help="Of the same registry, to take blobs from instead of sending them.",
        ),
    ] = "",
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Push a packed adapter. What was cut off goes on; a version never changes.

    \b
      yoyo adapters push acme-tone-1.2.0.oci
      yoyo adapters push acme-tone-1.2.0.oci ghcr.io/acme/adapters/acme-tone:1.2.0
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import pushed_document, pushed_text
        from yoyo.ops.adapters.transfer import push as push_op

        with work.on_adapters() as ctx:
            result = push_op(ctx, directory, to, mount)
        work.out.emit(pushed_document(result), lambda: pushed_text(result))


@app.command()
def pull(
    ref: RefArgument,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIRECTORY", file_okay=False, help="Else ./ID-VERSION"),
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Without asking who signed it. Never load that.")
    ] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Verify an adapter and fetch its files, checked by their digests.

    \b
      yoyo adapters pull acme-tone@1.2.0 --to adapters
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.adapters.examine import examine, judged
        from yoyo.ops.adapters.refs import entry_of, pinned
        from yoyo.ops.adapters.transfer import pull as pull_op

        with work.on_adapters() as ctx:
            at = pinned(ctx, ref)
            if not unverified:
                judged(examine(ctx, at, registered=entry_of(ctx, at)))
            paths = pull_op(ctx, at, to)
        shown = [str(path.absolute()) for path in paths]
        document = {"ref": str(at), "verified": not unverified, "files": shown}
        work.out.emit(document, lambda: "\n".join(shown))


@app.command()
def inspect(
    ref: RefArgument,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print what a registry holds: the artefact, and what claims to vouch for it. Not verified.

    \b
      yoyo adapters inspect acme-tone@1.2.0
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import inspected_document, inspected_text
        from yoyo.ops.adapters.listing import inspect as inspect_op
        from yoyo.ops.adapters.refs import pinned

        with work.on_adapters() as ctx:
            result = inspect_op(ctx, pinned(ctx, ref))
        work.out.emit(inspected_document(result), lambda: inspected_text(result))


@app.command()
def verify(
    ref: RefArgument,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print each check with its evidence.")
    ] = False,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="sha256:HEX|node",
            help="The model that it has to be for; `node`: the node's.",
        ),
    ] = "",
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Verify an adapter as it would be before it is loaded: signature, provenance, sign-off.

    \b
      yoyo adapters verify acme-tone@1.2.0 --explain
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import verified_document, verified_text
        from yoyo.ops.adapters.base import digest_of_node
        from yoyo.ops.adapters.examine import examine, refusal
        from yoyo.ops.adapters.refs import entry_of, pinned
        from yoyo.ops.provide import provided

        if base not in ("", "node") and not re.fullmatch(r"sha256:[0-9a-f]{64}", base):
            raise typer.BadParameter("sha256: and 64 of 0-9, a-f; or node", param_hint="--base")
        with work.on_adapters() as ctx:
            at = pinned(ctx, ref)
            if base == "node":
                base = digest_of_node(ctx, provided(work.context()).node)
            result = examine(ctx, at, base=base, registered=entry_of(ctx, at))
        trouble = refusal(result, explained=explain and not json)
        if trouble is not None and not json:
            trouble.details = ()  # the text has them
        work.out.emit(
            verified_document(result), lambda: verified_text(result, explain=explain), trouble
        )


@app.command("ls")
def list_adapters(
    module: Annotated[str | None, typer.Option("--module", metavar="MODULE")] = None,
    stage: Annotated[str | None, typer.Option("--stage", metavar="STAGE")] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the registry file's versions.

    \b
      yoyo adapters ls --stage promoted
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import listed_document, listed_text
        from yoyo.model.adapter import Stage
        from yoyo.ops.adapters.listing import listed
        from yoyo.wiring_adapters import adapter_book_for

        if stage is not None and stage not in tuple(Stage):
            raise typer.BadParameter(f"one of {', '.join(Stage)}", param_hint="--stage")
        book = adapter_book_for(work.loaded.settings)
        found = listed(book, module_id=module, stage=stage)
        data = listed_document(found) if json else None  # of a thousand, it takes its time
        work.out.emit(data, lambda: listed_text(found, none=not found and not listed(book)))


for statement in (adapters_sign.sign, adapters_sign.attest, adapters_sign.evaluate):
    app.command()(statement)
for step in (
    adapters_stage.register,
    adapters_stage.promote,
    adapters_stage.retire,
    adapters_stage.reject,
    adapters_stage.rollback,
    adapters_stage.select,
    adapters_stage.activate,
    adapters_stage.active,
):
    app.command()(step)
