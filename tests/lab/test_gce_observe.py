"""The GCE driver looks: what is seen, what is not known, and why a machine stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from gce_clients import PROJECT, ZONE
from gce_parts import FORMER, LIFE, NAME, NEXT_LIFE, SET_LABELS, START, Rig, rig
from gce_state import stamp
from light_host import identity

from yoyo.drivers.gce.memory import parse_time
from yoyo.errors import CloudDenied
from yoyo.model.machine import Clocks, MachineState, Observation, StopCause


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Rig]:
    """With machines that serve."""
    with rig(tmp_path, machines=True) as made:
        yield made


def look(lab: Rig) -> Observation:
    return lab.machines().observe(lab.node)


def guards(seen: Observation) -> dict[str, bool]:
    return {guard.name: guard.armed for guard in seen.guards}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROVISIONING", MachineState.PROVISIONING),
        ("STAGING", MachineState.PROVISIONING),
        ("RUNNING", MachineState.RUNNING),
        ("STOPPING", MachineState.STOPPING),
        ("TERMINATED", MachineState.STOPPED),
        ("REPAIRING", MachineState.UNKNOWN),
    ],
)
def test_googles_states(lab: Rig, status: str, state: MachineState) -> None:
    lab.up()
    lab.alter(status=status)
    seen = look(lab)
    assert (seen.state, seen.request_id) == (state, LIFE)


def test_what_is_not_there_is_absent(lab: Rig) -> None:
    assert look(lab) == Observation(MachineState.ABSENT)


def test_what_is_not_ours_says_so(lab: Rig) -> None:
    lab.foreign()
    seen = look(lab)
    assert (seen.state, seen.request_id) == (MachineState.RUNNING, "")
    assert "not ours" in seen.detail
    assert seen.guards == ()


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("zone", [ZONE, "europe-west4-c"])
def test_a_zone_that_is_silent_never_makes_a_machine_absent(
    lab: Rig, partial: bool, zone: str
) -> None:
    lab.fake.settings.partial_lists = partial
    lab.fake.settings.unreachable_zones = {zone}
    seen = look(lab)
    assert seen.state is MachineState.UNKNOWN
    assert "cannot be reached" in seen.detail


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_api_that_fails_is_unknown(lab: Rig, status: int) -> None:
    lab.up()
    lab.fake.faults.add(http=status, times=0)
    seen = look(lab)
    assert seen.state is MachineState.UNKNOWN
    assert "Google's API" in seen.detail


def test_an_api_that_fails_once_is_asked_again(lab: Rig) -> None:
    lab.up()
    lab.fake.faults.add(http=503, times=2)
    assert look(lab).state is MachineState.RUNNING


def test_an_api_that_is_not_there_is_unknown(lab: Rig) -> None:
    node = lab.but(api_endpoint="http://127.0.0.1:9")
    assert lab.machines().observe(node).state is MachineState.UNKNOWN


def test_revoked_credentials_are_unknown_and_say_what_to_do(lab: Rig) -> None:
    lab.up()
    lab.fake.auth.revoked = True
    seen = look(lab)
    assert seen.state is MachineState.UNKNOWN
    assert "gcloud auth application-default login" in seen.detail


def test_missing_credentials_are_unknown_and_say_what_to_do(
    lab: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(lab.place / "none.json"))
    seen = look(lab)
    assert seen.state is MachineState.UNKNOWN
    assert "GOOGLE_APPLICATION_CREDENTIALS" in seen.detail


def test_expired_tokens_are_renewed_in_silence(lab: Rig) -> None:
    machines = lab.up()
    lab.fake.auth.expire_tokens()
    assert machines.observe(lab.node).state is MachineState.RUNNING


@pytest.mark.parametrize("method", [SET_LABELS, START])
def test_the_start_of_the_life_before_is_not_taken_for_a_new_one(lab: Rig, method: str) -> None:
    lab.up()
    lab.down()
    lab.fake.faults.add(method, http=403, times=0)
    with pytest.raises(CloudDenied):
        lab.up(NEXT_LIFE)
    seen = look(lab)
    assert seen.state is MachineState.STOPPED
    assert (seen.started_at, seen.stopped_at, seen.stop_cause) == (None, None, None)
    lab.fake.faults.clear()
    lab.up(NEXT_LIFE)
    seen = look(lab)
    assert (seen.state, seen.request_id) == (MachineState.RUNNING, NEXT_LIFE)
    assert seen.started_at == parse_time(lab.instance()["lastStartTimestamp"])


def test_what_the_boot_before_said_is_not_believed(lab: Rig) -> None:
    lab.up()
    lab.publish(FORMER, guards="dead-man=1 lifetime=2", phase="failed weights")
    seen = look(lab)
    assert seen.failed == ""
    assert guards(seen) == {"dead-man": False, "lifetime": False, "platform-cap": True}


def test_guards_are_what_is_armed(lab: Rig) -> None:
    machines = lab.up()
    assert guards(look(lab)) == {"dead-man": False, "lifetime": False, "platform-cap": True}
    lab.publish(guards="lifetime=28800")
    assert guards(look(lab)) == {"dead-man": False, "lifetime": True, "platform-cap": True}
    lab.publish(guards="dead-man=2700 lifetime=28800")
    seen = look(lab)
    assert guards(seen) == {name: True for name, _ in machines.caps(lab.node)}
    started = parse_time(lab.instance()["lastStartTimestamp"])
    assert started is not None
    fires = {guard.name: guard.fires_at for guard in seen.guards}
    assert fires["lifetime"] == started + timedelta(seconds=28800)


def test_a_platform_cap_that_google_did_not_arm_is_not_reported(lab: Rig) -> None:
    lab.fake.faults.add("compute.instances.insert", drop_cap=True)
    lab.up()
    assert guards(look(lab))["platform-cap"] is False


def test_a_step_that_failed_says_which_and_why(lab: Rig) -> None:
    lab.up()
    why = "failed 40 12 the mirror answers 404; set weights.mirrors"
    lab.publish(phase="failed weights", step_weights=why, tail_weights="curl: (22) 404\n")
    seen = look(lab)
    assert seen.failed == "step weights failed: the mirror answers 404; set weights.mirrors"
    assert seen.log_tail == ("curl: (22) 404",)


# Why a machine stopped.


def ended(lab: Rig) -> Observation:
    lab.fake.wait_for(NAME, "TERMINATED")
    seen = look(lab)
    assert seen.state is MachineState.STOPPED
    assert seen.started_at is not None
    assert seen.stopped_at == parse_time(lab.instance()["lastStopTimestamp"])
    return seen


def test_preempted(lab: Rig) -> None:
    lab.machines().create(lab.but(provisioning="spot"), LIFE)
    lab.fake.preempt(NAME)
    assert ended(lab).stop_cause is StopCause.PREEMPTED


def test_broken_hardware(lab: Rig) -> None:
    lab.up()
    lab.fake.host_error(NAME)
    assert ended(lab).stop_cause is StopCause.HOST_ERROR


def test_powered_off_from_inside(lab: Rig) -> None:
    lab.up()
    lab.publish()
    lab.fake.power_off(NAME)
    assert ended(lab).stop_cause is StopCause.POWERED_OFF


@pytest.mark.parametrize("by", ["yoyo", "console"])
def test_stopped_by_order(lab: Rig, by: str) -> None:
    machines = lab.up()
    if by == "yoyo":
        machines.stop(lab.node)
    else:
        lab.google.instances.stop_unary(project=PROJECT, zone=ZONE, instance=NAME)
    assert ended(lab).stop_cause is StopCause.ORDERED


@pytest.mark.parametrize("kind", ["stop", "compute.instances.somethingGoogleMayCallIt"])
def test_stopped_by_the_platforms_cap(lab: Rig, kind: str) -> None:
    lab.fake.settings.cap_operation_type = kind
    machines = lab.up()
    cap = timedelta(seconds=dict(machines.caps(lab.node))["platform-cap"])
    started = parse_time(lab.instance()["lastStartTimestamp"])
    assert started is not None
    lab.alter(lastStartTimestamp=stamp(started - cap))
    with lab.fake.cloud.changed:
        lab.fake.cloud.vms[lab.fake.cloud.instance_path(NAME)].cap_at = time.time()
        lab.fake.cloud.touch()
    assert ended(lab).stop_cause is StopCause.PLATFORM_CAP


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (f"{LIFE} lifetime", StopCause.LIFETIME),
        (f"{LIFE} dead-man", StopCause.DEAD_MAN),
        (f"{LIFE} unreachable", StopCause.UNREACHABLE),
        (f"{FORMER} lifetime", StopCause.POWERED_OFF),  # of another life
        (f"{LIFE} preempted", StopCause.POWERED_OFF),  # not the node's to say
        ("lifetime", StopCause.POWERED_OFF),
    ],
)
def test_what_a_guard_says_before_it_powers_off(lab: Rig, said: str, cause: StopCause) -> None:
    lab.up()
    lab.publish(stop_cause=said)
    lab.fake.power_off(NAME)
    assert ended(lab).stop_cause is cause


def test_a_cause_that_cannot_be_asked_for_is_unknown(lab: Rig) -> None:
    lab.up()
    lab.fake.preempt(NAME)
    lab.fake.wait_for(NAME, "TERMINATED")
    lab.fake.faults.add("compute.zoneOperations.list", http=403, times=0)
    assert look(lab).stop_cause is StopCause.UNKNOWN


def test_a_stop_of_the_life_before_is_no_cause(lab: Rig) -> None:
    lab.up()
    lab.down()
    lab.up(NEXT_LIFE)
    lab.fake.preempt(NAME)
    assert ended(lab).stop_cause is StopCause.PREEMPTED


# A node that answers for itself.


def test_a_node_that_answers_is_not_asked_through_google(live: Rig) -> None:
    live.up()
    first = live.until(lambda seen: seen.endpoint is not None)
    before = len(live.fake.calls)
    live.fake.faults.add(http=503, times=0)  # status works though Google is down
    seen = look(live)
    assert len(live.fake.calls) == before
    assert (seen.state, seen.request_id) == (MachineState.RUNNING, LIFE)
    assert (seen.started_at, seen.endpoint) == (first.started_at, first.endpoint)
    assert [guard[:3] for guard in seen.guards] == [guard[:3] for guard in first.guards]
    assert all(guard.detail.startswith("as seen at ") for guard in seen.guards)


def test_a_node_that_is_silent_is_looked_for_at_google(live: Rig) -> None:
    live.up()
    live.until(lambda seen: seen.endpoint is not None)
    live.fake.preempt(NAME)
    live.fake.wait_for(NAME, "TERMINATED")
    before = len(live.fake.calls)
    assert look(live).state is MachineState.STOPPED
    assert len(live.fake.calls) > before


def test_a_node_whose_engine_died_is_still_running(live: Rig) -> None:
    live.up()
    live.until(lambda seen: seen.endpoint is not None)
    assert live.host is not None
    engine = live.host.node(NAME)
    assert engine is not None
    engine.close()
    assert look(live).state is MachineState.RUNNING


def test_another_machine_at_the_same_address_is_not_believed(live: Rig) -> None:
    live.up()
    live.until(lambda seen: seen.endpoint is not None)
    place = live.place / "one" / "nodes" / "l4" / "seen.json"
    place.write_text(place.read_text().replace(identity().cert_sha256, "0" * 64))
    before = len(live.fake.calls)
    look(live)
    assert len(live.fake.calls) > before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"zone": 7}', "[" * 100_000])
def test_a_spoilt_cache_is_as_none(live: Rig, text: str) -> None:
    live.up()
    seen = live.until(lambda seen: seen.endpoint is not None)
    (live.place / "one" / "nodes" / "l4" / "seen.json").write_text(text)
    again = look(live)
    assert (again.state, again.endpoint) == (seen.state, seen.endpoint)


def test_distances_of_clocks_are_remembered_and_checked(live: Rig) -> None:
    live.up()
    live.until(lambda seen: seen.endpoint is not None)
    place = live.place / "one" / "nodes" / "l4" / "seen.json"
    kept = json.loads(place.read_text())
    for told, found in (
        ({"node_s": 3, "here_s": -12}, Clocks(3, -12)),
        ({"node_s": "3", "here_s": True}, Clocks()),
        ({"node_s": 1.5, "here_s": 10**13}, Clocks()),
        ({}, Clocks()),
    ):
        place.write_text(json.dumps({**kept, "clocks": told}))
        assert look(live).clocks == found
