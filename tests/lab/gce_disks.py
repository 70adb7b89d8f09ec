"""Disks, snapshots and images: made from one another, labelled, deleted."""

from __future__ import annotations

import re

from gce_catalog import IDLE_STATES, family_image
from gce_errors import ApiError, already_exists, in_use, invalid, operation_error, stale
from gce_lists import aggregated, listed
from gce_operations import begin
from gce_state import JSON, LINK, NO_LABELS, Call, Cloud, Handler, fingerprint, stamp

LABEL_KEY = re.compile("[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile("[a-z0-9_-]{0,63}")
SOURCES = {"sourceImage": "images", "sourceSnapshot": "snapshots", "sourceDisk": "disks"}


def contents(path: str, resource: JSON) -> str:
    """The name under which a host keeps the bytes of a disk, a snapshot or an image."""
    return f"{path.split('/')[-2][:-1]}-{resource['id']}"


def checked_labels(labels: dict[str, str], field: str = "resource.labels") -> dict[str, str]:
    """Labels, refused where Google refuses them."""
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            raise invalid(field, f"{key}={value}", "Label violates format constraints.")
    if len(labels) > 64:
        raise invalid(field, len(labels), "Too many labels.")
    return labels


def with_labels(labels: dict[str, str] | None) -> JSON:
    """The fields that a resource has for its labels."""
    if not labels:
        return {"labelFingerprint": NO_LABELS}
    return {"labels": checked_labels(labels), "labelFingerprint": fingerprint()}


def set_labels(cloud: Cloud, call: Call, path: str) -> JSON:
    """setLabels of any resource: replaces them all, if the fingerprint is the current one."""
    resource = cloud.get(path)
    if call.body.get("labelFingerprint") != resource["labelFingerprint"]:
        raise stale("Labels fingerprint either invalid or resource labels have changed")
    labels = checked_labels(call.body.get("labels", {}), "labels")
    if not call.fault.operation_error:
        resource.update(labels=labels, labelFingerprint=fingerprint())
        if not labels:
            del resource["labels"]
    return begin(cloud, call, path)


def make_disk(cloud: Cloud, call: Call, name: str, wanted: JSON) -> str:
    """Make a disk, still CREATING, and return its path; `wanted` is Disk or initializeParams."""
    path = f"{call.scope}/disks/{name}"
    if path in cloud.resources:
        raise already_exists(path)
    source_field = next((field for field in SOURCES if wanted.get(field)), "")
    size, from_source = wanted.get("diskSizeGb") or wanted.get("sizeGb"), {}
    if source_field:
        source = resolve_source(cloud, call, wanted[source_field], source_field)
        resource = cloud.resources[source]
        least = int(resource.get("diskSizeGb") or resource["sizeGb"])
        if size and int(size) < least:
            why = f"Requested disk size cannot be smaller than the source's size ({least} GB)"
            raise invalid("resource.sizeGb", size, why)
        size = size or least
        from_source = {source_field: LINK + source, f"{source_field}Id": resource["id"]}
    kind = wanted.get("diskType") or wanted.get("type") or "pd-standard"
    cloud.put(
        path,
        {
            "kind": "compute#disk",
            "creationTimestamp": stamp(),
            "sizeGb": str(size or 500),
            "status": "CREATING",
            "type": f"{LINK}{call.scope}/diskTypes/{kind.rsplit('/', 1)[-1]}",
            "physicalBlockSizeBytes": "4096",
            "architecture": "X86_64",
            **from_source,
            **({"description": wanted["description"]} if wanted.get("description") else {}),
            **with_labels(wanted.get("labels")),
        },
    )
    return path


def fill_disk(cloud: Cloud, path: str) -> None:
    """Give a disk the bytes of what it is made from. Call without the lock."""
    disk = cloud.resources[path]
    source = next((disk[field] for field in SOURCES if field in disk), "")
    _copy(cloud, source.removeprefix(LINK), path)
    with cloud.changed:
        disk["status"] = "READY"
        cloud.touch()


def _copy(cloud: Cloud, source: str, target: str) -> None:
    # Public images have no bytes here: a host's machines begin with an image of the host's own.
    own = source.startswith(f"projects/{cloud.settings.project}/")
    if cloud.host and own and source in cloud.resources:
        names = [contents(path, cloud.resources[path]) for path in (source, target)]
        cloud.host.copy_disk(names[0], names[1])


def resolve_source(cloud: Cloud, call: Call, reference: str, field: str) -> str:
    """The path of an image (by name or family), a snapshot or a disk."""
    path = cloud.resolve(reference, call.path["project"], f"resource.{field}")
    if f"/{SOURCES[field]}/" not in path:
        raise invalid(f"resource.{field}", reference, "The URL is malformed.")
    if "/images/family/" in path:
        project, family = path.split("/global/images/family/")
        return family_image(cloud, project, family)
    cloud.get(path)
    return path


def remove_disk(cloud: Cloud, path: str) -> None:
    """Forget a disk, a snapshot or an image, and its bytes. Call without the lock."""
    with cloud.changed:
        resource = cloud.resources.get(path)
        cloud.drop(path)
    if resource is not None and cloud.host:
        cloud.host.remove_disk(contents(path, resource))


def _insert_disk(cloud: Cloud, call: Call) -> JSON:
    wanted = dict(call.body)
    if call.query.get("sourceImage"):
        wanted["sourceImage"] = call.query["sourceImage"]
    if not any(wanted.get(key) for key in ("sizeGb", *SOURCES)):
        raise ApiError(400, "Required field 'resource.sizeGb' not specified", "required")
    path = make_disk(cloud, call, wanted["name"], wanted)

    def work() -> None:
        if call.fault.operation_error:
            remove_disk(cloud, path)
            raise operation_error(call.fault.operation_error, call.scope, call.fault.metric)
        fill_disk(cloud, path)

    return begin(cloud, call, path, work)


def _delete(cloud: Cloud, call: Call) -> JSON:
    path = _own(call)
    resource = cloud.get(path)
    if resource.get("users"):
        raise in_use(path, resource["users"][0].removeprefix(LINK))

    def work() -> None:
        if call.fault.operation_error:
            raise operation_error(call.fault.operation_error, call.scope, call.fault.metric)
        remove_disk(cloud, path)

    return begin(cloud, call, path, work)


def _own(call: Call) -> str:
    collection = call.method.split(".")[1]
    name = call.path.get("resource") or call.path[collection[:-1]]
    return f"{call.scope}/{collection}/{name}"


def _make_copy(cloud: Cloud, call: Call, collection: str, source: str) -> JSON:
    """Begin a snapshot or an image of the disk at path `source`."""
    disk = cloud.get(source)
    path = f"{call.project}/global/{collection}/{call.body['name']}"
    if path in cloud.resources:
        raise already_exists(path)
    fields = ("description", "storageLocations", "snapshotType", "guestFlush", "family")
    kind = collection[:-1]
    cloud.put(
        path,
        {
            "kind": f"compute#{kind}",
            "creationTimestamp": stamp(),
            "status": "CREATING" if kind == "snapshot" else "PENDING",
            "sourceDisk": LINK + source,
            "sourceDiskId": disk["id"],
            "diskSizeGb": disk["sizeGb"],
            "architecture": "X86_64",
            **({"storageBytes": "0"} if kind == "snapshot" else {"archiveSizeBytes": "0"}),
            **{field: call.body[field] for field in fields if field in call.body},
            **with_labels(call.body.get("labels")),
        },
    )

    def work() -> None:
        if call.fault.operation_error:
            remove_disk(cloud, path)
            raise operation_error(call.fault.operation_error, call.scope, call.fault.metric)
        _copy(cloud, source, path)
        with cloud.changed:
            cloud.resources[path]["status"] = "READY"
            cloud.touch()

    return begin(cloud, call, path if call.method.endswith("insert") else source, work)


def _create_snapshot(cloud: Cloud, call: Call) -> JSON:
    return _make_copy(cloud, call, "snapshots", f"{call.scope}/disks/{call.path['disk']}")


def _insert_copy(cloud: Cloud, call: Call) -> JSON:
    collection = call.method.split(".")[1]
    if not call.body.get("sourceDisk"):
        raise ApiError(400, "Required field 'resource.sourceDisk' not specified", "required")
    source = resolve_source(cloud, call, call.body["sourceDisk"], "sourceDisk")
    # A machine that rests keeps its disk attached, and writes nothing to it.
    at_work = [
        user
        for user in cloud.resources[source].get("users", [])
        if cloud.resources[user.removeprefix(LINK)]["status"] not in IDLE_STATES
    ]
    if collection == "images" and at_work and not call.flag("forceCreate"):
        raise in_use(source, at_work[0].removeprefix(LINK))
    return _make_copy(cloud, call, collection, source)


def _disks_everywhere(cloud: Cloud, call: Call) -> JSON:
    scopes = [f"zones/{zone}" for zone in cloud.settings.zones]
    return aggregated(cloud, call, "Disk", "disks", scopes)


METHODS: dict[str, Handler] = {
    "compute.disks.insert": _insert_disk,
    "compute.disks.aggregatedList": _disks_everywhere,
    "compute.disks.createSnapshot": _create_snapshot,
    "compute.snapshots.insert": _insert_copy,
    "compute.images.insert": _insert_copy,
    **{f"compute.{c}.delete": _delete for c in ("disks", "snapshots", "images")},
    **{
        f"compute.{c}.get": lambda cloud, call: cloud.get(_own(call))
        for c in ("disks", "snapshots", "images")
    },
    **{
        f"compute.{c}.setLabels": lambda cloud, call: set_labels(cloud, call, _own(call))
        for c in ("disks", "snapshots")
    },
    "compute.disks.list": lambda cloud, call: listed(cloud, call, "Disk", f"{call.scope}/disks"),
    "compute.snapshots.list": lambda cloud, call: listed(
        cloud, call, "Snapshot", f"{call.scope}/snapshots"
    ),
    "compute.images.list": lambda cloud, call: listed(cloud, call, "Image", f"{call.scope}/images"),
}
