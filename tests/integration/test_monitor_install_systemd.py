"""The monitor's units, judged by systemd itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_install_parts import (
    BACKSLASHES,
    HOSTILE,
    a_program,
    node_settings,
    settings_in,
    templates,
    units,
    value,
)

from yoyo.drivers.files.writer import AtomicFileWriter
from yoyo.errors import MonitorNotInstallable
from yoyo.model.settings import AuditSettings, StoreSettings
from yoyo.ops.monitor_install import (
    render,
    systemd_quote,
    write,
)

MOST_EXPOSURE = 4.0  # the bar of `systemd-analyze security`; 0 is closed, 10 is open


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    assert tool, "systemd-analyze is needed: scripts/test says how to get it"
    return subprocess.run(
        [tool, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def home_of_program(tmp_path: Path, name: str) -> Path:
    """Under that name where systemd allows a program there."""
    return tmp_path / ("plain" if set(name) & set("\"'\\") else name)


@pytest.mark.parametrize("name", HOSTILE + BACKSLASHES)
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path, name: str) -> None:
    program = a_program(home_of_program(tmp_path, name))
    paths = write(units(tmp_path / name, executable=program), tmp_path, AtomicFileWriter())
    # verify looks for the program of ExecStart=, so a path quoted wrongly shows here.
    said = analyze("verify", *paths)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_systemd_misses_a_program_that_is_not_there(tmp_path: Path) -> None:
    paths = write(units(tmp_path, executable=tmp_path / "gone"), tmp_path, AtomicFileWriter())
    assert "gone" in analyze("verify", *paths).stderr


@pytest.mark.parametrize("under_tmp", [False, True])
def test_the_service_is_closed_up(tmp_path: Path, under_tmp: bool) -> None:
    # Paths under /tmp forbid a private /tmp, which costs a little; the bar holds for both.
    directory = Path("/tmp/yoyo" if under_tmp else "/home/alice/yoyo")
    files = units(directory, executable=Path("/bin/true"))
    service = write(files, tmp_path, AtomicFileWriter())[0]
    assert value(files[0].text, "PrivateTmp") == ("no" if under_tmp else "yes")
    said = analyze("security", "--offline=true", "--no-pager", service)
    assert said.returncode == 0, said.stderr
    overall = re.search(r"Overall exposure level for \S+: ([0-9.]+) ", said.stdout)
    assert overall, said.stdout
    assert float(overall[1]) < MOST_EXPOSURE, said.stdout


@pytest.mark.parametrize("name", ["it's", 'a"b', "back\\slash"])
def test_a_program_that_systemd_would_not_start_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MonitorNotInstallable, match="quote or a backslash"):
        units(tmp_path, executable=a_program(tmp_path / name))


def words_of(text: str) -> list[str]:
    """The words of a unit file's value, by systemd.syntax(7) and systemd.unit(5)."""
    words, word, inside, at = [], "", False, 0
    while at < len(text):
        char = text[at]
        if inside and char == "\\":
            at += 1
            assert text[at] in '\\"'  # the only escapes that every setting knows
            word += text[at]
        elif char == '"':
            inside = not inside
        elif char == " " and not inside:
            words.append(word)
            word = ""
        elif char == "%":
            at += 1
            assert text[at] == "%"  # anything else would be a specifier
            word += "%"
        else:
            word += char
        at += 1
    assert not inside
    return [*words, word]


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"])), min_size=1))
def test_systemd_words_survive_quoting(words: list[str]) -> None:
    assert words_of(" ".join(systemd_quote(word) for word in words)) == words


@pytest.mark.parametrize("name", HOSTILE + BACKSLASHES)
def test_the_service_runs_one_look_at_this_node(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    program = a_program(home_of_program(tmp_path, name))
    service, timer = units(directory, executable=program)
    command = value(service.text, "ExecStart")
    assert command.startswith(":")
    config = str(directory / "yoyo.yaml")
    assert words_of(command[1:]) == [
        *(str(program), "monitor", "run", "--once", "--node", "local", "--config", config)
    ]
    assert words_of(value(service.text, "ReadWritePaths")) == [f"-{directory}"]
    assert value(timer.text, "OnUnitActiveSec") == "300s"


def test_the_service_has_time_to_drain_and_stop(tmp_path: Path) -> None:
    service, _ = units(tmp_path)
    seconds = int(value(service.text, "TimeoutStartSec").removesuffix("s"))
    guards = node_settings().guards
    # `down` waits 30 s for the lock and 10 s beyond the grace.
    assert seconds > guards.drain_timeout_s + guards.stop_grace_s + 30 + 10


def test_a_state_directory_elsewhere_is_writable_too(tmp_path: Path) -> None:
    apart = settings_in(Path("/srv/yoyo"))._replace(state_dir=Path("/var/lib/yo yo"))
    service, _ = render(
        "systemd",
        node_settings(),
        settings=apart,
        executable="/bin/true",
        user="alice",
        templates=templates,
    )
    assert words_of(value(service.text, "ReadWritePaths")) == ["-/srv/yoyo", "-/var/lib/yo yo"]


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("file:///srv/copies%20of/it", ["-/srv/copies of/it"]),
        ("file:///srv/yoyo/copies", []),
        ("gs://auditors/ledger", []),
    ],
)
def test_copies_of_checkpoints_may_be_written(url: str, more: list[str]) -> None:
    chosen = AuditSettings(copy_to=StoreSettings(url))
    service, _ = render(
        "systemd",
        node_settings(),
        settings=settings_in(Path("/srv/yoyo"))._replace(audit=chosen),
        executable="/bin/true",
        user="alice",
        templates=templates,
    )
    assert words_of(value(service.text, "ReadWritePaths")) == ["-/srv/yoyo", *more]


@pytest.mark.parametrize("seconds", [1, 90, 420, 86_400 * 3])
def test_a_timer_takes_any_period(tmp_path: Path, seconds: int) -> None:
    paths = write(units(tmp_path, node_settings(seconds)), tmp_path, AtomicFileWriter())
    said = analyze("verify", *paths)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
