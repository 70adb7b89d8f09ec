"""Methods of instances: made, looked at, changed, started, stopped and deleted."""

from __future__ import annotations

import re

from gce_catalog import CPU_PLATFORM
from gce_disks import make_disk, set_labels, with_labels
from gce_errors import ApiError, OperationError, already_exists, in_use, invalid, not_ready, stale
from gce_guest import free_host_name
from gce_lifecycle import arm_cap, boot, delete, free_address, shut_down
from gce_lists import aggregated, listed
from gce_operations import begin
from gce_scheduling import check_scheduling
from gce_state import JSON, LINK, Call, Cloud, Handler, Vm, fingerprint, stamp

METADATA_KEY = re.compile("[a-zA-Z0-9_-]{1,128}")
VALUE_LIMIT, METADATA_LIMIT = 256 << 10, 512 << 10


def _path(call: Call) -> str:
    return f"{call.scope}/instances/{call.path['instance']}"


def _insert(cloud: Cloud, call: Call) -> JSON:
    cloud.get(call.scope)
    body = call.body
    path = f"{call.scope}/instances/{body['name']}"
    if path in cloud.resources:
        raise already_exists(path)
    machine = _machine_type(cloud, call, body.get("machineType", ""))
    accelerators = _accelerators(call, machine, body.get("guestAccelerators", []))
    scheduling = check_scheduling(cloud, body.get("scheduling", {}), bool(accelerators))
    items = _checked_metadata(body.get("metadata", {}))
    interfaces = _interfaces(cloud, call, body.get("networkInterfaces", []))
    labels = with_labels(body.get("labels"))
    made: list[str] = []
    try:
        disks = _disks(cloud, call, body, made)
    except ApiError:
        for made_disk in made:
            cloud.drop(made_disk)
        raise
    cloud.vms[path] = Vm(interfaces[0]["networkIP"], free_host_name(cloud, path))
    kept = ("description", "canIpForward", "deletionProtection", "serviceAccounts")
    cloud.put(
        path,
        {
            "kind": "compute#instance",
            "creationTimestamp": stamp(),
            "status": "PROVISIONING",
            "machineType": f"{LINK}{call.scope}/machineTypes/{machine}",
            "cpuPlatform": CPU_PLATFORM[machine],
            "canIpForward": False,
            "deletionProtection": False,
            "startRestricted": False,
            "tags": {"fingerprint": fingerprint(), **_tags(body)},
            "metadata": {"kind": "compute#metadata", "fingerprint": fingerprint(), **items},
            "networkInterfaces": interfaces,
            "disks": disks,
            "scheduling": scheduling,
            "shieldedInstanceConfig": {
                "enableSecureBoot": False,
                "enableVtpm": True,
                "enableIntegrityMonitoring": True,
                **body.get("shieldedInstanceConfig", {}),
            },
            "shieldedInstanceIntegrityPolicy": {"updateAutoLearnPolicy": True},
            "fingerprint": fingerprint(),
            "resourceStatus": {"scheduling": {}},
            **({"guestAccelerators": accelerators} if accelerators else {}),
            **{name: body[name] for name in kept if name in body},
            **labels,
        },
    )
    for disk in disks:
        attached = cloud.resources[disk["source"].removeprefix(LINK)]
        attached.update(users=[LINK + path], lastAttachTimestamp=stamp())

    return begin(cloud, call, path, lambda: _come_up(cloud, call, path, made))


def _come_up(cloud: Cloud, call: Call, path: str, made: list[str]) -> None:
    try:
        boot(cloud, path, call.fault)
    except OperationError:
        # Disks made inside the insert go with the instance that never came to be.
        with cloud.changed:
            for entry in cloud.resources[path]["disks"]:
                cloud.resources[entry["source"].removeprefix(LINK)].pop("users", None)
            for gone in (path, *made):
                cloud.drop(gone)
        raise


def _tags(body: JSON) -> JSON:
    items = body.get("tags", {}).get("items", [])
    return {"items": items} if items else {}


def _machine_type(cloud: Cloud, call: Call, reference: str) -> str:
    if not reference:
        raise ApiError(400, "Required field 'resource.machineType' not specified", "required")
    path = cloud.resolve(reference, call.path["project"], "resource.machineType")
    if not path.startswith(f"{call.scope}/machineTypes/"):
        raise invalid("resource.machineType", reference, "It is of another zone.")
    name = path.rsplit("/", 1)[-1]
    if path not in cloud.resources:
        why = f"Machine type with name '{name}' does not exist in zone '{call.path['zone']}'."
        raise invalid("resource.machineType", reference, why)
    return name


def _accelerators(call: Call, machine: str, wanted: list[JSON]) -> list[JSON]:
    for accelerator in wanted:
        kind = accelerator.get("acceleratorType", "").rsplit("/", 1)[-1]
        if kind != "nvidia-l4" or not machine.startswith("g2-"):
            path = f"{call.scope}/acceleratorTypes/{kind}"
            raise ApiError(404, f"The resource '{path}' was not found")
        if accelerator.get("acceleratorCount") != 1:
            raise ApiError(400, f"[{machine}, {wanted}] accelerators do not fit the machine type.")
    if not machine.startswith("g2-"):
        return []
    link = f"{LINK}{call.scope}/acceleratorTypes/nvidia-l4"
    return [{"acceleratorType": link, "acceleratorCount": 1}]


def _interfaces(cloud: Cloud, call: Call, wanted: list[JSON]) -> list[JSON]:
    if len(wanted) != 1:
        raise invalid("resource.networkInterfaces", len(wanted), "The fake knows one interface.")
    project, region = call.path["project"], call.path["zone"].rsplit("-", 1)[0]
    network = wanted[0].get("network", "global/networks/default")
    subnetwork = wanted[0].get("subnetwork", f"regions/{region}/subnetworks/default")
    paths = [
        cloud.resolve(reference, project, f"resource.networkInterfaces[0].{field}")
        for field, reference in (("network", network), ("subnetwork", subnetwork))
    ]
    for path in paths:
        cloud.get(path)
    address = free_address(cloud, cloud.settings.internal_addresses)
    interface: JSON = {
        "kind": "compute#networkInterface",
        "name": "nic0",
        "network": LINK + paths[0],
        "subnetwork": LINK + paths[1],
        "networkIP": address,
        "fingerprint": fingerprint(),
        "stackType": "IPV4_ONLY",
    }
    for access in wanted[0].get("accessConfigs", []):
        interface["accessConfigs"] = [
            {
                "kind": "compute#accessConfig",
                "type": "ONE_TO_ONE_NAT",
                "name": access.get("name", "external-nat"),
                "networkTier": access.get("networkTier", "PREMIUM"),
            }
        ]
    return [interface]


def _disks(cloud: Cloud, call: Call, body: JSON, made: list[str]) -> list[JSON]:
    """The instance's disks; what had to be made is added to `made`."""
    wanted = body.get("disks", [])
    if [bool(disk.get("boot")) for disk in wanted] != [i == 0 for i in range(len(wanted))]:
        raise ApiError(400, "Boot disk must be the first disk attached to the instance.")
    if not wanted:
        raise ApiError(400, "Invalid value for field 'resource.disks': ''. No boot disk.")
    disks: list[JSON] = []
    for index, disk in enumerate(wanted):
        parameters = disk.get("initializeParams")
        if (parameters is None) == (not disk.get("source")):
            message = f"Field 'resource.disks[{index}]' needs source or initializeParams."
            raise ApiError(400, message)
        if parameters is not None:
            name = body["name"] if index == 0 else f"{body['name']}-{index}"
            path = make_disk(cloud, call, parameters.get("diskName") or name, parameters)
            made.append(path)
        else:
            path = cloud.resolve(disk["source"], call.path["project"], "resource.disks.source")
            _check_free(cloud, call, path)
        disks.append(
            {
                "kind": "compute#attachedDisk",
                "type": "PERSISTENT",
                "mode": disk.get("mode", "READ_WRITE"),
                "source": LINK + path,
                "deviceName": disk.get("deviceName", f"persistent-disk-{index}"),
                "index": index,
                "boot": index == 0,
                "autoDelete": disk.get("autoDelete", False),
                "interface": disk.get("interface", "SCSI"),
                "diskSizeGb": cloud.resources[path]["sizeGb"],
                "architecture": "X86_64",
            }
        )
    return disks


def _check_free(cloud: Cloud, call: Call, path: str) -> None:
    if not path.startswith(f"{call.scope}/"):
        raise invalid("resource.disks.source", path, "The disk is of another zone.")
    users = cloud.get(path).get("users")
    if users:
        raise in_use(path, users[0].removeprefix(LINK))


def _checked_metadata(metadata: JSON) -> JSON:
    items = metadata.get("items", [])
    keys = [item.get("key", "") for item in items]
    for item in items:
        if not METADATA_KEY.fullmatch(item.get("key", "")):
            raise invalid("metadata.items.key", item.get("key"), "Not a metadata key.")
        if len(item.get("value", "").encode()) > VALUE_LIMIT:
            raise invalid("metadata.items.value", item["key"], "Value is too large.")
    if len(keys) != len(set(keys)):
        raise invalid("metadata.items", keys, "Metadata has duplicate keys.")
    if sum(len(i["key"]) + len(i.get("value", "").encode()) for i in items) > METADATA_LIMIT:
        raise ApiError(413, "Metadata is too large.", "uploadTooLarge")
    kept = [{"key": item["key"], "value": item.get("value", "")} for item in items]
    return {"items": kept} if kept else {}


def _start(cloud: Cloud, call: Call) -> JSON:
    path = _path(call)
    status = cloud.get(path)["status"]
    if status == "STOPPING":
        raise not_ready(path)
    if status != "TERMINATED":
        return begin(cloud, call, path)  # it runs: done, and nothing happens
    cloud.resources[path]["status"] = "PROVISIONING"
    cloud.touch()

    def work() -> None:
        try:
            boot(cloud, path, call.fault)
        except OperationError:
            with cloud.changed:
                cloud.resources[path]["status"] = "TERMINATED"
                cloud.touch()
            raise

    return begin(cloud, call, path, work)


def _stop(cloud: Cloud, call: Call) -> JSON:
    path = _path(call)
    if cloud.get(path)["status"] == "TERMINATED" or call.fault.operation_error:
        return begin(cloud, call, path)
    return begin(cloud, call, path, lambda: shut_down(cloud, path))


def _delete(cloud: Cloud, call: Call) -> JSON:
    path = _path(call)
    if cloud.get(path)["deletionProtection"]:
        raise ApiError(412, f"Invalid resource usage: '{path}' is protected against deletion.")
    if call.fault.operation_error:
        return begin(cloud, call, path)
    return begin(cloud, call, path, lambda: delete(cloud, path))


def _set_metadata(cloud: Cloud, call: Call) -> JSON:
    path = _path(call)
    metadata = cloud.get(path)["metadata"]
    if call.body.get("fingerprint") != metadata["fingerprint"]:
        raise stale("Supplied fingerprint does not match current metadata fingerprint.")
    checked = _checked_metadata(call.body)
    if not call.fault.operation_error:
        metadata.pop("items", None)
        metadata.update(checked, fingerprint=fingerprint())
        cloud.touch()
    return begin(cloud, call, path)


def _set_scheduling(cloud: Cloud, call: Call) -> JSON:
    path = _path(call)
    instance = cloud.get(path)
    # What is not named stays as it is.
    merged = {**instance["scheduling"], **call.body}
    checked = check_scheduling(cloud, merged, bool(instance.get("guestAccelerators")))
    if not call.fault.operation_error:
        instance["scheduling"] = checked
        if instance["status"] == "RUNNING" and "maxRunDuration" in call.body:
            arm_cap(cloud, path, call.fault)
        cloud.touch()
    return begin(cloud, call, path)


def _guest_attributes(cloud: Cloud, call: Call) -> JSON:
    path = _path(call)
    cloud.get(path)
    attributes = cloud.vms[path].attributes
    answer: JSON = {
        "kind": "compute#guestAttributes",
        "selfLink": f"{LINK}{path}/guestAttributes/",
    }
    if key := call.query.get("variableKey"):
        if key not in attributes:
            raise ApiError(404, f"The resource '{key}' of type 'Guest Attribute' was not found.")
        return {**answer, "variableKey": key, "variableValue": attributes[key]}
    query = call.query.get("queryPath", "")
    found = sorted(name for name in attributes if name == query or name.startswith(_folder(query)))
    if not found:
        raise ApiError(404, f"The resource '{query}' of type 'Guest Attribute' was not found.")
    items = []
    for name in found:
        namespace, _, key = name.partition("/")
        items.append({"namespace": namespace, "key": key, "value": attributes[name]})
    return {**answer, "queryPath": query, "queryValue": {"items": items}}


def _folder(query: str) -> str:
    return f"{query.rstrip('/')}/" if query else ""


def _serial(cloud: Cloud, call: Call) -> JSON:
    path = _path(call)
    if cloud.get(path)["status"] not in ("RUNNING", "STOPPING"):
        raise not_ready(path)
    vm = cloud.vms[path]
    kept = vm.serial if call.query.get("port", "1") == "1" else b""
    start, end = int(call.query.get("start", "0")), vm.serial_start + len(kept)
    if start < 0:
        start = end + start
    start = min(max(start, vm.serial_start), end)
    return {
        "kind": "compute#serialPortOutput",
        "selfLink": f"{LINK}{path}/serialPort",
        "contents": kept[start - vm.serial_start :].decode(errors="replace"),
        "start": str(start),
        "next": str(end),
    }


def _everywhere(cloud: Cloud, call: Call) -> JSON:
    scopes = [f"zones/{zone}" for zone in cloud.settings.zones]
    return aggregated(cloud, call, "Instance", "instances", scopes)


METHODS: dict[str, Handler] = {
    "compute.instances.insert": _insert,
    "compute.instances.get": lambda cloud, call: cloud.get(_path(call)),
    "compute.instances.list": lambda cloud, call: listed(
        cloud, call, "Instance", f"{call.scope}/instances"
    ),
    "compute.instances.aggregatedList": _everywhere,
    "compute.instances.start": _start,
    "compute.instances.stop": _stop,
    "compute.instances.delete": _delete,
    "compute.instances.setMetadata": _set_metadata,
    "compute.instances.setLabels": lambda cloud, call: set_labels(cloud, call, _path(call)),
    "compute.instances.setScheduling": _set_scheduling,
    "compute.instances.getGuestAttributes": _guest_attributes,
    "compute.instances.getSerialPortOutput": _serial,
}
