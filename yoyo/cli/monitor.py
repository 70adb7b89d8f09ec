"""Commands of the idle monitor: run, install."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, NodeOption, SetOption
from yoyo.cli.session import session
from yoyo.errors import YoyoError

_ADC = "GOOGLE_APPLICATION_CREDENTIALS"

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
        from yoyo.wiring_audit import prover

        contexts = [work.context(each) for each in work.nodes()]
        prove = prover(work.loaded.settings, os.environ, only_if_due=True)
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
            for note in prove() if prove is not None else ():
                work.out.note(f"ledger: {note}")
            if trouble is not None and once:
                raise trouble
            if trouble is not None:
                work.out.error(trouble)
            if once:
                return
            every = min(context.node.guards.sample_every_s for context in contexts)
            contexts[0].clock.sleep(every)


@app.command()
def install(
    systemd: Annotated[
        bool, typer.Option("--systemd/--cron", help="A systemd timer, or a line for cron.")
    ],
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="DIR", help="Write the files there; else print them."),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="The account that runs it; else yours.")
    ] = None,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print, or write, what makes systemd or cron run the monitor, and how to switch it on.

    \b
      yoyo monitor install --systemd
      yoyo monitor install --systemd --write /etc/systemd/system
      yoyo monitor install --cron --write /etc/cron.d
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from getpass import getuser

        from yoyo.cli.render import units_text
        from yoyo.ops import monitor_install as op
        from yoyo.wiring import unit_tools

        kind: op.Kind = "systemd" if systemd else "cron"
        settings, chosen = work.loaded.settings, work.one_node()
        seen = [(value.key, value.source) for value in work.loaded.values]
        if chosen.gce is not None and chosen.gce.credentials is None and _ADC in os.environ:
            seen.append((f"nodes.{chosen.name}.gce.credentials", _ADC))
        op.refuse_unseen(seen)
        templates, writer = unit_tools()
        files = op.render(
            kind,
            chosen,
            settings=settings,
            executable=_executable(),
            user=user or getuser(),
            templates=templates,
            stop_bound_s=work.context().machines.stop_bound_s(chosen),
        )
        written = op.write(files, write.absolute(), writer) if write is not None else []
        steps = op.next_steps(kind, files, write.absolute()) if write is not None else []
        work.out.emit(
            {"files": files, "written": written, "next_steps": steps},
            lambda: units_text(files, written, steps),
        )


def _executable() -> str:
    """This very installation's script, wherever PATH may point later."""
    beside = Path(sys.executable).parent / "yoyo"
    return str(beside if beside.exists() else Path(sys.argv[0]).absolute())
