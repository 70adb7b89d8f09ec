"""Which time a question about cost is about, and what it needs to be read from the ledger. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from yoyo.model.accounts import GROUPS, Wanted

_HOUR = timedelta(hours=1)


class Window(NamedTuple):
    """From `since`, inclusive, to `until`, exclusive; whole hours, UTC. None: no end there."""

    since: datetime | None
    until: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Whether that moment lies in it."""
        return (self.since is None or moment >= self.since) and (
            self.until is None or moment < self.until
        )


def whole_hours(since: datetime | None, until: datetime | None) -> Window:
    """The window in whole hours, which is how jobs are summed: the one grows to hold the other."""
    if since is not None:
        since = hour_of(since)
    if until is not None and hour_of(until) != until:
        until = hour_of(until) + _HOUR
    return Window(since, until)


def hour_of(moment: datetime) -> datetime:
    """The full hour that it lies in, UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def wanted_for(by: Sequence[str]) -> Wanted:
    """How jobs have to be told apart to answer that: by the hour, and all of them.

    What a machine's seconds were used for needs its jobs from before the window, too, and one
    grain for every question, so that idle and boot are the same in every answer.

    Raises:
        ValueError: one of `by` is none of GROUPS.
    """
    unknown = [name for name in by if name not in GROUPS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(GROUPS)}")
    return Wanted(
        period="hour",
        modules=True,
        nodes=True,
        adapters="adapter" in by,
        operators="operator" in by,
    )


def span_of(period: str) -> tuple[datetime, datetime]:
    """First moment of an hour as `JobSums.period` has it, and of the next."""
    start = datetime.fromisoformat(period).replace(tzinfo=UTC)
    return start, start + _HOUR
