"""What every use case on a node is handed: its settings and the ports."""

from __future__ import annotations

from dataclasses import dataclass

from yoyo.core.lives import Book, read_book
from yoyo.errors import LedgerCorrupt
from yoyo.model.settings import NodeSettings
from yoyo.ports.clock import Clock
from yoyo.ports.engine import Engine
from yoyo.ports.ids import Ids
from yoyo.ports.killswitch import KillSwitch
from yoyo.ports.ledger import Ledger
from yoyo.ports.locks import NodeLocks
from yoyo.ports.machines import Machines
from yoyo.ports.progress import Progress
from yoyo.ports.samples import SampleStore


@dataclass(frozen=True, slots=True)
class Context:
    """One node, one operator, and the outside world behind ports."""

    node: NodeSettings
    operator: str
    machines: Machines
    engine: Engine
    ledger: Ledger
    clock: Clock
    ids: Ids
    locks: NodeLocks
    killswitch: KillSwitch
    samples: SampleStore
    progress: Progress

    def book(self) -> Book:
        """The ledger, reduced."""
        return read_book(self.ledger.rows())


def require_sound(book: Book) -> None:
    """Refuse to spend on the strength of a ledger that cannot be read in full.

    Raises:
        LedgerCorrupt: a row is bad, so that spend and open lives are uncertain.
    """
    if book.bad_rows:
        first = book.bad_rows[0]
        raise LedgerCorrupt(
            f"The ledger has {len(book.bad_rows)} bad row(s), the first in line {first.line}.",
            why=first.reason,
            fix="Run `yoyo ledger verify` and restore the ledger before starting anything; "
            "`yoyo down` works all the same.",
        )
