"""Steps of a remote machine's bootstrap, shown while `up` waits: plainly, and on a terminal."""

from __future__ import annotations

import io

from yoyo.cli.output import Output, PlainProgress, step_text
from yoyo.cli.progress import LiveProgress
from yoyo.model.machine import BootStep

RUNNING = BootStep("weights", "running", 40, 12, "18 of 43 GB")
HOSTILE = BootStep("[red]x\x1b[2J", "failed", 0, 1, "\x1b]0;owned\x07")


def test_a_line_for_each_change_and_no_more() -> None:
    err = io.StringIO()
    with PlainProgress(Output(json=False, stdout=io.StringIO(), stderr=err)) as progress:
        progress.steps((RUNNING,))
        progress.steps((RUNNING._replace(percent=50),))
        progress.steps((RUNNING._replace(state="done", percent=100, seconds=30),))
        progress.steps(())
    assert err.getvalue().splitlines() == ["  weights 40% 12 s", "  weights done 30 s"]


def test_what_a_node_says_is_no_markup_and_moves_no_cursor() -> None:
    err = io.StringIO()
    with LiveProgress(Output(json=False, stdout=io.StringIO(), stderr=err)) as progress:
        progress.phase("loading", "engine")
        progress.steps((HOSTILE, RUNNING))
    assert "\x1b[2J" not in err.getvalue()
    assert "[red]x" in err.getvalue()


def test_a_step_that_runs_says_how_far_it_is() -> None:
    assert step_text(RUNNING) == "weights 40% 12 s"
    assert step_text(RUNNING._replace(state="skipped")) == "weights skipped 12 s"


def test_a_note_stays_when_its_phase_is_done() -> None:
    err = io.StringIO()
    with LiveProgress(Output(json=False, stdout=io.StringIO(), stderr=err)) as progress:
        progress.phase("signing", "the ledger")
        progress.note("ledger: no checkpoint was signed: [red]\x1b[2Jnot read[/]")
        progress.phase("stopping")
    lines = err.getvalue().splitlines()
    (said,) = [line for line in lines if "no checkpoint" in line]
    assert "[red]" in said
    assert "\x1b[2J" not in err.getvalue()
