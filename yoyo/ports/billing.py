"""The port of billing exports: the platform's bill, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from yoyo.model.reconcile import BillLine


class BillingReader(Protocol):
    """Reads one export."""

    def lines(self, path: Path) -> Iterator[BillLine | None]:
        """Every line in file order; None: it is of something that is not yoyo's.

        Raises:
            BillingInvalid: unreadable, columns missing, a malformed line, another currency
                than USD; with every mistake of the first lines in `details`.
            DriverUnavailable: the extra that it needs is not installed.
        """
        ...
