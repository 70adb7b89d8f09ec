"""What the node says of itself, through guest attributes. All of it is hearsay.

A node may be hostile or broken: every value is checked for form and cut to size, nothing of it
is executed, and nothing is believed that could stop a guard from being seen as missing.
docs/formats/node.md lists the attributes.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any, NamedTuple

from yoyo.model.machine import BootStep, StopCause

_MAX_VALUE = 32_768
_MAX_STEPS = 32
_STEP = re.compile(r"(running|done|skipped|failed) ([0-9]{1,3}) ([0-9]{1,7})(?: (.*))?\Z")
_STEP_NAME = re.compile(r"[a-z][a-z0-9-]{0,20}\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_GUARD = re.compile(r"([a-z-]{1,20})=([0-9]{1,9})\Z")
_HOST_KEY = re.compile(r"[A-Za-z0-9+/]{16,2000}={0,2}\Z")
_SECONDS = re.compile(r"-?[0-9]{1,11}\Z")  # 3,000 years
_CAUSES = {
    "dead-man": StopCause.DEAD_MAN,
    "lifetime": StopCause.LIFETIME,
    "unreachable": StopCause.UNREACHABLE,
}


class Guest(NamedTuple):
    """One reading. `request_id` says which boot it is of."""

    request_id: str = ""
    seal_key: str = ""
    pin: str = ""
    key_digest: str = ""
    guards: tuple[tuple[str, int], ...] = ()  # name, seconds: what the node says is armed
    steps: tuple[BootStep, ...] = ()
    failed_step: str = ""
    tail: tuple[str, ...] = ()
    stop_cause: StopCause | None = None
    host_keys: tuple[tuple[str, str], ...] = ()
    clock_s: int | None = None  # seconds that its clock is ahead of Google's


def read(values: list[dict[str, Any]]) -> Guest:
    """Guest attributes, as the API lists them (`queryValue.items`), as far as they have sense."""
    own: dict[str, str] = {}
    host_keys = []
    for item in values:
        namespace, key, value = item.get("namespace"), item.get("key"), item.get("value")
        if not isinstance(key, str) or not isinstance(value, str) or len(value) > _MAX_VALUE:
            continue
        if namespace == "yoyo" and key == "state":
            own = _state(value)
        elif namespace == "hostkeys" and _HOST_KEY.match(value.strip()):
            host_keys.append((key[:40], value.strip()))
    phase = own.get("phase", "").split()
    failed = phase[1] if len(phase) == 2 and phase[0] == "failed" else ""
    request_id = own.get("request", "")[:64]
    return Guest(
        request_id=request_id,
        seal_key=own.get("seal-key", ""),
        pin=_hex(own.get("cert-sha256", "")),
        key_digest=_hex(own.get("key-sha256", "")),
        guards=_guards(own.get("guards", "")),
        steps=_steps(own),
        failed_step=failed if _STEP_NAME.match(failed) else "",
        tail=tuple(_plain(line[:300]) for line in own.get(f"tail-{failed}", "").splitlines()[-15:]),
        stop_cause=_cause(own.get("stop-cause", ""), request_id),
        host_keys=tuple(host_keys),
        clock_s=int(own["clock"]) if _SECONDS.match(own.get("clock", "")) else None,
    )


def _state(text: str) -> dict[str, str]:
    """The lines of the attribute `yoyo/state`: a name, a space, a value; some in base64."""
    found = {}
    for line in text.split("\n"):
        key, _, value = line.partition(" ")
        if key in ("seal-key", "cert") or key.startswith("tail-"):
            try:
                value = b64decode(value, validate=True).decode("utf-8", "replace")
            except ValueError:
                continue
        found[key] = value.strip()
    return found


def _plain(text: str) -> str:
    """Text that moves no terminal's cursor and hides nothing: it is shown to the operator."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _hex(text: str) -> str:
    return text if _HEX.match(text) else ""


def _guards(text: str) -> tuple[tuple[str, int], ...]:
    found = [_GUARD.match(word) for word in text.split()[:8]]
    return tuple((match[1], int(match[2])) for match in found if match)


def _steps(own: dict[str, str]) -> tuple[BootStep, ...]:
    found = []
    for key, value in own.items():
        name = key.removeprefix("step-")
        match = _STEP.match(value)
        if key != name and match and _STEP_NAME.match(name):
            percent = min(int(match[2]), 100)
            message = _plain((match[4] or "")[:400])
            found.append(BootStep(name, match[1], percent, int(match[3]), message))
    return tuple(found[:_MAX_STEPS])


def _cause(text: str, request_id: str) -> StopCause | None:
    words = text.split()
    if len(words) != 2 or not request_id or words[0] != request_id:
        return None
    return _CAUSES.get(words[1])
