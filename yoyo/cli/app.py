"""The command tree. Every command parses, calls one op, and renders the result."""

import os
import sys
from importlib import import_module
from typing import Any

import typer

from yoyo import __version__

# Name -> module and object, in the order of `yoyo --help`. A Typer object is a group.
COMMANDS = {
    "init": "controls:init",
    "plan": "node:plan",
    "up": "node:up",
    "status": "node:status",
    "ask": "node:ask",
    "logs": "node:logs",
    "down": "node:down",
    "ssh": "remote:ssh",
    "exec": "remote:execute",
    "tunnel": "remote:tunnel",
    "key": "remote:key",
    "sweep": "remote:sweep",
    "bake": "remote:bake",
    "bootstrap": "remote:bootstrap",
    "weights": "weights:app",
    "adapters": "adapters:app",
    "engine": "engine:app",
    "freeze": "controls:freeze",
    "thaw": "controls:thaw",
    "monitor": "monitor:app",
    "ledger": "ledger:app",
    "cost": "cost:cost",
    "report": "report:report",
    "reconcile": "reconcile:reconcile",
    "doctor": "controls:doctor",
    "config": "config:app",
    "version": "controls:version",
}


def _version(value: bool) -> None:
    if value:
        typer.echo(f"yoyo {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def build(wanted: tuple[str, ...] = tuple(COMMANDS), *, outline: bool = False) -> typer.Typer:
    """The application with these commands. Typer works through every one it is given.

    With `outline` they have their names and help, and neither options nor commands below them:
    enough for the list of all.
    """
    app = typer.Typer(
        name="yoyo",
        help="Bring a GPU node up, watch it, bring it down, and prove what it cost.",
        epilog="Begin with `yoyo init`, then `yoyo plan` and `yoyo up`.",
        no_args_is_help=True,
        # Rich's help and tracebacks cost more at start than the rest of yoyo together.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name in wanted:
        module, _, attribute = COMMANDS[name].partition(":")
        found: Any = getattr(import_module(f"yoyo.cli.{module}"), attribute)
        if outline:
            _add_outline(app, name, found)
        elif isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _add_outline(app: typer.Typer, name: str, found: Any) -> None:
    def nothing() -> None:
        pass

    if isinstance(found, typer.Typer):
        app.add_typer(typer.Typer(help=found.info.help), name=name)
    else:
        app.command(name, help=found.__doc__)(nothing)


def app_for_argv() -> typer.Typer:
    """The application with the one command that is asked for; whole where it must know all."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if "_YOYO_COMPLETE" in os.environ:
        return build()
    if asked in COMMANDS:
        return build((asked,))
    return build(outline=sys.argv[1:] in ([], ["--help"]))
