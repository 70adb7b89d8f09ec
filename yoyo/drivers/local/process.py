"""Which process is meant: pid, start time and boot id together, never a pid alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any


def start_code(module: str) -> str:
    """Code for `python -c` that runs that module's main, of the package that runs here.

    Not -m: it costs 4 ms, and finds an installed package.
    """
    root = str(Path(__file__).parents[3])
    return f"import sys; sys.path.insert(0, {root!r}); from {module} import main; main()"


def start_ticks(pid: int) -> int | None:
    """Clock ticks from boot to the process's start (proc(5), /proc/PID/stat field 22).

    None when it is gone: also one that has ended and still waits for its parent to notice.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        # The command in field 2 may hold spaces and parentheses: count from its end.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def orphans(leader: dict[str, Any]) -> list[int]:
    """Live processes in the session of a recorded leader that is itself gone.

    The kernel gives a pid to nobody else while it still names a session, so that these are
    that leader's own unless a living process with another start time leads the session.
    """
    pid = leader.get("pid")
    if not isinstance(pid, int) or pid <= 1 or leader.get("boot_id") != boot_id():
        return []
    if start_ticks(pid) not in (None, leader.get("start_ticks")):
        return []
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if stat[3] == str(pid) and stat[0] not in ("Z", "X") and int(entry) != pid:
                found.append(int(entry))
    return found


def boot_id() -> str:
    """This boot of the kernel; "" where it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identity(pid: int) -> dict[str, Any]:
    """What tells this process from any other that may get its pid."""
    return {"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id()}


def is_same(record: dict[str, Any]) -> bool:
    """Whether the recorded process still runs."""
    pid, ticks = record.get("pid"), record.get("start_ticks")
    return (
        isinstance(pid, int)
        and pid > 1
        and isinstance(ticks, int)
        and record.get("boot_id") == boot_id()
        and start_ticks(pid) == ticks
    )


def send_signal(record: dict[str, Any], number: signal.Signals) -> bool:
    """Signal the recorded process; False when it is gone or not ours to signal.

    The pidfd is opened first and the identity checked after: from then on the descriptor
    means that process, whatever becomes of its pid.
    """
    pid = record.get("pid")
    if not isinstance(pid, int) or pid <= 1:
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_same(record):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def ending(status: object) -> str:
    """An exit status in words."""
    if not isinstance(status, int):
        return "how is not known"
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
