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


def build(wanted: tuple[str, ...] = tuple(COMMANDS)) -> typer.Typer:
    """The application with these commands. Typer works through every one it is given."""
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
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def app_for_argv() -> typer.Typer:
    """The application with the one command that is asked for; whole where it must know all."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked in COMMANDS and "_YOYO_COMPLETE" not in os.environ:
        return build((asked,))
    return build()
