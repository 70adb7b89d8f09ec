"""Commands on the configuration: show, schema, validate."""

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, NodeOption, SetOption
from yoyo.cli.session import session
from yoyo.errors import ConfigInvalid

app = typer.Typer(
    help="Show and check the configuration.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def show(
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print every effective value and where it came from; secrets are masked.

    \b
      yoyo config show
      YOYO_OPERATOR=ci yoyo config show --json
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render import values_text

        values = work.loaded.values
        file = work.loaded.settings.config_file
        work.out.emit({"file": file, "values": values}, lambda: values_text(file, values))


@app.command()
def schema() -> None:
    """Print the JSON Schema of yoyo.yaml, for editors and for CI.

    \b
      yoyo config schema > yoyo.schema.json
    """
    with session(json=True) as work:
        import json

        from yoyo.config.schema import json_schema

        work.out.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


@app.command()
def validate(
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Report all mistakes at once, with line and column.

    \b
      yoyo config validate
      yoyo config validate --config /etc/yoyo/yoyo.yaml
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        mistakes = work.mistakes()
        if mistakes and json:
            work.out.document({"valid": False, "mistakes": mistakes})
            raise typer.Exit(ConfigInvalid.exit_code)
        loaded = work.loaded
        file, nodes = loaded.settings.config_file, loaded.settings.nodes
        work.out.emit(
            {"valid": True, "file": file, "nodes": [each.name for each in nodes], "mistakes": []},
            lambda: f"{file}: valid, {len(nodes)} node(s)",
        )
