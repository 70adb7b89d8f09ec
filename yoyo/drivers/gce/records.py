"""What Google keeps on record: instances and disks that are there, and the log of operations."""

from __future__ import annotations

from datetime import datetime

from yoyo.drivers.gce.cloud import Cloud, Document, last_part
from yoyo.drivers.gce.faults import CloudFault
from yoyo.drivers.gce.memory import parse_time
from yoyo.drivers.gce.names import NODE, PREFIX, REQUEST, gce_of
from yoyo.errors import CloudDenied
from yoyo.model.reconcile import PlatformDisk, PlatformMachine, PlatformRecords, PlatformRun
from yoyo.model.settings import NodeSettings

_RUNNING = (
    "PROVISIONING", "STAGING", "RUNNING", "REPAIRING", "STOPPING", "PENDING_STOP", "DEPROVISIONING",
)  # fmt: skip
_STARTS = ("insert", "start")
_STOPS = (
    "stop", "delete", "compute.instances.preempted", "compute.instances.hostError",
    "compute.instances.guestTerminate",
)  # fmt: skip


def scope_of(node: NodeSettings) -> str:
    """The project, at the address where it is asked for."""
    gce = gce_of(node)
    return f"project {gce.project}" + (f" at {gce.api_endpoint}" if gce.api_endpoint else "")


def records(cloud: Cloud, node: NodeSettings) -> PlatformRecords:
    """See the port. Operations are kept for some days only, which Google does not promise.

    Raises:
        CloudDenied: the credentials may not look.
    """
    unanswered: list[str] = []
    machines = [
        _machine(each)
        for each in _asked(cloud, "Instances", "instances", unanswered)
        if NODE in each.get("labels", {})
    ]
    disks = [
        _disk(each)
        for each in _asked(cloud, "Disks", "disks", unanswered)
        if NODE in each.get("labels", {})
    ]
    runs: list[PlatformRun] = []
    zones = dict.fromkeys((*gce_of(node).zones, *(each.place for each in machines)))
    for zone in zones:
        try:
            runs += runs_of(cloud.every("ZoneOperations", "list", zone=zone))
        except CloudFault as fault:
            unanswered.append(f"operations of {zone}: {_why(fault)}")
    return PlatformRecords(tuple(machines), tuple(disks), tuple(runs), tuple(unanswered))


def _asked(cloud: Cloud, service: str, what: str, unanswered: list[str]) -> list[Document]:
    try:
        return cloud.every(service, "aggregated_list")
    except CloudFault as fault:
        # All or nothing: what lies in a zone that was silent is not known to be gone.
        unanswered.append(f"{what}: {_why(fault)}")
        return []


def _why(fault: CloudFault) -> str:
    if fault.status in (401, 403):
        raise CloudDenied(
            "Google did not say what there is.",
            why=f"{fault.code}: {fault.message}".removeprefix(": "),
            fix="Grant the roles of docs/guides/gce.md; `yoyo doctor` checks them.",
        ) from fault
    return f"Google's API: {fault}"


def _machine(instance: Document) -> PlatformMachine:
    labels = instance["labels"]
    started = parse_time(instance.get("lastStartTimestamp"))
    stopped = parse_time(instance.get("lastStopTimestamp"))
    former = {
        item.get("key"): item.get("value") for item in instance.get("metadata", {}).get("items", [])
    }.get("yoyo-former-start")
    if former and former == instance.get("lastStartTimestamp"):
        started = None  # of the life before: this one's start is still to come
    if started is None or (stopped is not None and stopped < started):
        stopped = None
    return PlatformMachine(
        str(instance["name"]),
        last_part(str(instance.get("zone", ""))),
        str(labels[NODE]),
        str(labels.get(REQUEST, "")),
        instance.get("status") in _RUNNING,
        started,
        stopped,
    )


def _disk(disk: Document) -> PlatformDisk:
    labels = disk["labels"]
    return PlatformDisk(
        str(disk["name"]),
        last_part(str(disk.get("zone", ""))),
        str(labels[NODE]),
        str(labels.get(REQUEST, "")),
        int(disk.get("sizeGb", 0)),
        parse_time(disk.get("creationTimestamp")),
        bool(disk.get("users")),
    )


def runs_of(operations: list[Document]) -> list[PlatformRun]:
    """Starts with the stops that followed them, by instance.

    An operation that failed did nothing. A start whose stop is not in the log is no run yet.
    """
    marks: list[tuple[datetime, str, bool]] = []
    for each in operations:
        target, kind = str(each.get("targetLink", "")), str(each.get("operationType", ""))
        if "/instances/" not in target or kind not in (*_STARTS, *_STOPS):
            continue
        name = last_part(target)
        at = parse_time(each.get("endTime"))
        if name.startswith(PREFIX) and at is not None and not each.get("error"):
            marks.append((at, name, kind in _STARTS))
    found: list[PlatformRun] = []
    begun: dict[str, datetime] = {}
    for at, name, is_start in sorted(marks):
        if is_start:
            begun[name] = at
        elif name in begun:
            found.append(PlatformRun(name.removeprefix(PREFIX), begun.pop(name), at))
    return found
