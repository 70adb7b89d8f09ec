"""Gives the nodes their prices of a table; it is read when the first node needs it."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from yoyo.config.mistakes import Report
from yoyo.model.settings import NodeSettings

if TYPE_CHECKING:
    from yoyo.errors import BillingInvalid
    from yoyo.model.prices import PriceTable


class NodePrices:
    """One reading of the configuration's prices. `path` None: the table that comes with yoyo."""

    def __init__(self, path: Path | None, when: datetime) -> None:
        self.report = Report()  # what is wrong with the table, if it was read
        self._path, self._when = path, when

    @cached_property
    def _table(self) -> PriceTable | None:
        from yoyo.config.price_table import read_price_table

        return read_price_table(self._path, self.report)

    def resolved(self, node: NodeSettings) -> NodeSettings:
        """The node with what an hour of it and a GB of its disk cost now, as far as is known."""
        own = node.prices
        if node.gce is None or own.hourly_usd is not None or own.disk_gb_month_usd is not None:
            return node  # before anything is imported or read
        from yoyo.core.prices import resolved

        return node if self._table is None else resolved(node, self._table, self._when)

    def checked(self) -> Report:
        """The mistakes of the operator's own table; it is read though no node may need it."""
        if self._path is not None:
            _ = self._table
        return self.report

    def error(self) -> BillingInvalid:
        """What to raise for them."""
        from yoyo.config.price_table import SHIPPED, table_invalid

        return table_invalid(self._path or SHIPPED, self.report)


def why_no_price(node: NodeSettings) -> str:
    """Why a cap of that node's budget has nothing to be held against."""
    has_own = node.prices.disk_gb_month_usd is not None and not node.prices.version
    if node.gce is None or has_own:
        return "a cap needs a price to be held against. Set prices.hourly_usd"
    zones = ", ".join(node.gce.zones[:4]) + (", ..." if len(node.gce.zones) > 4 else "")
    return (
        "a cap needs a price to be held against, and the price table has none for "
        f"{node.gce.machine_type} in each region of {zones}. Set prices.hourly_usd"
    )
