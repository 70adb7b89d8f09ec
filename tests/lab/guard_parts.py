"""Nodes of the lab for the tests of guards: what is done to them, and how their end is booked."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab_commands import LabPlace

HOURLY_USD = Decimal("0.71")  # as lab.py configures it
ENDS = ("TEARDOWN_COMPLETE", "PREEMPTION")
# The dead-man looks every 30 s; this only makes it look more often.
OFTEN = {
    "timer": "[Timer]\nOnBootSec=\nOnBootSec=1s\nOnUnitInactiveSec=1s\nAccuracySec=100ms\n",
    "service": "[Unit]\nStartLimitIntervalSec=0\n",
}


def configure_nodes(place: LabPlace, guards: dict[str, str]) -> None:
    """Write a yoyo.yaml with a node for each name, which differ in their guards."""
    blocks = []
    for name, text in guards.items():
        place.lab.configure(guards=text)
        head, first, block = (place.root / "yoyo.yaml").read_text().partition("  l4:\n")
        blocks.append(first.replace("l4", name) + block)
    (place.root / "yoyo.yaml").write_text(head + "".join(blocks))


class LabNode:
    """One node: its commands, its machine past ssh, and its rows in the ledger."""

    def __init__(self, place: LabPlace, name: str = "l4") -> None:
        self.place = place
        self.name = name
        self.machine = f"yoyo-{name}"

    def up(self) -> Any:
        """Bring it up; what `up` says."""
        return self.place.json("up", "--node", self.name)

    def status(self) -> Any:
        """Its status document."""
        return self.place.json("status", "--node", self.name)["nodes"][0]

    @property
    def host_name(self) -> str:
        """What the lab's host calls the machine."""
        cloud = self.place.lab.fake.cloud
        return cloud.vms[cloud.instance_path(self.machine)].host_name

    def inside(self, *command: str) -> str:
        """What a command says that is run on the machine as root; it must succeed."""
        done = self.place.lab.host.execute(self.host_name, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def file(self, path: str) -> Path:
        """A file of the running machine, from here."""
        return self.place.lab.host.root(self.host_name) / path.lstrip("/")

    def uptime_s(self) -> float:
        """Seconds since the machine booted, by its own count."""
        return float(self.inside("cat", "/proc/uptime").split()[0])

    def hurry(self) -> None:
        """Have the dead-man look every second."""
        for kind, text in OFTEN.items():
            drop_in = self.file(f"/etc/systemd/system/yoyo-dead-man.{kind}.d/often.conf")
            drop_in.parent.mkdir()
            drop_in.write_text(text)
        self.inside("systemctl", "daemon-reload")
        self.inside("systemctl", "restart", "yoyo-dead-man.timer")

    def wedge_engine(self) -> None:
        """The engine's processes stay, and do nothing any more."""
        self.inside("systemctl", "kill", "--signal=STOP", "yoyo-engine.service")

    def wait_for_serial(self, text: str, timeout_s: float = 60) -> None:
        """Wait until the machine has written that to its console."""
        cloud = self.place.lab.fake.cloud
        with cloud.changed:
            vm = cloud.vms[cloud.instance_path(self.machine)]
            assert cloud.changed.wait_for(lambda: text.encode() in vm.serial, timeout_s), vm.serial

    def wait_until_off(self, timeout_s: float = 90) -> None:
        """Wait, without any command of yoyo's, until the machine has stopped."""
        self.place.lab.fake.wait_for(self.machine, "TERMINATED", timeout_s)

    def end(self) -> dict[str, Any]:
        """The row that closes its newest life."""
        lines = self.place.run("ledger", "show", "--json").stdout.splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        own = [row for row in rows if row["node_id"] == self.name and row["event_type"] in ENDS]
        return own[-1]

    def assert_ended(self, event: str, error_code: str, operator: str) -> None:
        """The newest life is booked as ended so, and its cost is of the platform's own times."""
        end = self.end()
        found = (end["event_type"], end["error_code"], end["operator_id"])
        assert found == (event, error_code, operator), end
        instance = self.place.lab.fake.instance(self.machine)
        assert instance is not None
        started, stopped = (
            datetime.fromisoformat(instance[f"last{which}Timestamp"]) for which in ("Start", "Stop")
        )
        seconds = Decimal(str((stopped - started).total_seconds()))
        assert Decimal(end["gpu_seconds"]) == seconds, (end, instance)
        off_by = Decimal(end["cost_usd"]) - seconds * HOURLY_USD / 3600
        assert abs(off_by) < Decimal("0.000001"), end

    def assert_preempted(self, error_code: str, operator: str) -> None:
        """`status` finds it stopped, and books what stopped it."""
        status = self.status()
        assert status["state"] == "stopped", status
        self.assert_ended("PREEMPTION", error_code, operator)


def key_of(place: LabPlace) -> str:
    """The bearer key of l4 that this controller has."""
    return (place.root / ".yoyo/nodes/l4/key").read_text().strip()


@contextmanager
def working(place: LabPlace, endpoint: str) -> Iterator[http.client.HTTPResponse]:
    """A long answer of l4's engine, straight from its endpoint: no command of yoyo's sees it.

    The engine works until the block ends, which breaks the connection.
    """
    at = urlsplit(endpoint)
    trusting = ssl._create_unverified_context()  # the pin is tested elsewhere
    connection = http.client.HTTPSConnection(
        at.hostname or "", at.port, timeout=30, context=trusting
    )
    question = {"prompt": "Say something", "max_tokens": 30_000, "stream": True}
    headers = {"Authorization": f"Bearer {key_of(place)}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(question), headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def guard(status: dict[str, Any], name: str) -> dict[str, Any]:
    """One guard of a status or of what `up` says."""
    found: dict[str, Any] = next(each for each in status["guards"] if each["name"] == name)
    return found
