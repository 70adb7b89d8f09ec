"""What may reach the node: two firewall rules, each open to one place."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from yoyo.drivers.gce import bodies
from yoyo.drivers.gce.cloud import Cloud, Document, last_part
from yoyo.drivers.gce.faults import CloudFault, for_operator
from yoyo.drivers.gce.names import ENGINE_RULE, NODE, TAG, firewall_names, gce_of, port_of
from yoyo.drivers.gce.removal import remove
from yoyo.errors import CloudUnavailable, FirewallDrift
from yoyo.model.settings import NodeSettings

_OPERATION_S = 120.0
_ANSWER_BYTES = 64


def controller_address(node: NodeSettings) -> str:
    """The IPv4 address that this controller is seen from: given, or found.

    Raises:
        CloudUnavailable: it is to be found, and the service gave no address.
    """
    gce = gce_of(node)
    if gce.controller != "auto":
        return gce.controller
    from urllib.request import urlopen

    try:
        with urlopen(gce.address_service, timeout=10) as answer:  # noqa: S310 - http(s) by schema
            text = answer.read(_ANSWER_BYTES).decode("ascii", "replace").strip()
        return str(ipaddress.IPv4Address(text))
    except (OSError, ValueError) as error:
        raise CloudUnavailable(
            "This controller's own address could not be found.",
            why=f"{gce.address_service}: {error}"[:300],
            fix="Set gce.controller to the IPv4 address that your network is seen from.",
        ) from None


def ensure_rules(cloud: Cloud, node: NodeSettings) -> None:
    """Make the rules that are missing.

    Raises:
        FirewallDrift: one of that name has other content, and `gce.replace_firewall` is no.
        CloudFault.
    """
    for wanted, found in _compared(cloud, node):
        if found is None:
            _insert(cloud, wanted)
        elif lines := bodies.firewall_drift(wanted, found):
            if not gce_of(node).replace_firewall:
                raise _drift(wanted, lines)
            _replace(cloud, wanted)


class Comparison(NamedTuple):
    """The rules as they are against what is wanted."""

    missing: tuple[str, ...]  # names
    drift: tuple[str, ...]  # one line a difference


def compare(cloud: Cloud, node: NodeSettings) -> Comparison:
    """Look at the rules.

    Raises:
        CloudFault, CloudUnavailable.
    """
    pairs = _compared(cloud, node)
    return Comparison(
        tuple(str(wanted["name"]) for wanted, found in pairs if found is None),
        tuple(
            f"{wanted['name']}: {line}"
            for wanted, found in pairs
            if found is not None
            for line in bodies.firewall_drift(wanted, found)
        ),
    )


def open_to_the_world(cloud: Cloud, node: NodeSettings) -> list[str]:
    """Rules, of whatever name, that let everybody reach the node's SSH or engine.

    Raises:
        CloudFault.
    """
    ports = (22, port_of(node))
    return [
        str(rule["name"])
        for rule in cloud.every("Firewalls", "list")
        if last_part(str(rule.get("network", ""))) == gce_of(node).network
        and rule.get("direction") == "INGRESS"
        and not rule.get("disabled")
        and {"0.0.0.0/0", "::/0"} & set(rule.get("sourceRanges", []))
        and (not rule.get("targetTags") or TAG in rule["targetTags"])
        and any(_admits(each, port) for each in rule.get("allowed", []) for port in ports)
    ]


def _admits(allowed: Document, port: int) -> bool:
    """Whether one entry of a rule's `allowed` lets that TCP port through."""
    if allowed.get("IPProtocol") not in ("tcp", "6", "all"):
        return False
    spans = [str(each).partition("-") for each in allowed.get("ports", [])]
    return not spans or any(
        int(low) <= port <= int(high or low) for low, _, high in spans if low.isdecimal()
    )


def remove_rules(cloud: Cloud, node: NodeSettings) -> None:
    """Remove every rule of yoyo's if no node is left in the project that it could serve.

    The rules of all ports: what a node of another port left has nobody else to remove it.

    Raises:
        CloudFault.
    """
    if cloud.every("Instances", "aggregated_list", filter=f"labels.{NODE}:*"):
        return
    _, ssh_rule = firewall_names(node)
    for rule in cloud.every("Firewalls", "list"):
        if rule["name"] == ssh_rule or rule["name"].startswith(ENGINE_RULE):
            remove(cloud, "firewall", rule["name"])


def _compared(cloud: Cloud, node: NodeSettings) -> list[tuple[Document, Document | None]]:
    gce = gce_of(node)
    from_iap_alone = gce.traffic == "tunnel" and gce.ssh_from == "iap"
    wanted = bodies.firewalls(node, "" if from_iap_alone else controller_address(node))
    return [(rule, cloud.find("Firewalls", "get", firewall=rule["name"])) for rule in wanted]


def _insert(cloud: Cloud, rule: Document) -> None:
    try:
        cloud.carry_out("Firewalls", "insert", _OPERATION_S, firewall_resource=rule)
    except CloudFault as fault:
        if fault.status != 409:  # another controller was faster; it is compared next time
            raise for_operator(fault, f"The firewall rule {rule['name']} was not made.") from fault


def _replace(cloud: Cloud, rule: Document) -> None:
    # Whole, not patched: what the old rule had besides must not stay open.
    cloud.carry_out(
        "Firewalls", "update", _OPERATION_S, firewall=rule["name"], firewall_resource=rule
    )


def _drift(wanted: Document, lines: list[str]) -> FirewallDrift:
    return FirewallDrift(
        f"The firewall rule {wanted['name']} is not what the configuration asks for.",
        why="; ".join(lines)[:600],
        fix="If the rule is yoyo's and only your address has changed, `yoyo up "
        "--replace-firewall` replaces it; if not, ask who changed it.",
    )
