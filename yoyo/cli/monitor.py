"""Commands of the idle monitor: run, install."""

from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, NodeOption, SetOption
from yoyo.cli.session import session
from yoyo.errors import YoyoError

app = typer.Typer(
    help="Watch for idleness, and stop what idles.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def run(
    once: Annotated[
        bool, typer.Option("--once", help="One sample, one decision, then end.")
    ] = False,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Sample the engine and stop the node once it has provably been idle for long enough.

    \b
    Without --once it goes on, a sample every `guards.sample_every`.
      yoyo monitor run --once
      yoyo monitor run --node l4
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render import monitor_text
        from yoyo.ops.monitor import monitor_once

        contexts = [work.context(each) for each in work.nodes()]
        while True:
            trouble: YoyoError | None = None
            for context in contexts:
                try:
                    result = monitor_once(context)
                except YoyoError as error:
                    # One node's trouble must not leave the others unwatched.
                    if trouble is not None:
                        work.out.error(trouble)
                    trouble = error
                    continue
                work.out.emit(result, lambda seen=result: monitor_text(seen))  # type: ignore[misc]
            if trouble is not None and once:
                raise trouble
            if trouble is not None:
                work.out.error(trouble)
            if once:
                return
            every = min(context.node.guards.sample_every_s for context in contexts)
            contexts[0].clock.sleep(every)
