"""The idle monitor's decision: samples in, decision with reasons out. Pure.

Idle needs evidence. A failed reading is never idleness, a gap in the samples is no
evidence, and tokens counted between two samples are work even if both saw empty slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import NamedTuple

from yoyo.model.samples import Sample
from yoyo.model.settings import GuardSettings

# A timer may slip (load, suspend); past this many intervals the time between two samples
# counts as unseen.
_MAX_GAP_INTERVALS = 2.5


class Verdict(StrEnum):
    """What the monitor does next."""

    BUSY = "busy"  # work seen, or not provably idle
    GRACE = "grace"  # just booted
    IDLE = "idle"  # idle, not yet for long enough
    FAULT = "fault"  # unreachable, not yet for long enough
    STOP_IDLE = "stop-idle"
    STOP_FAULT = "stop-fault"


class Decision(NamedTuple):
    """A verdict, why, and when the guard would fire if nothing changes."""

    verdict: Verdict
    reasons: tuple[str, ...]
    since: datetime | None = None
    fires_at: datetime | None = None

    @property
    def stop(self) -> bool:
        """Whether the node is to be stopped."""
        return self.verdict in (Verdict.STOP_IDLE, Verdict.STOP_FAULT)


def busy_reasons(sample: Sample) -> tuple[str, ...]:
    """Every signal of that sample which does not say idle."""
    reasons = []
    if not sample.reachable:
        reasons.append(f"engine unreachable: {sample.error or 'no answer'}")
        return tuple(reasons)
    for name, value, noun in (
        ("requests processing", sample.processing, "request"),
        ("requests deferred", sample.deferred, "request"),
        ("slots busy", sample.slots_busy, "slot"),
    ):
        if value is None:
            reasons.append(f"{name} could not be read ({sample.error or 'no value'}): busy")
        elif value != 0:
            reasons.append(f"{name}: {value} {noun}{'' if value == 1 else 's'}")
    if sample.tokens_total is None:
        reasons.append(f"token counters could not be read ({sample.error or 'no value'}): busy")
    if sample.open_jobs:
        reasons.append(f"{sample.open_jobs} job(s) with a live lease in the ledger")
    return tuple(reasons)


def decide(
    samples: Sequence[Sample],
    guards: GuardSettings,
    *,
    boot: str,
    booted_at: datetime,
    now: datetime,
) -> Decision:
    """Decide from the samples of life `boot`, any order; others and future ones are ignored.

    Stops for idleness after max(2, ceil(idle_after / sample_every)) consecutive idle samples
    that span at least `idle_after`, and for a fault after as long as `unreachable_after`
    without one answer.
    """
    seen = sorted((s for s in samples if s.boot == boot and s.at <= now), key=lambda s: s.at)
    max_gap = timedelta(seconds=guards.sample_every_s * _MAX_GAP_INTERVALS)
    if not seen or now - seen[-1].at > max_gap:
        return Decision(Verdict.BUSY, ("no fresh sample: not provably idle",))
    newest = seen[-1]
    if not newest.reachable:
        return _fault(seen, guards, max_gap, now)
    reasons = busy_reasons(newest)
    if reasons:
        return Decision(Verdict.BUSY, reasons)
    grace_ends = booted_at + timedelta(seconds=guards.boot_grace_s)
    if now < grace_ends:
        return Decision(
            Verdict.GRACE,
            (f"booted at {_clock(booted_at)}: grace until {_clock(grace_ends)}",),
            fires_at=max(grace_ends, newest.at + timedelta(seconds=guards.idle_after_s)),
        )
    return _idle(seen, guards, max_gap, now)


def _idle(
    seen: Sequence[Sample], guards: GuardSettings, max_gap: timedelta, now: datetime
) -> Decision:
    first = newest = seen[-1]
    count, broken_by = 1, "no earlier sample"
    for earlier in reversed(seen[:-1]):
        if first.at - earlier.at > max_gap:
            broken_by = f"nothing was seen between {_clock(earlier.at)} and {_clock(first.at)}"
            break
        if busy_reasons(earlier):
            broken_by = f"busy at {_clock(earlier.at)}: {busy_reasons(earlier)[0]}"
            break
        if earlier.tokens_total != first.tokens_total:
            broken_by = f"tokens were processed before {_clock(first.at)}"
            break
        first, count = earlier, count + 1
    need = max(2, ceil(guards.idle_after_s / guards.sample_every_s))
    since, idle_for = first.at, newest.at - first.at
    fires_at = since + timedelta(seconds=guards.idle_after_s)
    text = (
        f"idle for {_span(idle_for)} in {count} sample(s) since {_clock(since)} ({broken_by}); "
        f"stops after {_span(timedelta(seconds=guards.idle_after_s))} and {need} samples"
    )
    enough = count >= need and idle_for >= timedelta(seconds=guards.idle_after_s)
    return Decision(
        Verdict.STOP_IDLE if enough else Verdict.IDLE, (text,), since, max(fires_at, now)
    )


def _fault(
    seen: Sequence[Sample], guards: GuardSettings, max_gap: timedelta, now: datetime
) -> Decision:
    first = newest = seen[-1]
    count = 1
    for earlier in reversed(seen[:-1]):
        if earlier.reachable or first.at - earlier.at > max_gap:
            break
        first, count = earlier, count + 1
    limit = timedelta(seconds=guards.unreachable_after_s)
    text = (
        f"unreachable for {_span(newest.at - first.at)} in {count} sample(s) since "
        f"{_clock(first.at)} ({newest.error or 'no answer'}): a fault, not work; "
        f"stopped by its own rule after {_span(limit)}"
    )
    enough = count >= 2 and newest.at - first.at >= limit
    return Decision(
        Verdict.STOP_FAULT if enough else Verdict.FAULT,
        (text,),
        first.at,
        max(first.at + limit, now),
    )


def monitor_armed(samples: Sequence[Sample], guards: GuardSettings, now: datetime) -> bool:
    """Whether the monitor really runs: proven by a recent sample, not by configuration."""
    limit = timedelta(seconds=guards.sample_every_s * _MAX_GAP_INTERVALS)
    return any(timedelta(0) <= now - sample.at <= limit for sample in samples)


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%SZ")


def _span(delta: timedelta) -> str:
    seconds = int(delta.total_seconds())
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "m"), (seconds, "s")]
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0s"
