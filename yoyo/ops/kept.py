"""What of a ledger is no longer here, so that no figure is taken for that of all its rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from yoyo.core.audit.about import about_ledger, is_about_ledger
from yoyo.model.ledger import MONTH_DELETED, BadRow, Row
from yoyo.ports.ledger import Ledger

_JOB = re.compile(r"delete/([0-9]{4}-(?:0[1-9]|1[0-2]))\Z")


class Deleted(NamedTuple):
    """Rows that retention deleted: always the oldest ones."""

    rows: int
    month: str  # the newest month that is gone, YYYY-MM; "": no row says it

    @property
    def until(self) -> datetime | None:
        """The first moment after that month, UTC. None: not known."""
        if not self.month:
            return None
        first = datetime.strptime(self.month, "%Y-%m").replace(tzinfo=UTC)
        return (first + timedelta(days=32)).replace(day=1)

    def touches(self, since: datetime | None) -> bool:
        """Whether something that counts from `since` on may be gone."""
        return since is None or self.until is None or since < self.until

    def text(self) -> str:
        """A sentence for whoever reads a figure."""
        first = "Row 1" if self.rows == 1 else f"Rows 1 to {self.rows:,}"
        upto = f" (up to {self.month})" if self.month else ""
        were = "was" if self.rows == 1 else "were"
        are = "is" if self.rows == 1 else "are"
        return f"{first}{upto} {were} deleted by retention and {are} in no figure."


def deleted(ledger: Ledger, rows: Iterable[Row | BadRow] | None = None) -> Deleted | None:
    """What is gone; None: nothing. `rows` hold those about the ledger, if they were read anyhow.

    Raises:
        LedgerUnreadable.
    """
    parts = ledger.parts()
    if not parts or parts[0].first_seq <= 1:
        return None
    oldest = parts[0].month
    found = ledger.matching(about_ledger(MONTH_DELETED)) if rows is None else rows
    months = [month for row in found if (month := _month(row)) and (not oldest or month < oldest)]
    return Deleted(parts[0].first_seq - 1, max(months, default=""))


def _month(row: Row | BadRow) -> str:
    if not isinstance(row, Row):
        return ""
    entry = row.entry
    if entry.error_code != MONTH_DELETED or not is_about_ledger(row):
        return ""
    said = _JOB.match(entry.job_id)
    return said[1] if said else ""
