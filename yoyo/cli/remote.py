"""Commands on a node that is reached over a network."""

from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, NodeOption, SetOption
from yoyo.cli.session import session

key = typer.Typer(help="The endpoint's bearer key.", no_args_is_help=True)
bootstrap = typer.Typer(help="How a remote node sets itself up.", no_args_is_help=True)


def ssh(
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Log in to the node. Its host key is the one that it published, or there is no login.

    \b
      yoyo ssh --node l4
    """
    with session(node=node, config=config, sets=sets) as work:
        import os

        from yoyo.ops.remote import ssh_command

        argv = ssh_command(work.context())
        os.execv(argv[0], argv)  # noqa: S606 - a list, no shell


def execute(
    command: Annotated[list[str], typer.Argument(help="The command, after `--`.")],
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Run a command on the node. Its exit code is passed on.

    \b
      yoyo exec --node l4 -- nvidia-smi
    """
    with session(node=node, config=config, sets=sets) as work:
        from yoyo.ops.remote import execute as execute_op

        status = execute_op(work.context(), tuple(command), work.out.raw)
    raise typer.Exit(status)


def tunnel(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0: a free one.")
    ] = 0,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Carry a port of this machine to the engine, over SSH, until interrupted.

    \b
      yoyo tunnel --node l4 --port 8080
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from time import sleep

        from yoyo.ops.remote import open_tunnel

        context = work.context()
        endpoint = open_tunnel(context, port)
        shown = {"node_id": context.node.name, "endpoint": endpoint.url}
        work.out.emit(shown, lambda: f"{context.node.name} is at {endpoint.url} until Ctrl-C")
        while True:
            sleep(1)  # not for ever: a signal just before the call would not end it


@key.command("rotate")
def key_rotate(
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give a running node a new bearer key, without a restart of the node.

    \b
    Returns when the node uses it; the old one is refused from then on.
      yoyo key rotate --node l4
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.ops.remote import rotate_key

        with work.working() as context:
            rotate_key(context)
        name = context.node.name
        work.out.emit({"node_id": name, "rotated": True}, lambda: f"{name} has a new key")


@bootstrap.command("render")
def bootstrap_render(
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print the startup script that the node would run. Nothing secret is in it.

    \b
      yoyo bootstrap render --node l4 | shellcheck -
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.ops.remote import bootstrap_script

        script = bootstrap_script(work.context())
        work.out.emit({"script": script}, lambda: script.rstrip("\n"))


def bake(
    name: Annotated[
        str | None, typer.Option("--name", help="The image's name; else node and time.")
    ] = None,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make an image of a stopped node, so that the next first boot has nothing to build.

    \b
    The node must have been ready before it was stopped.
      yoyo down --node l4 && yoyo bake --node l4
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.ops.remote import bake as bake_op
        from yoyo.ops.remote import image_name

        with work.working() as context:
            path = bake_op(context, name or image_name(context))
        work.out.emit(
            {"node_id": context.node.name, "image": path},
            lambda: f"baked {path}\nnext: set gce.image to it",
        )


def sweep(
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove what is found; else it is only shown.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="With --apply: also what runs.")] = False,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find what yoyo left in the project and no live node needs, with its cost a month.

    \b
      yoyo sweep --node l4
      yoyo sweep --node l4 --apply
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render import sweep_text
        from yoyo.ops.sweep import sweep as sweep_op

        with work.working() as context:
            result = sweep_op(context, work.loaded.settings, apply=apply, force=force)
        work.out.emit(result, lambda: sweep_text(result, apply=apply))
