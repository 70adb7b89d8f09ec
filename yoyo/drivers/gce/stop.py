"""Stopping an instance, and removing it with all that was made for it."""

from __future__ import annotations

import uuid

from yoyo.drivers.gce.cloud import Cloud, last_part
from yoyo.drivers.gce.faults import CloudFault
from yoyo.drivers.gce.look import every_instance, find_instance, request_of, zone_of
from yoyo.drivers.gce.memory import Memory
from yoyo.drivers.gce.names import NODE
from yoyo.drivers.gce.network import remove_rules
from yoyo.drivers.gce.removal import remove
from yoyo.errors import ForeignNode
from yoyo.model.settings import NodeSettings
from yoyo.ports.clock import Clock

_OPERATION_S = 300.0
_DOWN = ("TERMINATED", "STOPPED", "SUSPENDED")
_ON_ITS_WAY_DOWN = ("STOPPING", "PENDING_STOP", "SUSPENDING", "DEPROVISIONING")
_TRIES = 5
_NOT_READY = ("resourceNotReady", "RESOURCE_NOT_READY", "resourceInUseByAnotherResource")


def request_stop(
    cloud: Cloud, node: NodeSettings, memory: Memory, clock: Clock, patience_s: float
) -> None:
    """Ask for a stop; returns when it is accepted.

    A start under way on this controller ends as well: it may have no machine yet, or be about
    to try another zone.

    Raises:
        ForeignNode: the machine of that name is not ours.
        CloudFault.
    """
    deadline = clock.monotonic() + patience_s
    request = str(uuid.uuid4())
    failures = 0
    memory.cut_off("*")
    while True:
        instance = find_instance(cloud, node)
        if instance is None:
            return
        if instance.get("status") in (*_DOWN, *_ON_ITS_WAY_DOWN):
            return
        if not request_of(instance, node):
            raise ForeignNode(
                f"A machine named {instance['name']} is in {zone_of(instance)}.",
                why="It does not carry yoyo's labels.",
                fix="Yoyo does not touch what it did not make: give the node another name.",
            )
        try:
            cloud.change(
                "Instances",
                "stop",
                zone=zone_of(instance),
                instance=instance["name"],
                request_id=request,
            )
            return
        except CloudFault as fault:
            failures += 1
            # One that is still being made cannot be stopped yet.
            passing = fault.unknown or fault.status in (404, 429) or _not_ready(fault)
            late = clock.monotonic() > deadline
            if not passing or late or (failures >= _TRIES and not _not_ready(fault)):
                raise
        clock.sleep(min(0.25 * 2**failures, 4.0))


def _not_ready(fault: CloudFault) -> bool:
    return fault.code in _NOT_READY


def remove_node(cloud: Cloud, node: NodeSettings) -> str:
    """Remove the node's instances and what carries its label; the status of one that runs.

    Raises:
        CloudFault: something is left; calling it again goes on.
    """
    own = [each for each in every_instance(cloud, node) if request_of(each, node)]
    for instance in own:
        if instance.get("status") not in _DOWN:
            return str(instance.get("status"))
    for instance in own:
        remove(cloud, "instance", str(instance["name"]), zone_of(instance))
    label = f"labels.{NODE}={node.name}"
    for disk in cloud.every("Disks", "aggregated_list", filter=label):
        remove(cloud, "disk", disk["name"], last_part(disk["zone"]))
    for snapshot in cloud.every("Snapshots", "list", filter=label):
        remove(cloud, "snapshot", snapshot["name"])
    for address in cloud.every("Addresses", "aggregated_list", filter=label):
        remove(cloud, "address", address["name"], last_part(address["region"]))
    remove_rules(cloud, node)
    return ""
