"""Which adapters an engine has loaded, and how strongly each counts.

Endpoints: GET and POST /lora-adapters, POST /completion of tools/server/README.md in
ggml-org/llama.cpp. What is said here of cached prompts was found by trial with the embedded server.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any, Final

from yoyo.drivers.llamacpp.http import (
    HttpError,
    check_key,
    connect,
    get,
    parse_url,
    read_answer,
)
from yoyo.errors import EngineFailed
from yoyo.model.adapter import Loaded
from yoyo.model.machine import Endpoint

PATH: Final = "/lora-adapters"
SUFFIX: Final = ".gguf"
# Far above MAX_STACK: an engine that others started may hold more, one that lies holds millions.
MAX_ADAPTERS: Final = 1024
MAX_SLOTS: Final = 4096
_MAX_PATH = 4096  # PATH_MAX of linux/limits.h
_SHOWN = 500


def lora_field(scales: Mapping[int, float]) -> list[dict[str, int | float]]:
    """The value of `lora` in a request: every adapter by its number, in order."""
    return [{"id": number, "scale": float(scales[number])} for number in sorted(scales)]


def parse_adapters(document: Any) -> tuple[Loaded, ...]:
    """What GET /lora-adapters answered; the name is the file's, without `.gguf`.

    Raises:
        HttpError: it is not the list that llama.cpp sends, numbered from 0 without a gap.
    """
    if not isinstance(document, list):
        raise HttpError("not a list of adapters")
    if len(document) > MAX_ADAPTERS:
        raise HttpError(f"more than {MAX_ADAPTERS} adapters")
    return tuple(_adapter(number, entry) for number, entry in enumerate(document))


def _adapter(number: int, entry: Any) -> Loaded:
    if not isinstance(entry, dict):
        raise HttpError("an adapter that is no object")
    told, path, scale = (entry.get(key) for key in ("id", "path", "scale"))
    # Another numbering would scale one adapter in the place of another.
    if type(told) is not int or told != number:
        raise HttpError(f"adapter {number} has another number")
    if not isinstance(path, str) or not 0 < len(path) <= _MAX_PATH:
        raise HttpError(f"adapter {number} has no path")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not _is_finite(scale):
        raise HttpError(f"adapter {number} has no scale")
    place, _, name = path.rpartition("/")
    return Loaded(number, name.removesuffix(SUFFIX), float(scale), place.rpartition("/")[2])


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def loaded(endpoint: Endpoint, timeout: float) -> tuple[Loaded, ...]:
    """See the port.

    Raises:
        EngineFailed.
    """
    try:
        return _read(endpoint, time.monotonic() + timeout)
    except HttpError as error:
        raise _failed("The engine's adapters could not be read.", endpoint, error) from None


def rescale(endpoint: Endpoint, scales: Mapping[int, float], timeout: float) -> None:
    """See the port. A slot that is at work is waited for, as long as `timeout` allows.

    Raises:
        EngineFailed: also where a number is not among the loaded ones, before anything is set.
    """
    deadline = time.monotonic() + timeout
    what = "The engine's adapters could not be rescaled."
    try:
        numbers = [adapter.number for adapter in _read(endpoint, deadline)]
        if not set(scales) <= set(numbers):
            missing = min(set(scales) - set(numbers))
            raise HttpError(f"it has {len(numbers)} adapters, and not number {missing}")
        if not all(map(_is_finite, scales.values())):
            raise HttpError("a scale is no finite number")
        if not numbers:
            return
        field = lora_field({number: scales.get(number, 0.0) for number in numbers})
        answer = _json(_post(endpoint, PATH, field, deadline))
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise HttpError("it does not say that it did")
        what = "The engine's adapters are rescaled, but what it has cached may be of the old scales"
        _drop_cached(endpoint, field, deadline)
    except HttpError as error:
        raise _failed(what, endpoint, error) from None


def _drop_cached(endpoint: Endpoint, field: list[dict[str, int | float]], deadline: float) -> None:
    """Overwrite what each slot has cached, by a request that may take nothing from there.

    A request that does not name its adapters takes a slot's cached prompt, whatever its scales
    were. Erasing a slot (`/slots/N?action=erase`) is refused without --slot-save-path.
    """
    for slot in _slots(endpoint, deadline):
        body = {
            "prompt": ".",
            "n_predict": 0,
            "id_slot": slot,
            "cache_prompt": False,
            "lora": field,
        }
        answer = _json(_post(endpoint, "/completion", body, deadline))
        # Where it was put elsewhere, this slot's cache is still there.
        if not isinstance(answer, dict) or answer.get("id_slot") != slot:
            raise HttpError(f"slot {slot} was not given the request")


def _slots(endpoint: Endpoint, deadline: float) -> list[int]:
    document = _json(_get(endpoint, "/slots", deadline))
    if not isinstance(document, list) or not 0 < len(document) <= MAX_SLOTS:
        raise HttpError("not a list of slots")
    found = [slot.get("id") if isinstance(slot, dict) else None for slot in document]
    if sorted(n for n in found if type(n) is int) != list(range(len(document))):
        raise HttpError("the slots have no numbers")
    return list(range(len(document)))


def _read(endpoint: Endpoint, deadline: float) -> tuple[Loaded, ...]:
    return parse_adapters(_json(_get(endpoint, PATH, deadline)))


def _get(endpoint: Endpoint, path: str, deadline: float) -> bytes:
    key = endpoint.key.reveal()
    status, body = get(endpoint.url, path, key=key, timeout=_left(deadline), pin=endpoint.pin)
    return _accepted(path, status, body)


def _post(endpoint: Endpoint, path: str, document: object, deadline: float) -> bytes:
    """One POST within the deadline. HTTP/1.0: the answer is not chunked."""
    host, port = parse_url(endpoint.url, endpoint.pin)
    key = endpoint.key.reveal()
    check_key(key)
    body = json.dumps(document, allow_nan=False).encode()
    head = (
        f"POST {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    try:
        with connect(endpoint.url, timeout=_left(deadline), pin=endpoint.pin) as connection:
            connection.settimeout(_left(deadline))
            connection.sendall(head.encode("ascii") + body)
            status, answer = read_answer(connection, deadline)
    except TimeoutError:
        raise HttpError(f"{path}: no answer in time") from None
    except OSError as error:
        raise HttpError(error.strerror or type(error).__name__) from None
    return _accepted(path, status, answer)


def _accepted(path: str, status: int, body: bytes) -> bytes:
    if status != 200:
        said = body.decode("utf-8", "replace").strip()
        raise HttpError(f"{path} answered {status}" + (f": {said}" if said else ""))
    return body


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HttpError("the answer is not JSON") from None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise HttpError("no answer in time")
    return left


def _failed(what: str, endpoint: Endpoint, error: HttpError) -> EngineFailed:
    # A server may well repeat the key it refuses.
    why = str(error).replace(endpoint.key.reveal(), "****")[:_SHOWN]
    return EngineFailed(
        what,
        why=f"{why}.",
        fix="See `yoyo status` and `yoyo logs`; then run the command again.",
    )
