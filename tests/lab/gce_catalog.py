"""What a project has from the beginning: zones, machine types, images, networks and quotas."""

from __future__ import annotations

from gce_errors import OperationError, quota_exceeded
from gce_lists import listed
from gce_state import JSON, LINK, Call, Cloud, Handler, fingerprint, stamp

PUBLIC_IMAGES = (
    (
        "deeplearning-platform-release",
        "common-cu129-ubuntu-2404-nvidia-580",
        "common-cu129-ubuntu-2404-nvidia-580-v20261101",
        50,
    ),
    (
        "ubuntu-os-accelerator-images",
        "ubuntu-accelerator-2404-amd64-with-nvidia-580",
        "ubuntu-accelerator-2404-amd64-with-nvidia-580-v20261105",
        10,
    ),
)
# name, vCPUs, MiB, L4s, CPU platform
MACHINE_TYPES = (
    ("g2-standard-4", 4, 16384, 1, "Intel Cascade Lake"),
    ("e2-small", 2, 2048, 0, "Intel Broadwell"),
)
CPU_PLATFORM = {name: platform for name, _, _, _, platform in MACHINE_TYPES}
IDLE_STATES = ("TERMINATED", "STOPPED", "SUSPENDED")
L4_QUOTA, SPOT_L4_QUOTA, ALL_GPUS = (
    "NVIDIA_L4_GPUS",
    "PREEMPTIBLE_NVIDIA_L4_GPUS",
    "GPUS_ALL_REGIONS",
)


def region_of(zone: str) -> str:
    """us-central1 for us-central1-a."""
    return zone.rsplit("-", 1)[0]


def furnish(cloud: Cloud) -> None:
    """Put everything there that a new project has."""
    settings = cloud.settings
    project = f"projects/{settings.project}"
    cloud.put(
        project,
        {
            "kind": "compute#project",
            "id": str(settings.project_number),
            "creationTimestamp": stamp(),
            "commonInstanceMetadata": {
                "kind": "compute#metadata",
                "fingerprint": fingerprint(),
                "items": [],
            },
            "defaultServiceAccount": service_account(cloud),
            "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
            "defaultNetworkTier": "PREMIUM",
        },
    )
    _add_networks(cloud, project)
    for zone in settings.zones:
        _add_zone(cloud, project, zone)
    for owner, family, name, size in PUBLIC_IMAGES:
        image = {
            "kind": "compute#image",
            "family": family,
            "status": "READY",
            "diskSizeGb": str(size),
            "archiveSizeBytes": str(size << 28),
            "architecture": "X86_64",
            "sourceType": "RAW",
            "creationTimestamp": stamp(),
        }
        cloud.put(f"projects/{owner}/global/images/{name}", image)


def service_account(cloud: Cloud) -> str:
    """The project's default service account."""
    return f"{cloud.settings.project_number}-compute@developer.gserviceaccount.com"


def _add_networks(cloud: Cloud, project: str) -> None:
    network = f"{project}/global/networks/default"
    regions = sorted({region_of(zone) for zone in cloud.settings.zones})
    subnetworks = [f"{project}/regions/{region}/subnetworks/default" for region in regions]
    cloud.put(
        network,
        {
            "kind": "compute#network",
            "creationTimestamp": stamp(),
            "autoCreateSubnetworks": True,
            "mtu": 1460,
            "routingConfig": {"routingMode": "REGIONAL"},
            "subnetworks": [LINK + path for path in subnetworks],
        },
    )
    for index, (region, path) in enumerate(zip(regions, subnetworks, strict=True)):
        zones = [zone for zone in cloud.settings.zones if region_of(zone) == region]
        cloud.put(
            path,
            {
                "kind": "compute#subnetwork",
                "creationTimestamp": stamp(),
                "network": LINK + network,
                "ipCidrRange": f"10.{128 + index % 64}.0.0/20",
                "gatewayAddress": f"10.{128 + index % 64}.0.1",
                "fingerprint": fingerprint(),
                "privateIpGoogleAccess": False,
                "purpose": "PRIVATE",
                "stackType": "IPV4_ONLY",
            },
        )
        cloud.put(
            f"{project}/regions/{region}",
            {
                "kind": "compute#region",
                "creationTimestamp": stamp(),
                "description": region,
                "status": "UP",
                "zones": [LINK + f"{project}/zones/{zone}" for zone in zones],
            },
        )


def _add_zone(cloud: Cloud, project: str, zone: str) -> None:
    cloud.put(
        f"{project}/zones/{zone}",
        {
            "kind": "compute#zone",
            "creationTimestamp": stamp(),
            "description": zone,
            "status": "UP",
            "region": LINK + f"{project}/regions/{region_of(zone)}",
            "availableCpuPlatforms": sorted(set(CPU_PLATFORM.values())),
        },
    )
    for name, cpus, memory, gpus, _ in MACHINE_TYPES:
        if gpus and zone in cloud.settings.zones_without_gpu:
            continue
        machine: JSON = {
            "kind": "compute#machineType",
            "creationTimestamp": stamp(),
            "description": name,
            "guestCpus": cpus,
            "memoryMb": memory,
            "isSharedCpu": not gpus,
            "maximumPersistentDisks": 128,
            "maximumPersistentDisksSizeGb": "263168",
            "architecture": "X86_64",
            "zone": zone,
        }
        if gpus:
            machine["accelerators"] = [
                {"guestAcceleratorType": "nvidia-l4", "guestAcceleratorCount": gpus}
            ]
        cloud.put(f"{project}/zones/{zone}/machineTypes/{name}", machine)


def gpus_of(instance: JSON) -> int:
    """How many accelerators an instance has."""
    return sum(a["acceleratorCount"] for a in instance.get("guestAccelerators", []))


def _usage(cloud: Cloud) -> dict[tuple[str, str], float]:
    """What is used: (region or "" for the project, metric) -> number."""
    used: dict[tuple[str, str], float] = {}
    for path, instance in cloud.instances():
        if instance["status"] in IDLE_STATES:
            continue
        region = region_of(path.split("/")[3])
        preemptible = instance["scheduling"].get("preemptible", False)
        metric = SPOT_L4_QUOTA if preemptible else L4_QUOTA
        for key in (("", ALL_GPUS), (region, metric)):
            used[key] = used.get(key, 0.0) + gpus_of(instance)
    return used


def check_quotas(cloud: Cloud, path: str) -> None:
    """Refuse an instance that is counted already and is one too many.

    Raises:
        OperationError
    """
    region, used = region_of(path.split("/")[3]), _usage(cloud)
    limits = {("", metric): limit for metric, limit in cloud.settings.quotas.items()}
    limits |= {(region, metric): limit for metric, limit in cloud.settings.region_quotas.items()}
    if not gpus_of(cloud.resources[path]):
        return
    for key, limit in limits.items():
        if used.get(key, 0.0) > limit:
            raise quota_exceeded(key[1], limit, key[0], "QUOTA_EXCEEDED")


def check_capacity(cloud: Cloud, path: str) -> None:
    """Refuse a machine type that the zone has not got."""
    zone = path.split("/")[3]
    if gpus_of(cloud.resources[path]) and zone in cloud.settings.zones_without_gpu:
        raise OperationError("UNSUPPORTED_OPERATION", f"No accelerators in {zone}.")


def _quotas(cloud: Cloud, region: str, limits: dict[str, float]) -> list[JSON]:
    used = _usage(cloud)
    return [
        {"metric": metric, "limit": limit, "usage": used.get((region, metric), 0.0)}
        for metric, limit in limits.items()
    ]


def _project(cloud: Cloud, call: Call) -> JSON:
    return {**cloud.get(call.project), "quotas": _quotas(cloud, "", cloud.settings.quotas)}


def _region(cloud: Cloud, call: Call) -> JSON:
    region = cloud.get(f"{call.project}/regions/{call.path['region']}")
    return {**region, "quotas": _quotas(cloud, region["name"], cloud.settings.region_quotas)}


def _regions(cloud: Cloud, call: Call) -> JSON:
    answer = listed(cloud, call, "Region", f"{call.project}/regions")
    for region in answer.get("items", []):
        region["quotas"] = _quotas(cloud, region["name"], cloud.settings.region_quotas)
    return answer


def _image_of_family(cloud: Cloud, call: Call) -> JSON:
    return cloud.resources[family_image(cloud, call.project, call.path["family"])]


def family_image(cloud: Cloud, project: str, family: str) -> str:
    """The path of a family's newest image."""
    images = [
        (image["creationTimestamp"], path)
        for path, image in cloud.collection(f"{project}/global/images")
        if image.get("family") == family and image["status"] == "READY"
    ]
    if not images:
        cloud.get(f"{project}/global/images/family/{family}")
    return max(images)[1]


METHODS: dict[str, Handler] = {
    "compute.projects.get": _project,
    "compute.zones.get": lambda cloud, call: cloud.get(call.scope),
    "compute.zones.list": lambda cloud, call: listed(cloud, call, "Zone", f"{call.project}/zones"),
    "compute.regions.get": _region,
    "compute.regions.list": _regions,
    "compute.networks.get": lambda cloud, call: cloud.get(
        f"{call.scope}/networks/{call.path['network']}"
    ),
    "compute.subnetworks.get": lambda cloud, call: cloud.get(
        f"{call.scope}/subnetworks/{call.path['subnetwork']}"
    ),
    "compute.machineTypes.get": lambda cloud, call: cloud.get(
        f"{call.scope}/machineTypes/{call.path['machineType']}"
    ),
    "compute.images.getFromFamily": _image_of_family,
}
