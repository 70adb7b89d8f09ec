"""What the tests of `yoyo monitor install` share."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from sample_node import GUARDS, NODE

from yoyo.drivers.jinja.templates import JinjaTemplates
from yoyo.model.settings import NodeSettings, Settings, StoreSettings
from yoyo.ops.monitor_install import UnitFile, render

TEMPLATES = Path(__file__).parents[2] / "templates"

# Directory names with all that systemd, cron or a shell could take for syntax.
HOSTILE = (
    "plain",
    "two words",
    "100%",
    "%h %n %%",
    "$HOME ${HOME} $$",
    "it's",
    'say "yes"',
    "a;b & c | d > e < f",
    "`id` $(id)",
    "# no comment",
    "-dash +plus @at :colon !bang",
    "*?[a-z]{1,2}~",
    "Übergröße 日本",
    "'\"'\"'",
)
BACKSLASHES = ("back\\slash", "trail\\", "\\n\\x41", "\\\\%\\%")

templates = JinjaTemplates(lambda name: (TEMPLATES / name).read_text(encoding="utf-8"))


def node_settings(sample_every_s: int = 300) -> NodeSettings:
    return NODE._replace(
        guards=GUARDS._replace(sample_every_s=sample_every_s, drain_timeout_s=130, stop_grace_s=35)
    )


def settings_in(directory: Path) -> Settings:
    return Settings(
        config_file=directory / "yoyo.yaml",
        state_dir=directory / ".yoyo",
        ledger=directory / "ledger.csv",
        operator="alice@desk",
        default_node=None,
        nodes=(node_settings(),),
        store=StoreSettings("file:///nowhere"),
    )


def a_program(directory: Path) -> Path:
    """Stands where `yoyo` would: prints its arguments as JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "yoyo"
    # The interpreter's own path may hold a space, which a #! line cannot say.
    program.write_text(
        f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -Ic "
        "'import json, sys; print(json.dumps(sys.argv[1:]))' \"$@\"\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return program


def units(
    directory: Path, node: NodeSettings | None = None, executable: Path | None = None
) -> list[UnitFile]:
    return render(
        "systemd",
        node or node_settings(),
        settings=settings_in(directory),
        executable=str(executable or a_program(directory / "bin")),
        user="root",
        templates=templates,
    )


def cron_file(directory: Path, executable: Path, sample_every_s: int = 300) -> UnitFile:
    (file,) = render(
        "cron",
        node_settings(sample_every_s),
        settings=settings_in(directory),
        executable=str(executable),
        user="alice",
        templates=templates,
    )
    return file


def value(text: str, key: str) -> str:
    (found,) = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    assert isinstance(found, str)
    return found
