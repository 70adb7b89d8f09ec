"""The port of checkpoints: signed notes beside the ledger, and the caches about them."""

from __future__ import annotations

from typing import Protocol

from yoyo.model.audit import Frontier


class Checkpoints(Protocol):
    """Notes in `LEDGER.checkpoints/`, one file each, written once and never changed."""

    def keep(self, name: str, note: bytes) -> None:
        """Write it, durably, mode 0444. There with the same bytes: returns silently.

        Raises:
            CheckpointFailed: no room, no permission, or there with other bytes.
        """
        ...

    def names(self) -> tuple[str, ...]:
        """All names, sorted: by size, then key. Nothing there: none.

        Raises:
            CheckpointInvalid: the place is there and cannot be read.
        """
        ...

    def read(self, name: str) -> bytes:
        """A note's bytes, at most 64 KiB.

        Raises:
            CheckpointInvalid: not there, unreadable, or too large.
        """
        ...

    def keep_key(self, name: str, vkey: bytes) -> None:
        """Keep a verifier key's text as `NAME.vkey` in the same place. As `keep` otherwise."""
        ...

    def keys(self) -> tuple[bytes, ...]:
        """The verifier keys' texts. Believed only as far as something else vouches for them.

        Raises:
            CheckpointInvalid: the place is there and cannot be read.
        """
        ...

    def cached_frontier(self) -> Frontier | None:
        """The newest tree that was kept; None: none, or it is damaged. A cache, no truth."""
        ...

    def cache_frontier(self, frontier: Frontier) -> None:
        """Keep it in place of the older one. Failing to is not an error."""
        ...

    def copied(self, store: str) -> frozenset[str]:
        """Files known to be in the store of that address. A cache: it may know of too few."""
        ...

    def remember_copied(self, store: str, file: str) -> None:
        """Add one; another store's are forgotten. Failing to is not an error."""
        ...
