"""SIGKILL of `up` and `down` at random moments: one more command finds and settles all."""

import os
import random
import signal
import time

import pytest
from cli import Place

KILLS = int(os.environ.get("YOYO_CRASH_KILLS", "200"))
# Longer than the slower of the two commands takes, so that some are hit at their very end.
LONGEST_S = 0.6


def kill_somewhere(here: Place, command: tuple[str, ...], after: float) -> None:
    """Start the command and kill it after so many seconds, done or not."""
    process = here.start(*command)
    # A moment in time is the point here: there is no event to wait for.
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)


def settled(here: Place, seed: str) -> None:
    """No lost node, no double node, a sound ledger."""
    report = here.json("ledger", "verify")
    assert report["ok"], (seed, report)
    supervisors = here.supervisors()
    assert len(supervisors) <= 1, (seed, "double node")
    status = here.status()
    # A boot that a killed `up` had begun may come to its end only now, and is booked then.
    unexpected = [note for note in status["notes"] if not note.startswith("settled: BOOT_COMPLETE")]
    assert unexpected == [], (seed, unexpected)
    if supervisors:
        assert status["state"] in ("provisioning", "booting", "ready", "stopping"), (seed, status)
        if status["state"] == "ready":
            assert here.engines() != [], (seed, status)
    else:
        assert status["state"] in ("absent", "stopped", "failed"), (seed, status)
        assert here.engines() == [], (seed, "an engine without its supervisor")


@pytest.mark.slow
def test_two_hundred_kills(here: Place) -> None:
    here.run("up")
    here.run("down", "--now")
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    for number in range(KILLS):
        command = chance.choice([("up",), ("down", "--now"), ("down", "--now", "--delete")])
        after = chance.uniform(0.0, LONGEST_S)
        kill_somewhere(here, command, after)
        follow = chance.choice([("up",), ("down", "--now"), ("status",)])
        here.run(*follow)
        settled(here, f"seed {seed}, kill {number}: {command} after {after:.3f} s, then {follow}")
    here.run("down", "--now")
    report = here.json("ledger", "verify", "--strict")
    assert report["ok"]
    assert here.processes() == []
