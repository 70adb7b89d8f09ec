"""Errors as compute.googleapis.com words them: refused calls, and operations that failed."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

JSON = dict[str, Any]

REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "alreadyExists",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    500: "internalError",
    501: "notImplemented",
    503: "backendError",
}


class ApiError(Exception):
    """A call that is refused."""

    def __init__(self, status: int, message: str, reason: str = "", location: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason or REASONS.get(status, "backendError")
        self.location = location

    def body(self) -> JSON:
        """The JSON that Google answers with."""
        entry = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location:
            entry |= {"location": self.location, "locationType": "header"}
        error: JSON = {"code": self.status, "message": self.message, "errors": [entry]}
        if self.status == HTTPStatus.UNAUTHORIZED:
            error["status"] = "UNAUTHENTICATED"
        return {"error": error}


class OperationError(Exception):
    """What an accepted operation ends with when it fails: the call itself was answered 200."""

    def __init__(
        self, code: str, message: str, details: list[JSON] | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or []
        self.status = status

    def fields(self) -> JSON:
        """What the failed operation's resource has besides its usual fields."""
        error: JSON = {"code": self.code, "message": self.message}
        if self.details:
            error["errorDetails"] = self.details
        return {
            "error": {"errors": [error]},
            "httpErrorStatusCode": self.status,
            "httpErrorMessage": HTTPStatus(self.status).phrase.upper(),
        }


def not_found(path: str) -> ApiError:
    """404 for a resource, by its path from `projects/`."""
    return ApiError(404, f"The resource '{path}' was not found")


def already_exists(path: str) -> ApiError:
    """409 for a resource."""
    return ApiError(409, f"The resource '{path}' already exists")


def not_ready(path: str) -> ApiError:
    """400 for a resource that is on its way to another state."""
    return ApiError(400, f"The resource '{path}' is not ready", "resourceNotReady")


def in_use(path: str, user: str) -> ApiError:
    """400 for a resource that another one holds."""
    message = f"The {path.split('/')[-2][:-1]} resource '{path}' is already being used by '{user}'"
    return ApiError(400, message, "resourceInUseByAnotherResource")


def invalid(field: str, value: object, why: str) -> ApiError:
    """400 for a field's value."""
    return ApiError(400, f"Invalid value for field '{field}': '{value}'. {why}")


def stale(message: str) -> ApiError:
    """412 for a fingerprint that is not the current one."""
    return ApiError(412, message, location="If-Match")


def quota_exceeded(metric: str, limit: float, region: str, code: str) -> OperationError:
    """A quota's error; `region` is "" for a quota of the whole project."""
    place = f"in region {region}." if region else "globally."
    info = {
        "metricName": f"compute.googleapis.com/{metric.lower()}",
        "limitName": f"{metric.replace('_', '-')}-per-project{'-region' if region else ''}",
        "dimensions": {"region": region} if region else {"global": "global"},
        "limit": limit,
    }
    message = f"Quota '{metric}' exceeded.  Limit: {limit:.1f} {place}"
    return OperationError(code, message, [{"quotaInfo": info}], 403)


def operation_error(code: str, zone_path: str, metric: str = "") -> OperationError:
    """The error that Google puts into an operation for a code, worded for a zone."""
    region = zone_path.rsplit("/", 1)[-1].rsplit("-", 1)[0]
    if code == "QUOTA_EXCEEDED":
        metric = metric or "NVIDIA_L4_GPUS"
        regional = "ALL_REGIONS" not in metric
        return quota_exceeded(metric, 0.0, region if regional else "", code)
    where = f"The zone '{zone_path}'"
    if code.startswith("REGION_"):
        where = f"The region '{zone_path.split('/zones/', maxsplit=1)[0]}/regions/{region}'"
    lacks = f"{where} does not have enough resources available to fulfill the request."
    if code.endswith("_WITH_DETAILS"):
        return OperationError(code, f"{lacks} '(resource type:compute)'.", _troubleshoot(), 503)
    if "EXHAUSTED" in code or "STOCKOUT" in code:
        message = f"{lacks}  Try a different zone, or try again later."
        return OperationError(code, message, _troubleshoot(), 503)
    return OperationError(code, f"{code.replace('_', ' ').capitalize()}.")


def _troubleshoot() -> list[JSON]:
    link = {
        "description": "Troubleshooting documentation",
        "url": "https://cloud.google.com/compute/docs/resource-error",
    }
    return [
        {"help": {"links": [link]}},
        {
            "errorInfo": {
                "reason": "resource_availability",
                "domain": "compute.googleapis.com",
                "metadatas": {},
            }
        },
    ]
