"""Stopping an instance, and removing it with all that was made for it."""

from __future__ import annotations

import uuid

from yoyo.drivers.gce.cloud import Cloud, Document, last_part
from yoyo.drivers.gce.faults import CloudFault
from yoyo.drivers.gce.look import every_instance, request_of, state_of, zone_of
from yoyo.drivers.gce.names import NODE
from yoyo.drivers.gce.network import remove_rules
from yoyo.drivers.gce.removal import remove
from yoyo.errors import ForeignNode
from yoyo.model.machine import MachineState
from yoyo.model.settings import NodeSettings
from yoyo.ports.clock import Clock

_OPERATION_S = 300.0
_TRIES = 5
_NOT_READY = ("resourceNotReady", "RESOURCE_NOT_READY", "resourceInUseByAnotherResource")


class Stopper:
    """Asks for the stop of a node's machines, as often as it takes to be heard."""

    def __init__(self, cloud: Cloud, clock: Clock) -> None:
        self._cloud = cloud
        self._clock = clock
        self._request = uuid.uuid4()  # of this stop, however often it is sent

    def request_stop(self, node: NodeSettings, request_id: str, patience_s: float) -> None:
        """Ask for a stop of that life's machine ("": of all that are ours); returns when accepted.

        Raises:
            ForeignNode: a machine of that name runs, and it is not the one that is meant.
            CloudFault.
        """
        deadline = self._clock.monotonic() + patience_s
        failures = 0
        while True:
            try:
                self._stop_all(node, request_id)
                return
            except CloudFault as fault:
                failures += 1
                # One that is still being made cannot be stopped yet.
                passing = fault.unknown or fault.status in (404, 429) or _not_ready(fault)
                late = self._clock.monotonic() > deadline
                if not passing or late or (failures >= _TRIES and not _not_ready(fault)):
                    raise
            self._clock.sleep(min(0.25 * 2**failures, 4.0))

    def _stop_all(self, node: NodeSettings, request_id: str) -> None:
        up = [
            each
            for each in every_instance(self._cloud, node)
            if state_of(each) not in (MachineState.STOPPED, MachineState.STOPPING)
        ]
        meant = [each for each in up if _is_meant(each, node, request_id)]
        for instance in meant:
            self._cloud.change(
                "Instances",
                "stop",
                zone=zone_of(instance),
                instance=instance["name"],
                request_id=str(uuid.uuid5(self._request, zone_of(instance))),
            )
        if up and not meant:
            raise _foreign(up[0], node)


def _is_meant(instance: Document, node: NodeSettings, request_id: str) -> bool:
    found = request_of(instance, node)
    return found == request_id if request_id else bool(found)


def _foreign(instance: Document, node: NodeSettings) -> ForeignNode:
    found = request_of(instance, node)
    return ForeignNode(
        f"A machine named {instance['name']} is in {zone_of(instance)}.",
        why=f"It carries the request id {found}." if found else "It does not carry yoyo's labels.",
        fix="Stop it with `yoyo down` in the place where it was started."
        if found
        else "Yoyo does not touch what it did not make: give the node another name.",
    )


def _not_ready(fault: CloudFault) -> bool:
    return fault.code in _NOT_READY


def remove_node(cloud: Cloud, node: NodeSettings) -> str:
    """Remove the node's instances and what carries its label; the status of one that runs.

    Raises:
        CloudFault: something is left; calling it again goes on.
    """
    own = [each for each in every_instance(cloud, node) if request_of(each, node)]
    for instance in own:
        if state_of(instance) is not MachineState.STOPPED:
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
