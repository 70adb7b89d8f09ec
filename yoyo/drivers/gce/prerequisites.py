"""`yoyo doctor` on Google Compute Engine: everything that a start needs, asked for beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from yoyo.core.failover import region_of
from yoyo.drivers.gce import bodies, network
from yoyo.drivers.gce.cloud import Cloud, Document, last_part
from yoyo.drivers.gce.faults import CloudFault
from yoyo.drivers.gce.look import find_instance, platform_cap_at, request_of, zone_of
from yoyo.drivers.gce.names import gce_of
from yoyo.drivers.gce.plan import find_image
from yoyo.errors import YoyoError
from yoyo.model.settings import NodeSettings

_ENABLE = "gcloud services enable compute.googleapis.com --project"
_QUOTAS = "raise it at https://console.cloud.google.com/iam-admin/quotas"
# docs/guides/gce.md lists them with the roles that hold them.
PERMISSIONS: Final = (
    "compute.addresses.delete",
    "compute.addresses.list",
    "compute.disks.create",
    "compute.disks.createSnapshot",
    "compute.disks.delete",
    "compute.disks.list",
    "compute.disks.setLabels",
    "compute.disks.useReadOnly",
    "compute.firewalls.create",
    "compute.firewalls.delete",
    "compute.firewalls.get",
    "compute.firewalls.list",
    "compute.firewalls.update",
    "compute.globalOperations.get",
    "compute.images.create",
    "compute.images.get",
    "compute.images.getFromFamily",
    "compute.images.setLabels",
    "compute.images.useReadOnly",
    "compute.instances.create",
    "compute.instances.delete",
    "compute.instances.get",
    "compute.instances.getGuestAttributes",
    "compute.instances.getSerialPortOutput",
    "compute.instances.list",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.instances.setScheduling",
    "compute.instances.setServiceAccount",
    "compute.instances.setTags",
    "compute.instances.start",
    "compute.instances.stop",
    "compute.machineTypes.get",
    "compute.networks.get",
    "compute.networks.updatePolicy",
    "compute.projects.get",
    "compute.regionOperations.get",
    "compute.regions.get",
    "compute.snapshots.create",
    "compute.snapshots.delete",
    "compute.snapshots.list",
    "compute.snapshots.setLabels",
    "compute.snapshots.useReadOnly",
    "compute.subnetworks.get",
    "compute.subnetworks.use",
    "compute.subnetworks.useExternalIp",
    "compute.zoneOperations.get",
    "compute.zoneOperations.list",
    "compute.zones.list",
)


class Found(NamedTuple):
    """One finding, as the port has it."""

    name: str
    ok: bool
    finding: str
    remedy: str


def prerequisites(cloud: Cloud, node: NodeSettings) -> list[tuple[str, bool, str, str]]:
    """See the port. Where the credentials fail, nothing else can be asked."""
    first = _examined("credentials", cloud, node, _credentials)
    if not first.ok:
        return [first]
    checks: tuple[tuple[str, Callable[[Cloud, NodeSettings], Found]], ...] = (
        ("permissions", _permissions),
        ("zones", _zones),
        ("quota", _quota),
        ("image", _image),
        ("network", _network),
        ("firewall", _firewall),
        ("drift", _drift),
        ("platform cap", _cap),
    )
    return [first, *(_examined(name, cloud, node, check) for name, check in checks)]


def _examined(
    name: str, cloud: Cloud, node: NodeSettings, check: Callable[[Cloud, NodeSettings], Found]
) -> Found:
    try:
        return check(cloud, node)
    except CloudFault as fault:
        disabled = fault.code in ("accessNotConfigured", "SERVICE_DISABLED")
        remedy = f"{_ENABLE} {gce_of(node).project}" if disabled else "docs/guides/gce.md"
        return Found(name, False, str(fault), remedy)
    except YoyoError as error:
        return Found(name, False, f"{error.what} {error.why}".strip(), error.fix)


def _credentials(cloud: Cloud, _: NodeSettings) -> Found:
    project = cloud.read("Projects", "get")
    return Found("credentials", True, f"Google answers for project {project.get('name')}", "")


def _permissions(cloud: Cloud, _: NodeSettings) -> Found:
    granted = cloud.permissions(PERMISSIONS)
    missing = [each for each in PERMISSIONS if each not in granted]
    if missing:
        return Found(
            "permissions", False, f"missing: {', '.join(missing)}",
            "grant roles/compute.instanceAdmin.v1 and roles/compute.securityAdmin",
        )  # fmt: skip
    return Found("permissions", True, f"all {len(PERMISSIONS)} are granted", "")


def _zones(cloud: Cloud, node: NodeSettings) -> Found:
    gce = gce_of(node)
    known = {each["name"]: each for each in cloud.every("Zones", "list")}
    wrong = [zone for zone in gce.zones if known.get(zone, {}).get("status") != "UP"]
    without = [
        zone
        for zone in gce.zones
        if zone not in wrong
        and cloud.find("MachineTypes", "get", zone=zone, machine_type=gce.machine_type) is None
    ]
    if wrong or without:
        finding = "; ".join(
            text
            for text, zones in (
                (f"no such zone, or not up: {', '.join(wrong)}", wrong),
                (f"no {gce.machine_type} in {', '.join(without)}", without),
            )
            if zones
        )
        return Found("zones", False, finding, "correct gce.zones")
    return Found("zones", True, f"{len(gce.zones)} zone(s) have {gce.machine_type}", "")


def _quota(cloud: Cloud, node: NodeSettings) -> Found:
    """Room for one GPU more, in every region and in all of them together."""
    gce = gce_of(node)
    if not gce.machine_type.startswith("g2-") or find_instance(cloud, node) is not None:
        return Found("quota", True, "no more GPUs are needed than there are", "")
    metric = "PREEMPTIBLE_NVIDIA_L4_GPUS" if gce.provisioning == "spot" else "NVIDIA_L4_GPUS"
    project = cloud.read("Projects", "get")
    everywhere = _room(project, "GPUS_ALL_REGIONS")
    if everywhere is not None and everywhere < 1:
        return Found("quota", False, "GPUS_ALL_REGIONS is used up, or 0", _QUOTAS)
    regions = dict.fromkeys(region_of(zone) for zone in gce.zones)
    rooms = {
        region: _room(cloud.read("Regions", "get", region=region), metric) for region in regions
    }
    full = [region for region, room in rooms.items() if room is not None and room < 1]
    if len(full) == len(rooms):
        return Found("quota", False, f"{metric} is used up, or 0, in {', '.join(full)}", _QUOTAS)
    rest = ", ".join(f"{region}: {room}" for region, room in rooms.items())
    return Found("quota", True, f"{metric} left: {rest}", "")


def _room(document: Document, metric: str) -> float | None:
    """What is left of a quota; None when Google does not list it."""
    for quota in document.get("quotas", []):
        if quota.get("metric") == metric:
            return float(quota.get("limit", 0)) - float(quota.get("usage", 0))
    return None


def _image(cloud: Cloud, node: NodeSettings) -> Found:
    path = gce_of(node).image
    image = find_image(cloud, path)
    if image is None:
        return Found("image", False, f"{path} does not exist", "correct gce.image")
    if image.get("deprecated", {}).get("state") in ("OBSOLETE", "DELETED"):
        return Found("image", False, f"{image['name']} is obsolete", "correct gce.image")
    size = int(image.get("diskSizeGb", 0))
    if size > gce_of(node).disk_gb:
        return Found(
            "image", False, f"{image['name']} needs {size} GB, gce.disk_gb is less",
            f"set gce.disk_gb to {size} or more",
        )  # fmt: skip
    return Found("image", True, str(image["name"]), "")


def _network(cloud: Cloud, node: NodeSettings) -> Found:
    gce = gce_of(node)
    if cloud.find("Networks", "get", network=gce.network) is None:
        return Found("network", False, f"there is no network {gce.network}", "correct gce.network")
    if gce.subnetwork is None:
        return Found("network", True, gce.network, "")
    missing = [
        region
        for region in dict.fromkeys(region_of(zone) for zone in gce.zones)
        if cloud.find("Subnetworks", "get", region=region, subnetwork=gce.subnetwork) is None
    ]
    if missing:
        finding = f"there is no subnetwork {gce.subnetwork} in {', '.join(missing)}"
        return Found("network", False, finding, "correct gce.subnetwork, or make it")
    return Found("network", True, f"{gce.network}, {gce.subnetwork}", "")


def _firewall(cloud: Cloud, node: NodeSettings) -> Found:
    lines = network.compare(cloud, node).drift
    if lines:
        return Found("firewall", False, "; ".join(lines), "yoyo up --replace-firewall")
    wide = network.open_to_the_world(cloud, node)
    if wide:
        return Found(
            "firewall", False, f"{', '.join(wide)} lets everybody reach the node",
            f"gcloud compute firewall-rules delete {' '.join(wide)}, or narrow it, or use a "
            "network of your own",
        )  # fmt: skip
    return Found("firewall", True, "no rule of yoyo's names differs from what is wanted", "")


def _drift(cloud: Cloud, node: NodeSettings) -> Found:
    """What the live instance has otherwise than the configuration."""
    instance = find_instance(cloud, node)
    if instance is None:
        return Found("drift", True, "there is no instance yet", "")
    if not request_of(instance, node):
        name = str(instance["name"])
        return Found("drift", False, f"{name} is not yoyo's", "give the node another name")
    gce = gce_of(node)
    found = bodies.scheduling_drift(node, instance)
    kind = last_part(str(instance.get("machineType", "")))
    found += [("machine type", kind, gce.machine_type)] if kind != gce.machine_type else []
    if zone_of(instance) not in gce.zones:
        found.append(("zone", zone_of(instance), f"one of {', '.join(gce.zones)}"))
    if found:
        lines = "; ".join(f"{key} is {is_}, configured {want}" for key, is_, want in found)
        return Found("drift", False, lines, "yoyo down, then `yoyo up` (or `down --delete`)")
    return Found("drift", True, "the instance is as configured", "")


def _cap(cloud: Cloud, node: NodeSettings) -> Found:
    instance = find_instance(cloud, node)
    if instance is None or instance.get("status") != "RUNNING":
        return Found("platform cap", True, "armed by the next start", "")
    at = platform_cap_at(instance)
    if at is None:
        return Found(
            "platform cap", False, "Google will not stop this machine by itself",
            "yoyo down, then yoyo up, which arms it and refuses to run without",
        )  # fmt: skip
    return Found("platform cap", True, f"Google stops it at {at:%Y-%m-%d %H:%M:%S}Z", "")
