"""What becomes of a node that nobody controls, whose platform takes it, or that has no cap."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gce_clients import PROJECT, google_for
from gce_parts import START
from guard_parts import LabNode, guard, working
from lab_commands import LabPlace
from sample_startup import GPU, render

LEASE_S = 15  # long enough for a boot on a busy machine: the node waits one lease for its key
# One slot with all of the context: an answer can take half a minute.
ONE_SLOT = ("--set", "nodes.l4.engine.ctx=32768", "--set", "nodes.l4.engine.parallel=1")
# What reads the time of day in a shell or in a timer.
WALL_CLOCK = re.compile(
    r"\b(date|SECONDS|EPOCHSECONDS|EPOCHREALTIME|OnCalendar|Persistent|timedatectl|hwclock)\b"
    r"|%\([^)]*\)T|-newer|-[acm]min\b|-[acm]time\b"
)


def test_a_node_that_nobody_controls_any_more_finishes_its_work_and_stops(
    place: LabPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.lab.configure(guards=f"lease: {LEASE_S}s, sample_every: 7s, stop_grace: 5s")
    node = LabNode(place)
    up = place.json("up", *ONE_SLOT)
    # Nobody takes samples: the monitor is dead as well.
    assert re.search("monitor +NOT ARMED", place.run("status").stdout)
    node.hurry()
    with monkeypatch.context() as changes:
        changes.setattr(place.lab.fake.auth, "revoked", True)
        with working(place, up["endpoint"]) as answer:
            while node.uptime_s() < LEASE_S + 3:
                assert answer.readline(), "the engine was cut off in the middle of its work"
            assert place.instance()["status"] == "RUNNING"
        node.wait_until_off()
        blind = node.status()
        assert blind["state"] == "unknown"
        assert "gcloud auth application-default login" in " ".join(blind["notes"])
    node.assert_preempted("GUARD_DEAD_MAN", "guard:dead-man")


def test_no_guard_heeds_the_time_of_day() -> None:
    script = render(GPU)
    assert "/proc/uptime" in script
    # The one function that reads it says how far off it is, and belongs to no guard.
    head, function, rest = script.partition("\nnote_clock() {")
    assert function
    assert head.rpartition('install_file "$LIB/')[2].startswith("prepare-engine")
    script = head + rest.partition("\n}\n")[2]
    code = [line for line in script.splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in code if WALL_CLOCK.search(line)] == []


def test_what_the_platform_does_to_a_machine_is_booked_as_that(
    place: LabPlace, tmp_path: Path
) -> None:
    node = LabNode(place)
    node.up()
    shown = node.inside(
        *("systemctl", "show", "--property=TimersMonotonic,TimersCalendar"),
        *("yoyo-dead-man.timer", "yoyo-lifetime.timer"),
    )
    assert sorted(re.findall(r"(On\w+)USec=(\w+)", shown)) == [
        ("OnBoot", "30s"), ("OnBoot", "8h"), ("OnUnitInactive", "30s"),
    ]  # fmt: skip
    assert "OnCalendar" not in shown
    place.lab.fake.preempt(node.machine)
    node.wait_until_off()
    node.assert_preempted("SPOT_PREEMPTED", "tester")

    # It comes back without the platform's cap.
    place.lab.fake.faults.add(START, drop_cap=True, times=2)
    refused = place.run("up", code=23)
    assert "platform-cap did not arm" in refused.stderr
    assert place.instance()["status"] == "TERMINATED"
    node.assert_ended("TEARDOWN_COMPLETE", "GUARD_NOT_ARMED", "tester")
    place.run("up", "--allow-unguarded")
    assert not guard(node.status(), "platform-cap")["armed"]
    assert re.search("platform-cap +NOT ARMED", place.run("status").stdout)

    # Somebody stops it in the console.
    google = google_for(place.lab.fake, tmp_path)
    zone = place.instance()["zone"].rpartition("/")[2]
    google.instances.stop_unary(project=PROJECT, zone=zone, instance=node.machine)
    node.wait_until_off()
    node.assert_preempted("STOPPED_OUTSIDE", "tester")
