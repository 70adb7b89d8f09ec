"""Starts of real machines: one that fails and is mended, other ways of traffic, another zone."""

from __future__ import annotations

import re

import pytest
from gce_parts import FULL, START
from guard_parts import LabNode
from lab_commands import LabPlace

DATA = "/var/lib/yoyo/kept"


def test_weights_of_another_sha256_fail_the_start_until_it_is_mended(place: LabPlace) -> None:
    node = LabNode(place)
    wrong = "ab" * 32
    failed = place.run("up", "--set", f"nodes.l4.weights.sha256={wrong}", code=39)
    assert re.search(r"why: step weights failed: no mirror gave the weights abab", failed.stderr)
    assert re.search(r"10\.127\.0\.1:\d+: wrong sha256 [0-9a-f]{12}", failed.stderr)
    assert "fix: check engine.model, weights.mirrors and weights.sha256" in failed.stderr
    assert re.search(r"^  round 2: .*wrong sha256", failed.stderr, re.MULTILINE)
    assert place.instance()["status"] == "TERMINATED"
    node.assert_ended("TEARDOWN_COMPLETE", "BOOTSTRAP_FAILED", "tester")
    assert place.status()["state"] == "failed"

    # The model has moved; the mirror still has it.
    text = (place.root / "yoyo.yaml").read_text()
    [model] = re.findall(r"model: '([^']*)'", text)
    moved = ("--set", f"nodes.l4.engine.model={model}.moved")
    mirror = ("--set", f"nodes.l4.weights.mirrors=[{model}]")
    assert place.json("up", *moved, *mirror)["state"] == "ready"


@pytest.mark.parametrize(
    ("traffic", "endpoint"),
    [("tunnel", r"http://127\.0\.0\.1:\d+"), ("vpc", r"http://10\.127\.0\.\d+:8443")],
)
def test_other_ways_of_traffic(place: LabPlace, traffic: str, endpoint: str) -> None:
    place.lab.configure(gce=f"      traffic: {traffic}")
    assert re.fullmatch(endpoint, place.json("up")["endpoint"])
    assert place.status()["state"] == "ready"
    answer = place.json("ask", "Say something", "--max-tokens", "4")
    assert answer["completion"]["completion_tokens"] == 4


def test_a_node_whose_zone_is_full_moves_with_its_data(place: LabPlace) -> None:
    node = LabNode(place)
    node.up()
    node.file(DATA).write_text("kept")
    place.run("down")
    old_zone = place.instance()["zone"].rpartition("/")[2]
    place.lab.fake.faults.add(START, zone=old_zone, operation_error=FULL, times=0)
    full = place.run("up", code=62)
    assert "yoyo up --relocate" in full.stderr

    place.run("up", "--relocate")
    [path] = place.lab.fake.paths("instances")
    assert f"/{old_zone}/" not in path
    assert node.file(DATA).read_text() == "kept"
    assert "yoyo: step weights skipped" in place.run("logs", "--boot", "-n", "1000").stdout
    assert len(place.lab.fake.paths("disks")) == 1
    assert place.lab.fake.paths("snapshots") == []
    assert place.json("sweep")["found"] == []
    place.run("down", "--delete")
    place.run("ledger", "verify", "--strict")
