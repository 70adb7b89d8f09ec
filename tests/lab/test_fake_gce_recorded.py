"""The discovery checks and the fake, held against answers of GCE that others recorded.

They are the fixtures of apache-libcloud (Apache License 2.0), taken from its source package; this
repository has no copy. YOYO_LIBCLOUD_FIXTURES says where libcloud/test/compute/fixtures/gce lies.
"""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import discovery
import pytest
from fake_gce import FakeGce
from gce_clients import PROJECT, ZONE, google_for, gpu_instance
from google.cloud import compute_v1

JSON = dict[str, Any]

ROOT = Path(__file__).parents[2]
FIXTURES = Path(os.environ.get("YOYO_LIBCLOUD_FIXTURES", ROOT / ".cache/libcloud-fixtures"))

# (schema, where) -> why a recording has what today's document does not allow.
OLD: dict[tuple[str, str], str] = {
    ("MachineType(Aggregated)?List", r".*\.scratchDisks"): "gone since scratch disks are",
    ("ZoneList", r".*\.maintenanceWindows"): "zones have had none since 2014",
    ("Subnetwork", r"resource\.status"): "named state since",
    ("ImageList", r".*\.get(Resource|Display|FullResource)\w+"): "written by libcloud itself",
    ("Operation", r"resource\.id"): "libcloud's own made-up ids",
    ("Subnetwork|Network|InstanceTemplate|InstanceGroup", r"resource\.name"): "made-up names",
}


def recordings() -> Iterator[tuple[str, JSON, str]]:
    """The file's name, its JSON, and the schema that its `kind` names."""
    paths = sorted(FIXTURES.glob("*.json"))
    assert len(paths) > 200, f"no recordings in {FIXTURES}: see YOYO_LIBCLOUD_FIXTURES"
    for path in paths:
        recorded = json.loads(path.read_text())
        kind = recorded.get("kind", "").removeprefix("compute#")
        if kind:
            yield path.name, recorded, kind[0].upper() + kind[1:]


def reason_for(schema: str, where: str) -> tuple[str, str] | None:
    for known in OLD:
        if re.fullmatch(known[0], schema) and re.fullmatch(known[1], where):
            return known
    return None


def test_the_checks_accept_what_gce_once_answered() -> None:
    used, unexpected = set(), []
    for name, recorded, schema in recordings():
        for problem in discovery.load().check(schema, recorded, "response"):
            known = reason_for(schema, problem.where)
            used.add(known)
            if known is None:
                unexpected.append((name, problem))
    assert unexpected == []
    assert used == set(OLD)  # an exception that nothing needs any more goes


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> JSON:
    """What the fake answers, by schema, with every kind of resource there."""
    with FakeGce() as fake:
        google = google_for(fake, tmp_path_factory.mktemp("key"))
        google.up(gpu_instance())
        snapshot = compute_v1.Snapshot(name="kept", description="d")
        google.done(
            google.disks.create_snapshot_unary(
                project=PROJECT, zone=ZONE, disk="node", snapshot_resource=snapshot
            )
        )
        rule = compute_v1.Firewall(
            name="yoyo",
            allowed=[compute_v1.Allowed(I_p_protocol="tcp")],
            source_tags=["a"],
            target_tags=["b"],
            description="d",
        )
        firewalls = google.client(compute_v1.FirewallsClient)
        google.done(firewalls.insert_unary(project=PROJECT, firewall_resource=rule))
        fake.add_address("left", "us-central1")
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}
        token = fake.auth.grant(form)[1]["access_token"]
        operation = fake.operations("node")[0]["name"]
        zone, region = f"zones/{ZONE}", "regions/us-central1"
        targets = {
            "Instance": f"{zone}/instances/node",
            "InstanceList": f"{zone}/instances",
            "InstanceAggregatedList": "aggregated/instances",
            "Operation": f"{zone}/operations/{operation}",
            "Disk": f"{zone}/disks/node",
            "DiskAggregatedList": "aggregated/disks",
            "Snapshot": "global/snapshots/kept",
            "Firewall": "global/firewalls/yoyo",
            "AddressAggregatedList": "aggregated/addresses",
            "Zone": zone,
            "Region": region,
            "Network": "global/networks/default",
            "Subnetwork": f"{region}/subnetworks/default",
            "MachineType": f"{zone}/machineTypes/g2-standard-4",
            "Project": "",
        }
        return {schema: fetched(fake, target, token) for schema, target in targets.items()}


def fetched(fake: FakeGce, target: str, token: str) -> JSON:
    connection = http.client.HTTPConnection("127.0.0.1", fake.port)
    try:
        path = f"/compute/v1/projects/{PROJECT}/{target}".rstrip("/")
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer: JSON = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("schema", "name", "absent"),
    [
        ("Instance", "zones_us-central1-a_instances_lcnode-000.json", set()),
        ("InstanceList", "zones_us-central1-a_instances.json", set()),
        ("InstanceAggregatedList", "aggregated_instances.json", set()),
        ("Operation", "operations_operation_zones_us-central1-a_instances_post.json", set()),
        # Whoever made the recorded disk gave it a description.
        ("Disk", "zones_us-central1-a_disks_lcdisk.json", {"description"}),
        ("DiskAggregatedList", "aggregated_disks.json", set()),
        ("Snapshot", "global_snapshots_lcsnapshot.json", set()),
        ("Firewall", "global_firewalls_lcfirewall.json", {"sourceServiceAccounts"}),
        ("AddressAggregatedList", "aggregated_addresses.json", set()),
        ("Zone", "zones_us-central1-a.json", set()),
        ("Region", "regions_us-central1.json", set()),
        # The recorded network is a legacy one, with one range instead of subnetworks.
        ("Network", "global_networks_default.json", {"IPv4Range", "gatewayIPv4"}),
        ("Subnetwork", "regions_us-central1_subnetworks_subnet_1.json", set()),
        ("MachineType", "zones_us-central1-a_machineTypes_n1-standard-1.json", {"imageSpaceGb"}),
        ("Project", "project.json", {"usageExportLocation", "description"}),
    ],
)
def test_the_fake_answers_with_what_gce_answered(
    answers: JSON, schema: str, name: str, absent: set[str]
) -> None:
    recorded = json.loads((FIXTURES / name).read_text())
    assert set(recorded) - set(answers[schema]) == absent
    shared = set(recorded) & set(answers[schema])
    assert {key: type(answers[schema][key]) for key in shared} == {
        key: type(recorded[key]) for key in shared
    }
