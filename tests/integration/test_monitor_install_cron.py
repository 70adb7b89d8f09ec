"""The monitor's cron file, run as cron runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from monitor_install_parts import (
    BACKSLASHES,
    HOSTILE,
    a_program,
    cron_file,
)

from yoyo.drivers.files.writer import AtomicFileWriter
from yoyo.errors import MonitorNotInstallable
from yoyo.ops.monitor_install import (
    cron_quote,
    write,
)


def command_of(text: str) -> str:
    """The command of the file's one line, as cron hands it to the shell.

    By crontab(5): an unescaped % ends it, a backslash before a % goes.
    """
    line = text.splitlines()[-1]
    command = line.split(" ", 6)[6]
    assert not re.search(r"(?<!\\)%", command)
    return command.replace("\\%", "%")


def run_as_cron(command: str) -> list[str]:
    """What the program was really given when cron's shell runs the command."""
    before, pipe, after = command.rpartition(" 2>&1 | ")
    assert pipe
    assert after == "logger -t yoyo-monitor-local"
    ran = subprocess.run(
        ["/bin/sh", "-c", before], capture_output=True, text=True, check=True, timeout=60
    )
    given_to_it: list[str] = json.loads(ran.stdout)
    return given_to_it


@pytest.mark.parametrize("name", HOSTILE)
def test_cron_runs_one_look_at_this_node(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    file = cron_file(directory, a_program(directory / "bin"))
    config = str(directory / "yoyo.yaml")
    assert run_as_cron(command_of(file.text)) == [
        *("monitor", "run", "--once", "--node", "local", "--config", config)
    ]


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\\")),
        max_size=5,
    )
)
@example(["%", "a%b", "'%'", "$(id)%"])
@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_words_survive_cron_and_a_real_shell(tmp_path: Path, words: list[str]) -> None:
    program = tmp_path / "yoyo"
    if not program.exists():
        program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    line = f"* * * * * root {cron_quote([str(program), *words])}"
    ran = subprocess.run(
        ["/bin/sh", "-c", command_of(line)], capture_output=True, check=True, timeout=60
    )
    # printf prints its line once even for no word at all.
    assert ran.stdout.decode() == ("".join(f"{word}\n" for word in words) or "\n")


def test_the_cron_file_is_one_that_cron_reads(tmp_path: Path) -> None:
    file = cron_file(tmp_path, Path("/bin/true"))
    # cron(8), run-parts(8): other names are passed over in silence.
    assert re.fullmatch(r"[A-Za-z0-9_-]+", file.name)
    (path,) = write([file], tmp_path, AtomicFileWriter())
    assert path.stat().st_mode & 0o7777 == 0o644
    assert path.read_bytes().endswith(b"\n")
    lines = [line for line in file.text.splitlines() if not line.startswith("#")]
    assert [line.split("=")[0] for line in lines[:-1]] == ["SHELL", "PATH"]
    assert lines[-1].startswith("*/5 * * * * alice ")


@pytest.mark.parametrize("name", HOSTILE)
def test_shellcheck_finds_nothing_to_say(tmp_path: Path, name: str) -> None:
    script = tmp_path / "line.sh"
    command = command_of(cron_file(tmp_path / name, Path("/bin/true")).text)
    script.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    # SC2016 asks whether a $ in single quotes was meant: here it always is.
    checker = Path(sys.executable).parent / "shellcheck"
    ran = subprocess.run(
        [checker, "--exclude=SC2016", script], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("seconds", "nearest"), [(420, "6m"), (90, "1m"), (2700, "30m"), (90_000, "24h")]
)
def test_cron_refuses_uneven_periods(tmp_path: Path, seconds: int, nearest: str) -> None:
    with pytest.raises(MonitorNotInstallable) as caught:
        cron_file(tmp_path, Path("/bin/true"), seconds)
    assert f" {nearest}," in caught.value.fix
    assert "--systemd" in caught.value.fix


@pytest.mark.parametrize("name", BACKSLASHES)
def test_cron_refuses_backslashes(tmp_path: Path, name: str) -> None:
    with pytest.raises(MonitorNotInstallable, match="backslash"):
        cron_file(tmp_path / name, Path("/bin/true"))


def test_cron_refuses_what_it_would_cut_off(tmp_path: Path) -> None:
    deep = Path("/").joinpath(*["d" * 200] * 5)
    with pytest.raises(MonitorNotInstallable, match="longer"):
        cron_file(deep, Path("/bin/true"))
