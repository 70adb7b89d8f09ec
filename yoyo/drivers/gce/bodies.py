"""The documents that are sent to Google: plain data from plain data, so that they can be read.

Field names are those of the REST API (https://cloud.google.com/compute/docs/reference/rest/v1).
"""

from __future__ import annotations

from typing import Any

from yoyo.core.failover import Attempt, region_of
from yoyo.drivers.gce.names import (
    NODE,
    TAG,
    firewall_names,
    gce_of,
    instance_name,
    labels_of,
    port_of,
)
from yoyo.model.settings import NodeSettings

Document = dict[str, Any]

# The hang-proof cap lies above the guest's own, which stops in good order.
PLATFORM_CAP_SLACK_S = 900
_CAP_LEAST_S, _CAP_MOST_S = 30, 120 * 86_400  # Google's bounds of maxRunDuration
# Addresses of Google's IAP TCP forwarding (cloud.google.com/iap/docs/using-tcp-forwarding).
IAP_RANGE = "35.235.240.0/20"
_STORAGE_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"


def platform_cap_s(node: NodeSettings) -> int:
    """Seconds from start to Google's own stop."""
    return min(max(node.guards.lifetime_s + PLATFORM_CAP_SLACK_S, _CAP_LEAST_S), _CAP_MOST_S)


def scheduling(node: NodeSettings, *, spot: bool) -> Document:
    """Stops by itself, never starts by itself: only yoyo starts what yoyo pays for."""
    return {
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
        "provisioningModel": "SPOT" if spot else "STANDARD",
        "instanceTerminationAction": "STOP",
        "maxRunDuration": {"seconds": str(platform_cap_s(node))},
    }


def scheduling_drift(node: NodeSettings, instance: Document) -> list[tuple[str, Any, Any]]:
    """(field, as it is, as configured) where an instance's scheduling differs; its kind stays."""
    have = instance.get("scheduling", {})
    want = scheduling(node, spot=have.get("provisioningModel") == "SPOT")
    # The API leaves out what is false.
    return [
        (key, have.get(key), value) for key, value in want.items() if have.get(key, False) != value
    ]


def metadata_items(items: dict[str, str]) -> list[Document]:
    """Metadata as the API wants it."""
    return [{"key": key, "value": value} for key, value in items.items()]


def node_metadata(
    request_id: str, script: str, ssh_key: str, user: str, lease: str, identity: str
) -> dict[str, str]:
    """What the node is told. Nothing here is secret.

    `identity` is a token: a disk that was set up under another one makes its keys anew.
    """
    return {
        "startup-script": script,
        "enable-guest-attributes": "TRUE",
        "block-project-ssh-keys": "TRUE",
        "enable-oslogin": "FALSE",
        "ssh-keys": f"{user}:{ssh_key}",
        "yoyo-request": request_id,
        "yoyo-lease": lease,
        "yoyo-identity": identity,
    }


def instance(
    node: NodeSettings,
    attempt: Attempt,
    request_id: str,
    metadata: dict[str, str],
    source_snapshot: str = "",
) -> Document:
    """The instance with its disk inside, so that a refused insert leaves no disk behind.

    `source_snapshot` names a snapshot to make the disk from instead of the image.
    """
    gce = gce_of(node)
    zone, labels = attempt.zone, labels_of(node, request_id)
    account = gce.service_account
    return {
        "name": instance_name(node),
        "machineType": f"zones/{zone}/machineTypes/{gce.machine_type}",
        "labels": labels,
        "tags": {"items": [TAG]},
        "disks": [_boot_disk(node, zone, labels, source_snapshot)],
        "networkInterfaces": [_interface(node, zone)],
        "metadata": {"items": metadata_items(metadata)},
        "scheduling": scheduling(node, spot=attempt.spot),
        "serviceAccounts": [{"email": account, "scopes": [_STORAGE_SCOPE]}] if account else [],
        "shieldedInstanceConfig": {
            # The deep learning images load an NVIDIA module that Google did not sign.
            "enableSecureBoot": "/ubuntu-os-accelerator-images/" in gce.image,
            "enableVtpm": True,
            "enableIntegrityMonitoring": True,
        },
    }


def _boot_disk(node: NodeSettings, zone: str, labels: dict[str, str], snapshot: str) -> Document:
    gce = gce_of(node)
    source = (
        {"sourceSnapshot": f"projects/{gce.project}/global/snapshots/{snapshot}"}
        if snapshot
        else {"sourceImage": gce.image}
    )
    return {
        "boot": True,
        "autoDelete": True,
        "initializeParams": source
        | {
            "diskName": instance_name(node),
            "diskSizeGb": str(gce.disk_gb),
            "diskType": f"projects/{gce.project}/zones/{zone}/diskTypes/{gce.disk_type}",
            "labels": labels,
        },
    }


def _interface(node: NodeSettings, zone: str) -> Document:
    gce = gce_of(node)
    interface: Document = {"network": network_url(node)}
    if gce.subnetwork:
        region = region_of(zone)
        interface["subnetwork"] = (
            f"projects/{gce.project}/regions/{region}/subnetworks/{gce.subnetwork}"
        )
    if gce.traffic != "vpc":
        # An ephemeral address: it costs nothing once the node is stopped.
        interface["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]
    return interface


def network_url(node: NodeSettings) -> str:
    """The network's partial URL."""
    gce = gce_of(node)
    return f"projects/{gce.project}/global/networks/{gce.network}"


def firewalls(node: NodeSettings, controller: str) -> list[Document]:
    """The two rules. `controller` is the one IPv4 address that may reach the engine."""
    engine_rule, ssh_rule = firewall_names(node)
    own = f"{controller}/32"
    ssh_from = IAP_RANGE if gce_of(node).ssh_from == "iap" else own
    rules = [] if gce_of(node).traffic == "tunnel" else [(engine_rule, str(port_of(node)), own)]
    rules.append((ssh_rule, "22", ssh_from))
    return [
        {
            "name": name,
            "network": network_url(node),
            "description": "Made by yoyo; removed with its last node.",
            "direction": "INGRESS",
            "priority": 1000,
            "sourceRanges": [source],
            "targetTags": [TAG],
            "allowed": [{"IPProtocol": "tcp", "ports": [port]}],
        }
        for name, port, source in rules
    ]


_FIREWALL_FIELDS = ("network", "direction", "priority", "sourceRanges", "targetTags", "allowed")


def firewall_drift(wanted: Document, found: Document) -> list[str]:
    """How an existing rule differs, one line a field; [] when it does what is wanted."""
    lines = []
    for field in _FIREWALL_FIELDS:
        have, want = found.get(field), wanted[field]
        if field == "network":
            have = "projects/" + str(have).partition("/projects/")[2]
        if have != want:
            lines.append(f"{field}: is {have}, wanted {want}")
    extra = ("denied", "sourceTags", "sourceServiceAccounts", "targetServiceAccounts", "disabled")
    return lines + [
        f"{field}: is {found[field]}, wanted none" for field in extra if found.get(field)
    ]


def is_ours(document: Document, node: NodeSettings) -> bool:
    """Whether a resource carries this node's label."""
    return str(document.get("labels", {}).get(NODE, "")) == node.name
