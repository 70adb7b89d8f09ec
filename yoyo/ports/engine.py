"""The engine port: one running inference server, asked over its endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from yoyo.model.engine import Completion, Health, Load, Slots
from yoyo.model.machine import Endpoint


class Engine(Protocol):
    """Questions to an engine. Timeouts are in seconds and bound the whole call."""

    def health(self, endpoint: Endpoint, timeout: float = 2.0) -> Health:
        """Never raises: what cannot be reached is UNREACHABLE."""
        ...

    def model_name(self, endpoint: Endpoint, timeout: float = 2.0) -> str:
        """The model's name as the engine reports it; "" when it does not answer."""
        ...

    def load(self, endpoint: Endpoint, timeout: float = 2.0) -> Load:
        """Read metrics and slots. Never raises: a failed part is None and named in `error`."""
        ...

    def slots(self, endpoint: Endpoint, timeout: float = 2.0) -> Slots | None:
        """Read the slots alone. Never raises: None when that failed."""
        ...

    def complete(
        self, endpoint: Endpoint, prompt: str, *, max_tokens: int, timeout: float
    ) -> Iterator[str | Completion]:
        """Stream a chat completion: pieces of text, then exactly one Completion.

        Raises:
            EngineFailed: refused, broken off, or `timeout` seconds without a byte.
        """
        ...
