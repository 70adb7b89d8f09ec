"""The guards on real machines, each tried alone: the others are too far away to fire."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gce_clients import PROJECT, google_for
from guard_parts import (
    NAME,
    assert_booked,
    assert_preempted_by,
    guard,
    hurry,
    on_node,
    uptime_s,
    wait_until_off,
    working,
)
from lab_commands import LabPlace

LEASE_S = 15  # long enough for a boot on a busy machine: the node waits one lease for its key
LEASE = f"lease: {LEASE_S}s, sample_every: 7s, stop_grace: 5s"
LIFETIME = "boot_timeout: 24s, lifetime: 25s, stop_grace: 5s"
START = "compute.instances.start"
# What reads the time of day in a shell or in a timer.
WALL_CLOCK = re.compile(
    r"\b(date|SECONDS|EPOCHSECONDS|EPOCHREALTIME|OnCalendar|Persistent|timedatectl|hwclock)\b"
    r"|%\([^)]*\)T|-newer|-[acm]min\b|-[acm]time\b"
)


def test_the_dead_man_waits_for_work_and_then_stops_a_node_that_nobody_controls(
    place: LabPlace,
) -> None:
    place.lab.configure(guards=LEASE)
    single = ("--set", "nodes.l4.engine.ctx=32768", "--set", "nodes.l4.engine.parallel=1")
    up = place.json("up", *single)
    # Nobody takes samples: the monitor is dead as well.
    assert re.search("monitor +NOT ARMED", place.run("status").stdout)
    hurry(place)
    with working(place, up["endpoint"]) as answer:
        while uptime_s(place) < LEASE_S + 3:
            assert answer.readline(), "the engine was cut off in the middle of its work"
        assert place.instance()["status"] == "RUNNING"
    off = wait_until_off(place)
    assert_preempted_by(place, off, "GUARD_DEAD_MAN", "guard:dead-man")


def test_the_dead_man_has_a_rule_for_an_engine_that_is_wedged(place: LabPlace) -> None:
    place.lab.configure(guards=f"{LEASE}, unreachable_after: 3s")
    place.run("up")
    hurry(place)
    on_node(place, "systemctl", "kill", "--signal=STOP", "yoyo-engine.service")
    off = wait_until_off(place)
    assert_preempted_by(place, off, "GUARD_UNREACHABLE", "guard:dead-man")


def test_the_lifetime_cap_stops_a_node_whose_engine_is_wedged(place: LabPlace) -> None:
    place.lab.configure(guards=LIFETIME)
    place.run("up")
    on_node(place, "systemctl", "kill", "--signal=STOP", "yoyo-engine.service")
    off = wait_until_off(place)
    assert_preempted_by(place, off, "GUARD_LIFETIME", "guard:lifetime")


def test_the_platform_stops_a_machine_that_hangs(
    place: LabPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = place.json("up")
    assert guard(up, "platform-cap")["armed"]
    monkeypatch.setattr(place.lab.fake.settings, "stop_grace_s", 1)
    place.lab.host.pause(NAME)
    assert place.status()["state"] == "unknown"
    place.lab.fake.age(NAME, 8 * 3600 + 900)
    off = wait_until_off(place)
    assert_preempted_by(place, off, "GUARD_PLATFORM_CAP", "guard:platform-cap")


def test_revoked_credentials_hold_up_no_guard(
    place: LabPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.lab.configure(guards=LEASE)
    place.run("up")
    hurry(place)
    with monkeypatch.context() as changes:
        changes.setattr(place.lab.fake.auth, "revoked", True)
        off = wait_until_off(place)
        blind = place.status()
        assert blind["state"] == "unknown"
        assert "gcloud auth application-default login" in " ".join(blind["notes"])
    assert_preempted_by(place, off, "GUARD_DEAD_MAN", "guard:dead-man")


def test_the_dead_man_needs_no_metadata_server(place: LabPlace) -> None:
    place.lab.configure(guards=LEASE)
    place.run("up")
    hurry(place)
    place.lab.host.metadata_off(NAME)
    off = wait_until_off(place)
    # The node could not say why any more: all that Google knows is that it ended by itself.
    assert place.status()["state"] == "failed"
    assert_booked(place, off, "PREEMPTION", "POWERED_OFF_INSIDE", "tester")


def test_the_lifetime_cap_needs_neither_the_metadata_server_nor_the_clock(place: LabPlace) -> None:
    place.lab.configure(guards=LIFETIME)
    place.run("up")
    shown = on_node(
        place,
        *("systemctl", "show", "--property=TimersMonotonic,TimersCalendar"),
        *("yoyo-dead-man.timer", "yoyo-lifetime.timer"),
    ).stdout
    assert re.findall(r"(On\w+)USec=(\w+)", shown) == [
        ("OnBoot", "30s"), ("OnUnitInactive", "30s"), ("OnBoot", "25s"),
    ]  # fmt: skip
    assert "OnCalendar" not in shown
    place.lab.host.metadata_off(NAME)
    off = wait_until_off(place)
    assert place.status()["state"] == "failed"
    assert_booked(place, off, "PREEMPTION", "POWERED_OFF_INSIDE", "tester")


def test_nothing_on_the_node_reads_the_time_of_day(place: LabPlace) -> None:
    script = place.run("bootstrap", "render").stdout
    assert "/proc/uptime" in script
    code = [line for line in script.splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in code if WALL_CLOCK.search(line)] == []


def test_what_the_platform_does_from_outside_is_booked_as_that(
    place: LabPlace, tmp_path: Path
) -> None:
    place.run("up")
    place.lab.fake.preempt(NAME)
    assert_preempted_by(place, wait_until_off(place), "SPOT_PREEMPTED", "tester")

    place.run("up")
    google = google_for(place.lab.fake, tmp_path)
    zone = place.instance()["zone"].rpartition("/")[2]
    google.instances.stop_unary(project=PROJECT, zone=zone, instance=NAME)
    assert_preempted_by(place, wait_until_off(place), "STOPPED_OUTSIDE", "tester")


def test_a_machine_that_came_back_without_its_platform_cap_is_stopped(place: LabPlace) -> None:
    place.run("up")
    place.run("down")
    place.lab.fake.faults.add(START, drop_cap=True, times=2)
    refused = place.run("up", code=23)
    assert "platform-cap did not arm" in refused.stderr
    off = wait_until_off(place)
    assert place.status()["state"] == "failed"
    assert_booked(place, off, "TEARDOWN_COMPLETE", "GUARD_NOT_ARMED", "tester")

    place.run("up", "--allow-unguarded")
    assert not guard(place.status(), "platform-cap")["armed"]
    assert re.search("platform-cap +NOT ARMED", place.run("status").stdout)
