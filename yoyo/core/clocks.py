"""What is booked and said of clocks that differ from the platform's. Pure.

Machines are paid by the platform's clock, rows are dated by the host's, and a node's log by its
own: who compares them must know how far they are apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from yoyo.core.lives import Life
from yoyo.core.wording import counted
from yoyo.model.ledger import (
    CLOCK_SKEW,
    CLOCK_STEP,
    LEDGER_NODE,
    SHARED,
    CompletionStatus,
    Entry,
    EventType,
)
from yoyo.model.machine import Clocks

# Clocks are read to the second, and some time goes by between two readings.
BOUND_S: Final = 2
_SKEW: Final = re.compile(r"skew/([+-][0-9]{1,11})\Z")


def skew_entries(life: Life, clocks: Clocks, operator: str) -> Iterator[Entry]:
    """One row for each clock that was measured, also where it is right: silence proves nothing."""
    measured = (
        (life.module_id, life.node_id, clocks.node_s),
        (SHARED, LEDGER_NODE, clocks.here_s),
    )
    for module_id, node_id, seconds in measured:
        if seconds is not None:
            yield Entry(
                EventType.CHECKPOINT,
                module_id,
                node_id,
                f"skew/{seconds:+d}",
                CompletionStatus.SUCCESS,
                operator,
                error_code=CLOCK_SKEW,
            )


def skew_notes(clocks: Clocks) -> Iterator[str]:
    """A line for the operator about each clock that is off by more than BOUND_S seconds."""
    measured = (("the node's clock", clocks.node_s), ("the clock of this host", clocks.here_s))
    for what, seconds in measured:
        if seconds is not None and abs(seconds) > BOUND_S:
            where = "ahead of" if seconds > 0 else "behind"
            yield (
                f"{what} is {abs(seconds):,} s {where} the platform's: times will not agree; "
                "set it by NTP (timedatectl shows whether it is)"
            )


class BookedClocks(NamedTuple):
    """What rows say of clocks."""

    steps: int  # how often the host's clock was set
    measured: int  # how often a clock was held against the platform's
    off: int  # of those, by more than BOUND_S seconds
    worst: tuple[int, str] | None  # of the one that was off most: seconds, and whose (node_id)

    def text(self) -> str:
        """In words, for the report."""
        said = (
            f"The host's clock was set {counted(self.steps, 'time')}. Clocks were held against the "
            f"platform's {counted(self.measured, 'time')}; {counted(self.off, 'was', 'were')} off "
            f"by more than {BOUND_S} s"
        )
        if self.worst is None:
            return f"{said}."
        seconds, node_id = self.worst
        whose = "the host" if node_id == LEDGER_NODE else f"node {node_id}"
        return f"{said}, at most by {seconds:+,d} s, that of {whose}."


def clocks_of(entries: Iterable[Entry]) -> BookedClocks:
    """Count the rows about clocks; what is misspelt counts as not measured."""
    steps = measured = 0
    off: list[tuple[int, str]] = []
    for entry in entries:
        steps += entry.error_code == CLOCK_STEP
        skew = _skew_of(entry)
        if skew is not None:
            measured += 1
            if abs(skew) > BOUND_S:
                off.append((skew, entry.node_id))
    worst = max(off, key=lambda each: abs(each[0]), default=None)
    return BookedClocks(steps, measured, len(off), worst)


def _skew_of(entry: Entry) -> int | None:
    if entry.error_code != CLOCK_SKEW:
        return None
    found = _SKEW.match(entry.job_id)
    return int(found[1]) if found else None
