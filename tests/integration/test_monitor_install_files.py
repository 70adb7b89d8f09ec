"""What `monitor install` refuses, writes, and says to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from monitor_install_parts import (
    node_settings,
    settings_in,
    templates,
    units,
    value,
)

from yoyo.drivers.files.writer import AtomicFileWriter
from yoyo.errors import MonitorNotInstallable
from yoyo.model.settings import Settings, StoreSettings
from yoyo.ops.monitor_install import (
    UnitFile,
    next_steps,
    refuse_unseen,
    render,
    write,
)


@pytest.mark.parametrize("kind", ["systemd", "cron"])
@pytest.mark.parametrize("name", ["a\nUser=root", "a\rb", "a\x00b", "a\x1bb", "a\udcffb"])
@pytest.mark.parametrize("where", ["config_file", "state_dir", "ledger", "executable"])
def test_paths_that_no_file_can_hold_are_refused(kind: str, name: str, where: str) -> None:
    hostile = Path("/srv") / name / "x"
    good = Path("/srv/yoyo")
    configured = Settings(
        config_file=hostile if where == "config_file" else good,
        state_dir=hostile if where == "state_dir" else good,
        ledger=hostile if where == "ledger" else good,
        operator="alice@desk",
        default_node=None,
        nodes=(),
        store=StoreSettings("file:///nowhere"),
    )
    with pytest.raises(MonitorNotInstallable) as caught:
        render(
            "systemd" if kind == "systemd" else "cron",
            node_settings(),
            settings=configured,
            executable=str(hostile) if where == "executable" else "/bin/true",
            user="alice",
            templates=templates,
        )
    assert caught.value.what.isprintable()


@pytest.mark.parametrize("user", ["", "a b", "a\nb", "-x", "%u", "$USER", "1000", "x" * 33, "a;b"])
def test_hostile_users_are_refused(tmp_path: Path, user: str) -> None:
    with pytest.raises(MonitorNotInstallable, match="user name"):
        render(
            "cron",
            node_settings(),
            settings=settings_in(tmp_path),
            executable="/bin/true",
            user=user,
            templates=templates,
        )


def test_a_relative_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MonitorNotInstallable, match="absolute"):
        units(tmp_path, executable=Path("yoyo"))


def test_written_again_replaces(tmp_path: Path) -> None:
    writer = AtomicFileWriter()
    first = write(units(tmp_path), tmp_path, writer)
    before = [path.read_text() for path in first]
    assert write(units(tmp_path, node_settings(60)), tmp_path, writer) == first
    assert first[0].read_text() == before[0]
    assert value(first[1].read_text(), "OnUnitActiveSec") == "60s"
    assert not list(tmp_path.glob(".*part"))


def test_a_directory_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(MonitorNotInstallable) as caught:
        write(units(tmp_path), tmp_path / "missing", AtomicFileWriter())
    assert caught.value.fix
    # A directory in the way of the file: the rename fails, and leaves no part behind.
    (tmp_path / "yoyo-monitor-local.service").mkdir()
    with pytest.raises(MonitorNotInstallable):
        write(units(tmp_path), tmp_path, AtomicFileWriter())
    assert not list(tmp_path.glob(".*part"))


def steps(kind: str, directory: str, names: Sequence[str]) -> list[str]:
    files = [UnitFile(name, "", 0o644) for name in names]
    return next_steps("systemd" if kind == "systemd" else "cron", files, Path(directory))


def test_next_steps() -> None:
    names = ["yoyo-monitor-local.service", "yoyo-monitor-local.timer"]
    in_place = steps("systemd", "/etc/systemd/system", names)
    assert in_place == [
        "sudo systemctl daemon-reload",
        "sudo systemctl enable --now yoyo-monitor-local.timer",
        "systemctl list-timers yoyo-monitor-local.timer",
    ]
    elsewhere = steps("systemd", "/home/al ice", names)
    assert elsewhere[1:] == in_place
    assert elsewhere[0].endswith(
        " /etc/systemd/system '/home/al ice/yoyo-monitor-local.service'"
        " '/home/al ice/yoyo-monitor-local.timer'"
    )
    assert len(steps("cron", "/etc/cron.d", ["yoyo-monitor-local"])) == 1
    assert "/etc/cron.d /x/yoyo-monitor-local" in steps("cron", "/x", ["yoyo-monitor-local"])[0]


def test_settings_that_only_this_shell_has_are_refused() -> None:
    seen = [
        ("state_dir", "default"),
        ("ledger", "yoyo.yaml:3:9"),
        ("nodes.local.engine.api_key", "YOYO_NODES__LOCAL__ENGINE__API_KEY"),
    ]
    refuse_unseen(seen)
    for source in ("YOYO_STATE_DIR", "--set"):
        with pytest.raises(MonitorNotInstallable) as caught:
            refuse_unseen([*seen, ("state_dir", source)])
        assert caught.value.details == (f"state_dir comes from {source}",)
