"""SIGKILL of commands on a cloud with faults: one more command finds and settles all."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crash_parts import FAULTS, Command, Controller, Timing, cloud, resources, running, sound
from fake_gce import FakeGce
from gce_state import JSON

from yoyo.errors import BootFailed, ForeignNode, NoCapacity

KILLS = int(os.environ.get("YOYO_CRASH_KILLS_GCE", "100"))
CREWS = 2  # each with a cloud of its own: the commands spend their time on a core, not waiting
EARLY = 0.1  # share of the kills that come before the first call
ROUNDS = 5

UP: tuple[Command, ...] = (("up",), ("up", "--relocate"))
DOWN: tuple[Command, ...] = (("down",), ("down", "--delete"))
SWEEP: Command = ("sweep", "--apply")
STATUS: Command = ("status",)
KINDS = ("instances", "disks", "snapshots", "firewalls")
# What may come of a command that the faults did not leave without an answer.
ENDS = {"up": (0, NoCapacity.exit_code, BootFailed.exit_code), "down": (0,), "status": (0,)}

INSERT = "compute.instances.insert"
# Both have looked, and found nothing, before either has made its machine.
TOGETHER: JSON = {"method": INSERT, "delay_s": 0.4, "times": 0}
# The first to come is sent on to another zone while the second finds room where it was.
APART: JSON = {**TOGETHER, "operation_error": "ZONE_RESOURCE_POOL_EXHAUSTED", "times": 1}


class Crew:
    """One cloud, one controller, and commands that are killed in it."""

    def __init__(self, root: Path, fake: FakeGce, seed: int) -> None:
        self.here = Controller(root, fake)
        self._fake = fake
        self._seed = seed
        self._chance = random.Random(seed)
        self._timings: dict[Command, Timing] = {}

    def work(self, kills: int) -> None:
        """Kill so many commands that were at work, and look after each of them."""
        self._measure()
        done = number = 0
        while done < kills:
            number += 1
            assert number < 3 * kills + 10, "hardly a command was still at work when it was killed"
            self._fake.faults.load({"seed": self._chance.randrange(2**32), "rules": FAULTS})
            killed, told = self._kill()
            done += killed
            follow = self._chance.choice((*UP, *DOWN, STATUS))
            told = f"seed {self._seed}, kill {number}: {told}, then {' '.join(follow)}"
            code = self.here.as_an_operator(follow)
            self._fake.faults.clear()
            assert code in ENDS[follow[0]], (told, code)
            sound(self.here, told)
            self._as_promised(follow, code, told)
        self._to_nothing()

    def _measure(self) -> None:
        for command in (UP[0], SWEEP, DOWN[0], UP[1], DOWN[1]):
            self._timings[command] = self.here.timed(command)

    def _kill(self) -> tuple[bool, str]:
        """Kill a command that has something to do."""
        is_up = running(self._fake) != []
        useful = DOWN if is_up else UP
        command = self._chance.choice((*useful, *useful, SWEEP))
        if command == SWEEP:
            name = f"yoyo-left-{self._chance.randrange(2**32)}"
            self._fake.add_address(name, "us-central1")
        early = self._chance.random() < EARLY
        timing = self._timings[command]
        after = self._chance.uniform(0, timing.before_s if early else timing.work_s)
        killed = self.here.kill_somewhere(command, early=early, after_s=after)
        moment = "start" if early else "first call"
        return killed, f"{' '.join(command)} killed {after:.3f} s after its {moment}"

    def _as_promised(self, follow: Command, code: int, told: str) -> None:
        """What a command that succeeds leaves."""
        if code != 0:
            assert running(self._fake) == [], told
        elif follow in UP:
            assert [one["status"] for one in running(self._fake)] == ["RUNNING"], told
        elif follow in DOWN:
            assert running(self._fake) == [], told
        if follow == DOWN[1]:
            assert self._left() == [], told

    def _left(self) -> list[str]:
        return [path for kind in KINDS for path in resources(self._fake, kind)]

    def _to_nothing(self) -> None:
        self.here.run("down", "--delete")
        self.here.run(*SWEEP)
        assert self.here.json("ledger", "verify", "--strict")["ok"]
        assert self._left() == []
        assert resources(self._fake, "addresses") == {}
        assert self.here.json("sweep")["found"] == []


def crew(root: Path, seed: int, kills: int) -> None:
    with cloud() as fake:
        Crew(root, fake, seed).work(kills)


@pytest.mark.slow
def test_a_hundred_kills(tmp_path: Path) -> None:
    seed = int(os.environ.get("YOYO_CRASH_SEED_GCE", random.SystemRandom().randrange(2**32)))
    print(f"seed {seed}")
    with ThreadPoolExecutor(CREWS) as pool:
        shares = [KILLS // CREWS + (number < KILLS % CREWS) for number in range(CREWS)]
        ends = [
            pool.submit(crew, tmp_path / f"crew-{number}", seed + number, share)
            for number, share in enumerate(shares)
        ]
    for end in ends:
        end.result()


@pytest.fixture
def fake() -> Iterator[FakeGce]:
    with cloud() as made:
        yield made


@pytest.mark.slow
def test_two_controllers_that_race(tmp_path: Path, fake: FakeGce) -> None:
    both = [Controller(tmp_path / name, fake) for name in ("one", "two")]
    for number in range(ROUNDS):
        fake.faults.load({"rules": [APART, TOGETHER] if number % 2 else [TOGETHER]})
        starts = [here.start("up") for here in both]
        told = [start.communicate(timeout=60) for start in starts]
        codes = [start.returncode for start in starts]
        assert sorted(codes) == [0, ForeignNode.exit_code], told
        winner, loser = both if codes[0] == 0 else reversed(both)
        (machine,) = running(fake)
        assert machine["labels"]["yoyo-request"] in winner.lives()
        assert machine["labels"]["yoyo-request"] not in loser.lives()

        loser.run("down", code=ForeignNode.exit_code)

        assert running(fake) == [machine]
        assert winner.status()["state"] == "ready"
        winner.run("down", "--delete")
        assert resources(fake, "instances") == {}
    for here in both:
        assert here.json("ledger", "verify", "--strict")["ok"]
