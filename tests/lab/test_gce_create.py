"""The GCE driver makes a machine: what it asks for, and what an unclear answer leads to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gce_clients import ZONE
from gce_parts import (
    FORMER,
    INSERT,
    LIFE,
    NAME,
    NEXT_LIFE,
    SET_LABELS,
    SET_METADATA,
    START,
    Rig,
    in_thread,
    rig,
)

from yoyo.errors import CloudDenied, CloudRefused, CloudUnavailable, ForeignNode
from yoyo.model.machine import MachineState
from yoyo.model.settings import NodeSettings

CHANGING = {"insert", "start", "stop", "delete", "setMetadata", "setLabels", "setScheduling"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def metadata(lab: Rig) -> dict[str, str]:
    return {item["key"]: item["value"] for item in lab.instance()["metadata"]["items"]}


def seconds_of(node: NodeSettings) -> int:
    return node.guards.lifetime_s + 900


def test_the_instance_is_labelled_capped_and_closed(lab: Rig) -> None:
    lab.up()
    made = lab.instance()
    labels = {"yoyo-node": "l4", "yoyo-module": "demo", "yoyo-request": LIFE}
    assert made["labels"] == labels
    scheduling = made["scheduling"]
    assert scheduling["onHostMaintenance"] == "TERMINATE"
    assert scheduling["automaticRestart"] is False
    assert scheduling["provisioningModel"] == "STANDARD"
    assert scheduling["maxRunDuration"] == {"seconds": str(seconds_of(lab.node))}
    assert scheduling["instanceTerminationAction"] == "STOP"
    assert made["resourceStatus"]["scheduling"]["terminationTimestamp"]
    assert made["shieldedInstanceConfig"]["enableVtpm"] is True
    assert made["shieldedInstanceConfig"]["enableIntegrityMonitoring"] is True
    assert not made.get("serviceAccounts")
    assert made["tags"]["items"] == ["yoyo"]
    told = metadata(lab)
    assert told["block-project-ssh-keys"] == "TRUE"
    assert told["enable-guest-attributes"] == "TRUE"
    assert told["enable-oslogin"] == "FALSE"
    assert told["yoyo-request"] == LIFE
    assert told["ssh-keys"].startswith("yoyo:ssh-ed25519 ")
    assert told["startup-script"].startswith("#!/usr/bin/env bash")


def test_the_disk_is_made_by_the_insert_and_goes_with_the_instance(lab: Rig) -> None:
    lab.up()
    (disk,) = lab.instance()["disks"]
    assert (disk["boot"], disk["autoDelete"]) == (True, True)
    assert lab.fake.called("compute.disks.insert") == 0
    (path,) = lab.fake.paths("disks")
    resource = lab.fake.cloud.resources[path]
    assert resource["name"] == NAME
    assert resource["labels"] == lab.instance()["labels"]
    assert (resource["sizeGb"], resource["type"].rsplit("/", 1)[-1]) == ("100", "pd-balanced")


def test_a_service_account_is_given_with_the_reading_of_storage_alone(lab: Rig) -> None:
    account = "node@lab-project.iam.gserviceaccount.com"
    lab.machines().create(lab.but(service_account=account), LIFE)
    (given,) = lab.instance()["serviceAccounts"]
    assert given["email"] == account
    assert given["scopes"] == ["https://www.googleapis.com/auth/devstorage.read_only"]


def test_no_secret_is_in_the_metadata_and_none_is_readable_by_others(lab: Rig) -> None:
    lab.up()
    place = lab.place / "one" / "nodes" / "l4"
    bearer = (place / "key").read_text().strip()
    assert len(bearer) == 64
    lab.publish()
    lab.machines().hand_over(lab.node)
    assert metadata(lab)["yoyo-key"]
    assert bearer not in json.dumps(lab.fake.cloud.resources)
    assert "PRIVATE KEY" not in json.dumps(lab.instance())
    assert {each.name: oct(each.stat().st_mode & 0o077) for each in place.iterdir()} == {
        each.name: "0o0" for each in place.iterdir()
    }


def test_every_call_that_changes_something_carries_a_request_id(lab: Rig) -> None:
    lab.up()
    lab.publish()
    machines = lab.machines()
    machines.hand_over(lab.node)
    machines.renew_lease(lab.node)
    lab.down()
    lab.alter(scheduling={**lab.instance()["scheduling"], "automaticRestart": True})
    lab.up(NEXT_LIFE)
    lab.down()
    machines.delete(lab.node)
    called = {call.method.rsplit(".", 1)[-1] for call in lab.fake.calls}
    assert called >= CHANGING
    assert lab.unlabelled_calls() == set()


UNCLEAR: list[dict[str, Any]] = [
    {"http": 503, "after": True},
    {"http": 503},
    {"http": 500, "after": True},
    {"reset": "before"},
    {"reset": "after"},
    {"http": 429, "reason": "rateLimitExceeded"},
    {"http": 409, "after": True},
]


@pytest.mark.parametrize("effect", UNCLEAR)
def test_an_insert_with_an_unclear_answer_makes_one_machine(
    lab: Rig, effect: dict[str, Any]
) -> None:
    lab.fake.faults.add(INSERT, **effect)
    lab.up()
    assert lab.zones() == lab.zones("disks") == [ZONE]
    lab.fake.wait_for(NAME, "RUNNING")
    assert len([o for o in lab.fake.operations(NAME) if o["operationType"] == "insert"]) == 1


def test_answers_that_never_come_end_in_one_machine_all_the_same(lab: Rig) -> None:
    lab.fake.faults.add(INSERT, http=503, after=True, times=0)
    with pytest.raises(CloudUnavailable) as refusal:
        lab.up()
    assert "yoyo status" in refusal.value.fix
    assert lab.machines().observe(lab.node).request_id == LIFE
    lab.fake.faults.clear()
    lab.up()
    assert lab.zones() == [ZONE]


def test_a_start_that_was_killed_makes_no_second_machine(lab: Rig) -> None:
    lab.fake.faults.add(INSERT, http=503, after=True, times=5)
    with pytest.raises(CloudUnavailable):
        lab.up()
    before = lab.fake.wait_for(NAME, "RUNNING")
    # What is new may be missing from Google's lists for a while.
    lab.fake.settings.zones = tuple(zone for zone in lab.fake.settings.zones if zone != ZONE)
    lab.up()
    assert lab.zones() == [ZONE]
    assert lab.instance() == before


@pytest.mark.parametrize("labels", [{}, {"yoyo_node": "l4", "yoyo_request": FORMER}])
def test_a_machine_that_somebody_makes_in_between_is_left_alone(
    lab: Rig, labels: dict[str, str]
) -> None:
    before: list[dict[str, Any]] = []

    def meanwhile() -> None:
        if not before:
            before.append(lab.foreign(**labels))

    lab.clock.on_sleep = meanwhile
    lab.fake.faults.add(INSERT, http=503)
    with pytest.raises(ForeignNode) as refusal:
        lab.up()
    assert ZONE in refusal.value.what
    assert lab.instance() == before[0]


def test_somebody_elses_machine_of_our_name_is_never_touched(lab: Rig) -> None:
    before = lab.foreign(purpose="training")
    machines = lab.machines()
    with pytest.raises(ForeignNode) as refusal:
        machines.create(lab.node, LIFE)
    assert "another name" in refusal.value.fix
    with pytest.raises(ForeignNode):
        machines.stop(lab.node)
    machines.renew_lease(lab.node)
    machines.hand_over(lab.node)
    machines.delete(lab.node)
    assert lab.instance() == before
    assert lab.zones("disks") == [ZONE]


def test_somebody_elses_machine_at_rest_is_not_started(lab: Rig) -> None:
    lab.foreign()
    stop = lab.google.instances.stop_unary(project="lab-project", zone=ZONE, instance=NAME)
    lab.google.done(stop)
    before = lab.instance()
    with pytest.raises(ForeignNode):
        lab.up()
    lab.machines().delete(lab.node)
    assert lab.instance() == before


def test_two_controllers_at_once_make_one_machine(lab: Rig) -> None:
    lives = {"one": LIFE, "two": NEXT_LIFE}
    ends = [
        in_thread(lambda who=who, life=life: lab.machines(who).create(lab.node, life))  # type: ignore[misc]
        for who, life in lives.items()
    ]
    raised = [end() for end in ends]
    assert sorted(type(each).__name__ for each in raised) == ["ForeignNode", "NoneType"]
    assert lab.zones() == [ZONE]
    winner = list(lives.values())[raised.index(None)]
    assert lab.machines().observe(lab.node).request_id == winner


@pytest.mark.parametrize(
    ("effect", "kind", "remedy"),
    [
        ({"http": 401}, CloudDenied, "gcloud auth application-default login"),
        ({"http": 403, "reason": "forbidden"}, CloudDenied, "yoyo doctor"),
        ({"http": 400, "reason": "invalid", "message": "no such thing"}, CloudRefused, "Correct"),
    ],
)
def test_a_refusal_ends_the_start_at_once(
    lab: Rig, effect: dict[str, Any], kind: type[Exception], remedy: str
) -> None:
    lab.fake.faults.add(INSERT, times=0, **effect)
    with pytest.raises(kind) as refusal:
        lab.up()
    assert remedy in getattr(refusal.value, "fix", "")
    assert set(lab.tried()) == {ZONE}
    assert lab.zones() == lab.zones("disks") == []
    assert lab.clock.skipped == 0


@pytest.mark.parametrize("method", [SET_METADATA, SET_LABELS, START])
@pytest.mark.parametrize("effect", [{"http": 503, "after": True}, {"reset": "before"}])
def test_a_restart_survives_unclear_answers(lab: Rig, method: str, effect: dict[str, Any]) -> None:
    lab.up()
    lab.down()
    lab.fake.faults.add(method, **effect)
    lab.up(NEXT_LIFE)
    assert lab.instance()["labels"]["yoyo-request"] == NEXT_LIFE
    assert metadata(lab)["yoyo-request"] == NEXT_LIFE
    seen = lab.machines().observe(lab.node)
    assert (seen.state, seen.request_id) == (MachineState.RUNNING, NEXT_LIFE)


def test_a_restart_arms_a_cap_that_is_gone(lab: Rig) -> None:
    lab.up()
    lab.down()
    kept = {k: v for k, v in lab.instance()["scheduling"].items() if "un" not in k[:8]}
    kept.pop("maxRunDuration", None)
    kept.pop("instanceTerminationAction", None)
    lab.alter(scheduling=kept)
    lab.up(NEXT_LIFE)
    assert lab.instance()["scheduling"]["maxRunDuration"] == {"seconds": str(seconds_of(lab.node))}
    assert lab.instance()["resourceStatus"]["scheduling"]["terminationTimestamp"]


def test_a_restart_waits_for_a_stop_that_is_under_way(lab: Rig) -> None:
    lab.up()
    lab.fake.settings.stopping_s = 0.1
    lab.machines().stop(lab.node)
    lab.fake.wait_for(NAME, "STOPPING")
    lab.up(NEXT_LIFE)
    assert lab.instance()["status"] == "RUNNING"
    assert lab.instance()["labels"]["yoyo-request"] == NEXT_LIFE


def test_labels_that_others_put_on_it_stay(lab: Rig) -> None:
    lab.up()
    lab.down()
    lab.alter(labels={**lab.instance()["labels"], "cost-centre": "7"})
    lab.up(NEXT_LIFE)
    assert lab.instance()["labels"]["cost-centre"] == "7"


def test_metadata_that_somebody_changes_meanwhile_is_kept(lab: Rig) -> None:
    machines = lab.up()
    before = metadata(lab)["yoyo-lease"]

    def meanwhile() -> None:
        lab.clock.on_sleep = lambda: None
        kept = lab.instance()["metadata"]
        kept["items"].append({"key": "theirs", "value": "1"})
        lab.alter(metadata={**kept, "fingerprint": "bmV3"})

    lab.clock.on_sleep = meanwhile
    lab.fake.faults.add(SET_METADATA, http=412, reason="conditionNotMet")
    machines.renew_lease(lab.node)
    assert metadata(lab)["theirs"] == "1"
    assert metadata(lab)["yoyo-lease"] > before
