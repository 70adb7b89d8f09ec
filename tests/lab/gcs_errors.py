"""Refusals as Cloud Storage words them, in JSON and, for the XML API, in XML."""

from __future__ import annotations

import json
from xml.sax.saxutils import escape

from gce_errors import ApiError

CODES = {
    304: "NotModified",
    400: "InvalidArgument",
    401: "AuthenticationRequired",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    416: "InvalidRange",
    429: "SlowDown",
    500: "InternalError",
    503: "ServiceUnavailable",
}
CHALLENGE = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'


class Disconnected(Exception):
    """The client has gone, or is made to go: there is nobody to answer."""


def no_bucket() -> ApiError:
    return ApiError(404, "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> ApiError:
    return ApiError(404, f"No such object: {bucket}/{name}")


def bad(message: str) -> ApiError:
    return ApiError(400, message)


def condition_not_met() -> ApiError:
    return ApiError(
        412, "At least one of the pre-conditions you specified did not hold.", location="If-Match"
    )


def not_modified() -> ApiError:
    return ApiError(304, "Not Modified", "notModified")


def bad_range(asked: str) -> ApiError:
    return ApiError(416, f"Request range not satisfiable: {asked}", "requestedRangeNotSatisfiable")


def as_json(error: ApiError) -> bytes:
    return json.dumps(error.body(), indent=2).encode()


def as_xml(error: ApiError) -> bytes:
    """The XML API's form of a refusal."""
    code = CODES.get(error.status, "InternalError")
    if error.message.startswith("The specified bucket"):
        code = "NoSuchBucket"
    message = escape(error.message)
    return (
        f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code>"
        f"<Message>{message}</Message></Error>"
    ).encode()
