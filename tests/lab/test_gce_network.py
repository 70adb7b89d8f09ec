"""The GCE driver's firewall rules: open to one address, never widened, gone with the last node."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cloud import gce_node
from gce_parts import LIFE, NEXT_LIFE, Rig, rig

from yoyo.errors import CloudDenied, CloudUnavailable, FirewallDrift
from yoyo.model.settings import NodeSettings

ENGINE, SSH = "yoyo-engine-8443", "yoyo-ssh"
FIREWALLS = "projects/lab-project/global/firewalls"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        yield made


def rules(lab: Rig) -> dict[str, dict[str, Any]]:
    """Every rule of the project: what it lets in, from where, to whom."""
    with lab.fake.cloud.changed:
        return {
            path.rsplit("/", 1)[-1]: dict(lab.fake.cloud.resources[path])
            for path in lab.fake.paths("firewalls")
        }


def changes(lab: Rig) -> int:
    return sum(
        call.method.startswith("compute.firewalls.") and not call.method.endswith((".get", ".list"))
        for call in lab.fake.calls
    )


def alter(lab: Rig, name: str, **fields: Any) -> dict[str, Any]:
    """Change a rule as somebody in the console does."""
    with lab.fake.cloud.changed:
        lab.fake.cloud.resources[f"{FIREWALLS}/{name}"].update(fields)
    return rules(lab)[name]


@contextmanager
def address_service(answer: bytes) -> Iterator[str]:
    """A service that says from which address it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_the_rules_are_made_once_and_open_to_one_address(lab: Rig) -> None:
    lab.up()
    made = rules(lab)
    assert set(made) == {ENGINE, SSH}
    for name, port in ((ENGINE, "8443"), (SSH, "22")):
        assert made[name]["sourceRanges"] == ["203.0.113.7/32"]
        assert made[name]["allowed"] == [{"IPProtocol": "tcp", "ports": [port]}]
        assert made[name]["targetTags"] == ["yoyo"]
        assert made[name]["direction"] == "INGRESS"
        assert made[name]["network"].endswith("/global/networks/default")
    lab.down()
    lab.up(NEXT_LIFE)
    assert changes(lab) == 2
    assert rules(lab) == made


@pytest.mark.parametrize(
    ("traffic", "ssh_from", "wanted"),
    [
        ("tls", "controller", {ENGINE: "203.0.113.7/32", SSH: "203.0.113.7/32"}),
        ("vpc", "controller", {ENGINE: "203.0.113.7/32", SSH: "203.0.113.7/32"}),
        ("tls", "iap", {ENGINE: "203.0.113.7/32", SSH: "35.235.240.0/20"}),
        ("tunnel", "controller", {SSH: "203.0.113.7/32"}),
        ("tunnel", "iap", {SSH: "35.235.240.0/20"}),
    ],
)
def test_what_each_way_of_traffic_opens(
    lab: Rig, traffic: str, ssh_from: str, wanted: dict[str, str]
) -> None:
    lab.machines().create(lab.but(traffic=traffic, ssh_from=ssh_from), LIFE)
    found = {name: rule["sourceRanges"] for name, rule in rules(lab).items()}
    assert found == {name: [source] for name, source in wanted.items()}


def test_the_address_is_found_where_it_is_not_given(lab: Rig) -> None:
    with address_service(b" 198.51.100.9\n") as url:
        node = lab.but(controller="auto", address_service=url)
        lab.machines().create(node, LIFE)
    assert rules(lab)[ENGINE]["sourceRanges"] == ["198.51.100.9/32"]


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"0.0.0.0/0", b"2001:db8::1", b"1.2.3.4, 5.6.7.8", b"\xff" * 4096]
)
def test_an_answer_that_is_no_address_opens_nothing(lab: Rig, answer: bytes) -> None:
    with address_service(answer) as url:
        node = lab.but(controller="auto", address_service=url)
        with pytest.raises(CloudUnavailable) as refusal:
            lab.machines().create(node, LIFE)
    assert "gce.controller" in refusal.value.fix
    assert rules(lab) == {}
    assert lab.zones() == []


def test_a_service_that_is_not_there_opens_nothing(lab: Rig) -> None:
    with pytest.raises(CloudUnavailable):
        lab.machines().create(lab.but(controller="auto"), LIFE)
    assert rules(lab) == {}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sourceRanges": ["0.0.0.0/0"]}, "sourceRanges: is ['0.0.0.0/0']"),
        ({"sourceRanges": ["203.0.113.7/32", "0.0.0.0/0"]}, "sourceRanges"),
        ({"allowed": [{"IPProtocol": "tcp"}]}, "allowed"),
        ({"targetTags": ["web"]}, "targetTags"),
        ({"priority": 7}, "priority"),
        ({"disabled": True}, "disabled"),
        ({"sourceTags": ["web"]}, "sourceTags"),
    ],
)
def test_a_rule_that_somebody_changed_is_named_and_left_alone(
    lab: Rig, fields: dict[str, Any], named: str
) -> None:
    lab.up()
    lab.down()
    before = alter(lab, ENGINE, **fields)
    with pytest.raises(FirewallDrift) as refusal:
        lab.up(NEXT_LIFE)
    assert ENGINE in refusal.value.what
    assert named in refusal.value.why
    assert "--replace-firewall" in refusal.value.fix
    assert rules(lab)[ENGINE] == before
    assert lab.instance()["status"] == "TERMINATED"
    assert any(named in note for note in lab.machines().plan(lab.node).notes)


def test_an_address_that_changed_is_replaced_when_that_is_asked_for(lab: Rig) -> None:
    lab.up()
    lab.down()
    alter(lab, ENGINE, sourceTags=["web"])
    moved = lab.but(controller="198.51.100.9")
    with pytest.raises(FirewallDrift):
        lab.machines().create(moved, NEXT_LIFE)
    replaced = lab.but(controller="198.51.100.9", replace_firewall=True)
    lab.machines().create(replaced, NEXT_LIFE)
    assert {name: rule["sourceRanges"] for name, rule in rules(lab).items()} == {
        ENGINE: ["198.51.100.9/32"],
        SSH: ["198.51.100.9/32"],
    }
    assert "sourceTags" not in rules(lab)[ENGINE]


def test_a_rule_that_another_controller_makes_meanwhile_is_no_error(lab: Rig) -> None:
    lab.fake.faults.add("compute.firewalls.insert", http=409, after=True)
    lab.up()
    assert set(rules(lab)) == {ENGINE, SSH}


@pytest.mark.parametrize("effect", [{"http": 503, "after": True}, {"reset": "after"}])
def test_a_rule_whose_making_is_unclear_is_not_made_twice(lab: Rig, effect: dict[str, Any]) -> None:
    lab.fake.faults.add("compute.firewalls.insert", **effect)
    lab.up()
    assert set(rules(lab)) == {ENGINE, SSH}
    assert lab.zones()


def test_no_machine_is_made_where_no_rule_can_be(lab: Rig) -> None:
    lab.fake.faults.add("compute.firewalls.insert", http=403, reason="forbidden", times=0)
    with pytest.raises(CloudDenied) as refusal:
        lab.up()
    assert ENGINE in refusal.value.what
    assert lab.zones() == []


def other(lab: Rig, port: int) -> NodeSettings:
    node = gce_node(lab.fake, "other")
    return node._replace(engine=node.engine._replace(port=port))


def test_the_rules_go_with_the_last_node(lab: Rig) -> None:
    lab.up()
    second = other(lab, 0)
    machines = lab.machines()
    machines.create(second, NEXT_LIFE)
    assert changes(lab) == 2  # nodes of one port share their rules
    lab.down().delete(lab.node)
    assert set(rules(lab)) == {ENGINE, SSH}
    machines.stop(second)
    lab.fake.wait_for("yoyo-other", "TERMINATED")
    machines.delete(second)
    assert rules(lab) == {}


def test_a_rule_of_another_port_goes_with_the_last_node_too(lab: Rig) -> None:
    lab.up()
    second = other(lab, 9443)
    machines = lab.machines()
    machines.create(second, NEXT_LIFE)
    assert set(rules(lab)) == {ENGINE, SSH, "yoyo-engine-9443"}
    machines.stop(second)
    lab.fake.wait_for("yoyo-other", "TERMINATED")
    machines.delete(second)
    lab.down().delete(lab.node)
    assert rules(lab) == {}
