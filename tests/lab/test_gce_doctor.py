"""`doctor` on the GCE driver: every check green on a project in order, and red when it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gce_parts import LIFE, Rig, rig
from gce_state import Settings

from yoyo.drivers.gce.prerequisites import PERMISSIONS
from yoyo.model.settings import NodeSettings

CHECKS = (
    "credentials", "permissions", "zones", "quota", "image", "network", "firewall", "drift",
    "platform cap",
)  # fmt: skip
Results = dict[str, tuple[bool, str, str]]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def doctor(lab: Rig, node: NodeSettings | None = None) -> Results:
    rows = lab.machines().prerequisites(node or lab.node)
    return {name: (ok, finding, remedy) for name, ok, finding, remedy in rows}


def red(results: Results) -> dict[str, tuple[str, str]]:
    return {name: (why, remedy) for name, (ok, why, remedy) in results.items() if not ok}


def only(results: Results, name: str) -> tuple[str, str]:
    """The one check that is red."""
    found = red(results)
    assert set(found) == {name}, found
    return found[name]


def test_everything_is_green_before_the_first_start_and_after_it(lab: Rig) -> None:
    before = doctor(lab)
    assert tuple(before) == CHECKS
    assert red(before) == {}
    assert all(why and not remedy for _, why, remedy in before.values())
    lab.up()
    assert red(doctor(lab)) == {}
    lab.down()
    assert red(doctor(lab)) == {}


def test_doctor_changes_nothing(lab: Rig) -> None:
    before = dict(lab.fake.cloud.resources)
    doctor(lab)
    assert lab.fake.cloud.resources == before


def test_revoked_credentials_leave_nothing_else_to_ask(lab: Rig) -> None:
    lab.fake.auth.revoked = True
    results = doctor(lab)
    assert set(results) == {"credentials"}
    assert "gcloud auth application-default login" in only(results, "credentials")[1]


def test_an_api_that_is_not_enabled(lab: Rig) -> None:
    lab.fake.faults.add(http=403, reason="accessNotConfigured", times=0)
    _, remedy = only(doctor(lab), "credentials")
    assert "gcloud services enable compute.googleapis.com --project lab-project" in remedy


def test_a_project_of_somebody_else(lab: Rig) -> None:
    _, remedy = only(doctor(lab, lab.but(project="not-mine")), "credentials")
    assert remedy


@pytest.mark.parametrize("missing", PERMISSIONS)
def test_each_permission_that_is_missing_is_named(lab: Rig, missing: str) -> None:
    lab.fake.settings.denied_permissions = (missing,)
    why, remedy = only(doctor(lab), "permissions")
    assert why == f"missing: {missing}"
    assert "roles/compute" in remedy


@pytest.mark.parametrize(
    ("changes", "check", "named"),
    [
        ({"zones": ("us-central1-a", "us-central9-z")}, "zones", "us-central9-z"),
        ({"machine_type": "g2-standard-400"}, "zones", "g2-standard-400"),
        ({"image": "projects/lab-project/global/images/none"}, "image", "does not exist"),
        ({"image": "projects/p/global/images/family/none"}, "image", ""),
        ({"disk_gb": 20}, "image", "needs 50 GB"),
        ({"network": "none"}, "network", "none"),
        ({"subnetwork": "none"}, "network", "us-central1, us-east1"),
        ({"controller": "auto"}, "firewall", "address"),
    ],
)
def test_what_the_configuration_has_wrong(
    lab: Rig, changes: dict[str, Any], check: str, named: str
) -> None:
    results = red(doctor(lab, lab.but(**changes)))
    assert check in results
    why, remedy = results[check]
    assert named in why
    assert remedy


def test_an_image_that_is_obsolete(lab: Rig) -> None:
    (path,) = [path for path in lab.fake.paths("images") if "deeplearning" in path]
    with lab.fake.cloud.changed:
        lab.fake.cloud.resources[path]["deprecated"] = {"state": "OBSOLETE"}
    assert "obsolete" in only(doctor(lab), "image")[0]


def test_a_zone_that_is_down(lab: Rig) -> None:
    with lab.fake.cloud.changed:
        lab.fake.cloud.resources["projects/lab-project/zones/us-central1-b"]["status"] = "DOWN"
    assert "us-central1-b" in only(doctor(lab), "zones")[0]


def test_a_zone_without_the_machine(tmp_path: Path) -> None:
    with rig(tmp_path, Settings(zones_without_gpu=("us-east1-b",))) as lab:
        assert "no g2-standard-4 in us-east1-b" in only(doctor(lab), "zones")[0]


@pytest.mark.parametrize(
    ("quotas", "provisioning", "green"),
    [
        ({"GPUS_ALL_REGIONS": 0}, "standard", False),
        ({"NVIDIA_L4_GPUS": 0}, "standard", False),
        ({"NVIDIA_L4_GPUS": 0}, "spot", True),
        ({"PREEMPTIBLE_NVIDIA_L4_GPUS": 0}, "spot", False),
        ({"PREEMPTIBLE_NVIDIA_L4_GPUS": 0}, "standard", True),
        ({"PREEMPTIBLE_NVIDIA_L4_GPUS": 0}, "spot-then-standard", True),
    ],
)
def test_quota_for_one_machine_more(
    lab: Rig, quotas: dict[str, float], provisioning: str, green: bool
) -> None:
    for metric, limit in quotas.items():
        kept = lab.fake.settings
        (kept.quotas if metric == "GPUS_ALL_REGIONS" else kept.region_quotas)[metric] = limit
    results = doctor(lab, lab.but(provisioning=provisioning))
    assert results["quota"][0] is green
    if not green:
        why, remedy = only(results, "quota")
        assert next(iter(quotas)) in why
        assert "quotas" in remedy


def test_a_quota_that_the_node_itself_uses_up_is_no_finding(lab: Rig) -> None:
    lab.fake.settings.quotas["GPUS_ALL_REGIONS"] = 1
    lab.up()
    assert red(doctor(lab)) == {}


def test_a_firewall_rule_that_is_open(lab: Rig) -> None:
    lab.up()
    path = "projects/lab-project/global/firewalls/yoyo-ssh"
    with lab.fake.cloud.changed:
        lab.fake.cloud.resources[path]["sourceRanges"] = ["0.0.0.0/0"]
    why, remedy = only(doctor(lab), "firewall")
    assert "0.0.0.0/0" in why
    assert "--replace-firewall" in remedy


def other_cap(lab: Rig) -> None:
    scheduling = lab.instance()["scheduling"]
    lab.alter(scheduling={**scheduling, "maxRunDuration": {"seconds": "9999999"}})


def other_machine(lab: Rig) -> None:
    lab.alter(machineType=lab.instance()["machineType"].replace("g2-standard-4", "e2-small"))


def restarts_itself(lab: Rig) -> None:
    lab.alter(scheduling={**lab.instance()["scheduling"], "automaticRestart": True})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (other_cap, "maxRunDuration"),
        (other_machine, "machine type is e2-small"),
        (restarts_itself, "automaticRestart is True"),
    ],
)
def test_an_instance_that_is_not_as_configured(
    lab: Rig, change: Callable[[Rig], None], named: str
) -> None:
    lab.up()
    change(lab)
    why, remedy = only(doctor(lab), "drift")
    assert named in why
    assert remedy


def test_an_instance_in_a_zone_that_is_not_configured(lab: Rig) -> None:
    lab.up()
    assert "zone is us-central1-a" in only(doctor(lab, lab.but(zones=("us-east1-b",))), "drift")[0]


def test_an_instance_that_is_not_ours(lab: Rig) -> None:
    lab.foreign()
    found = red(doctor(lab))
    assert "not yoyo's" in found["drift"][0]


def test_a_cap_that_google_did_not_arm(lab: Rig) -> None:
    lab.fake.faults.add("compute.instances.insert", drop_cap=True)
    lab.machines().create(lab.node, LIFE)
    assert "will not stop" in only(doctor(lab), "platform cap")[0]


def test_a_check_that_cannot_be_made_is_red_and_the_others_go_on(lab: Rig) -> None:
    lab.fake.faults.add("compute.zones.list", http=403, reason="forbidden", times=0)
    assert "forbidden" in only(doctor(lab), "zones")[0]
