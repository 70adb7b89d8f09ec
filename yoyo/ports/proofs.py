"""The port of proofs: documents that rows of the ledger name by their digest."""

from __future__ import annotations

from typing import Protocol


class Proofs(Protocol):
    """Documents beside the ledger, by their digest, for as long as the ledger."""

    def keep(self, document: bytes) -> str:
        """Write it, durably, unless it is there; gives sha256:<hex>.

        Raises:
            LedgerWriteFailed.
        """
        ...

    def find(self, digest: str) -> bytes | None:
        """The document with that digest (sha256:<hex>); None: not there, or not these bytes."""
        ...
