"""Seeing a node: its instance, what it says of itself, and why it stopped."""

from __future__ import annotations

from datetime import datetime, timedelta

from yoyo.drivers.gce import guest
from yoyo.drivers.gce.bodies import is_ours, platform_cap_s
from yoyo.drivers.gce.cloud import Cloud, Document, last_part
from yoyo.drivers.gce.faults import CloudFault
from yoyo.drivers.gce.keys import digest_of
from yoyo.drivers.gce.memory import Memory, Seen, parse_time
from yoyo.drivers.gce.names import REQUEST, gce_of, instance_name, model_of, port_of
from yoyo.model.machine import (
    Clocks,
    Endpoint,
    GuardStatus,
    MachineState,
    Observation,
    StopCause,
    Storage,
)
from yoyo.model.settings import NodeSettings

# https://cloud.google.com/compute/docs/instances/instance-lifecycle
_STATES = {
    "PROVISIONING": MachineState.PROVISIONING,
    "STAGING": MachineState.PROVISIONING,
    "PENDING": MachineState.PROVISIONING,
    "RUNNING": MachineState.RUNNING,
    "PENDING_STOP": MachineState.STOPPING,
    "STOPPING": MachineState.STOPPING,
    "DEPROVISIONING": MachineState.STOPPING,
    "SUSPENDING": MachineState.STOPPING,
    "TERMINATED": MachineState.STOPPED,
    "STOPPED": MachineState.STOPPED,
    "SUSPENDED": MachineState.STOPPED,
}
# Types of the operations that a stop leaves behind.
_CAUSES = {
    "compute.instances.preempted": StopCause.PREEMPTED,
    "compute.instances.hostError": StopCause.HOST_ERROR,
    "compute.instances.guestTerminate": StopCause.POWERED_OFF,
    "stop": StopCause.ORDERED,
}
_CAP_SLACK = timedelta(seconds=60)  # Google stops up to 30 s after the limit


def find_instance(cloud: Cloud, node: NodeSettings, zone: str = "") -> Document | None:
    """The node's instance, wherever it is; `zone` is where it was last.

    Raises:
        CloudFault: a zone gave no answer, so that absence is not proven.
    """
    if zone:
        found = cloud.find("Instances", "get", zone=zone, instance=instance_name(node))
        # One that rests proves nothing: a node that moved has another that may run elsewhere.
        if found is not None and state_of(found) is not MachineState.STOPPED:
            return found
    return max(every_instance(cloud, node), key=_preference, default=None)


def every_instance(cloud: Cloud, node: NodeSettings) -> list[Document]:
    """All instances of the node's name: while it moves there are two, in two zones."""
    name = instance_name(node)
    return cloud.every("Instances", "aggregated_list", filter=f"name={name}")


def _preference(instance: Document) -> tuple[bool, str]:
    # The one that runs is the node; of two that rest, the one that ran last.
    rests = state_of(instance) is MachineState.STOPPED
    return not rests, str(instance.get("lastStartTimestamp", ""))


def state_of(instance: Document) -> MachineState:
    """Google's status in the port's words."""
    return _STATES.get(str(instance.get("status", "")), MachineState.UNKNOWN)


def zone_of(instance: Document) -> str:
    """The zone's name."""
    return last_part(instance["zone"])


def request_of(instance: Document, node: NodeSettings) -> str:
    """The life it belongs to; "" when it is not ours."""
    return str(instance["labels"].get(REQUEST, "")) if is_ours(instance, node) else ""


def metadata_of(instance: Document) -> dict[str, str]:
    """Its metadata as a mapping."""
    items = instance.get("metadata", {}).get("items", [])
    return {item["key"]: item.get("value", "") for item in items}


def started_in_this_life(instance: Document) -> datetime | None:
    """When this life's machine started; None while its start is still to come.

    A stopped instance is labelled for its next life before it is started: the start of the
    life before is written down then, and is not taken for the new one's.
    """
    started = instance.get("lastStartTimestamp", "")
    former = metadata_of(instance).get("yoyo-former-start", "")
    return None if not started or started == former else parse_time(started)


def address_of(instance: Document, node: NodeSettings) -> str:
    """Where the controller reaches it; "" when it has no address yet."""
    interface: Document = next(iter(instance.get("networkInterfaces", [])), {})
    if gce_of(node).traffic == "vpc":
        return str(interface.get("networkIP", ""))
    outside: Document = next(iter(interface.get("accessConfigs", [])), {})
    return str(outside.get("natIP", ""))


def read_guest(cloud: Cloud, instance: Document) -> guest.Guest:
    """What the node says; an empty reading when nothing can be read."""
    try:
        found = cloud.find(
            "Instances", "get_guest_attributes", zone=zone_of(instance), instance=instance["name"]
        )
    except CloudFault:
        return guest.Guest()
    values = (found or {}).get("queryValue", {}).get("items", [])
    return guest.read(values)


def observe(cloud: Cloud, node: NodeSettings, memory: Memory, now: datetime) -> Observation:
    """Ask the cloud. Writes the cache that lets the next look ask the node itself."""
    try:
        instance = find_instance(cloud, node, memory.zone())
        if instance is None:
            memory.forget()
            return Observation(MachineState.ABSENT)
        memory.note_zone(zone_of(instance))
        return _seen(cloud, node, memory, instance, now)
    except CloudFault as fault:
        return Observation(MachineState.UNKNOWN, detail=f"Google's API: {fault}")


def _seen(
    cloud: Cloud, node: NodeSettings, memory: Memory, instance: Document, now: datetime
) -> Observation:
    status = str(instance.get("status", ""))
    state = state_of(instance)
    request_id = request_of(instance, node)
    where = f"{instance['name']} in {zone_of(instance)}"
    if not request_id:
        return Observation(state, detail=f"{where} does not carry yoyo's labels: it is not ours")
    started = started_in_this_life(instance)
    if state is MachineState.STOPPED:
        memory.forget()
        return _stopped(cloud, node, instance, request_id, started)
    if state is not MachineState.RUNNING:
        detail = f"{where} is {status}" if state is MachineState.UNKNOWN else ""
        return Observation(state, request_id, started_at=started, detail=detail)
    said = read_guest(cloud, instance)
    if said.request_id != request_id:
        said = guest.Guest()  # of the boot before: nothing of it holds any more
    endpoint = _endpoint(node, memory, instance, said)
    seen = Observation(
        MachineState.RUNNING,
        request_id,
        started_at=started,
        endpoint=endpoint,
        guards=_guards(instance, said, started),
        steps=said.steps,
        model=model_of(node),
        awaits_handover=endpoint is None and bool(said.seal_key),
        failed=_failure(said),
        log_tail=said.tail,
        clocks=Clocks(said.clock_s, cloud.clock_ahead_s),
    )
    if endpoint is not None:
        _remember(memory, instance, seen, endpoint, said, now)
    return seen


def _failure(said: guest.Guest) -> str:
    if not said.failed_step:
        return ""
    step = next((each for each in said.steps if each.name == said.failed_step), None)
    return f"step {said.failed_step} failed" + (f": {step.message}" if step else "")


def _endpoint(
    node: NodeSettings, memory: Memory, instance: Document, said: guest.Guest
) -> Endpoint | None:
    """Where the engine answers, once the node has taken the key that is kept here."""
    key, address = memory.bearer(), address_of(instance, node)
    if key is None or not address or said.key_digest != digest_of(key.reveal()):
        return None
    place = f"{address}:{port_of(node)}"
    match gce_of(node).traffic:
        case "vpc":
            return Endpoint(f"http://{place}", key)
        case "tls" if said.pin:
            return Endpoint(f"https://{place}", key, said.pin)
        case "tunnel":
            return Endpoint(f"ssh://{place}", key)
    return None


def _guards(
    instance: Document, said: guest.Guest, started: datetime | None
) -> tuple[GuardStatus, ...]:
    """The guards as armed. The platform's cap is Google's word, the others are the node's."""
    armed = dict(said.guards)
    renewed = parse_time(metadata_of(instance).get("yoyo-lease", ""))
    begun = [at for at in (renewed, started) if at is not None]
    lease, lifetime = armed.get("dead-man"), armed.get("lifetime")
    dead_man = None
    if lease is not None and begun:
        dead_man = max(begun) + timedelta(seconds=lease)
    ends = {
        "dead-man": dead_man,
        "lifetime": started + timedelta(seconds=lifetime)
        if started is not None and lifetime is not None
        else None,
        "platform-cap": platform_cap_at(instance),
    }
    return tuple(GuardStatus(name, at is not None, at) for name, at in ends.items())


def platform_cap_at(instance: Document) -> datetime | None:
    """When Google stops it by itself, as really armed; None: not armed."""
    armed = instance.get("resourceStatus", {}).get("scheduling", {})
    return parse_time(armed.get("terminationTimestamp"))


def _stopped(
    cloud: Cloud,
    node: NodeSettings,
    instance: Document,
    request_id: str,
    started: datetime | None,
) -> Observation:
    stopped = parse_time(instance.get("lastStopTimestamp"))
    storage = _storage(instance)
    if started is None:
        return Observation(MachineState.STOPPED, request_id, storage=storage)
    if stopped is not None and stopped < started:
        stopped = None  # of the life before: Google has not written this one's yet
    return Observation(
        MachineState.STOPPED,
        request_id,
        started_at=started,
        stopped_at=stopped,
        stop_cause=_why_stopped(cloud, node, instance, started, stopped),
        storage=storage,
    )


def _storage(instance: Document) -> Storage | None:
    """Its disks, which cost money while it rests; they were made with it."""
    since = parse_time(instance.get("creationTimestamp"))
    sizes = [int(disk.get("diskSizeGb", 0)) for disk in instance.get("disks", [])]
    return Storage(sum(sizes), since) if since is not None and any(sizes) else None


def _why_stopped(
    cloud: Cloud,
    node: NodeSettings,
    instance: Document,
    started: datetime,
    stopped: datetime | None,
) -> StopCause:
    said = read_guest(cloud, instance)
    if said.stop_cause is not None and said.request_id == request_of(instance, node):
        return said.stop_cause
    cap = started + timedelta(seconds=_armed_cap_s(instance, node))
    if stopped is not None and stopped >= cap - _CAP_SLACK:
        return StopCause.PLATFORM_CAP
    try:
        operations = cloud.every(
            "ZoneOperations",
            "list",
            zone=zone_of(instance),
            filter=f"targetId={instance.get('id', 0)}",
        )
    except CloudFault:
        return StopCause.UNKNOWN
    ends = [
        (at, _CAUSES[kind])
        for at, kind in ((_begun(each), str(each.get("operationType"))) for each in operations)
        if kind in _CAUSES and at is not None and at >= started
    ]
    if ends:
        return min(ends)[1]  # the first of them is what stopped it
    return StopCause.UNKNOWN


def _armed_cap_s(instance: Document, node: NodeSettings) -> int:
    """Seconds of the limit that the instance has, whatever the configuration says by now."""
    limit = instance.get("scheduling", {}).get("maxRunDuration", {}).get("seconds")
    return int(limit) if limit is not None else platform_cap_s(node)


def _begun(operation: Document) -> datetime | None:
    return parse_time(operation.get("startTime") or operation.get("insertTime"))


def _remember(
    memory: Memory,
    instance: Document,
    seen: Observation,
    endpoint: Endpoint,
    said: guest.Guest,
    now: datetime,
) -> None:
    guards = {g.name: g.fires_at.isoformat() if g.fires_at else None for g in seen.guards}
    memory.remember(
        Seen(
            request_id=seen.request_id,
            zone=zone_of(instance),
            address=endpoint.url.rpartition("//")[2].rpartition(":")[0],
            url=endpoint.url,
            pin=endpoint.pin,
            started_at=seen.started_at.isoformat() if seen.started_at else "",
            guards=guards,
            host_keys=dict(said.host_keys),
            clocks=seen.clocks._asdict(),
            at=now.isoformat(timespec="seconds"),
        )
    )
