"""The rules that GCE has for an instance's scheduling."""

from __future__ import annotations

from gce_errors import ApiError, invalid
from gce_state import JSON, Cloud

MAX_RUN_DURATION_S = 120 * 24 * 3600  # Google's upper limit


def check_scheduling(cloud: Cloud, wanted: JSON, has_gpu: bool) -> JSON:
    """What an instance gets for the scheduling that was asked for.

    Raises:
        ApiError
    """
    spot = wanted.get("provisioningModel") == "SPOT" or wanted.get("preemptible", False)
    kept = {
        "onHostMaintenance": "TERMINATE" if spot else "MIGRATE",
        "automaticRestart": not spot,
        "preemptible": spot,
        "provisioningModel": "SPOT" if spot else "STANDARD",
        **wanted,
    }
    if spot:
        kept |= {"preemptible": True, "provisioningModel": "SPOT"}
    if has_gpu and kept["onHostMaintenance"] != "TERMINATE":
        message = "Instances with guest accelerators do not support live migration."
        raise ApiError(400, message, "unsupportedOperation")
    if spot and (kept["automaticRestart"] or kept["onHostMaintenance"] != "TERMINATE"):
        raise ApiError(
            400,
            "Scheduling of preemptible instances needs automaticRestart false and "
            "onHostMaintenance TERMINATE.",
        )
    _check_limit(cloud, kept, bool(spot))
    return kept


def _check_limit(cloud: Cloud, kept: JSON, spot: bool) -> None:
    duration = kept.get("maxRunDuration")
    if duration is not None:
        seconds = int(duration.get("seconds", 0))
        kept["maxRunDuration"] = {**duration, "seconds": str(seconds)}
        if not cloud.settings.min_run_duration_s <= seconds <= MAX_RUN_DURATION_S:
            raise invalid(
                "resource.scheduling.maxRunDuration",
                seconds,
                f"Must be from {cloud.settings.min_run_duration_s} s to 120 days.",
            )
    limited = duration is not None or "terminationTime" in kept
    action = kept.get("instanceTerminationAction")
    if limited and action is None:
        raise ApiError(400, "A run time limit needs an instanceTerminationAction.")
    if action is not None and not limited and not spot:
        raise ApiError(
            400,
            "You cannot specify a termination action for a VM instance that has the standard "
            "provisioning model and no run time limit.",
        )
