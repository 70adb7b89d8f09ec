"""What the year is made of: nodes, tenants, prices, and the text of a row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

START = datetime(2025, 11, 1, tzinfo=UTC)
NOVEMBER_DAYS = 20  # of the month that still runs, after the year
MODULES = (
    "acme",
    "apex",
    "arbor",
    "atlas",
    "aurora",
    "basalt",
    "birch",
    "cedar",
    "cobalt",
    "comet",
    "coral",
    "delta",
    "ember",
    "falcon",
    "fjord",
    "garnet",
    "globex",
    "harbor",
    "helio",
    "indigo",
    "initech",
    "juniper",
    "kepler",
    "lagoon",
    "lumen",
    "maple",
    "meridian",
    "nimbus",
    "onyx",
    "orchid",
    "pioneer",
    "quartz",
    "ridge",
    "sable",
    "tidal",
    "umber",
    "vertex",
    "willow",
    "xenon",
    "zephyr",
)
OPERATORS = ("alice", "bob", "carol", "dave")
CLOCK_STEP_S = 900.0  # back, and three hours later on again
DISK_GB, DISK_GB_MONTH = 100, Decimal("0.10")
MICRO = Decimal("0.000001")


class Place(NamedTuple):
    """A node of the year: where it stands, and what its hour costs at first."""

    name: str
    zone: str
    spot: bool
    hourly: Decimal
    machine_type: str = "g2-standard-4"


NODES = (
    Place("l4-a", "us-central1-a", False, Decimal("0.710049")),
    Place("l4-b", "us-central1-b", True, Decimal("0.284120")),
    Place("l4-c", "europe-west4-a", False, Decimal("0.781150")),
)


class YearLife(NamedTuple):
    """One machine as the platform knows it; `booked` is what the ledger says, None: unknown."""

    request_id: str
    place: Place
    module: str
    started: datetime
    stopped: datetime | None  # None: it runs still
    real: Decimal
    booked: Decimal | None
    credits: Decimal = Decimal(0)


class Marked(NamedTuple):
    """A row that a later one speaks of."""

    seq: int
    event_id: str
    row_hash: str


class Event(NamedTuple):
    """A row to be: its text from event_type to operator_id, or what makes it once it is known."""

    at: datetime
    text: str | Callable[[dict[str, Marked]], str]
    mark: str = ""


def row_text(
    kind: str, where: str, job: str, status: str, operator: str, *,
    given: str = "", adapters: str = "", ratio: str = "", tokens: str = "", seconds: str = "",
    cost: str = "", code: str = "",
) -> str:  # fmt: skip
    """The columns that an `Entry` fills."""
    return (
        f"{kind},{where},{job},{given},{adapters},{ratio},{tokens},{seconds},{cost},"
        f"{status},{code},{operator}"
    )


def seconds_of(span: timedelta) -> Decimal:
    """To the millisecond."""
    return (Decimal(span // timedelta(microseconds=1)) * MICRO).quantize(Decimal("0.001"))


def adapter_digest(name: str) -> str:
    """Hex; made up, but always the same."""
    return hashlib.sha256(name.encode()).hexdigest()


def adapter_of(module: str, day: int) -> str:
    """What the module had promoted that day; one in five tenants has none."""
    if MODULES.index(module) % 5 == 4:
        return ""
    return f"{module}-tone@{'1.0.0' if day < 181 else '1.1.0'}"
