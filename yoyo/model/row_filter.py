"""Which rows of the ledger are asked for."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class RowFilter(NamedTuple):
    """All conditions hold together; an empty one holds always. Several values: any of them."""

    since: datetime | None = None  # inclusive, aware
    until: datetime | None = None  # exclusive, aware
    nodes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()  # job_id, whole
    types: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()  # error_code
    inputs: tuple[str, ...] = ()  # input_hash: sha256:<hex>
    events: tuple[str, ...] = ()  # event_id

    @property
    def is_empty(self) -> bool:
        """Whether every row passes."""
        return self == RowFilter()
