"""Google's Compute Engine API: calls in, JSON documents out, one exception for all that fails.

The client library (google-cloud-compute) takes over a second to import, so it is imported by
the first call and by nothing else. Bodies and answers are the REST API's own JSON, which is
what Google documents and what the tests check against Google's discovery document.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from yoyo.drivers.gce.faults import CloudFault, wrapped

if TYPE_CHECKING:
    from pathlib import Path

    from yoyo.ports.clock import Clock

Document = dict[str, Any]

_CALL_TIMEOUT_S = 60.0
_WAIT_TIMEOUT_S = 150.0  # zoneOperations.wait answers within 2 minutes, done or not
_READ_TRIES = 4
_SENDS = 5
_PROMPT = timedelta(seconds=3)  # an operation's date tells the clocks' distance to this
_TRANSIENT = (0, 408, 429, 500, 502, 503, 504)


class Cloud:
    """One project. Clients are made at their first use and kept."""

    def __init__(
        self, project: str, endpoint: str | None, credentials: Path | None, clock: Clock
    ) -> None:
        self.project = project
        self._endpoint = endpoint
        self._credentials_file = credentials
        self._clock = clock
        self._clients: dict[str, Any] = {}
        self._credentials: Any = None
        # Seconds that this host's clock is ahead of Google's; None: nothing was changed yet.
        self.clock_ahead_s: int | None = None

    def read(self, service: str, method: str, **fields: Any) -> Document:
        """A call that changes nothing; tried again while the answer is a passing failure.

        Raises:
            CloudFault.
        """
        for number in range(1, _READ_TRIES + 1):
            try:
                return self._call(service, method, fields)
            except CloudFault as fault:
                if fault.status not in _TRANSIENT or number == _READ_TRIES:
                    raise
            self._clock.sleep(0.25 * 2**number)
        raise AssertionError

    def find(self, service: str, method: str, **fields: Any) -> Document | None:
        """As `read`; None when there is no such thing."""
        try:
            return self.read(service, method, **fields)
        except CloudFault as fault:
            if fault.status == 404:
                return None
            raise

    def every(self, service: str, method: str, **fields: Any) -> list[Document]:
        """All items of a list or of an aggregated list, over all pages.

        Raises:
            CloudFault: also when a zone could not be asked: what is there is then not known.
        """
        found: list[Document] = []
        token = ""
        while True:
            page = self.read(service, method, **fields, **({"page_token": token} if token else {}))
            found += _items(page)
            token = page.get("nextPageToken", "")
            if not token:
                return found

    def change(self, service: str, method: str, **fields: Any) -> Document:
        """A call that changes something, made once; gives its operation, perhaps undone.

        Raises:
            CloudFault.
        """
        return self._call(service, f"{method}_unary", fields)

    def carry_out(self, service: str, method: str, timeout_s: float, **fields: Any) -> None:
        """A change, sent again while it is unknown what became of it, and awaited.

        One requestId makes the second sending the same call.

        Raises:
            CloudFault: also when the operation failed, or took longer than `timeout_s` seconds.
        """
        request_id, sent = str(uuid.uuid4()), self._clock.now()
        for number in range(1, _SENDS + 1):
            try:
                operation = self.change(service, method, **fields, request_id=request_id)
                self.clock_ahead_s = ahead_s(operation, sent, self._clock.now())
                break
            except CloudFault as fault:
                if not (fault.unknown or fault.status == 429) or number == _SENDS:
                    raise
            self._clock.sleep(0.25 * 2**number)
        self.wait(operation, timeout_s)

    def warm_up(self, services: tuple[str, ...]) -> None:
        """Make the clients of these services now, so that threads may share them."""
        with wrapped():
            for service in services:
                self._client(service)

    def permissions(self, wanted: tuple[str, ...]) -> frozenset[str]:
        """Which of these the credentials have on the project (Resource Manager, not Compute).

        Raises:
            CloudFault.
        """
        with wrapped():
            from google.auth.transport.requests import AuthorizedSession

            self._client("Projects")  # makes the credentials
            host = self._endpoint or "https://cloudresourcemanager.googleapis.com"
            session = AuthorizedSession(self._credentials)  # type: ignore[no-untyped-call]
            url = f"{host}/v1/projects/{self.project}:testIamPermissions"
            answer = session.post(url, json={"permissions": list(wanted)}, timeout=_CALL_TIMEOUT_S)
            if answer.status_code != 200:
                raise CloudFault(answer.status_code, "", answer.text[:200])
            return frozenset(answer.json().get("permissions", []))

    def wait(self, operation: Document, timeout_s: float) -> None:
        """Wait until the operation is done; the library's own waiting ignores the endpoint.

        Raises:
            CloudFault: the operation failed, or `timeout_s` seconds went by (status 0).
        """
        deadline = self._clock.monotonic() + timeout_s
        pause = 0.1
        while operation.get("status") != "DONE":
            if self._clock.monotonic() > deadline:
                what = operation.get("operationType", "operation")
                raise CloudFault(0, "timeout", f"{what} was not done after {timeout_s:g} s")
            try:
                operation = self._wait_once(operation)
            except CloudFault as fault:
                if fault.status not in _TRANSIENT:
                    raise
                self._clock.sleep(pause)
                pause = min(pause * 2, 5.0)
        errors = operation.get("error", {}).get("errors", [])
        if errors:
            # HTTP was fine: a stockout or a quota is found here and nowhere else.
            raise CloudFault(200, str(errors[0].get("code", "")), str(errors[0].get("message", "")))

    def _wait_once(self, operation: Document) -> Document:
        name = operation["name"]
        if "zone" in operation:
            zone = last_part(operation["zone"])
            return self._call("ZoneOperations", "wait", {"operation": name, "zone": zone})
        if "region" in operation:
            region = last_part(operation["region"])
            return self._call("RegionOperations", "wait", {"operation": name, "region": region})
        return self._call("GlobalOperations", "wait", {"operation": name})

    def _call(self, service: str, method: str, fields: Document) -> Document:
        with wrapped():
            client = self._client(service)
            request = _request(service, method, {"project": self.project, **fields})
            timeout = _WAIT_TIMEOUT_S if method == "wait" else _CALL_TIMEOUT_S
            answer = getattr(client, method)(request=request, retry=None, timeout=timeout)
            if hasattr(answer, "pages"):
                answer = next(iter(answer.pages))
            text = type(answer).to_json(
                answer, use_integers_for_enums=False, always_print_fields_with_no_presence=False
            )
            return dict(json.loads(text))

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            from google.api_core.client_options import ClientOptions
            from google.cloud import compute_v1

            if self._credentials is None:
                found = _credentials(self._credentials_file)
                self._credentials = _token_only(found) if self._endpoint else found
            options = ClientOptions(api_endpoint=self._endpoint) if self._endpoint else None
            made = getattr(compute_v1, f"{service}Client")
            self._clients[service] = made(credentials=self._credentials, client_options=options)
        return self._clients[service]


def ahead_s(operation: Document, sent: datetime, answered: datetime) -> int | None:
    """Seconds that a clock is ahead of Google's, which dated the operation between those two.

    Of what is possible the least, so that a slow answer is no skew; None: there is no date, or the
    answer took too long to say anything.
    """
    if answered - sent > _PROMPT:
        return None
    try:
        inserted = datetime.fromisoformat(operation["insertTime"])
        least, most = (round((at - inserted).total_seconds()) for at in (sent, answered))
    except (KeyError, TypeError, ValueError):
        return None
    return max(least, 0) if most >= 0 else most


def _credentials(file: Path | None) -> Any:
    from google.auth import default, load_credentials_from_file

    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    if file is None:
        return default(scopes=scopes)[0]
    return load_credentials_from_file(str(file), scopes=scopes)[0]  # type: ignore[no-untyped-call]


def _token_only(found: Any) -> Any:
    """Credentials that fetch a token and do nothing else.

    Google's own also look up, in the background and at Google's address, where an account may
    be used from. Whoever sets another endpoint wants nothing to be asked but that.
    """
    from google.oauth2.credentials import Credentials

    def fetch(request: Any, scopes: Any) -> tuple[str, Any]:  # noqa: ARG001 - google-auth's form
        found.refresh(request)
        return found.token, found.expiry

    return Credentials(token=None, refresh_handler=fetch)  # type: ignore[no-untyped-call]


def _request(service: str, method: str, fields: Document) -> Any:
    """The request message of a method; a document among the fields is the call's body."""
    from google.cloud import compute_v1

    # GetDiskRequest, but ListDisksRequest and AggregatedListDisksRequest.
    verb = "".join(word.capitalize() for word in method.removesuffix("_unary").split("_"))
    name = verb + (service if verb.endswith("List") else _SINGULAR.get(service, service[:-1]))
    kind = getattr(compute_v1, f"{name}Request")
    plain = {key: value for key, value in fields.items() if not isinstance(value, dict)}
    request = kind(plain)
    for key, value in fields.items():
        if isinstance(value, dict):
            body = type(getattr(request, key))
            setattr(request, key, body.from_json(json.dumps(value)))
    return request


_SINGULAR = {"Addresses": "Address"}


def _items(page: Document) -> list[Document]:
    items = page.get("items", [])
    if isinstance(items, list):
        return items
    found: list[Document] = []
    for scope in items.values():
        code = scope.get("warning", {}).get("code", "")
        if code and code != "NO_RESULTS_ON_PAGE":
            raise CloudFault(0, code, f"{scope['warning'].get('message', 'a zone gave no answer')}")
        for name, value in scope.items():
            if name != "warning" and isinstance(value, list):
                found += value
    return found


def last_part(url: str) -> str:
    """`us-central1-a` of `https://.../zones/us-central1-a`."""
    return url.rstrip("/").rpartition("/")[2]
