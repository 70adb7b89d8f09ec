"""`scripts/demo` for real: it runs through, and nothing is left however it ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest

DEMO = Path(__file__).parents[2] / "scripts" / "demo"
REAL_YOYO = Path(sys.executable).parent / "yoyo"
LONGEST_S = 300.0  # a demo that hangs is ended, and its test fails

STEPS = [
    "yoyo init",
    "yoyo plan",
    "yoyo up",
    "yoyo ask --max-tokens 48 'Say something'",
    "yoyo status",
    "yoyo monitor run --once",
    "yoyo down",
    "yoyo ledger show",
    "yoyo ledger verify",
]


def processes_of(directory: Path) -> dict[int, str]:
    """Processes with that directory in their arguments, open, or to work in."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            links = [process / "cwd", *(process / "fd").iterdir()]
            files = [str(link.readlink()) for link in links]
        except OSError:
            continue  # it has ended meanwhile
        if str(directory) in words or any(str(directory) in file for file in files):
            found[int(process.name)] = words
    return found


class Demo:
    """One run of the script in a session of its own, as a terminal would give it."""

    def __init__(self, tmp_path: Path, yoyo: Path, options: tuple[str, ...]) -> None:
        self.directory = tmp_path / "demo"
        self.directory.mkdir()
        path = f"{yoyo.parent}{os.pathsep}{os.environ['PATH']}"
        self.process = subprocess.Popen(
            # A shell cannot trap what it was started to ignore, as background jobs are.
            ["env", "--default-signal", str(DEMO), "--no-setup", *options],
            env={**os.environ, "PATH": path, "TMPDIR": str(self.directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._watchdog = Timer(LONGEST_S, self.kill)
        self._watchdog.start()

    def until(self, line: str) -> None:
        """Read on until that line has come."""
        assert self.process.stdout
        for got in self.process.stdout:
            self.output += got
            if got.rstrip("\n") == line:
                return
        pytest.fail(f"the demo ended before {line!r}:\n{self.output}")

    def until_there(self, pattern: str) -> None:
        """Wait for a file below the demo's directory."""
        while not any(self.directory.glob(pattern)):
            assert self.process.poll() is None, self.end() and self.output
            time.sleep(0.002)

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        assert self.process.stdout
        self.output += self.process.stdout.read()
        code = self.process.wait()
        self._watchdog.cancel()
        return code

    def ctrl_c(self) -> None:
        """What a terminal does: the signal goes to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End the script and whatever it started."""
        self._watchdog.cancel()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in processes_of(self.directory):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Demo] = []

    def begin(*options: str, yoyo: Path = REAL_YOYO) -> Demo:
        started.append(Demo(tmp_path, yoyo, options))
        return started[-1]

    yield begin
    for demo in started:
        demo.kill()


def assert_nothing_left(demo: Demo) -> None:
    assert processes_of(demo.directory) == {}
    assert list(demo.directory.iterdir()) == []


def wrapper(tmp_path: Path, command: str, instead: str) -> Path:
    """A `yoyo` that does something else for one command, and the real thing for all others."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "yoyo"
    real = shlex.quote(str(REAL_YOYO))
    script.write_text(f'#!/bin/sh\nif [ "$1" = {command} ]; then {instead}; fi\nexec {real} "$@"\n')
    script.chmod(0o755)
    return script


def test_the_demo_runs_through(start: Start) -> None:
    demo = start()
    assert demo.end() == 0, demo.output
    assert re.findall(r"^\$ (yoyo .*)$", demo.output, re.MULTILINE) == [
        *STEPS,
        "yoyo down --now --delete",
    ]
    assert "demo: done" in demo.output
    assert_nothing_left(demo)


@pytest.mark.parametrize("step", ["yoyo init", *STEPS[2:4], "yoyo monitor run --once", "yoyo down"])
def test_ctrl_c_at_a_step_leaves_nothing(start: Start, step: str) -> None:
    demo = start()
    demo.until(f"$ {step}")
    demo.ctrl_c()
    assert demo.end() == 130, demo.output
    assert_nothing_left(demo)


@pytest.mark.parametrize("file", ["machine.json", "supervisor.json", "engine.json"])
def test_ctrl_c_in_the_middle_of_up_leaves_nothing(start: Start, file: str) -> None:
    demo = start()
    demo.until_there(f"*/.yoyo/nodes/local/{file}")
    demo.ctrl_c()
    assert demo.end() == 130, demo.output
    assert_nothing_left(demo)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_to_the_script_alone_leaves_nothing(start: Start, number: int, code: int) -> None:
    demo = start()
    demo.until(f"$ {STEPS[3]}")
    # The check below would mean nothing if it could not see a node that runs.
    assert any("yoyo" in words for words in processes_of(demo.directory).values())
    demo.process.send_signal(number)
    assert demo.end() == code, demo.output
    assert_nothing_left(demo)


def test_ctrl_c_twice_leaves_nothing(start: Start) -> None:
    demo = start()
    demo.until(f"$ {STEPS[3]}")
    demo.ctrl_c()
    demo.until("demo: cleaning up")
    demo.ctrl_c()
    assert demo.end() == 130, demo.output
    assert_nothing_left(demo)


def test_ctrl_c_ends_a_step_that_hangs(start: Start, tmp_path: Path) -> None:
    demo = start(yoyo=wrapper(tmp_path, "status", "echo hangs; exec sleep 1000"))
    demo.until("hangs")
    demo.ctrl_c()
    assert demo.end() == 130, demo.output
    assert_nothing_left(demo)


def test_a_failing_step_ends_the_demo_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    demo = start(yoyo=wrapper(tmp_path, "ask", "exit 35"))
    assert demo.end() == 35, demo.output
    assert "$ yoyo status" not in demo.output
    assert_nothing_left(demo)


def test_a_node_that_stays_is_killed_and_told(start: Start, tmp_path: Path) -> None:
    demo = start(yoyo=wrapper(tmp_path, "down", "exit 0"))
    assert demo.end() == 1, demo.output
    assert "processes were left" in demo.output
    assert_nothing_left(demo)


def test_keep_leaves_the_directory_and_no_process(start: Start) -> None:
    demo = start("--keep")
    assert demo.end() == 0, demo.output
    assert processes_of(demo.directory) == {}
    (kept,) = demo.directory.iterdir()
    assert f"demo: kept: {kept}" in demo.output
    assert (kept / "ledger.csv").is_file()


def test_an_unknown_option_is_refused(start: Start) -> None:
    demo = start("--unknown")
    assert demo.end() == 2
    assert "usage" in demo.output
    assert_nothing_left(demo)
