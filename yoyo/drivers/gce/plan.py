"""`yoyo plan` on Google Compute Engine: what `up` would make and call. Only reads."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from yoyo.core.disk_cost import HOURS_A_MONTH
from yoyo.core.failover import attempts
from yoyo.drivers.gce import bodies, network
from yoyo.drivers.gce.cloud import Cloud, Document
from yoyo.drivers.gce.faults import CloudFault, for_operator
from yoyo.drivers.gce.look import find_instance, request_of, zone_of
from yoyo.drivers.gce.memory import Memory
from yoyo.drivers.gce.names import gce_of, instance_name, labels_of, port_of
from yoyo.drivers.gce.script import render
from yoyo.errors import CloudRefused
from yoyo.model.machine import MachinePlan, Resource
from yoyo.model.settings import NodeSettings, Provided

if TYPE_CHECKING:
    from yoyo.ports.machines import Tools

_SHOWN_ID: Final = "the-life-s-id"
# Seconds, from the operators' record of the reference node: docs/guides/gce.md says which.
_FIRST_BOOT: Final = (("machine", 40), ("packages", 60), ("engine", 1500), ("weights", 400))
_WITH_BUNDLE: Final = (("machine", 40), ("packages", 30), ("engine", 20), ("weights", 400))
_FROM_STORE: Final = (("machine", 40), ("engine", 5))
# A 10 Gbit/s card; the disk is the slower one (pd-balanced of 100 GB: 240 MB/s for writes, Google's
# page "Performance limits of Persistent Disk").
_DISK_BYTES_S: Final = 240_000_000
_RESTART: Final = (("machine", 40),)
_LOAD: Final = (("loading", 60),)


def plan(cloud: Cloud, node: NodeSettings, memory: Memory, tools: Tools) -> MachinePlan:
    """See the port.

    Raises:
        ConfigInvalid, CloudDenied, CloudUnavailable, CloudRefused.
    """
    script = render(node, tools.templates)
    try:
        instance = find_instance(cloud, node)
        image = None if instance is not None else find_image(cloud, gce_of(node).image)
        if instance is None and image is None:
            raise CloudRefused(
                f"There is no image {gce_of(node).image}.",
                why="Google knows neither an image nor a family of that name.",
                fix="Correct gce.image; `gcloud compute images list` shows what there is.",
            )
        rules = network.compare(cloud, node)
    except CloudFault as fault:
        raise for_operator(fault, f"Node {node.name} cannot be planned.") from fault
    return MachinePlan(
        resources=_resources(node, instance, image),
        model=node.from_store.model if node.from_store is not None else None,
        calls=_calls(node, instance, rules.missing),
        phases=_phases(node, instance),
        notes=(
            *(f"firewall drift: {line}" for line in rules.drift),
            *_stockout_notes(node, memory),
            f"startup script: {len(script.encode())} bytes",
            *_traffic_notes(node),
        ),
    )


def find_image(cloud: Cloud, path: str) -> Document | None:
    """The image of a path as `gce.image` has it, the newest of a family.

    Raises:
        CloudFault.
    """
    words = path.split("/")  # projects/P/global/images/[family/]NAME
    project, name = words[1], words[-1]
    if "family" in words[4:-1]:
        return cloud.find("Images", "get_from_family", project=project, family=name)
    return cloud.find("Images", "get", project=project, image=name)


def disk_hourly_usd(node: NodeSettings) -> Decimal | None:
    """What the boot disk costs an hour, also while the node is stopped."""
    price = node.prices.disk_gb_month_usd
    if price is None:
        return None
    return (price * gce_of(node).disk_gb / HOURS_A_MONTH).quantize(Decimal("0.000001"))


def _resources(
    node: NodeSettings, instance: Document | None, image: Document | None
) -> tuple[Resource, ...]:
    gce, name = gce_of(node), instance_name(node)
    labels = tuple(labels_of(node, _SHOWN_ID).items())
    there = "" if instance is None else f"is stopped in {zone_of(instance)}, is started again; "
    where = "private address only" if gce.traffic == "vpc" else "ephemeral external address"
    found = [
        Resource(
            "instance",
            name,
            f"{there}{gce.machine_type}, {gce.provisioning}, {where}, stops after "
            f"{bodies.platform_cap_s(node)} s at the latest",
            labels,
            node.prices.hourly_usd,
        ),
        Resource(
            "disk",
            name,
            f"{gce.disk_gb} GB {gce.disk_type}, made inside the insert"
            + (f", from {image['name']}" if image else ""),
            labels,
            disk_hourly_usd(node),
        ),
    ]
    controller = gce.controller if gce.controller != "auto" else "this controller's address"
    found += [
        Resource(
            "firewall",
            rule["name"],
            f"tcp:{rule['allowed'][0]['ports'][0]} from "
            + (controller if rule["sourceRanges"] != [bodies.IAP_RANGE] else "Google's IAP"),
        )
        for rule in bodies.firewalls(node, "0.0.0.0")  # noqa: S104 - a placeholder, not shown
    ]
    return tuple(found)


def _calls(
    node: NodeSettings, instance: Document | None, missing_rules: tuple[str, ...]
) -> tuple[str, ...]:
    gce, name = gce_of(node), instance_name(node)
    rules = [f"POST projects/{gce.project}/global/firewalls  {name}" for name in missing_rules]
    if instance is not None:
        at = f"POST projects/{gce.project}/zones/{zone_of(instance)}/instances/{name}"
        whose = () if request_of(instance, node) else ("refused: it is not yoyo's",)
        return (*rules, f"{at}/setMetadata", f"{at}/setLabels", f"{at}/start", *whose)
    inserts = [
        f"POST projects/{gce.project}/zones/{each.zone}/instances  {name}"
        + (" (spot)" if each.spot else "")
        + ("" if number == 0 else "  if the one before has no capacity")
        for number, each in enumerate(attempts(gce.zones, gce.provisioning))
    ]
    key = f"POST projects/{gce.project}/zones/ZONE/instances/{name}/setMetadata  the sealed key"
    return (*rules, *inserts, key)


def _phases(node: NodeSettings, instance: Document | None) -> tuple[tuple[str, int], ...]:
    if instance is not None:
        return (*_RESTART, *_LOAD)
    if node.from_store is not None and node.engine_from_store is not None:
        return (*_FROM_STORE, ("weights", _seconds(node.from_store)), *_LOAD)
    has_bundle = node.bundle.url or node.engine_from_store is not None
    return (*(_WITH_BUNDLE if has_bundle else _FIRST_BOOT), *_LOAD)


def _seconds(weights: Provided) -> int:
    return sum(size for _, size, _ in weights.files) // _DISK_BYTES_S + 1


def _stockout_notes(node: NodeSettings, memory: Memory) -> list[str]:
    known = memory.stockouts()
    return [
        f"{zone} had no capacity at {known[zone]}" for zone in gce_of(node).zones if zone in known
    ]


def _traffic_notes(node: NodeSettings) -> list[str]:
    match gce_of(node).traffic:
        case "vpc":
            return ["traffic: plain HTTP inside the VPC: anybody on its path reads it"]
        case "tunnel":
            return [f"traffic: the engine listens on loopback:{port_of(node)}; an SSH tunnel"]
    return ["traffic: TLS with a certificate made on the node and pinned here"]
