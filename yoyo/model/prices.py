"""What machines and disks cost: dated figures of a price list, as values."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple

MACHINE = "machine"  # an hour of a machine with its GPU
DISK = "disk"  # a GB of a disk type for a month of 730 h
STANDARD, SPOT = "standard", "spot"
CURRENCY = "USD"


class PriceKey(NamedTuple):
    """What a price is of."""

    kind: str  # MACHINE or DISK
    provider: str  # as the machine driver is called: `gce`
    name: str  # machine type or disk type
    region: str
    provisioning: str = ""  # STANDARD or SPOT; "" for a disk


class Price(NamedTuple):
    """One figure and how long it holds; whole days, UTC."""

    key: PriceKey
    usd: Decimal  # an hour, or a GB and month
    valid_from: date
    valid_to: date | None  # the last day; None: until another one begins
    source: str  # where the figure can be looked up
    retrieved: date  # when somebody did


class PriceTable(NamedTuple):
    """A list of prices. `version` is `yoyo-YYYY-MM` or `operator-` and 12 digits of its sha256."""

    version: str
    prices: tuple[Price, ...]


class PriceRecord(NamedTuple):
    """What a row of money was computed from, as `LEDGER.proofs` keeps it."""

    version: str
    source: str
    valid_from: str  # YYYY-MM-DD; "" where nobody said
    hourly_usd: Decimal | None  # in the record of a machine's row
    disk_gb_month_usd: Decimal | None  # in the record of a disk's row
    machine_type: str  # "" on a node that has none
    disk_type: str
