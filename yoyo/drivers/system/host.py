"""Implements the port of the host: what Linux says about this boot and its clocks."""

from __future__ import annotations

import os
import time
from decimal import Decimal
from pathlib import Path

from yoyo.core.session import HostFacts, Stamp

_BOOT_ID = "proc/sys/kernel/random/boot_id"
_CLOCK_SOURCE = "sys/devices/system/clocksource/clocksource0/current_clocksource"
_SYNCHRONISED = "run/systemd/timesync/synchronized"
_MAX_BYTES = 256
_SURE_NS = 10_000_000  # a pause that is shorter between two clocks does not look like a step
_TRIES = 5
# adjtimex(2): the state of the kernel's clock. TIME_ERROR: not synchronised.
_TIME_ERROR = 5
_TIMEX_BYTES = 256  # struct timex has 208 on 64-bit Linux


class SystemHost:
    """This host. `root` is where /proc, /sys and /run are."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def stamp(self) -> Stamp:
        """See the port."""
        return Stamp(self._word(_BOOT_ID), _offset_s())

    def facts(self) -> HostFacts:
        """See the port."""
        system = os.uname()
        return HostFacts(
            host=_printable(system.nodename),
            kernel=_printable(f"{system.sysname} {system.release}"),
            clock_source=self._word(_CLOCK_SOURCE),
            synchronised=self._synchronised(),
        )

    def _synchronised(self) -> bool | None:
        state = _kernel_state()
        if state is not None:
            return state != _TIME_ERROR
        # It is made after the first synchronisation; without it nothing is known.
        return True if (self._root / _SYNCHRONISED).exists() else None

    def _word(self, path: str) -> str:
        try:
            with (self._root / path).open("rb") as file:
                return _printable(file.read(_MAX_BYTES).decode("ascii").strip())
        except (OSError, UnicodeDecodeError):
            return ""


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:64]


def _offset_s() -> Decimal | None:
    """Wall clock less time since boot, in seconds to the microsecond."""
    best: tuple[int, int] | None = None
    for _ in range(_TRIES):
        try:
            before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            wall = time.time_ns()
            after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        except (OSError, AttributeError):
            return None
        if best is None or after - before < best[0]:
            best = (after - before, wall - (before + after) // 2)
        if best[0] < _SURE_NS:
            break
    assert best is not None  # noqa: S101 - there is at least one try
    return (Decimal(best[1]) / 1_000_000_000).quantize(Decimal("0.000001"))


def _kernel_state() -> int | None:
    """adjtimex(2) with nothing to set; None: it may not be asked."""
    try:
        import ctypes

        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError, ImportError):
        return None
    return int(state) if state >= 0 else None
