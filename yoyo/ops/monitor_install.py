"""`yoyo monitor install`: the files by which systemd or cron runs the monitor."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import unquote

from yoyo.core.schedule import NotACronPeriod, cron_expression, duration_text
from yoyo.errors import MonitorNotInstallable
from yoyo.model.settings import NodeSettings, Settings

if TYPE_CHECKING:
    from yoyo.ports.files import FileWriter
    from yoyo.ports.templates import Templates

Kind = Literal["systemd", "cron"]

# What both read; writable by their owner alone, or cron ignores the file (cron(8)).
_MODE = 0o644
_HOME = {"systemd": Path("/etc/systemd/system"), "cron": Path("/etc/cron.d")}
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# Beyond draining and stopping: the wait for the node's lock, and the calls themselves.
_MARGIN_S = 120
# Vixie cron's MAX_COMMAND is 1000 bytes with the closing NUL; cronie allows more.
_MAX_CRON_COMMAND = 999
# `monitor install` is about these; everything else in the environment changes what `monitor
# run` would do. The key is read back from the node's own file, never from the settings.
_TOLD_BY_FLAG = ("YOYO_CONFIG", "YOYO_NODE")
_NOT_NEEDED = ".engine.api_key"
# How the address of a store in a directory begins.
_HERE = "file://"


class UnitFile(NamedTuple):
    """One file to install; `mode` as in chmod."""

    name: str
    text: str
    mode: int


def refuse_unseen(values: Iterable[tuple[str, str]]) -> None:
    """Refuse settings that exist only in this shell, given as (key, source) pairs.

    A monitor with another state directory or price than the operator's would watch nothing,
    or book the wrong cost, without a word.

    Raises:
        MonitorNotInstallable.
    """
    unseen = [
        f"{key} comes from {source}"
        for key, source in values
        if source.startswith(("--", "YOYO_", "GOOGLE_"))
        and source not in _TOLD_BY_FLAG
        and not key.endswith(_NOT_NEEDED)
    ]
    if unseen:
        raise MonitorNotInstallable(
            "The monitor would run with other settings than this command.",
            why="systemd and cron see neither this shell's variables nor its flags.",
            fix="Write these values into yoyo.yaml, and run the command without them.",
            details=tuple(unseen),
        )


def render(
    kind: Kind,
    node: NodeSettings,
    *,
    settings: Settings,
    executable: str,
    user: str,
    templates: Templates,
    stop_bound_s: float = 0,
) -> list[UnitFile]:
    """The files for one node. `executable` is the absolute path of the `yoyo` script.

    `stop_bound_s` is what the node's driver may need for a stop, where that is more than the
    guard's grace.

    Raises:
        MonitorNotInstallable: a path, the user's name or `guards.sample_every` cannot be
            expressed there.
    """
    if not _USER.match(user):
        raise MonitorNotInstallable(
            f"{user[:80]!r} is no user name for systemd or cron.",
            why="Letters, digits, '_', '.' and '-' are allowed, up to 32, beginning with a letter.",
            fix="Say --user NAME, the account that runs `yoyo up`.",
        )
    config = str(settings.config_file)
    argv = [executable, "monitor", "run", "--once", "--node", node.name, "--config", config]
    for path in (executable, config, str(settings.state_dir), str(settings.ledger)):
        _check_path(path)
    if kind == "systemd":
        stop_s = max(node.guards.stop_grace_s, ceil(stop_bound_s))
        return _systemd(node, settings, argv, user, templates, stop_s)
    return [_cron(node, argv, user, templates)]


def write(files: Sequence[UnitFile], directory: Path, writer: FileWriter) -> list[Path]:
    """Write the files, replacing those of an earlier installation; returns their paths.

    Raises:
        MonitorNotInstallable: the directory is missing or not writable.
    """
    paths = []
    for file in files:
        path = directory / file.name
        writer.write(path, file.text, mode=file.mode)
        paths.append(path)
    return paths


def next_steps(kind: Kind, files: Sequence[UnitFile], directory: Path) -> list[str]:
    """The commands that switch on what was written to `directory`, in order."""
    home = _HOME[kind]
    steps = []
    if directory != home:
        sources = " ".join(shlex.quote(str(directory / file.name)) for file in files)
        steps.append(f"sudo install -o root -g root -m 0644 -t {home} {sources}")
    if kind == "systemd":
        timer = next(file.name for file in files if file.name.endswith(".timer"))
        steps.append("sudo systemctl daemon-reload")
        steps.append(f"sudo systemctl enable --now {timer}")
        steps.append(f"systemctl list-timers {timer}")
    else:
        steps.append(f"journalctl -t {files[0].name}  # or /var/log/syslog: one look after another")
    return steps


def systemd_quote(word: str) -> str:
    """One word of a unit file's value, with no specifier and no escape left in it.

    systemd.syntax(7) on quoting, systemd.unit(5) on specifiers. Only the two escapes that
    every setting understands are used.
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def cron_quote(argv: Sequence[str]) -> str:
    """A command for a crontab: quoted for the shell, then `%` escaped for cron.

    crontab(5): an unescaped `%` ends the command, inside the shell's quotes too.
    """
    return shlex.join(argv).replace("%", "\\%")


def _check_path(path: str) -> None:
    if not PurePath(path).is_absolute():
        raise MonitorNotInstallable(
            f"{path[:200]!r} is not an absolute path.",
            why="systemd and cron start in another directory.",
            fix="Name it from the root directory on.",
        )
    if _CONTROL.search(path):
        raise MonitorNotInstallable(
            f"{path[:200]!r} holds a line break, a control character or bytes that are not UTF-8.",
            why="Neither a unit file nor a crontab can hold such a path.",
            fix="Move it to a path without them.",
        )


def _systemd(
    node: NodeSettings,
    settings: Settings,
    argv: Sequence[str],
    user: str,
    templates: Templates,
    stop_s: int,
) -> list[UnitFile]:
    if set(argv[0]) & set("\"'\\"):
        raise MonitorNotInstallable(
            f"systemd starts no program with a quote or a backslash in its path: {argv[0]!r}.",
            why="It takes them for mistakes, however they are escaped.",
            fix="Install yoyo in a directory without them.",
        )
    guards = node.guards
    writable = _writable(settings)
    needed = (Path(argv[0]), settings.config_file, *writable)
    in_tmp = any(path.is_relative_to(tmp) for path in needed for tmp in ("/tmp", "/var/tmp"))  # noqa: S108
    names = {"node": node.name, "module_id": node.module_id}
    service = templates.render(
        "systemd/monitor.service.j2",
        **names,
        user=user,
        command=" ".join(systemd_quote(word) for word in argv),
        timeout_s=guards.drain_timeout_s + stop_s + _MARGIN_S,
        # The dash lets the unit start, and yoyo say what is wrong, where a directory is missing.
        writable=" ".join(systemd_quote(f"-{path}") for path in writable),
        private_tmp=not in_tmp,
    )
    timer = templates.render(
        "systemd/monitor.timer.j2",
        **names,
        sample_every_s=guards.sample_every_s,
        # Spreads the nodes of one controller; small, for idleness is counted in samples.
        delay_s=min(5, guards.sample_every_s // 20),
    )
    stem = f"yoyo-monitor-{node.name}"
    return [
        UnitFile(f"{stem}.service", service, _MODE),
        UnitFile(f"{stem}.timer", timer, _MODE),
    ]


def _writable(settings: Settings) -> list[Path]:
    """The directories that a look writes to: ledger, state, and the checkpoints' copies."""
    wanted = [settings.ledger.parent, settings.state_dir]
    copy_to = settings.audit.copy_to
    if copy_to is not None and copy_to.url.startswith(_HERE):
        wanted.append(Path(unquote(copy_to.url.removeprefix(_HERE))))
    found: list[Path] = []
    for path in wanted:
        if not any(path.is_relative_to(other) for other in found):
            _check_path(str(path))
            found.append(path)
    return found


def _cron(node: NodeSettings, argv: Sequence[str], user: str, templates: Templates) -> UnitFile:
    seconds = node.guards.sample_every_s
    try:
        schedule = cron_expression(seconds)
    except NotACronPeriod as error:
        raise MonitorNotInstallable(
            f"Cron cannot look every {duration_text(seconds)}.",
            why="Its periods must divide an hour or a day into equal parts of whole minutes.",
            fix=f"Set guards.sample_every to {duration_text(error.nearest)}, or use --systemd, "
            "which takes any period.",
        ) from error
    if any("\\" in word for word in argv):
        raise MonitorNotInstallable(
            "A path holds a backslash.",
            why="Cron implementations disagree on what a backslash in a command means.",
            fix="Use --systemd, or move it to a path without one.",
        )
    # cron.d reads only names of letters, digits, '-' and '_' (run-parts(8)): no suffix.
    name = f"yoyo-monitor-{node.name}"
    command = cron_quote(argv)
    line = f"{command} 2>&1 | logger -t {name}"
    if len(line.encode()) > _MAX_CRON_COMMAND:
        raise MonitorNotInstallable(
            f"The command is longer than cron's {_MAX_CRON_COMMAND} bytes.",
            why="The paths of yoyo and of its configuration are very long.",
            fix="Use --systemd, or move them to shorter paths.",
        )
    text = templates.render(
        "cron/monitor.j2",
        node=node.name,
        module_id=node.module_id,
        schedule=schedule,
        user=user,
        command=line,
    )
    return UnitFile(name, text, _MODE)
