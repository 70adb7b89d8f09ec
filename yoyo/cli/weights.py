"""Commands on model weights in the store."""

from pathlib import Path
from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, NodeOption, SetOption
from yoyo.cli.session import session

app = typer.Typer(
    help="Model weights in the store: staged once, verified always.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="NAME or NAME@VERSION.")]
HOW = "yoyo weights stage NAME SOURCE"
KindOption = Annotated[
    str, typer.Option("--kind", metavar="KIND", help="weights, tokenizer or bytes.")
]


@app.command()
def stage(
    name: NameArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="hf://ORG/REPO/FILE@REVISION, https://, gs://, s3://, file:// or inline:TEXT.",
        ),
    ],
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="What the file must have; needed for https://.")
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option("--mirror", metavar="URL", help="Another address. May be repeated."),
    ] = None,
    kind: KindOption = "weights",
    licence: Annotated[
        str, typer.Option("--licence", help="SPDX id, where the source does not say.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="The name may stand for other bytes from now on.")
    ] = False,
    fit: Annotated[
        bool,
        typer.Option("--fit/--no-fit", help="Refuse a model that the node cannot serve."),
    ] = True,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring weights into the store under a name. What was cut off goes on where it was.

    \b
      yoyo weights stage qwen3-32b hf://Qwen/Qwen3-32B-GGUF/Qwen3-32B-Q4_K_M.gguf@main
      yoyo weights stage tiny https://models.example/tiny.gguf --sha256 9f86d0...
    Then one line in yoyo.yaml makes a node use it: engine.model: store:qwen3-32b
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render_store import staged_document, staged_text
        from yoyo.model.store import WEIGHTS
        from yoyo.ops.suits import suits
        from yoyo.ops.weights_stage import StageRequest
        from yoyo.ops.weights_stage import stage as stage_op

        request = StageRequest(
            _kind(kind), name, source, sha256, tuple(mirror or ()), replace, licence
        )
        with work.on_store() as ctx:
            chosen = work.loaded.node
            look = None
            if chosen is not None and fit and kind == WEIGHTS:
                look = suits(ctx, chosen)
            result = stage_op(ctx, request, look)
        work.out.emit(staged_document(result), lambda: staged_text(result))


def _kind(kind: str) -> str:
    from yoyo.model.store import STAGED_KINDS

    if kind not in STAGED_KINDS:
        raise typer.BadParameter("one of weights, tokenizer, bytes", param_hint="--kind")
    return kind


@app.command("ls")
def list_names(
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List what the store holds, and which nodes use it.

    \b
      yoyo weights ls
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import listed_document, listed_text
        from yoyo.model.store import ENGINE
        from yoyo.ops.weights_verify import listed

        with work.on_store() as ctx:
            found, bad = listed(ctx)
            found = [each for each in found if each.kind != ENGINE]
        work.out.emit(listed_document(found, bad), lambda: listed_text(found, bad, HOW))


@app.command()
def show(
    name: NameArgument,
    kind: KindOption = "weights",
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print one manifest: digests, source, licence, what the header says.

    \b
      yoyo weights show qwen3-32b
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import named_document, named_text
        from yoyo.ops.shelf import need

        with work.on_store() as ctx:
            named = need(ctx.store, _kind(kind), name)
        work.out.emit(named_document(named), lambda: named_text(named))


@app.command()
def verify(
    name: NameArgument,
    deep: Annotated[bool, typer.Option("--deep", help="Read and hash every byte.")] = False,
    kind: KindOption = "weights",
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check that the store holds what was staged: by manifest, ledger and size, or by every byte.

    \b
      yoyo weights verify qwen3-32b --deep
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import verified_document, verified_text
        from yoyo.ops.weights_verify import corruption
        from yoyo.ops.weights_verify import verify as verify_op

        with work.on_store() as ctx:
            result = verify_op(ctx, _kind(kind), name, deep=deep)
        trouble = corruption(result)
        work.out.emit(verified_document(result), lambda: verified_text(result), trouble)


@app.command()
def pull(
    name: NameArgument,
    to: Annotated[
        Path,
        typer.Option("--to", metavar="DIRECTORY", file_okay=False, help="Where the files go."),
    ] = Path(),
    kind: KindOption = "weights",
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Fetch the files out of the store, checked chunk by chunk; what is there is not fetched again.

    \b
      yoyo weights pull qwen3-32b --to models
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.shelf import need, refuse_adopted, require_bytes
        from yoyo.ops.weights_fetch import pull as pull_op
        from yoyo.ops.weights_verify import fetcher

        with work.on_store() as ctx:
            named = need(ctx.store, _kind(kind), name)
            refuse_adopted(named.manifest, "Use the files there.")
            require_bytes(ctx.store, named.manifest)
            paths = pull_op(fetcher(ctx), named.manifest, to.absolute())
        shown = [str(path) for path in paths]
        work.out.emit({"name": name, "files": shown}, lambda: "\n".join(shown))


@app.command()
def pin(
    name: NameArgument,
    kind: KindOption = "weights",
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Keep a name from being removed.

    \b
      yoyo weights pin qwen3-32b
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.weights_gc import pin as pin_op

        with work.on_store() as ctx:
            pin_op(ctx, _kind(kind), name)
        work.out.emit({"name": name, "pinned": True}, lambda: f"{name} is pinned")


@app.command()
def unpin(
    name: NameArgument,
    kind: KindOption = "weights",
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Allow a name to be removed again.

    \b
      yoyo weights unpin qwen3-32b
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.weights_gc import unpin as unpin_op

        with work.on_store() as ctx:
            unpin_op(ctx, _kind(kind), name)
        work.out.emit({"name": name, "pinned": False}, lambda: f"{name} is not pinned")


@app.command()
def rm(
    name: NameArgument,
    kind: KindOption = "weights",
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take a name away; its bytes go with the next `gc`. Refused while pinned or in use.

    \b
      yoyo weights rm old-model && yoyo weights gc --apply
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.weights_gc import remove

        with work.on_store() as ctx:
            remove(ctx, _kind(kind), name)
        work.out.emit({"name": name, "removed": True}, lambda: f"{name} is removed")


@app.command()
def release(
    name: Annotated[str, typer.Argument(metavar="NODE", help="A node that is gone for good.")],
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Keep nothing any more for what that node was started with. `down --delete` does the same.

    \b
      yoyo weights release old-node
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.model.ids import NodeName
        from yoyo.ops.weights_gc import release as release_op

        try:
            node = NodeName.parse(name)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="NODE") from None
        with work.on_store() as ctx:
            release_op(ctx, node)
        shown = {"node_id": node, "released": True}
        work.out.emit(shown, lambda: f"nothing is kept for {node}; see `yoyo weights gc`")


@app.command()
def gc(
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove what is found; else it is only shown.")
    ] = False,
    older_than: Annotated[
        int,
        typer.Option(
            "--older-than",
            metavar="HOURS",
            min=0,
            max=1_000_000,
            help="Leave alone what is younger than this.",
        ),
    ] = 24,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find what no name and no node refers to. Engine bundles count too.

    \b
      yoyo weights gc
      yoyo weights gc --apply
    """
    with session(json=json, config=config, sets=sets) as work:
        from datetime import timedelta

        from yoyo.cli.render_store import gc_document, gc_text
        from yoyo.ops.weights_gc import collect

        with work.on_store() as ctx:
            result = collect(ctx, apply=apply, grace=timedelta(hours=older_than))
        work.out.emit(gc_document(result), lambda: gc_text(result))


@app.command("apply")
def apply_documents(
    file: Annotated[
        list[str],
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="ModelCache documents; `-`: stdin. May be repeated.",
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do.")] = False,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring the store to what `kind: ModelCache` documents say. Twice is the same as once.

    \b
      yoyo weights apply -f caches.yaml
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render_store import applied_document, applied_text
        from yoyo.config.model_cache import load_caches
        from yoyo.ops.suits import suits
        from yoyo.ops.weights_apply import apply, unready
        from yoyo.ops.weights_stage import stage as stage_op

        documents = load_caches(*file)
        with work.on_store() as ctx:
            chosen = work.loaded.node
            look = suits(ctx, chosen) if chosen is not None else None
            result = apply(
                documents, ctx, lambda request: stage_op(ctx, request, look), dry_run=dry_run
            )
        trouble = None if dry_run else unready(each.status for each in result)
        work.out.emit(applied_document(result), lambda: applied_text(result), trouble)


@app.command("status")
def status_of_caches(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Else all that were applied.")
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask/--no-ask", help="Ask the sources what they have now.")
    ] = True,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show every applied ModelCache: phase, digest, drift, who uses it."""
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import caches_document, caches_text
        from yoyo.ops.weights_apply import status

        with work.on_store() as ctx:
            result = status(ctx, tuple(names or ()), ask=ask)
        work.out.emit(caches_document(result), lambda: caches_text(result))


@app.command()
def schema(json: JsonOption = True, debug: DebugOption = False) -> None:
    """Print the JSON Schema of ModelCache documents: `yoyo weights schema > schema.json`."""
    with session(json=True) as work:
        from yoyo.core.model_cache_form import json_schema

        work.out.document(json_schema())
