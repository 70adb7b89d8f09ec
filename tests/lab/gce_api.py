"""One call of the API from its text to its answer: checked, perhaps spoilt, carried out."""

from __future__ import annotations

import hashlib
import json
import uuid
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import discovery
import gce_catalog
import gce_disks
import gce_instances
import gce_network
import gce_operations
from gce_auth import Auth
from gce_errors import ApiError, invalid
from gce_faults import Fault
from gce_state import JSON, Call, Cloud, Handler

PREFIX = "/compute/v1/"
METHODS: dict[str, Handler] = {
    **gce_catalog.METHODS,
    **gce_disks.METHODS,
    **gce_instances.METHODS,
    **gce_network.METHODS,
    **gce_operations.METHODS,
}
# Accepted by Google, and the fake would have to act on them.
NOT_PLAYED = {"fields", "callback", "$.xgafv", "serviceProjectNumber"}


class Violation(NamedTuple):
    """Something that the discovery document does not allow."""

    side: discovery.Side
    method: str
    where: str
    message: str


class Seen(NamedTuple):
    """A call that came in, for tests that count them."""

    method: str
    zone: str
    name: str
    status: int


class Answer(NamedTuple):
    """What goes back; `reset` breaks the connection instead."""

    status: int
    body: bytes
    reset: bool = False


class Api:
    """The REST API over a cloud."""

    def __init__(self, cloud: Cloud, auth: Auth) -> None:
        self.cloud = cloud
        self.auth = auth
        self.violations: list[Violation] = []
        self.calls: list[Seen] = []

    def answer(self, verb: str, target: str, authorization: str, raw: bytes) -> Answer:
        """The answer to one HTTP request for a path below /compute/v1/."""
        url = urlsplit(target)
        found = discovery.load().find(verb, url.path.removeprefix(PREFIX))
        method, zone, name = "", "", ""
        try:
            if not self.auth.accepts(authorization):
                raise ApiError(
                    401,
                    "Request had invalid authentication credentials. Expected OAuth 2 access "
                    "token, login cookie or other valid authentication credential.",
                    location="Authorization",
                )
            if found is None:
                self.violations.append(Violation("request", f"{verb} {url.path}", "", "no method"))
                raise ApiError(404, f"The requested URL {url.path} was not found on this server.")
            call = self._checked(*found, url.query, raw)
            method, zone, name = call.method, call.path.get("zone", ""), _name(call)
            call = Call(
                method,
                call.path,
                call.query,
                call.body,
                self.auth.email,
                self.cloud.faults.choose(method, zone, name),
            )
            answer = self._spoilt(call)
        except ApiError as error:
            answer = _refused(error)
        self.calls.append(Seen(method, zone, name, 0 if answer.reset else answer.status))
        return answer

    def _checked(
        self, method: discovery.Method, path: dict[str, str], query: str, raw: bytes
    ) -> Call:
        """The call, if the discovery document allows it; otherwise a violation and a 400."""
        document = discovery.load()
        pairs = parse_qsl(query, keep_blank_values=True)
        problems = list(document.check_call(method, path, pairs))
        problems += [
            discovery.Problem(name, f"The fake GCE does not play the parameter {name}.")
            for name, value in pairs
            if name in NOT_PLAYED or (name == "alt" and value != "json")
        ]
        body: JSON = {}
        if raw:
            try:
                body = json.loads(raw)
            except ValueError as error:
                raise ApiError(400, f"Invalid JSON payload received. {error}") from error
        if method.request:
            problems += document.check(method.request, body, "request", method.id)
        elif body:
            problems.append(discovery.Problem("body", f"{method.id} takes no body."))
        if problems:
            self.violations += [
                Violation("request", method.id, problem.where, problem.message)
                for problem in problems
            ]
            raise ApiError(400, problems[0].message, problems[0].reason)
        if method.id not in METHODS:
            raise ApiError(501, f"The fake GCE does not play {method.id}.")
        present = {name: value for name, value in body.items() if value is not None}
        kept = body if method.verb == "PATCH" else present
        return Call(method.id, path, dict(pairs), _writable(method, kept))

    def _spoilt(self, call: Call) -> Answer:
        """The call's answer, or what the plan of faults makes of it."""
        fault = call.fault
        self.cloud.closing.wait(fault.delay_s)
        if fault.reset == "before":
            return Answer(0, b"", reset=True)
        if fault.http and not fault.after:
            raise _error_of(fault)
        answer = self._carried_out(call)
        if fault.reset:
            return Answer(0, b"", reset=True)
        if fault.http:
            raise _error_of(fault)
        return answer

    def _carried_out(self, call: Call) -> Answer:
        with self.cloud.changed:
            self._check_place(call)
            key, asked = self._request_id(call)
            if key and key in self.cloud.requests:
                before, path = self.cloud.requests[key]
                if before != asked:
                    raise invalid("requestId", key, "It was used for another request.")
                result = self.cloud.resources[path]
            else:
                result = METHODS[call.method](self.cloud, call)
                if key:
                    path = f"{call.scope}/operations/{result['name']}"
                    self.cloud.requests[key] = (asked, path)
                    self.cloud.touch()
            self._check_answer(call.method, result)
            return Answer(200, json.dumps(result, indent=1).encode())

    def _check_place(self, call: Call) -> None:
        project, zone = call.path["project"], call.path.get("zone", "")
        public = {owner for owner, *_ in gce_catalog.PUBLIC_IMAGES}
        readable = call.method.startswith("compute.images.") and project in public
        if project != self.cloud.settings.project and not readable:
            raise ApiError(403, f"Required '{call.method}' permission for 'projects/{project}'")
        if zone in self.cloud.settings.unreachable_zones:
            raise ApiError(503, f"The zone '{zone}' cannot be reached.")
        if zone:
            self.cloud.get(f"{call.project}/zones/{zone}")

    def _request_id(self, call: Call) -> tuple[str, str]:
        """The request's id, "" for none, and a digest of all that it asks for."""
        text = call.query.get("requestId", "")
        if not text:
            return "", ""
        try:
            if uuid.UUID(text).int == 0 or str(uuid.UUID(text)) != text.lower():
                raise ValueError
        except ValueError as error:
            raise invalid("requestId", text, "It must be a UUID, and not zero.") from error
        asked = json.dumps([call.method, call.path, call.query, call.body], sort_keys=True)
        return text.lower(), hashlib.sha256(asked.encode()).hexdigest()

    def _check_answer(self, method: str, result: JSON) -> None:
        document = discovery.load()
        schema = document.methods[method].response
        problems = list(document.check(schema, result, "response"))
        if problems:
            self.violations += [
                Violation("response", method, problem.where, problem.message)
                for problem in problems
            ]
            raise ApiError(500, f"The fake GCE's own answer is wrong: {problems}")


def _writable(method: discovery.Method, body: JSON) -> JSON:
    """The body without what only the server writes; Google ignores that in requests."""
    if not method.request:
        return body
    properties = discovery.load().schemas[method.request]["properties"]
    return {name: value for name, value in body.items() if not properties[name].get("readOnly")}


def _name(call: Call) -> str:
    if "name" in call.body:
        return str(call.body["name"])
    own = [value for key, value in call.path.items() if key not in ("project", "zone", "region")]
    return own[-1] if own else ""


def _error_of(fault: Fault) -> ApiError:
    phrase = HTTPStatus(fault.http).phrase
    return ApiError(fault.http, fault.message or f"{phrase} (planned)", fault.reason)


def _refused(error: ApiError) -> Answer:
    return Answer(error.status, json.dumps(error.body(), indent=1).encode())
