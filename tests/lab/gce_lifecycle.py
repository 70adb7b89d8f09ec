"""What happens to an instance after it was asked for: it boots, runs, is stopped, vanishes."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from gce_catalog import IDLE_STATES, check_capacity, check_quotas
from gce_disks import fill_disk, remove_disk
from gce_errors import OperationError, operation_error
from gce_faults import NO_FAULT, Fault
from gce_guest import CloudGuest
from gce_operations import system
from gce_state import GOOGLE_TIME, JSON, LINK, Cloud, stamp

PREEMPTED = "compute.instances.preempted"
HOST_ERROR = "compute.instances.hostError"
AUTOMATIC_RESTART = "compute.instances.automaticRestart"
GUEST_TERMINATE = "compute.instances.guestTerminate"


def boot(cloud: Cloud, path: str, fault: Fault) -> None:
    """Bring an instance that is PROVISIONING to RUNNING. Without the lock.

    Raises:
        OperationError: no capacity or no quota; the instance is as it was when this began.
    """
    cloud.sleep(cloud.settings.provisioning_s)
    with cloud.changed:
        if fault.operation_error:
            zone = path.rsplit("/", 2)[0]
            raise operation_error(fault.operation_error, zone, fault.metric)
        check_capacity(cloud, path)
        check_quotas(cloud, path)
        _set_status(cloud, path, "STAGING")
    cloud.sleep(cloud.settings.staging_s)
    for disk in _disks(cloud, path):
        if cloud.resources[disk]["status"] == "CREATING":
            fill_disk(cloud, disk)
    with cloud.changed:
        instance, vm = cloud.resources[path], cloud.vms[path]
        give_external_address(cloud, path)
        instance["lastStartTimestamp"] = stamp()
        vm.serial, vm.serial_start = b"", 0
        arm_cap(cloud, path, fault)
        # RUNNING comes before the host is asked: a machine that ends at once must find it so.
        _set_status(cloud, path, "RUNNING")
    if cloud.host:
        try:
            cloud.host.boot(CloudGuest(cloud, path, lambda: _guest_ended(cloud, path)))
        except Exception as error:
            with cloud.changed:
                _set_status(cloud, path, "TERMINATED")
            raise OperationError("INTERNAL_ERROR", f"host: {error!r}", status=500) from error


def shut_down(cloud: Cloud, path: str) -> None:
    """Bring an instance to TERMINATED, whatever it is doing. Without the lock."""
    with cloud.changed:
        if path not in cloud.resources or cloud.resources[path]["status"] in IDLE_STATES:
            return
        _set_status(cloud, path, "STOPPING")
    cloud.sleep(cloud.settings.stopping_s)
    if cloud.host:
        cloud.host.shut_down(cloud.vms[path].host_name, cloud.settings.stop_grace_s)
    with cloud.changed:
        instance = cloud.resources[path]
        instance["lastStopTimestamp"] = stamp()
        for access in instance["networkInterfaces"][0].get("accessConfigs", []):
            access.pop("natIP", None)
        _disarm(cloud, path)
        _set_status(cloud, path, "TERMINATED")


def delete(cloud: Cloud, path: str) -> None:
    """Shut an instance down and remove it, and its disks with autoDelete. Without the lock."""
    if path not in cloud.resources:
        return
    shut_down(cloud, path)
    with cloud.changed:
        disks = [
            (disk["source"].removeprefix(LINK), disk["autoDelete"])
            for disk in cloud.resources[path]["disks"]
        ]
        for disk, _ in disks:
            if disk in cloud.resources:
                cloud.resources[disk].pop("users", None)
                cloud.resources[disk]["lastDetachTimestamp"] = stamp()
        cloud.drop(path)
    for disk, gone_too in disks:
        if gone_too:
            remove_disk(cloud, disk)


def arm_cap(cloud: Cloud, path: str, fault: Fault = NO_FAULT) -> None:
    """Set when maxRunDuration ends a machine that starts now. Hold the lock."""
    duration = cloud.resources[path]["scheduling"].get("maxRunDuration")
    _disarm(cloud, path)
    if duration is None or fault.drop_cap:
        return
    at = time.time() + int(duration.get("seconds", 0)) + duration.get("nanos", 0) / 1e9
    cloud.vms[path].cap_at = at
    moment = datetime.fromtimestamp(at, GOOGLE_TIME)
    cloud.resources[path]["resourceStatus"] = {
        "scheduling": {"terminationTimestamp": stamp(moment)}
    }


def age(cloud: Cloud, path: str, seconds: float) -> None:
    """Put the times of a running machine back, so that a long run need not be waited for."""
    instance, vm = cloud.resources[path], cloud.vms[path]
    armed = instance["resourceStatus"]["scheduling"]
    for place, field in (
        (instance, "creationTimestamp"),
        (instance, "lastStartTimestamp"),
        (armed, "terminationTimestamp"),
    ):
        if field in place:
            place[field] = stamp(datetime.fromisoformat(place[field]) - timedelta(seconds=seconds))
    if vm.cap_at is not None:
        vm.cap_at -= seconds
    cloud.touch()


def watch_caps(cloud: Cloud) -> None:
    """End machines whose time has come, until the fake is closed. A thread's job."""
    while not cloud.closing.is_set():
        with cloud.changed:
            armed = {p: vm.cap_at for p, vm in cloud.vms.items() if vm.cap_at is not None}
            for path, at in armed.items():
                if at <= time.time():
                    cloud.vms[path].cap_at = None
                    _end_by_platform(cloud, path, cloud.settings.cap_operation_type)
            later = [at - time.time() for at in armed.values() if at > time.time()]
            cloud.changed.wait(min(later, default=None))


def preempt(cloud: Cloud, path: str) -> JSON:
    """Take a machine's capacity away."""
    return _end_by_platform(cloud, path, PREEMPTED)


def host_error(cloud: Cloud, path: str) -> JSON:
    """Let a machine's hardware break; with automaticRestart it comes up again."""

    def work() -> None:
        shut_down(cloud, path)
        with cloud.changed:
            if not cloud.resources[path]["scheduling"]["automaticRestart"]:
                return
            _set_status(cloud, path, "PROVISIONING")
        system(cloud, path, AUTOMATIC_RESTART, lambda: boot(cloud, path, NO_FAULT))

    return system(cloud, path, HOST_ERROR, work)


def _guest_ended(cloud: Cloud, path: str) -> None:
    """A machine powered off by itself; one that is being stopped ends too, and is no news."""
    with cloud.changed:
        instance = cloud.resources.get(path)
        if instance is not None and instance["status"] == "RUNNING":
            system(cloud, path, GUEST_TERMINATE, lambda: shut_down(cloud, path))


guest_power_off = _guest_ended


def _end_by_platform(cloud: Cloud, path: str, kind: str) -> JSON:
    action = cloud.resources[path]["scheduling"].get("instanceTerminationAction", "STOP")
    end = delete if action == "DELETE" else shut_down
    return system(cloud, path, kind, lambda: end(cloud, path))


def resume(cloud: Cloud) -> None:
    """Settle what an earlier process left half-way, and boot what ran. For the state file."""
    for path, instance in list(cloud.instances()):
        if instance["status"] == "STOPPING":
            instance["status"] = "TERMINATED"
        elif instance["status"] not in IDLE_STATES:
            instance["status"] = "RUNNING"
            if cloud.host:
                cloud.host.boot(
                    CloudGuest(cloud, path, lambda path=path: _guest_ended(cloud, path))  # type: ignore[misc]
                )


def give_external_address(cloud: Cloud, path: str) -> None:
    """A machine that starts gets an external address, and not its last one."""
    interface = cloud.resources[path]["networkInterfaces"][0]
    prefix = cloud.settings.external_addresses
    for access in interface.get("accessConfigs", []):
        access["natIP"] = free_address(cloud, prefix) if prefix else interface["networkIP"]


def free_address(cloud: Cloud, prefix: str) -> str:
    """The lowest address from .10 on that nobody has, with a longer count once 250 are out."""
    taken = {vm.address for vm in cloud.vms.values()}
    for _, instance in cloud.instances():
        taken |= {
            a.get("natIP", "") for a in instance["networkInterfaces"][0].get("accessConfigs", [])
        }
    return next(a for n in range(10, 255) if (a := f"{prefix}{n}") not in taken)


def _disks(cloud: Cloud, path: str) -> list[str]:
    return [disk["source"].removeprefix(LINK) for disk in cloud.resources[path]["disks"]]


def _disarm(cloud: Cloud, path: str) -> None:
    cloud.vms[path].cap_at = None
    cloud.resources[path]["resourceStatus"] = {"scheduling": {}}


def _set_status(cloud: Cloud, path: str, status: str) -> None:
    cloud.resources[path]["status"] = status
    cloud.touch()
