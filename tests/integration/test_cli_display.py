"""What goes on for a while: watching, following a log, a long verification, a terminal."""

import json
import os
import pty
import select
import signal
import subprocess

import pytest
from cli import YOYO, Place

from yoyo.cli.output import Output, clean
from yoyo.cli.share import Share


def test_watch_gives_one_document_a_line_until_interrupted(here: Place) -> None:
    watching = here.start("status", "--watch", "--interval", "0.2", "--json")
    assert watching.stdout is not None
    first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
    assert first["nodes"][0]["state"] == second["nodes"][0]["state"] == "absent"
    assert first["observed_at"] < second["observed_at"]
    assert first["frozen"] is None
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=120)
    assert watching.returncode == 0


def test_following_a_log_ends_with_the_node(here: Place) -> None:
    here.run("up")
    following = here.start("logs", "-f")
    assert following.stdout is not None
    assert following.stdout.readline()
    here.run("down", "--now")
    with following:
        rest = following.stdout.read()
    assert following.returncode == 0
    assert "listening" in rest


def on_a_terminal(here: Place, *arguments: str) -> str:
    """What the command writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [YOYO, *arguments],
        cwd=here.root,
        env=here.env(TERM="xterm", COLUMNS="100"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    with process:
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break  # the other end is closed
            written += part
    os.close(ours)
    assert process.returncode == 0, written
    return written.decode()


def test_a_terminal_gets_a_table_and_phases(here: Place) -> None:
    phases = on_a_terminal(here, "up")
    for phase in ("checking", "creating", "loading"):
        assert phase in phases
    assert "✓" in phases
    table = on_a_terminal(here, "status")
    assert "╭─" in table
    assert "ready" in table


def test_a_share_is_shown_only_once_it_takes_long(capfd: pytest.CaptureFixture[str]) -> None:
    class Elapsed(Share):
        """A share whose quiet time is over."""

        def __init__(self) -> None:
            super().__init__(Output(json=False), "verifying")
            self._next = 0.0

    with Share(Output(json=False), "verifying") as quiet:
        quiet(0.5)
    assert capfd.readouterr().err == ""
    with Elapsed() as loud:
        loud(0.5)
        loud(0.6)
    assert capfd.readouterr().err == "verifying: 50%\n"


def test_nothing_that_acts_on_a_terminal_passes() -> None:
    hostile = "a\x1b[2Jb\rc\x9bd\u202ee\x7f\x00"
    assert clean(hostile) == "a\\x1b[2Jb\\x0dc\\x9bd\\u202ee\\x7f\\x00"
    assert clean("tab\tand\nnewline") == "tab\tand\nnewline"
