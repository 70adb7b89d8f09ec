"""Which time a question about cost is about, and what it needs to be read from the ledger. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from yoyo.model.accounts import GROUPS, Wanted

# The longest window that is summed by the hour: two months, whichever they are.
HOURLY = timedelta(days=62)
_LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_HOUR_CHARS = 13  # of YYYY-MM-DDTHH


class Window(NamedTuple):
    """From `since`, inclusive, to `until`, exclusive; UTC. None: no end there."""

    since: datetime | None
    until: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Whether that moment lies in it."""
        return (self.since is None or moment >= self.since) and (
            self.until is None or moment < self.until
        )


def grain_of(since: datetime | None, until: datetime | None, now: datetime) -> str:
    """How finely jobs are summed for that window: `hour`, or `day` where it is long or open.

    It is the window's alone and not that of `--by`: so every answer about one window is made of
    the same sums. The hours of years would be as many as their jobs.
    """
    if since is None:
        return "day"
    return "hour" if (until or now) - since <= HOURLY else "day"


def whole(since: datetime | None, until: datetime | None, grain: str) -> Window:
    """The window in whole hours or days, as jobs are summed: the one grows to hold the other."""
    if since is not None:
        since = _begin(since, grain)
    if until is not None and _begin(until, grain) != until:
        until = _begin(until, grain) + _LENGTHS[grain]
    return Window(since, until)


def _begin(moment: datetime, grain: str) -> datetime:
    """The full hour or day that it lies in, UTC."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour if grain == "hour" else hour.replace(hour=0)


def wanted_for(by: Sequence[str], grain: str = "hour") -> Wanted:
    """How jobs have to be told apart to answer that: by `grain`, and all of them.

    What a machine's seconds were used for needs its jobs from before the window, too, and one
    grain for every question, so that idle and boot are the same in every answer.

    Raises:
        ValueError: one of `by` is none of GROUPS.
    """
    unknown = [name for name in by if name not in GROUPS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(GROUPS)}")
    return Wanted(
        period=grain,
        modules=True,
        nodes=True,
        adapters="adapter" in by,
        operators="operator" in by,
    )


@lru_cache(maxsize=4096)  # of many jobs and lives there are few periods
def span_of(period: str) -> tuple[datetime, datetime]:
    """First moment of an hour or a day as `JobSums.period` has it, and of the next."""
    start = datetime.fromisoformat(period).replace(tzinfo=UTC)
    return start, start + _LENGTHS["hour" if len(period) == _HOUR_CHARS else "day"]
