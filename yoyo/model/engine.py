"""What the engine says about itself."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Health(StrEnum):
    """The engine's answer to /health."""

    OK = "ok"
    LOADING = "loading"
    UNREACHABLE = "unreachable"  # refused, reset or timed out
    REFUSED = "refused"  # answered, but not with health: wrong key, wrong server


class Slots(NamedTuple):
    """Parallel request slots."""

    busy: int
    total: int


class Load(NamedTuple):
    """One reading of the engine's work; None means that reading failed (so: not idle)."""

    processing: int | None  # llamacpp:requests_processing
    deferred: int | None  # llamacpp:requests_deferred
    slots: Slots | None
    tokens_total: int | None  # prompt + predicted, monotonic within one engine process
    error: str = ""


class Completion(NamedTuple):
    """The end of a streamed completion."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    engine_seconds: float | None  # prompt + prediction time as the engine reports it
    cached_tokens: int | None
    finish_reason: str
