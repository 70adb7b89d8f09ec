"""Commands on engine bundles: built once, published, taken by every node."""

from pathlib import Path
from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, SetOption
from yoyo.cli.session import session

app = typer.Typer(
    help="Engine bundles: llama.cpp's server, built once, with all that it needs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

HOW = "yoyo engine publish FILE"
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A bundle of the store.")]


@app.command()
def build(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A git URL, a tarball (path or URL), or a directory; else build.repository.",
        ),
    ] = None,
    revision: Annotated[
        str, typer.Option("--revision", metavar="COMMIT", help="Commit or tag, of git.")
    ] = "",
    sha256: Annotated[str, typer.Option("--sha256", help="Of the tarball.")] = "",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIRECTORY", help="Where the bundle goes.")
    ] = Path(),
    sm: Annotated[
        list[str] | None,
        typer.Option("--sm", metavar="ARCH", help="CUDA architecture, such as 89 for an L4."),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, max=1024, help="Compilers at once; 0: as many as fit."),
    ] = 0,
    cuda: Annotated[
        str, typer.Option("--cuda-root", metavar="DIRECTORY", help="The CUDA toolkit.")
    ] = "",
    cublas: Annotated[
        str,
        typer.Option("--cublas", metavar="DIRECTORY", help="cuBLAS, where the toolkit has none."),
    ] = "",
    work_in: Annotated[
        Path | None,
        typer.Option("--work", metavar="DIRECTORY", help="Source and objects; kept."),
    ] = None,
    all_cpus: Annotated[
        bool, typer.Option("--all-cpus", help="A part for each kind of processor.")
    ] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Build a bundle: for GPUs with --sm (needs nvcc and no GPU), else for the CPU.

    \b
    What was broken off goes on when it is asked for again.
      yoyo engine build --sm 89
      yoyo engine build ~/src/llama.cpp --output bundles
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import built_document, built_text
        from yoyo.ops.engine_build import build as build_op
        from yoyo.ops.engine_build import source_of
        from yoyo.ports.builder import BuildRequest
        from yoyo.wiring import builder_for

        settings = work.loaded.settings
        chosen = work.loaded.node or settings.nodes[0]
        where = (
            source_of(source, revision=revision, sha256=sha256)
            if source is not None
            else source_of(chosen.build.repository, revision=revision or chosen.build.commit)
        )
        request = BuildRequest(
            where, output.absolute(), (work_in or settings.state_dir / "build").absolute(),
            bool(sm), tuple(sm or ()), jobs, cuda, cublas, all_cpus,
        )  # fmt: skip
        builder, model = builder_for(settings)
        with work.showing() as progress:
            result = build_op(request, builder, progress, model)
        work.out.emit(built_document(result), lambda: built_text(result))


@app.command()
def publish(
    bundle: Annotated[Path, typer.Argument(metavar="FILE", help="What `build` made.")],
    name: Annotated[str, typer.Option("--name", help="Else made from source and target.")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="The name may stand for another bundle from now on.")
    ] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Put a bundle into the store; `up` takes the newest one that matches node and model.

    \b
      yoyo engine publish llama-server-*.tar.zst
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import staged_document, staged_text
        from yoyo.ops.engine_publish import publish as publish_op
        from yoyo.wiring import inspect_bundle

        with work.on_store() as ctx:
            result = publish_op(ctx, bundle, inspect_bundle, name=name, replace=replace)
        work.out.emit(staged_document(result), lambda: staged_text(result))


@app.command("ls")
def list_names(
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the bundles of the store.

    \b
      yoyo engine ls
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import listed_document, listed_text
        from yoyo.model.store import ENGINE
        from yoyo.ops.weights_verify import listed

        with work.on_store() as ctx:
            found, bad = listed(ctx, ENGINE)
        work.out.emit(listed_document(found, bad), lambda: listed_text(found, bad, HOW))


@app.command()
def show(
    name: NameArgument,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print what a bundle was made from and runs on.

    \b
      yoyo engine show llama-server-b6900-cuda13.0-sm89-x86-64
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import named_document, named_text
        from yoyo.model.store import ENGINE
        from yoyo.ops.shelf import need

        with work.on_store() as ctx:
            named = need(ctx.store, ENGINE, name)
        work.out.emit(named_document(named), lambda: named_text(named))


@app.command()
def verify(
    name: NameArgument,
    deep: Annotated[bool, typer.Option("--deep", help="Read and hash every byte.")] = False,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check that the store holds the bundle that was published.

    \b
      yoyo engine verify llama-server-b6900-cuda13.0-sm89-x86-64 --deep
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_store import verified_document, verified_text
        from yoyo.model.store import ENGINE
        from yoyo.ops.weights_verify import corruption
        from yoyo.ops.weights_verify import verify as verify_op

        with work.on_store() as ctx:
            result = verify_op(ctx, ENGINE, name, deep=deep)
        trouble = corruption(result)
        work.out.emit(verified_document(result), lambda: verified_text(result), trouble)


@app.command()
def rm(
    name: NameArgument,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take a bundle's name away; its bytes go with `yoyo weights gc`. Refused while in use.

    \b
      yoyo engine rm llama-server-b6900-cuda13.0-sm89-x86-64
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.model.store import ENGINE
        from yoyo.ops.weights_gc import remove

        with work.on_store() as ctx:
            remove(ctx, ENGINE, name)
        work.out.emit({"name": name, "removed": True}, lambda: f"{name} is removed")
