"""Real commands against a fake cloud in which much goes wrong, for tests of crashes."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cli import Place
from fake_gce import FakeGce
from gce_state import JSON
from light_host import LightHost, identity

from yoyo.core.lives import Life, read_book
from yoyo.drivers.files.ledger import CsvLedger
from yoyo.drivers.system.clock import SystemClock
from yoyo.drivers.system.ids import SystemIds
from yoyo.errors import CloudUnavailable

Command = tuple[str, ...]

NODE, INSTANCE = "l4", "yoyo-l4"
DEADLINE_S = 60.0  # of a wait; only a broken command ever reaches it
POLL_S = 0.002
OPERATOR_TRIES = 6
AT_REST = ("TERMINATED", "STOPPED", "SUSPENDED")

CONFIG = """\
version: 1
operator: tester
nodes:
  l4:
    moduleId: acme
    driver: gce
    engine: {{model: 'http://127.0.0.1:9/m.gguf', ctx: 4096, parallel: 2}}
    build: {{on_node: yes}}
    weights: {{sha256: {digest}}}
    guards: {{stop_grace: 5s}}
    gce:
      project: {project}
      zones: [us-central1-a, us-central1-b, us-east1-b]
      api_endpoint: '{endpoint}'
      controller: 203.0.113.7
    prices: {{hourly_usd: 0.71, disk_gb_month_usd: 0.10}}
"""

_FULL = {"operation_error": "ZONE_RESOURCE_POOL_EXHAUSTED", "probability": 0.15}
_SLOW = {"operation_s": 0.2, "probability": 0.15}
# Each is rare: most commands meet one or two of them, and some meet none.
FAULTS: list[JSON] = [
    {"method": "*", "http": 503, "after": True, "probability": 0.02},
    {"method": "*", "http": 503, "probability": 0.01},
    {"method": "*", "reset": "before", "probability": 0.01},
    {"method": "*", "reset": "after", "probability": 0.01},
    {"method": "*", "http": 429, "reason": "rateLimitExceeded", "probability": 0.01},
    {"method": "compute.*Operations.wait", "undone_wait": True, "probability": 0.15},
    {"method": "compute.instances.insert", **_FULL},
    {"method": "compute.instances.start", **_FULL},
    {"method": "compute.instances.insert", **_SLOW},
    {"method": "compute.instances.st*", **_SLOW},
    {"method": "compute.instances.delete", **_SLOW},
]


class Timing(NamedTuple):
    """Of a command that is let run: until its first call of the cloud, and from there on."""

    before_s: float
    work_s: float


class Controller(Place):
    """A directory with a ledger of its own, from which a node in a fake is commanded."""

    def __init__(self, root: Path, fake: FakeGce) -> None:
        super().__init__(root)
        self.fake = fake
        root.mkdir(exist_ok=True)
        self._credentials = fake.credentials(root / "service-account.json")
        text = CONFIG.format(digest="ab" * 32, project=fake.settings.project, endpoint=fake.url)
        (root / "yoyo.yaml").write_text(text)

    def env(self, **more: str) -> dict[str, str]:
        """As an operator's who has logged in with Application Default Credentials."""
        return super().env(GOOGLE_APPLICATION_CREDENTIALS=str(self._credentials), **more)

    def timed(self, command: Command) -> Timing:
        """Let a command run to its end and measure it."""
        begun, calls = time.monotonic(), len(self.fake.calls)
        process = self.start(*command)
        self._until_it_calls(process, calls)
        called = time.monotonic()
        told = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, (command, told)
        return Timing(called - begun, time.monotonic() - called)

    def kill_somewhere(self, command: Command, *, early: bool, after_s: float) -> bool:
        """Start a command and kill it so many seconds after its start or its first call.

        Gives whether it was still at work then.
        """
        calls = len(self.fake.calls)
        process = self.start(*command)
        if not early:
            self._until_it_calls(process, calls)
        # A moment in time is the point here: there is no event to wait for.
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=DEADLINE_S)
        return process.returncode == -signal.SIGKILL

    def _until_it_calls(self, process: subprocess.Popen[str], calls: int) -> None:
        while len(self.fake.calls) == calls and process.poll() is None:
            time.sleep(POLL_S)

    def as_an_operator(self, command: Command) -> int:
        """Run a command to its end; where the cloud gave no answer, do what its message says."""
        for _ in range(OPERATOR_TRIES):
            done = self.run(*command, code=None)
            assert done.returncode not in (1, 70), (command, done)
            if done.returncode != CloudUnavailable.exit_code:
                return done.returncode
            assert "`yoyo status`" in done.stderr, done.stderr
            self.run("status")
        raise AssertionError(f"{command}: the cloud was unavailable {OPERATOR_TRIES} times")

    def lives(self) -> dict[str, Life]:
        """Every life of the node in this ledger, by its id; the ledger is proved first."""
        clock = SystemClock()
        ledger = CsvLedger(self.ledger, clock, SystemIds(clock))
        report = ledger.verify()
        assert report.problem_count == 0, report
        return {life.job_id: life for life in read_book(ledger.rows()).of(NODE)}


@contextmanager
def cloud() -> Iterator[FakeGce]:
    """A fake cloud with light machines."""
    identity()  # made by two clouds at once, the nodes of one of them would get two
    with FakeGce(host=LightHost()) as fake:
        yield fake
        assert fake.violations == [], fake.violations


def resources(fake: FakeGce, kind: str) -> dict[str, JSON]:
    """All resources of a kind by path, once nothing is under way any more."""
    with fake.cloud.changed:
        done = fake.cloud.changed.wait_for(lambda: not _under_way(fake), DEADLINE_S)
        assert done, _under_way(fake)
        everything = fake.cloud.resources.items()
        return {path: dict(one) for path, one in everything if path.split("/")[-2] == kind}


def _under_way(fake: FakeGce) -> list[JSON]:
    return [
        one
        for path, one in fake.cloud.resources.items()
        if "/operations/" in path and one["status"] != "DONE"
    ]


def running(fake: FakeGce) -> list[JSON]:
    """The instances that cost money."""
    return [one for one in resources(fake, "instances").values() if one["status"] not in AT_REST]


def sound(here: Controller, told: str) -> None:
    """No machine that the ledger does not answer for, none twice, no disk alone, no cap off."""
    assert here.fake.violations == [], (told, here.fake.violations)
    lives = here.lives()
    instances = resources(here.fake, "instances")
    requests = {one["labels"]["yoyo-request"] for one in instances.values()}
    assert requests <= set(lives), (told, "a machine that the ledger does not know")
    paths = {path.replace("/instances/", "/disks/") for path in instances}
    assert set(resources(here.fake, "disks")) == paths, (told, "a disk without its machine")
    active = running(here.fake)
    assert len(active) <= 1, (told, "two machines run", active)
    for one in active:
        life = lives[one["labels"]["yoyo-request"]]
        assert life.closed_at is None, (told, "a machine runs on after its life", one, life)
        assert _capped(one) or life.teardown_at is not None, (told, "no platform cap", one)


def _capped(instance: dict[str, Any]) -> bool:
    return "terminationTimestamp" in instance["resourceStatus"]["scheduling"]
