"""The command tree. Every command parses, calls one op, and renders the result."""

import typer

from yoyo import __version__
from yoyo.cli import config, controls, ledger, monitor, node, remote

app = typer.Typer(
    name="yoyo",
    help="Bring a GPU node up, watch it, bring it down, and prove what it cost.",
    epilog="Begin with `yoyo init`, then `yoyo plan` and `yoyo up`.",
    no_args_is_help=True,
    # Rich's help and tracebacks cost more at start than the rest of yoyo together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"yoyo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


app.command()(controls.init)
app.command()(node.plan)
app.command()(node.up)
app.command()(node.status)
app.command()(node.ask)
app.command()(node.logs)
app.command()(node.down)
app.command()(remote.ssh)
app.command("exec")(remote.execute)
app.command()(remote.tunnel)
app.add_typer(remote.key, name="key")
app.command()(remote.sweep)
app.command()(remote.bake)
app.add_typer(remote.bootstrap, name="bootstrap")
app.command()(controls.freeze)
app.command()(controls.thaw)
app.add_typer(monitor.app, name="monitor")
app.add_typer(ledger.app, name="ledger")
app.command()(controls.doctor)
app.add_typer(config.app, name="config")
app.command()(controls.version)
