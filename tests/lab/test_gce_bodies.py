"""What the GCE driver sends, for any configuration: as Google documents it, capped and closed."""

from __future__ import annotations

import json
from typing import Any

import discovery
import pytest
from cloud import GCE, IMAGE, ZONES
from gce_parts import LIFE
from hypothesis import given
from hypothesis import strategies as st
from sample_node import NODE

from yoyo.core.failover import Attempt
from yoyo.drivers.gce import bodies
from yoyo.errors import ConfigInvalid
from yoyo.model.ids import NodeName
from yoyo.model.settings import GceSettings, NodeSettings

UBUNTU = (
    "projects/ubuntu-os-accelerator-images/global/images/family/"
    "ubuntu-accelerator-2404-amd64-with-nvidia-580"
)
ADDRESSES = st.ip_addresses(v=4).map(str)
SETTINGS = st.builds(
    GCE._replace,
    image=st.sampled_from((IMAGE, UBUNTU)),
    subnetwork=st.sampled_from((None, "private")),
    traffic=st.sampled_from(("tls", "tunnel", "vpc")),
    ssh_from=st.sampled_from(("controller", "iap")),
    service_account=st.sampled_from((None, "a@b.iam.gserviceaccount.com")),
    disk_gb=st.integers(10, 65_536),
)
LIFETIMES = st.integers(1, 400 * 86_400)
KINDS = st.builds(Attempt, st.sampled_from(ZONES), st.booleans())


def node(gce: GceSettings, lifetime_s: int = 28_800) -> NodeSettings:
    return NODE._replace(gce=gce, guards=NODE.guards._replace(lifetime_s=lifetime_s))


def problems(schema: str, body: dict[str, Any]) -> list[discovery.Problem]:
    """What Google's discovery document has against a body."""
    return list(discovery.load().check(schema, body, "request"))


@given(SETTINGS, LIFETIMES, KINDS, st.sampled_from(("", "yoyo-local-move")))
def test_an_instance_is_googles_own_form_and_always_stops(
    gce: GceSettings, lifetime_s: int, attempt: Attempt, snapshot: str
) -> None:
    wanted = node(gce, lifetime_s)
    body = bodies.instance(wanted, attempt, LIFE, {"yoyo-request": LIFE}, snapshot)
    assert problems("Instance", body) == []
    scheduling = body["scheduling"]
    assert scheduling["provisioningModel"] == ("SPOT" if attempt.spot else "STANDARD")
    assert scheduling["instanceTerminationAction"] == "STOP"
    assert scheduling["automaticRestart"] is False
    cap = int(scheduling["maxRunDuration"]["seconds"])
    assert 30 <= cap <= 120 * 86_400  # Google's bounds
    assert cap > lifetime_s or cap == 120 * 86_400
    (disk,) = body["disks"]
    assert disk["autoDelete"] is True
    assert ("sourceSnapshot" in disk["initializeParams"]) is bool(snapshot)
    assert ("sourceImage" in disk["initializeParams"]) is not bool(snapshot)
    assert disk["initializeParams"]["labels"] == body["labels"]
    # Everything that names a place names the zone of this attempt.
    assert not [zone for zone in ZONES if zone != attempt.zone and zone in json.dumps(body)]
    assert bool(body["serviceAccounts"]) is (gce.service_account is not None)
    assert ("accessConfigs" in body["networkInterfaces"][0]) is (gce.traffic != "vpc")
    assert body["shieldedInstanceConfig"]["enableVtpm"] is True
    assert body["shieldedInstanceConfig"]["enableSecureBoot"] is (gce.image == UBUNTU)


@given(SETTINGS, ADDRESSES)
def test_the_rules_let_in_one_address_and_googles_iap_alone(gce: GceSettings, own: str) -> None:
    rules = bodies.firewalls(node(gce), own)
    sources = {source for rule in rules for source in rule["sourceRanges"]}
    assert sources <= {f"{own}/32", bodies.IAP_RANGE}
    assert "0.0.0.0/0" not in sources
    for rule in rules:
        assert problems("Firewall", rule) == []
        assert rule["targetTags"] == ["yoyo"]
        assert all(len(each["ports"]) == 1 for each in rule["allowed"])
    assert len({rule["name"] for rule in rules}) == len(rules)


def as_google_has_it(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule as the API answers it."""
    return {
        **rule,
        "network": f"https://www.googleapis.com/compute/v1/{rule['network']}",
        "disabled": False,
        "logConfig": {"enable": False},
        "id": "7",
    }


@given(SETTINGS, ADDRESSES)
def test_a_rule_does_not_differ_from_itself(gce: GceSettings, own: str) -> None:
    for rule in bodies.firewalls(node(gce), own):
        assert bodies.firewall_drift(rule, as_google_has_it(rule)) == []


@given(SETTINGS, ADDRESSES, ADDRESSES)
def test_a_rule_of_another_address_differs(gce: GceSettings, own: str, other: str) -> None:
    rules, others = (bodies.firewalls(node(gce), each) for each in (own, other))
    for rule, another in zip(rules, others, strict=True):
        lines = bodies.firewall_drift(rule, as_google_has_it(another))
        assert bool(lines) is (rule["sourceRanges"] != another["sourceRanges"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", "https://www.googleapis.com/compute/v1/projects/p/global/networks/other"),
        ("direction", "EGRESS"),
        ("priority", 1),
        ("sourceRanges", ["203.0.113.7/32", "198.51.100.0/24"]),
        ("targetTags", ["yoyo", "web"]),
        ("targetTags", None),
        ("allowed", [{"IPProtocol": "tcp", "ports": ["1-65535"]}]),
        ("denied", [{"IPProtocol": "tcp"}]),
        ("sourceTags", ["web"]),
        ("sourceServiceAccounts", ["a@b"]),
        ("targetServiceAccounts", ["a@b"]),
        ("disabled", True),
    ],
)
def test_every_field_that_opens_or_closes_is_compared(field: str, value: object) -> None:
    rule = bodies.firewalls(node(GCE), "203.0.113.7")[0]
    lines = bodies.firewall_drift(rule, as_google_has_it(rule) | {field: value})
    assert [line.split(":")[0] for line in lines] == [field]


@given(st.dictionaries(st.from_regex(r"[a-zA-Z0-9_-]{1,128}", fullmatch=True), st.text()))
def test_metadata_comes_back_as_it_went(items: dict[str, str]) -> None:
    body = {"items": bodies.metadata_items(items)}
    assert {item["key"]: item["value"] for item in body["items"]} == items
    assert problems("Metadata", body) == []


def test_a_node_is_told_no_key_before_it_has_published_one_to_seal_for() -> None:
    told = bodies.node_metadata(LIFE, "script", "ssh-ed25519 AAAA", "yoyo", "now", "token")
    assert "yoyo-key" not in told
    assert (told["yoyo-request"], told["yoyo-lease"]) == (LIFE, "now")
    assert told["block-project-ssh-keys"] == told["enable-guest-attributes"] == "TRUE"


@given(st.integers(1, 63))
def test_a_name_that_fits_leaves_room_for_all_that_carries_it(length: int) -> None:
    wanted = node(GCE)._replace(name=NodeName("n" * length))
    if length > 42:  # with `yoyo-` before it and a baked image's time behind it: 63
        with pytest.raises(ConfigInvalid):
            bodies.instance(wanted, Attempt(ZONES[0], False), LIFE, {})
    else:
        body = bodies.instance(wanted, Attempt(ZONES[0], False), LIFE, {})
        assert problems("Instance", body) == []
