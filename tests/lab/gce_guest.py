"""A machine as its host sees it: metadata in, guest attributes and serial output out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from gce_disks import contents
from gce_state import JSON, LINK, SERIAL_LIMIT, Cloud


class CloudGuest:
    """The `Guest` of one boot of one instance."""

    def __init__(self, cloud: Cloud, path: str, on_end: Callable[[], None]) -> None:
        instance = cloud.resources[path]
        self._cloud = cloud
        self._path = path
        self._id = instance["id"]
        self._on_end = on_end
        self.name = cloud.vms[path].host_name
        self.address = cloud.vms[path].address
        boot_disk = next(disk for disk in instance["disks"] if disk["boot"])
        disk_path = boot_disk["source"].removeprefix(LINK)
        self.disk = contents(disk_path, cloud.resources[disk_path])
        self._token = cloud.token() if cloud.token is not None else {}

    def _instance(self) -> JSON | None:
        """The resource, None when the machine is gone and its name may be another's."""
        found = self._cloud.resources.get(self._path)
        return found if found is not None and found["id"] == self._id else None

    def metadata(self) -> tuple[str, dict[str, object]]:
        with self._cloud.changed:
            instance = self._instance()
            tree = metadata_tree(self._cloud, instance, self._token) if instance else {}
        text = json.dumps(tree, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16], tree

    def wait_for_metadata(self, etag: str, timeout_s: float) -> None:
        cloud = self._cloud
        with cloud.changed:
            cloud.changed.wait_for(
                lambda: cloud.closing.is_set() or self.metadata()[0] != etag, timeout_s
            )

    def put_guest_attribute(self, namespace: str, key: str, value: str) -> None:
        with self._cloud.changed:
            if self._instance() is not None:
                self._cloud.vms[self._path].attributes[f"{namespace}/{key}"] = value
                self._cloud.touch()

    def get_guest_attribute(self, namespace: str, key: str) -> str | None:
        with self._cloud.changed:
            if self._instance() is None:
                return None
            return self._cloud.vms[self._path].attributes.get(f"{namespace}/{key}")

    def write_serial(self, data: bytes) -> None:
        with self._cloud.changed:
            if self._instance() is not None:
                append_serial(self._cloud, self._path, data)

    def ended(self) -> None:
        self._on_end()


def free_host_name(cloud: Cloud, path: str) -> str:
    """A name for an instance on its host: its own, unless another zone's has that one."""
    name = path.rsplit("/", 1)[-1]
    taken = {vm.host_name for vm in cloud.vms.values()}
    return f"{name}-{path.split('/')[3]}" if name in taken else name


def append_serial(cloud: Cloud, path: str, data: bytes) -> None:
    """Keep the last MiB of a machine's serial output. Hold the lock."""
    vm = cloud.vms[path]
    whole = vm.serial + data
    vm.serial = whole[-SERIAL_LIMIT:]
    vm.serial_start += len(whole) - len(vm.serial)
    cloud.touch()


def metadata_tree(cloud: Cloud, instance: JSON, token: JSON | None = None) -> dict[str, object]:
    """What the metadata server has below /computeMetadata/v1/."""
    number = cloud.settings.project_number
    zone, machine = (instance[key].rsplit("/", 1)[-1] for key in ("zone", "machineType"))
    scheduling = instance["scheduling"]
    interface = instance["networkInterfaces"][0]
    access = interface.get("accessConfigs", [])
    own: dict[str, object] = {
        "attributes": {i["key"]: i["value"] for i in instance["metadata"].get("items", [])},
        "cpuPlatform": instance["cpuPlatform"],
        "description": instance.get("description", ""),
        "disks": [
            {
                "deviceName": disk["deviceName"],
                "index": disk["index"],
                "interface": disk["interface"],
                "mode": disk["mode"],
                "type": "PERSISTENT-BALANCED",
            }
            for disk in instance["disks"]
        ],
        "hostname": f"{instance['name']}.{zone}.c.{cloud.settings.project}.internal",
        "id": int(instance["id"]),
        "image": "",
        "licenses": [],
        "machineType": f"projects/{number}/machineTypes/{machine}",
        "maintenanceEvent": "NONE",
        "name": instance["name"],
        "networkInterfaces": [
            {
                "accessConfigs": [
                    {"externalIp": a.get("natIP", ""), "type": a["type"]} for a in access
                ],
                "dnsServers": ["169.254.169.254"],
                "forwardedIps": [],
                "ip": interface["networkIP"],
                "ipAliases": [],
                "mac": "42:01:0a:80:00:0a",
                "mtu": 1460,
                "network": f"projects/{number}/networks/default",
                "targetInstanceIps": [],
            }
        ],
        "preempted": "FALSE",
        "scheduling": {
            "automaticRestart": str(scheduling["automaticRestart"]).upper(),
            "onHostMaintenance": scheduling["onHostMaintenance"],
            "preemptible": str(scheduling["preemptible"]).upper(),
        },
        "serviceAccounts": {
            name: {**account, "aliases": ["default"], "token": token or {}}
            for account in instance.get("serviceAccounts", [])
            for name in ("default", account["email"])
        },
        "tags": instance["tags"].get("items", []),
        "virtualClock": {"driftToken": "0"},
        "zone": f"projects/{number}/zones/{zone}",
    }
    project = cloud.resources[f"projects/{cloud.settings.project}"]
    shared = project["commonInstanceMetadata"].get("items", [])
    return {
        "instance": own,
        "oslogin": {"authenticate": {"sessions": {}}},
        "project": {
            "attributes": {item["key"]: item["value"] for item in shared},
            "numericProjectId": number,
            "projectId": cloud.settings.project,
        },
    }
