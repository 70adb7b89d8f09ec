"""The engine port over the HTTP interface of llama.cpp's server.

Endpoints and metric names: tools/server/README.md of ggml-org/llama.cpp.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from yoyo.drivers.llamacpp.http import (
    HttpError,
    WrongCertificate,
    check_key,
    connect,
    get,
    parse_url,
)
from yoyo.errors import EngineFailed
from yoyo.model.engine import Completion, Health, Load, Slots
from yoyo.model.machine import Endpoint

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from yoyo.model.adapter import Loaded

PROCESSING = "llamacpp:requests_processing"
DEFERRED = "llamacpp:requests_deferred"
PROMPT_TOKENS = "llamacpp:prompt_tokens_total"
PREDICTED_TOKENS = "llamacpp:tokens_predicted_total"
_MAX_EVENT_BYTES = 1 << 20


class LlamaServerClient:
    """Stateless: every call opens its own connection."""

    def health(self, endpoint: Endpoint, timeout: float = 2.0) -> Health:
        """GET /health: 200 is healthy, 503 is still loading."""
        try:
            status, _ = _get(endpoint, "/health", timeout)
        except WrongCertificate:
            # Somebody is there, and it is not the engine; `load` and `complete` say why.
            return Health.REFUSED
        except HttpError:
            return Health.UNREACHABLE
        return {200: Health.OK, 503: Health.LOADING}.get(status, Health.REFUSED)

    def model_name(self, endpoint: Endpoint, timeout: float = 2.0) -> str:
        """The first model of /v1/models."""
        try:
            document = _json(endpoint, "/v1/models", timeout)
            name = document["data"][0]["id"]
        except (HttpError, LookupError, TypeError):
            return ""
        return name[:200] if isinstance(name, str) else ""

    def load(self, endpoint: Endpoint, timeout: float = 2.0) -> Load:
        """GET /metrics and /slots; a part that fails is None and says why in `error`."""
        metrics: dict[str, int] = {}
        slots, errors = None, []
        deadline = time.monotonic() + timeout
        try:
            metrics = parse_metrics(_ok(endpoint, "/metrics", timeout))
        except HttpError as error:
            errors.append(f"/metrics: {error}")
        try:
            slots = parse_slots(_json(endpoint, "/slots", max(deadline - time.monotonic(), 0.001)))
        except HttpError as error:
            errors.append(f"/slots: {error}")
        prompt, predicted = metrics.get(PROMPT_TOKENS), metrics.get(PREDICTED_TOKENS)
        tokens = None if prompt is None or predicted is None else prompt + predicted
        return Load(
            metrics.get(PROCESSING), metrics.get(DEFERRED), slots, tokens, "; ".join(errors)
        )

    def slots(self, endpoint: Endpoint, timeout: float = 2.0) -> Slots | None:
        """GET /slots."""
        try:
            return parse_slots(_json(endpoint, "/slots", timeout))
        except HttpError:
            return None

    def adapters(self, endpoint: Endpoint, timeout: float = 2.0) -> tuple[Loaded, ...]:
        """GET /lora-adapters."""
        from yoyo.drivers.llamacpp import adapters  # most looks at a node ask nothing of them

        return adapters.loaded(endpoint, timeout)

    def rescale(
        self, endpoint: Endpoint, scales: Mapping[int, float], timeout: float = 10.0
    ) -> None:
        """POST /lora-adapters, then a request to each slot that drops what it has cached."""
        from yoyo.drivers.llamacpp import adapters

        adapters.rescale(endpoint, scales, timeout)

    def complete(
        self,
        endpoint: Endpoint,
        prompt: str,
        *,
        max_tokens: int,
        timeout: float,
        scales: Mapping[int, float] | None = None,
    ) -> Iterator[str | Completion]:
        """POST /v1/chat/completions, streamed as server-sent events."""
        from http.client import HTTPConnection, HTTPException

        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if scales:
            from yoyo.drivers.llamacpp import adapters

            body["lora"] = adapters.lora_field(scales)
            # Off by default where there are adapters; safe here, since every scale is named.
            body["cache_prompt"] = True
        key = endpoint.key.reveal()
        headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
        }
        try:
            check_key(key)
            with connect(endpoint.url, timeout=timeout, pin=endpoint.pin) as sock:
                connection = HTTPConnection(*parse_url(endpoint.url, endpoint.pin))
                # This socket or none: one that http.client opened itself would go past the pin.
                connection.sock, connection.auto_open = sock, 0
                connection.request(
                    "POST", "/v1/chat/completions", json.dumps(body, allow_nan=False), headers
                )
                # Closed too: it keeps the socket open, and the engine busy, after its connection.
                with connection.getresponse() as answer:
                    if answer.status != 200:
                        raise _failed(_reason(answer.status, answer.read(65536)))
                    yield from _stream(answer)
        except HttpError as error:
            raise _failed(str(error)) from None
        except EngineFailed as error:
            # A server may well repeat the key it refuses.
            raise _failed(error.why.replace(key, "****")[:500]) from None
        except TimeoutError:
            raise _failed(f"nothing came for {timeout:g} s") from None
        except (OSError, HTTPException, ValueError) as error:
            raise _failed(str(error).replace(key, "****") or type(error).__name__) from None


def parse_metrics(text: bytes) -> dict[str, int]:
    """The counters and gauges yoyo reads, from the Prometheus text format."""
    wanted = (PROCESSING, DEFERRED, PROMPT_TOKENS, PREDICTED_TOKENS)
    found = {}
    for line in text.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(" ")
        if name not in wanted:
            continue
        try:
            number = float(value.split()[0])
        except (ValueError, IndexError):
            continue
        # NaN and infinities fail the comparison: a reading that makes no sense is none.
        if 0 <= number < 2**63:
            found[name] = int(number)
    return found


def parse_slots(document: Any) -> Slots:
    """Busy and total from /slots.

    Raises:
        HttpError: it is not the list that llama.cpp sends.
    """
    if not isinstance(document, list) or not document:
        raise HttpError("not a list of slots")
    busy = 0
    for slot in document:
        processing = slot.get("is_processing") if isinstance(slot, dict) else None
        if not isinstance(processing, bool):
            raise HttpError("a slot without is_processing")
        busy += processing
    return Slots(busy, len(document))


def _get(endpoint: Endpoint, path: str, timeout: float) -> tuple[int, bytes]:
    key = endpoint.key.reveal()
    return get(endpoint.url, path, key=key, timeout=timeout, pin=endpoint.pin)


def _ok(endpoint: Endpoint, path: str, timeout: float) -> bytes:
    status, body = _get(endpoint, path, timeout)
    if status != 200:
        raise HttpError(f"answered {status}")
    return body


def _json(endpoint: Endpoint, path: str, timeout: float) -> Any:
    try:
        return json.loads(_ok(endpoint, path, timeout))
    except (ValueError, RecursionError):
        raise HttpError("the answer is not JSON") from None


def _stream(answer: HTTPResponse) -> Iterator[str | Completion]:
    text: list[str] = []
    usage: dict[str, Any] = {}
    timings: dict[str, Any] = {}
    finish = ""
    while True:
        line = answer.readline(_MAX_EVENT_BYTES)
        if not line:
            raise _failed("the stream ended before the answer did")
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            break
        event = _event(data)
        usage = _dict(event.get("usage")) or usage
        timings = _dict(event.get("timings")) or timings
        choices = event.get("choices")
        choice = _dict(choices[0]) if isinstance(choices, list) and choices else {}
        finish = str(choice.get("finish_reason") or finish)
        piece = _dict(choice.get("delta")).get("content")
        if isinstance(piece, str) and piece:
            text.append(piece)
            yield piece
    milliseconds = [_number(timings.get(name)) for name in ("prompt_ms", "predicted_ms")]
    yield Completion(
        text="".join(text),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        engine_seconds=sum(m or 0.0 for m in milliseconds) / 1000 if any(milliseconds) else None,
        cached_tokens=_count(timings.get("cache_n")),
        finish_reason=finish,
    )


def _event(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        raise _failed("the stream is not JSON") from None
    if not isinstance(event, dict):
        raise _failed("the stream is not made of objects")
    if "error" in event:
        raise _failed(str(_dict(event["error"]).get("message", "unknown error")))
    return event


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return float(value) if fine else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _reason(status: int, body: bytes) -> str:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        message = ""
    return f"HTTP {status}" + (f": {message}" if message else "")


def _failed(why: str) -> EngineFailed:
    return EngineFailed(
        "The engine did not finish its answer.",
        why=why,
        fix="See `yoyo status` and `yoyo logs`; then ask again.",
    )
