"""What every use case on the store is handed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from yoyo.model.settings import NodeSettings
    from yoyo.ports.clock import Clock
    from yoyo.ports.disk import Disk
    from yoyo.ports.fetch import Sources, Transfers
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.locks import NodeLocks
    from yoyo.ports.objects import Objects


class BytesProgress(Protocol):
    """Where an operation on many bytes says how far it is."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins; the one before is done."""
        ...

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """So much of that is done. Called often."""
        ...


class StoreContext(NamedTuple):
    """One store, one operator, and the outside world behind ports."""

    store: Objects
    sources: Sources
    transfers: Transfers
    disk: Disk
    ledger: Ledger
    clock: Clock
    locks: NodeLocks
    operator: str
    module_id: str  # that the rows are booked under
    nodes: tuple[NodeSettings, ...]  # of the configuration
    workplace: Path  # where transfers keep what they have so far
    cores: int
    progress: BytesProgress
