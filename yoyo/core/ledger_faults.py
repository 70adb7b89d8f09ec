"""What every reader of a ledger's files says when one cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.errors import LedgerUnreadable

if TYPE_CHECKING:
    from pathlib import Path


def unreadable(path: Path, why: str) -> LedgerUnreadable:
    """The error for a file that cannot be read."""
    return LedgerUnreadable(
        f"The ledger {path} could not be read.",
        why=f"{why}.",
        fix="Check the path and its permissions.",
    )


def gone(path: Path) -> LedgerUnreadable:
    """The error for a file that was there when the parts were asked for."""
    return LedgerUnreadable(
        f"The ledger's file {path.name} is gone.",
        why=f"{path} was deleted or sealed away while the ledger was being read.",
        fix="Run the command again.",
    )
