"""Commands on a node: plan, up, status, ask, logs, down."""

from typing import TYPE_CHECKING, Annotated

import typer

from yoyo.cli.options import (
    ConfigOption,
    DebugOption,
    JsonOption,
    NodeOption,
    SetOption,
    task_label,
)
from yoyo.cli.session import remote_sets, session

if TYPE_CHECKING:
    from yoyo.model.status import NodeStatus


def plan(
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what `up` would do, what it may cost, and how fast it can be.

    \b
    Nothing is changed and nothing is booked.
      yoyo plan
      yoyo plan --node l4 --set nodes.l4.engine.ctx=16384
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render_plan import plan_document, plan_text
        from yoyo.ops.plan import plan as plan_op

        result = plan_op(work.context())
        work.out.emit(plan_document(result), lambda: plan_text(result))


def up(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="The same as `plan`: change nothing.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the engine is healthy.")
    ] = True,
    allow_unguarded: Annotated[
        bool, typer.Option("--allow-unguarded", help="Run even if a guard did not arm.")
    ] = False,
    max_wait: Annotated[
        str | None,
        typer.Option("--max-wait", metavar="TIME", help="Go on trying while no zone has capacity."),
    ] = None,
    relocate: Annotated[
        bool, typer.Option("--relocate", help="A stopped node may move to a zone with capacity.")
    ] = False,
    spot: Annotated[
        bool, typer.Option("--spot", help="Try spot capacity first, then standard.")
    ] = False,
    replace_firewall: Annotated[
        bool, typer.Option("--replace-firewall", help="Replace yoyo's rules if they differ.")
    ] = False,
    build: Annotated[
        bool, typer.Option("--build", help="Without a bundle, the node builds its own engine.")
    ] = False,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Start the node and wait until its engine answers.

    \b
    Twice is the same as once. A start that fails or is interrupted is undone and booked.
      yoyo up
      yoyo up --no-wait --node l4
      yoyo up --spot --max-wait 2h --node l4
    """
    wanted = {
        "--max-wait": ("gce.max_wait", max_wait),
        "--relocate": ("gce.relocate", "yes" if relocate else None),
        "--spot": ("gce.provisioning", "spot-then-standard" if spot else None),
        "--replace-firewall": ("gce.replace_firewall", "yes" if replace_firewall else None),
        "--build": ("build.on_node", "yes" if build else None),
    }
    if any(value for _, value in wanted.values()):
        sets = [*(sets or []), *remote_sets(wanted, node=node, config=config, sets=sets)]
    if dry_run:
        return plan(node=node, config=config, sets=sets, json=json, debug=debug)
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render import up_text
        from yoyo.ops.up import up as up_op

        with work.working() as context:
            result = up_op(context, wait=wait, allow_unguarded=allow_unguarded)
        work.out.emit(result, lambda: up_text(result))


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until interrupted.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, help="Seconds between looks, with --watch.")
    ] = 2.0,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show state, endpoint, engine, slots, guards and cost of every node.

    \b
      yoyo status
      yoyo status --watch --node l4
      yoyo status --json | jq '.nodes[].state'
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.watch import show_once, show_until_interrupted
        from yoyo.ops.status import status as status_op
        from yoyo.wiring_watch import ledger_watch

        contexts = [work.context(each) for each in work.nodes()]
        watched = ledger_watch(work.loaded.settings)

        def look() -> "list[NodeStatus]":
            found = [status_op(context) for context in contexts]
            # After the look: what it books is signed, where a machine has stopped.
            note = watched() if watched is not None else ""
            return [each._replace(notes=(*each.notes, note)) for each in found] if note else found

        if watch:
            show_until_interrupted(work.out, look, interval)
        else:
            show_once(work.out, look())


def ask(
    prompt: Annotated[str, typer.Argument(help="What to say to the model. `-`: read stdin.")],
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, max=1_000_000, help="Length of the answer.")
    ] = 128,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            callback=task_label,
            help="Answer with the loaded adapters that serve this task.",
        ),
    ] = None,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Send a prompt to the node's endpoint and stream the answer.

    \b
    The request is booked as a job of the node's moduleId.
      yoyo ask "Why is the sky blue?"
      yoyo ask --max-tokens 512 - < question.txt
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        import os
        import sys

        from yoyo.cli.render import answer_text, print_answer
        from yoyo.ops.ask import ask as ask_op

        # What is not UTF-8 is replaced: the engine takes nothing else.
        given = sys.stdin.buffer.read() if prompt == "-" else os.fsencode(prompt)
        text = given.decode("utf-8", "replace")
        pieces = ask_op(work.context(), text, max_tokens=max_tokens, task=task)
        answer = print_answer(work.out, pieces)
        if json:
            work.out.document(answer)
        else:
            work.out.note(answer_text(answer))


def logs(
    boot: Annotated[
        bool, typer.Option("--boot/--engine", help="The machine's boot, or its engine.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=100_000, help="How many of the last lines.")
    ] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the engine's log, or the boot's. With --json, one object per line.

    \b
      yoyo logs -n 100
      yoyo logs -f
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.ops.logs import logs as logs_op

        for line in logs_op(work.context(), lines=lines, follow=follow, boot=boot):
            work.out.emit({"line": line}, lambda text=line: text)  # type: ignore[misc]


def down(
    delete: Annotated[
        bool, typer.Option("--delete", help="Also remove the machine and all made for it.")
    ] = False,
    drain: Annotated[
        bool,
        typer.Option("--drain/--now", help="Wait for running requests, or cut them off."),
    ] = True,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Stop the node, wait until it is down, and book what it cost.

    \b
      yoyo down
      yoyo down --now --delete
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render import down_text
        from yoyo.ops.down import down as down_op

        with work.working() as context:
            result = down_op(context, delete=delete, now=not drain)
        work.out.emit(result, lambda: down_text(result))
