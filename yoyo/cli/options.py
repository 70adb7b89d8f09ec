"""The options that every command shares, said once."""

# No `from __future__ import annotations` in the CLI's modules: typer would have to evaluate
# every annotation from its text, at every start.
from pathlib import Path
from typing import Annotated

import typer

NodeOption = Annotated[
    str | None,
    typer.Option("--node", metavar="NAME", help="The node, if the file has several."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Use this file instead of looking for one."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting. May be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, nothing else there.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show a traceback on failure.")]


def task_label(text: str | None) -> str | None:
    """A task as it was given, if it is one: no adapter serves a task that cannot be named.

    Raises:
        BadParameter.
    """
    from yoyo.core.adapters.names import InvalidAdapter, check_task

    if text is None:
        return None
    try:
        return check_task(text)
    except InvalidAdapter as error:
        raise typer.BadParameter(str(error)) from None
