"""What a registry's refusals and broken connections mean to an operator, without their secrets."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from yoyo.drivers.oci.credentials import AskedAs, is_google
from yoyo.errors import DriverUnavailable, RegistryDenied, RegistryUnavailable
from yoyo.model.oci import Reference

if TYPE_CHECKING:
    from requests import Response

_SAID_CHARS: Final = 300
_SAID_BYTES: Final = 64 * 1024
_ENTRIES: Final = 3  # of the list of errors
# Controls, separators of lines, what turns the direction of writing around, and surrogates.
_UNFIT: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
# Addresses may be signed: whoever has one may read or write what it names.
_ADDRESS: Final = re.compile(r"(https?://[^\s/?#\"'<>]{1,255})[^\s\"'<>]*", re.IGNORECASE)
_BROKE: Final = re.compile(r"The connection broke \((.*)\)")


class Passing(Exception):
    """The same request may succeed later. `fault` is what to raise when it does not."""

    def __init__(self, fault: RegistryUnavailable, *, retry_after_s: float | None = None) -> None:
        super().__init__(fault.what)
        self.fault = fault
        self.retry_after_s = retry_after_s

    @property
    def cause(self) -> str:
        """Why there was no answer, as a part of a sentence."""
        why = self.fault.why.rstrip(".")
        if inner := _BROKE.fullmatch(why):
            return inner[1]
        return why[:1].lower() + why[1:]


def said(response: Response) -> str:
    """The registry's own words in a response that has been read; "" where there are none.

    Codes and messages of the error document (distribution-spec, "Error Codes"), on one line,
    cut short, without control characters and without what follows the host of an address.
    """
    body = response.content[:_SAID_BYTES]
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return _clean("; ".join(_entries(document)))


def _entries(document: object) -> Iterator[str]:
    if not isinstance(document, dict):
        return
    errors = document.get("errors")
    if not isinstance(errors, list):
        # A token server's words: distribution's `details`, OAuth 2's `error_description`.
        errors = [{"code": document.get("error"), "message": document.get("error_description")}]
        errors.append({"message": document.get("details")})
    for entry in errors[:_ENTRIES]:
        if not isinstance(entry, dict):
            continue
        words = (entry.get("code"), entry.get("message"))
        found = [word[:_SAID_CHARS] for word in words if isinstance(word, str) and word]
        if found:
            yield ": ".join(found)


def _clean(text: str) -> str:
    text = _UNFIT.sub(" ", _ADDRESS.sub(r"\1/...", text)).strip()
    return text if len(text) <= _SAID_CHARS else text[: _SAID_CHARS - 3] + "..."


def answered(host: str, response: Response) -> str:
    """`HOST answered 404: its words.`, for the `why` of an error."""
    words = said(response)
    return f"{host} answered {response.status_code}" + (f": {words}." if words else ".")


def unavailable(host: str, why: str) -> RegistryUnavailable:
    """The registry at HOST[:PORT] gave nothing that can be used."""
    return RegistryUnavailable(
        f"The registry {host} gave no usable answer.",
        why=why,
        fix="Check the network and the registry, then run the command again: "
        "it goes on where it was. Without the registry, `up --set nodes.NAME.adapters=none` "
        "starts with the base alone.",
    )


def unexpected(ref: Reference, response: Response) -> RegistryUnavailable:
    """For a status that the caller has no other use for."""
    return unavailable(ref.registry, answered(ref.place, response))


def web_page(host: str, asked_for: str) -> RegistryUnavailable:
    """Something else than a registry answers: a portal, a login page, a proxy."""
    return unavailable(
        host,
        f"A web page came instead of {asked_for}: what answers there is no registry, or a portal "
        "or proxy in front of it.",
    )


def is_web_page(body: bytes) -> bool:
    """Whether it begins as HTML and XML do, and JSON never."""
    return body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def denied(ref: Reference, response: Response, who: AskedAs) -> RegistryDenied:
    """The registry's no, to a request for the reference's repository."""
    other = f"Ask for access to {ref.place}, or log in as who has it: {_login(ref.registry)}."
    return RegistryDenied(
        f"The registry {ref.registry} refused access to {ref.repository}.",
        why=f"{answered(ref.registry, response)} {who.said}",
        fix=login(ref.registry) if who.anonymous else other,
    )


def login(host: str) -> str:
    """What makes credentials for a host known."""
    return f"Run: {_login(host)}"


def _login(host: str) -> str:
    if is_google(host):
        return "gcloud auth application-default login"
    return f"docker login {host} (or podman login, oras login)"


def busy(host: str, response: Response) -> Passing:
    """Too many requests, or a server's own trouble."""
    asked = retry_after_s(response.headers.get("Retry-After"))
    why = answered(host, response)
    if asked is not None:
        why = f"{why} It asks to wait {asked:.0f} s."
    return Passing(unavailable(host, why), retry_after_s=asked)


def retry_after_s(text: str | None) -> float | None:
    """A Retry-After header in seconds from now (RFC 9110, 10.2.3); None: none, or no sense."""
    text = (text or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def broken(host: str, error: Exception) -> Passing | RegistryUnavailable | DriverUnavailable:
    """What an exception of the HTTP libraries stands for; any other is not for here.

    Their texts hold whole addresses, so that none of it is quoted, and `from None` is due.
    """
    if isinstance(error, ModuleNotFoundError):
        return DriverUnavailable(
            "The registry cannot be reached.",
            why=f"The module {error.name} is not installed.",
            fix="Run: pip install 'yoyo[adapters]'",
        )
    from requests import exceptions
    from urllib3.exceptions import LocationValueError

    if isinstance(error, exceptions.SSLError):
        return unavailable(host, f"TLS failed: {_tls(error)}.")
    if isinstance(error, (exceptions.InvalidURL, exceptions.InvalidSchema, LocationValueError)):
        return unavailable(host, "The registry named an address that is none.")
    return Passing(unavailable(host, _why_broken(error)))


def _why_broken(error: Exception) -> str:
    from requests import exceptions
    from urllib3.exceptions import ReadTimeoutError

    if isinstance(error, exceptions.ConnectTimeout):
        return "No connection came about in time."
    if isinstance(error, (exceptions.ReadTimeout, ReadTimeoutError)):
        return "The connection fell silent."
    if isinstance(error, exceptions.ProxyError):
        return "The proxy of the environment did not connect."
    return f"The connection broke ({_cause(error)})."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    pending, seen = [error], set[int]()
    while pending and len(seen) < 32:
        found = pending.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        pending += [found.__cause__, found.__context__, getattr(found, "reason", None)]
        pending += [part for part in found.args if isinstance(part, BaseException)]


def _cause(error: Exception) -> str:
    for found in _chain(error):
        if isinstance(found, socket.gaierror):
            return "the host name is not known"
        if isinstance(found, OSError) and found.errno and found.strerror:
            return _clean(found.strerror.lower())
    return "the other side closed it"


def _tls(error: Exception) -> str:
    for found in _chain(error):
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"the certificate was not accepted ({_clean(found.verify_message)})"
        if isinstance(found, ssl.SSLError) and found.reason:
            return _clean(found.reason.lower().replace("_", " "))
    return "the handshake was broken off"
