"""The GCE driver on the lab's fake cloud, with machines that do what a test says."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cloud import gce_node
from fake_gce import FakeGce
from gce_clients import ZONE, Google, google_for, gpu_instance
from gce_state import JSON, Settings
from light_host import LightHost, identity
from node_state import encode
from sample_node import NODE, TOOLS

from yoyo.drivers.gce.machines import GceMachines
from yoyo.model.machine import Observation
from yoyo.model.settings import NodeSettings

FORMER = "0197f0c0-0000-7000-8000-000000000000"
LIFE = "0197f0c0-0000-7000-8000-000000000001"
NEXT_LIFE = "0197f0c0-0000-7000-8000-000000000002"
NAME = "yoyo-l4"
INSERT = "compute.instances.insert"
START = "compute.instances.start"
STOP = "compute.instances.stop"
DELETE = "compute.instances.delete"
SET_METADATA = "compute.instances.setMetadata"
SET_LABELS = "compute.instances.setLabels"
FULL = "ZONE_RESOURCE_POOL_EXHAUSTED"
DEADLINE_S = 30.0  # of a wait; only a broken driver ever reaches it


class SkippingClock:
    """The real time, but a sleep takes none: it puts the clock forward instead."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.on_sleep: Callable[[], None] = lambda: None  # what happens in the world meanwhile

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.skipped)

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        self.skipped += seconds
        self.on_sleep()


class OnceRendered:
    """Templates, each rendered once for the same values: compiling them is most of a start."""

    def __init__(self) -> None:
        self._rendered: dict[str, str] = {}

    def render(self, name: str, **values: object) -> str:
        key = f"{name} {values}"
        if key not in self._rendered:
            self._rendered[key] = TOOLS.templates.render(name, **values)
        return self._rendered[key]


TEMPLATES = OnceRendered()


@dataclass
class Rig:
    """A fake cloud, a node in it, and controllers that have nothing but it in common."""

    fake: FakeGce
    node: NodeSettings
    place: Path
    host: LightHost | None = None
    clock: SkippingClock = field(default_factory=SkippingClock)

    def machines(self, controller: str = "one") -> GceMachines:
        """A driver as a new command makes it; another controller has a state directory too."""
        tools = TOOLS._replace(clock=self.clock, templates=TEMPLATES)
        return GceMachines(state_dir=self.place / controller, tools=tools)

    def but(self, **changes: object) -> NodeSettings:
        """The node with other `gce` settings."""
        assert self.node.gce is not None
        return self.node._replace(gce=self.node.gce._replace(**changes))  # type: ignore[arg-type]

    @cached_property
    def google(self) -> Google:
        """Somebody else who uses the same project."""
        return google_for(self.fake, self.place)

    def up(self, request_id: str = LIFE) -> GceMachines:
        """Start the node; gives the driver that did."""
        machines = self.machines()
        machines.create(self.node, request_id)
        return machines

    def down(self) -> GceMachines:
        """Stop the node and wait until it has stopped."""
        machines = self.machines()
        machines.stop(self.node)
        self.fake.wait_for(NAME, "TERMINATED")
        return machines

    def until(self, wanted: Callable[[Observation], bool]) -> Observation:
        """Give the node its key and observe until it is as wanted."""
        machines, deadline = self.machines(), time.monotonic() + DEADLINE_S
        while True:
            machines.hand_over(self.node)
            seen = machines.observe(self.node)
            if wanted(seen):
                return seen
            assert time.monotonic() < deadline, seen
            with self.fake.cloud.changed:
                self.fake.cloud.changed.wait(0.02)

    def instance(self) -> JSON:
        """The node's instance as it is now."""
        found = self.fake.instance(NAME)
        assert found is not None
        return found

    def alter(self, **fields: Any) -> None:
        """Change the instance's resource behind everybody's back."""
        with self.fake.cloud.changed:
            path = self.fake.cloud.instance_path(NAME)
            self.fake.cloud.resources[path].update(fields)
            self.fake.cloud.touch()

    def zones(self, collection: str = "instances") -> list[str]:
        """The zones of all resources of a collection."""
        return [path.split("/")[3] for path in self.fake.paths(collection)]

    def tried(self) -> list[str]:
        """The zones in which an insert was asked for, in order."""
        return [call.zone for call in self.fake.calls if call.method == INSERT]

    def foreign(self, zone: str = ZONE, **labels: str) -> JSON:
        """Somebody's instance of the node's name."""
        named = {key.replace("_", "-"): value for key, value in labels.items()}
        self.google.up(gpu_instance(NAME, zone, labels=named), zone)
        return self.instance()

    def publish(self, request_id: str = LIFE, **attributes: str) -> None:
        """What a machine says that has got as far as waiting for its key, and more."""
        said = {"request": request_id, "phase": "running", "seal-key": identity().seal_public_pem}
        for key, value in attributes.items():
            said[key.replace("_", "-")] = value
        self.fake.put_guest_attribute(NAME, "yoyo", "state", encode(said))

    def unlabelled_calls(self) -> set[str]:
        """Operations of calls that carried no requestId."""
        with self.fake.cloud.changed:
            asked = {
                path
                for path, resource in self.fake.cloud.resources.items()
                if "/operations/" in path and resource.get("user") != "system"
            }
            return asked - {path for _, path in self.fake.cloud.requests.values()}


@contextmanager
def rig(
    tmp_path: Path,
    settings: Settings | None = None,
    *,
    machines: bool = False,
) -> Iterator[Rig]:
    """A fake whose machines do nothing, or, with `machines`, live in threads."""
    host = LightHost(lease_s=NODE.guards.lease_s) if machines else None
    with FakeGce(settings, host=host) as fake:
        key = fake.credentials(tmp_path / "service-account.json")
        with patch.dict(os.environ, GOOGLE_APPLICATION_CREDENTIALS=str(key)):
            made = Rig(fake, gce_node(fake), tmp_path, host)
            yield made
            assert fake.violations == []
            assert made.unlabelled_calls() <= _by_google(made)


def _by_google(made: Rig) -> set[str]:
    """What a test did as somebody else, which need not carry ids."""
    return made.unlabelled_calls() if "google" in vars(made) else set()


def in_thread(work: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Do it in a thread; the result waits for the end and gives what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join() -> BaseException | None:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        return raised[0] if raised else None

    return join
