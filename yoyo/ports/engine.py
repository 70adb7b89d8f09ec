"""The engine port: one running inference server, asked over its endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from yoyo.model.adapter import Loaded
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

    def adapters(self, endpoint: Endpoint, timeout: float = 2.0) -> tuple[Loaded, ...]:
        """The adapters that the engine has loaded, in its order; () where it has none.

        Raises:
            EngineFailed: it does not answer, or not with what llama.cpp sends.
        """
        ...

    def rescale(
        self, endpoint: Endpoint, scales: Mapping[int, float], timeout: float = 10.0
    ) -> None:
        """Set the scale of every loaded adapter, by its number; one that is not named gets 0.

        What slots have cached under other scales is dropped: the engine would go on from it.

        Raises:
            EngineFailed.
        """
        ...

    def complete(
        self,
        endpoint: Endpoint,
        prompt: str,
        *,
        max_tokens: int,
        timeout: float,
        scales: Mapping[int, float] | None = None,
    ) -> Iterator[str | Completion]:
        """Stream a chat completion: pieces of text, then exactly one Completion.

        `scales` has every loaded adapter's number: without the full list the engine may go on
        from a prompt that it cached under other scales. None: the engine has no adapters.

        Raises:
            EngineFailed: refused, broken off, or `timeout` seconds without a byte.
        """
        ...
