"""Moving a stopped node whose zone is full, by way of a snapshot of its disk.

The old instance and its disk stay until the new node is healthy. Both have one name, in two
zones; the one that runs is the node.
"""

from __future__ import annotations

from contextlib import suppress

from yoyo.drivers.gce.bodies import is_ours
from yoyo.drivers.gce.cloud import Cloud, Document, last_part
from yoyo.drivers.gce.create import Creator, Start
from yoyo.drivers.gce.faults import CloudFault
from yoyo.drivers.gce.look import every_instance, find_instance, zone_of
from yoyo.drivers.gce.names import gce_of, instance_name, labels_of
from yoyo.drivers.gce.removal import remove
from yoyo.errors import BootFailed, NoCapacity, QuotaExceeded
from yoyo.model.settings import NodeSettings

_SNAPSHOT_S = 1800.0  # 100 GB take some minutes


def snapshot_name(node: NodeSettings) -> str:
    """The snapshot that a move goes through."""
    return f"{instance_name(node)}-move"


def relocate(cloud: Cloud, creator: Creator, start: Start, old: Document) -> None:
    """Make the node anew in another zone, from the data of its old disk.

    Raises:
        NoCapacity: no other zone has the machine to spare, or there is no other.
        QuotaExceeded, BootFailed, and what else an insert may end with.
        CloudFault.
    """
    node = start.node
    zones = tuple(zone for zone in gce_of(node).zones if zone != zone_of(old))
    if not zones:
        raise NoCapacity(
            f"Node {node.name} cannot move.",
            why=f"gce.zones names no zone but {zone_of(old)}.",
            fix="Add zones to gce.zones.",
        )
    _snapshot(cloud, start, old)
    try:
        creator.insert(start, snapshot_name(node), zones)
    except (NoCapacity, QuotaExceeded, BootFailed):
        # No disk is being made from it: the snapshot would cost money for nothing.
        with suppress(CloudFault):
            remove(cloud, "snapshot", snapshot_name(node))
        raise


def _snapshot(cloud: Cloud, start: Start, old: Document) -> None:
    node, name = start.node, snapshot_name(start.node)
    remove(cloud, "snapshot", name)  # of a move that was cut short: the disk may have changed since
    disk = next(each for each in old["disks"] if each.get("boot"))
    cloud.carry_out(
        "Disks",
        "create_snapshot",
        _SNAPSHOT_S,
        zone=zone_of(old),
        disk=last_part(disk["source"]),
        snapshot_resource={"name": name, "labels": labels_of(node, start.request_id)},
    )


def drop_old_places(cloud: Cloud, node: NodeSettings) -> None:
    """The node is healthy where it is: remove what it left behind elsewhere.

    Raises:
        CloudFault.
    """
    every = every_instance(cloud, node)
    if len(every) < 2:
        return
    here = find_instance(cloud, node)
    for each in every:
        if here is not None and zone_of(each) != zone_of(here) and is_ours(each, node):
            remove(cloud, "instance", str(each["name"]), zone_of(each))
    remove(cloud, "snapshot", snapshot_name(node))
