"""What the tests of guards and of running nodes look at, on a real machine of the lab."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab_commands import LabPlace

NAME = "yoyo-l4"
HOURLY_USD = Decimal("0.71")  # as lab.py configures it
# The dead-man looks every 30 s; this only makes it look more often.
HURRY = """\
[Timer]
OnBootSec=
OnBootSec=1s
OnUnitInactiveSec=1s
AccuracySec=100ms
"""


def on_node(place: LabPlace, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the machine as root, past ssh; it must succeed."""
    done = place.lab.host.execute(NAME, *command)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done


def on_disk(place: LabPlace, path: str) -> Path:
    """A file of the running machine, from here."""
    return place.lab.host.root(NAME) / path.lstrip("/")


def hurry(place: LabPlace) -> None:
    """Have the machine's dead-man look every second."""
    drop_in = on_disk(place, "/etc/systemd/system/yoyo-dead-man.timer.d/hurry.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(HURRY)
    on_node(place, "systemctl", "daemon-reload")
    on_node(place, "systemctl", "restart", "yoyo-dead-man.timer")


def wait_until_off(place: LabPlace, timeout_s: float = 120) -> dict[str, Any]:
    """Wait, without any command of yoyo's, until the machine has stopped; its instance then."""
    return place.lab.fake.wait_for(NAME, "TERMINATED", timeout_s)


def uptime_s(place: LabPlace) -> float:
    """Seconds since the machine booted, by its own count."""
    return float(on_node(place, "cat", "/proc/uptime").stdout.split()[0])


def key_of(place: LabPlace) -> str:
    """The bearer key that this controller has."""
    return (place.root / ".yoyo/nodes/l4/key").read_text().strip()


@contextmanager
def working(place: LabPlace, endpoint: str) -> Iterator[http.client.HTTPResponse]:
    """A long answer of the engine, straight from its endpoint: no command of yoyo's sees it.

    The engine works until the block ends, which breaks the connection.
    """
    at = urlsplit(endpoint)
    # Whose certificate it is, is tested elsewhere.
    trusting = ssl._create_unverified_context()
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


def rows(place: LabPlace) -> list[dict[str, Any]]:
    """The ledger."""
    lines = place.run("ledger", "show", "--json").stdout.splitlines()
    return [json.loads(line) for line in lines]


def end_of_life(place: LabPlace) -> dict[str, Any]:
    """The row that closes the newest life."""
    closing = ("TEARDOWN_COMPLETE", "PREEMPTION")
    return [row for row in rows(place) if row["event_type"] in closing][-1]


def assert_booked(
    place: LabPlace, instance: dict[str, Any], event: str, error_code: str, operator: str
) -> None:
    """The newest life was ended so, and its cost is from the platform's own times."""
    end = end_of_life(place)
    assert (end["event_type"], end["error_code"]) == (event, error_code)
    assert end["operator_id"] == operator
    started, stopped = (
        datetime.fromisoformat(instance[f"last{which}Timestamp"]) for which in ("Start", "Stop")
    )
    seconds = Decimal(str((stopped - started).total_seconds()))
    assert Decimal(end["gpu_seconds"]) == seconds
    assert abs(Decimal(end["cost_usd"]) - seconds * HOURLY_USD / 3600) < Decimal("0.000001")


def assert_preempted_by(
    place: LabPlace, instance: dict[str, Any], error_code: str, operator: str
) -> None:
    """`status` finds the machine stopped, and books the guard that did it."""
    assert place.status()["state"] == "stopped"
    assert_booked(place, instance, "PREEMPTION", error_code, operator)
    place.run("ledger", "verify", "--strict")


def guard(status: dict[str, Any], name: str) -> dict[str, Any]:
    """One guard of a status or of what `up` returned."""
    return next(each for each in status["guards"] if each["name"] == name)
