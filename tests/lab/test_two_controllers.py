"""Two controllers with one node's name: neither stops, starts or deletes what is the other's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from crash_parts import INSTANCE, Controller, cloud
from fake_gce import FakeGce

from yoyo.errors import ForeignNode, NodeNotReady


class Pair(NamedTuple):
    """The one that has the node, the one that has not, and the cloud."""

    owner: Controller
    other: Controller
    fake: FakeGce

    def status(self) -> str | None:
        found = self.fake.instance(INSTANCE)
        return str(found["status"]) if found is not None else None


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with cloud() as fake:
        fake.faults.clear()
        yield Pair(Controller(tmp_path / "owner", fake), Controller(tmp_path / "other", fake), fake)


def test_what_runs_is_left_alone_also_when_nothing_can_be_seen(pair: Pair) -> None:
    pair.owner.run("up")
    for command in (("up",), ("down",), ("down", "--delete")):
        pair.other.run(*command, code=ForeignNode.exit_code)
    pair.fake.faults.add("compute.instances.*", http=503, times=0)
    pair.other.run("down", code=NodeNotReady.exit_code)
    pair.fake.faults.clear()
    assert pair.status() == "RUNNING"
    assert pair.owner.status()["state"] == "ready"
    assert pair.other.run("ledger", "show", "--json").stdout == ""


def test_what_rests_keeps_its_disk(pair: Pair) -> None:
    pair.owner.run("up")
    pair.owner.run("down")
    for command in (("up",), ("down", "--delete")):
        told = pair.other.run(*command, code=ForeignNode.exit_code).stderr
        assert "does not know" in told
    assert pair.status() == "TERMINATED"
    pair.owner.run("up")
    assert pair.owner.status()["state"] == "ready"


def test_whoever_insists_gets_it(pair: Pair) -> None:
    pair.owner.run("up")
    pair.other.run("down", "--now", "--delete")
    assert pair.status() is None
    assert "MACHINE_GONE" in " ".join(pair.owner.json("status")["nodes"][0]["notes"])
    pair.owner.run("ledger", "verify", "--strict")
