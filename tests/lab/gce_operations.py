"""Operations: begun at once, finished by a thread, waited for by callers."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from gce_errors import OperationError, operation_error
from gce_lists import listed
from gce_state import JSON, LINK, Call, Closing, Cloud, Handler, stamp

Work = Callable[[], None]


def begin(cloud: Cloud, call: Call, target: str, work: Work | None = None, kind: str = "") -> JSON:
    """Begin the operation of a call on the resource at path `target`; `work` is its effect.

    `work` runs without the lock and raises OperationError to fail. Operations on one instance
    run one after the other, in the order in which they were begun.
    """
    fault = call.fault

    def effect() -> None:
        cloud.sleep(cloud.settings.operation_s + fault.operation_s)
        if work is not None:
            work()
        elif fault.operation_error:
            raise operation_error(fault.operation_error, call.scope, fault.metric)

    return _run(
        cloud, call.scope, target, kind or call.method.rsplit(".", 1)[-1], call.user, effect
    )


def system(cloud: Cloud, target: str, kind: str, work: Work) -> JSON:
    """Begin an operation that the platform itself started."""
    scope = target.rsplit("/", 2)[0]
    return _run(cloud, scope, target, kind, "system", work)


def _run(cloud: Cloud, scope: str, target: str, kind: str, user: str, work: Work) -> JSON:
    with cloud.changed:
        # Names sort by time, as Google's do.
        name = f"operation-{time.time_ns() // 1000}-{secrets.token_hex(6)}-{secrets.token_hex(4)}"
        path = f"{scope}/operations/{name}"
        operation = cloud.put(
            path,
            {
                "kind": "compute#operation",
                "operationType": kind,
                "targetLink": LINK + target,
                "targetId": cloud.resources[target]["id"] if target in cloud.resources else "0",
                "status": "PENDING",
                "user": user,
                "progress": 0,
                "insertTime": stamp(),
            },
        )
        vm = cloud.vms.get(target)
        done = threading.Event()
        before = vm.last_operation if vm else None
        if vm:
            vm.last_operation = done

    def job() -> None:
        try:
            while before is not None and not before.wait(0.05):
                cloud.sleep(0)
            _carry_out(cloud, operation, work)
        finally:
            done.set()

    answer = dict(operation)  # as it is now: the thread may have finished by the time it is sent
    cloud.work(job)
    return answer


def _carry_out(cloud: Cloud, operation: JSON, work: Work) -> None:
    with cloud.changed:
        operation.update(status="RUNNING", startTime=stamp())
        cloud.touch()
    failure: JSON = {}
    try:
        work()
    except OperationError as error:
        failure = error.fields()
    except Closing:
        raise
    except Exception as error:
        # The fake itself is at fault: say so where whoever waits will see it.
        failure = OperationError("INTERNAL_ERROR", f"fake GCE: {error!r}", status=500).fields()
    with cloud.changed:
        operation.update(status="DONE", progress=100, endTime=stamp(), **failure)
        cloud.touch()


def finish_interrupted(cloud: Cloud) -> None:
    """Mark what was under way when an earlier process ended as done."""
    for path, resource in cloud.resources.items():
        if "/operations/" in path and resource["status"] != "DONE":
            resource.update(status="DONE", progress=100, startTime=stamp(), endTime=stamp())


def _get(cloud: Cloud, call: Call) -> JSON:
    return cloud.get(f"{call.scope}/operations/{call.path['operation']}")


def _wait(cloud: Cloud, call: Call) -> JSON:
    operation = _get(cloud, call)
    if not call.fault.undone_wait:
        cloud.changed.wait_for(
            lambda: operation["status"] == "DONE" or cloud.closing.is_set(),
            cloud.settings.wait_limit_s,
        )
    return operation


def _list(cloud: Cloud, call: Call) -> JSON:
    return listed(cloud, call, "Operation", f"{call.scope}/operations")


METHODS: dict[str, Handler] = {
    f"compute.{scope}Operations.{name}": handler
    for scope in ("zone", "region", "global")
    for name, handler in (("get", _get), ("wait", _wait), ("list", _list))
}
