"""What every use case on a node is handed: its settings and the ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.lives import Book, read_book
from yoyo.errors import LedgerCorrupt
from yoyo.model.settings import NodeSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.ops.store_context import StoreContext
    from yoyo.ports.checkpoints import Checkpoints
    from yoyo.ports.clock import Clock
    from yoyo.ports.engine import Engine
    from yoyo.ports.ids import Ids
    from yoyo.ports.killswitch import KillSwitch
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.locks import NodeLocks
    from yoyo.ports.machines import Machines
    from yoyo.ports.progress import Progress
    from yoyo.ports.proofs import Proofs
    from yoyo.ports.samples import SampleStore


class Context(NamedTuple):
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
    on_store: Callable[[], StoreContext]  # opens the store when it is asked for, not before
    on_adapters: Callable[[], AdapterContext] | None = None  # None: there is no registry file
    proofs: Proofs | None = None  # None: what rows rest on is not kept, as in tests without use
    # Signs the ledger after a teardown; gives what went wrong, and never fails. None: no key.
    prove: Callable[[], list[str]] | None = None
    # Those beside the ledger, opened when asked for. None: there is nowhere that they could lie.
    on_checkpoints: Callable[[], Checkpoints] | None = None

    def book(self) -> Book:
        """The ledger, reduced."""
        return read_book(self.ledger.state_rows())


def require_sound(ledger: Ledger) -> None:
    """Refuse to spend on the strength of a ledger that does not hold together.

    Raises:
        LedgerCorrupt: a row is bad, so that spend and open lives are uncertain.
    """
    report = ledger.recheck()
    if not report.ok:
        first = report.problems[0]
        raise LedgerCorrupt(
            f"The ledger has {report.problem_count} problem(s), the first in line {first.line}.",
            why=first.reason,
            fix="Keep the file for whoever looks into it. Restore an intact copy, or begin a new "
            "one (`ledger:` in yoyo.yaml), which knows nothing of earlier spend. `yoyo down` "
            "works all the same.",
        )
