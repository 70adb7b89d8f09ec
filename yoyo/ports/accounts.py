"""The port of accounts: the ledger read as money, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from yoyo.model.accounts import Accounts, Wanted
from yoyo.model.audit import LedgerPart


class AccountsReader(Protocol):
    """Reads the files of a ledger; every driver gives the same figures to the last digit."""

    def read(
        self,
        parts: tuple[LedgerPart, ...],
        wanted: Wanted,
        progress: Callable[[float], None] | None = None,
    ) -> Accounts:
        """Sum the jobs and give every other row.

        Raises:
            LedgerUnreadable.
            DriverUnavailable: the extra that it needs is not installed.
        """
        ...
