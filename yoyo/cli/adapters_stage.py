"""Commands on the registry file, and on what a running node uses of it."""

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
from yoyo.cli.session import Session, session

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.ops.adapters.register import Changed

RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="id@version, or HOST/REPOSITORY[:TAG][@DIGEST].")
]
NameArgument = Annotated[str, typer.Argument(metavar="ID@VERSION")]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="TASK", callback=task_label, help="Else the node's `task`."),
]


def register(
    ref: RefArgument,
    notes: Annotated[str, typer.Option("--notes", metavar="TEXT")] = "",
    scale: Annotated[
        str | None, typer.Option("--scale", metavar="NUMBER", help="How strongly it weighs in.")
    ] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Verify an adapter and enter it into the registry file; again, when its sign-off has come.

    \b
      yoyo adapters register ghcr.io/acme/adapters/acme-tone:1.2.0
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import changed_document, changed_text
        from yoyo.ops.adapters.refs import pinned
        from yoyo.ops.adapters.register import register as register_op

        weight = _scale(scale)
        with work.on_adapters() as ctx:
            result = register_op(ctx, pinned(ctx, ref), notes=notes, scale=weight)
        work.out.emit(changed_document(result), lambda: changed_text(result))


def _scale(text: str | None) -> "Decimal | None":
    from yoyo.core.adapters.book_fields import Wrong, read_scale

    if text is None:
        return None
    try:
        return read_scale(text)
    except Wrong as error:
        raise typer.BadParameter(f"it {error}", param_hint="--scale") from None


def _step(work: Session, op: "Callable[[AdapterContext, str], Changed]", name: str) -> None:
    from yoyo.cli.render_adapters import changed_document, changed_text

    with work.on_adapters() as ctx:
        result = op(ctx, name)
    work.out.emit(changed_document(result), lambda: changed_text(result))


def promote(
    name: NameArgument,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a version the one that nodes get; it is verified again, sign-off included.

    \b
      yoyo adapters promote acme-tone@1.2.0
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.adapters.register import promote as promote_op

        _step(work, promote_op, name)


def retire(
    name: NameArgument,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take a version out of use: no start gets it any more.

    \b
      yoyo adapters retire acme-tone@1.1.0
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.adapters.register import retire as retire_op

        _step(work, retire_op, name)


def reject(
    name: NameArgument,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Refuse a version for good.

    \b
      yoyo adapters reject acme-tone@1.2.0
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.adapters.register import reject as reject_op

        _step(work, reject_op, name)


def rollback(
    name: Annotated[str, typer.Argument(metavar="ID", help="The adapter, without a version.")],
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring the version back that was promoted before the present one.

    \b
      yoyo adapters rollback acme-tone && yoyo adapters activate --restart
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.adapters.register import rollback as rollback_op

        _step(work, rollback_op, name)


def select(
    explain: Annotated[
        bool, typer.Option("--explain", help="Say of each one why, or why not.")
    ] = False,
    task: TaskOption = None,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show which adapters the node would be given. Nothing is verified or changed.

    \b
      yoyo adapters select --task summaries --explain
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import selected_document, selected_text
        from yoyo.ops.adapters.stack import selected
        from yoyo.ops.provide import provided

        with work.on_adapters():  # needs no registry: what a killed change left is settled here
            result = selected(provided(work.context()), task)
        work.out.emit(selected_document(result), lambda: selected_text(result, explain=explain))


def activate(
    task: TaskOption = None,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Drain and restart the node if a file has to be loaded."),
    ] = False,
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring a running node to what the registry file gives it now, verified anew.

    \b
      yoyo adapters activate
      yoyo adapters activate --task summaries --restart
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import activated_document, activated_text
        from yoyo.ops.adapters.activate import activate as activate_op

        with work.working() as ctx:
            result = activate_op(ctx, task, restart=restart)
        work.out.emit(activated_document(result), lambda: activated_text(result))


def active(
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what the running engine uses, who vouches for it, and the record of that decision.

    \b
      yoyo adapters active
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render_adapters import active_document, active_text
        from yoyo.ops.adapters.activate import active as active_op

        result = active_op(work.context())
        work.out.emit(active_document(result), lambda: active_text(result))
