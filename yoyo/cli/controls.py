"""Commands beside the nodes: init, freeze, thaw, doctor, version."""

import os
from pathlib import Path
from typing import Annotated

import typer

from yoyo.cli.options import ConfigOption, DebugOption, JsonOption, NodeOption, SetOption
from yoyo.cli.session import session


def init(
    directory: Annotated[
        Path, typer.Argument(help="Where to write yoyo.yaml.", metavar="[DIR]")
    ] = Path(),
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a commented yoyo.yaml. An existing file is never overwritten.

    \b
      yoyo init
      yoyo init /etc/yoyo
    """
    with session(json=json) as work:
        from yoyo.config.init import write_init

        path = write_init(directory)
        work.out.emit(
            {"written": path},
            lambda: f"wrote {path}\nnext: look at it, then `yoyo plan` and `yoyo up`",
        )


def freeze(
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; shown to whoever tries.")],
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Refuse every start until `thaw`. What runs goes on running: `yoyo down` stops it.

    \b
      yoyo freeze --reason "bill under review"
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.freeze import freeze as freeze_op
        from yoyo.wiring import kill_switch_for

        settings = work.loaded.settings
        switch, clock = kill_switch_for(settings)
        thrown = freeze_op(switch, clock, reason=reason, operator=settings.operator)
        work.out.emit(
            {"frozen": thrown},
            lambda: (
                f"frozen by {thrown.operator}: {thrown.reason}\n"
                "running nodes go on; `yoyo down` stops them, `yoyo thaw` allows starts again"
            ),
        )


def thaw(
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Allow starts again.

    \b
      yoyo thaw
    """
    with session(json=json, config=config, sets=sets) as work:
        from yoyo.ops.freeze import thaw as thaw_op
        from yoyo.wiring import kill_switch_for

        switch, _ = kill_switch_for(work.loaded.settings)
        lifted = thaw_op(switch)
        work.out.emit(
            {"frozen": None, "lifted": lifted},
            lambda: (
                f"thawed (was frozen by {lifted.operator}: {lifted.reason})"
                if lifted
                else "starts were not frozen"
            ),
        )


def doctor(
    node: NodeOption = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check every prerequisite; each failure comes with its remedy.

    \b
      yoyo doctor
      yoyo doctor --node l4 --json
    """
    with session(json=json, node=node, config=config, sets=sets) as work:
        from yoyo.cli.render import doctor_document, doctor_text
        from yoyo.errors import DoctorFailed
        from yoyo.ops.audit.doctor import doctor as ledger_doctor
        from yoyo.ops.doctor import doctor as doctor_op
        from yoyo.wiring_audit import audit_context_for, trusted_keys

        found = [(each.name, doctor_op(work.context(each))) for each in work.nodes()]
        settings = work.loaded.settings
        proof = ledger_doctor(
            audit_context_for(settings, os.environ), lambda: trusted_keys((), settings.audit)
        )
        every = (proof, *(checks for _, checks in found))
        failed = sum(check.level == "fail" for checks in every for check in checks)
        trouble = DoctorFailed(
            f"{failed} prerequisite(s) failed.", fix="Follow the remedies above."
        )
        work.out.emit(
            doctor_document(found, proof),
            lambda: doctor_text(found, proof),
            trouble if failed else None,
        )


def version(json: JsonOption = False) -> None:
    """Print the version.

    \b
      yoyo version --json
    """
    with session(json=json) as work:
        import platform

        from yoyo import __version__

        work.out.emit(
            {"yoyo": __version__, "python": platform.python_version()},
            lambda: f"yoyo {__version__}",
        )
