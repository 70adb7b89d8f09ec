"""One lifecycle command at a time per node."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class NodeLocks(Protocol):
    """Locks by node name. A killed holder's lock is free at once."""

    def hold(
        self, node: str, *, operator: str, command: str, wait_s: float
    ) -> AbstractContextManager[None]:
        """Take the node's lock, waiting up to `wait_s` seconds (0: do not wait).

        Raises:
            NodeBusy: somebody else holds it; the message names operator, command and pid.
            StateUnwritable: the lock file cannot be made.
        """
        ...
