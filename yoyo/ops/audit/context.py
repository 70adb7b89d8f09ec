"""What every use case that proves the ledger is handed: its settings and the ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from yoyo.errors import CheckpointFailed
from yoyo.model.ledger import LEDGER_NODE, SHARED, CompletionStatus, Entry, EventType
from yoyo.model.settings import AuditSettings

if TYPE_CHECKING:
    from yoyo.ports.checkpoints import Checkpoints
    from yoyo.ports.clock import Clock
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.locks import NodeLocks
    from yoyo.ports.notary import NoteSigner, NoteVerifier
    from yoyo.ports.objects import Objects
    from yoyo.ports.proofs import Proofs

_LOCK_WAIT_S = 30.0


class AuditContext(NamedTuple):
    """One ledger, what is kept beside it, and who signs."""

    settings: AuditSettings
    operator: str
    ledger: Ledger
    checkpoints: Checkpoints
    proofs: Proofs
    clock: Clock
    locks: NodeLocks
    signer: Callable[[], NoteSigner] | None  # None: nothing signs here
    verifier: Callable[[], NoteVerifier]
    copy_to: Callable[[], Objects] | None  # None: no copies are made

    @contextmanager
    def lock(self, command: str) -> Iterator[None]:
        """One command at a time signs or seals.

        Raises:
            NodeBusy, StateUnwritable.
        """
        with self.locks.hold(
            LEDGER_NODE, operator=self.operator, command=command, wait_s=_LOCK_WAIT_S
        ):
            yield

    def required_signer(self) -> NoteSigner:
        """Who signs.

        Raises:
            CheckpointFailed: nobody is configured.
        """
        if self.signer is None:
            raise CheckpointFailed(
                "No checkpoint was signed.",
                why="yoyo.yaml names no key that signs checkpoints.",
                fix="Run `yoyo ledger keygen --origin HOST/NAME`, and follow what it prints.",
            )
        return self.signer()

    def entry(self, code: str, job_id: str, digest: str = "") -> Entry:
        """A row about the ledger itself."""
        return Entry(
            EventType.CHECKPOINT,
            SHARED,
            LEDGER_NODE,
            job_id,
            CompletionStatus.SUCCESS,
            self.operator,
            error_code=code,
            input_hash=digest,
        )
