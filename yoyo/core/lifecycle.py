"""Whom the end of a machine's life is put down to: one table for every answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from yoyo.model.ledger import CompletionStatus, Row

# The words of `yoyo cost --by guard`. A guard that is not among them has its own name.
BY_MONITOR: Final = "monitor"
BY_DEAD_MAN: Final = "dead-man"
BY_LIFETIME: Final = "lifetime"
BY_PLATFORM_CAP: Final = "platform-cap"
BY_OPERATOR: Final = "operator"  # a command stopped it
BY_PLATFORM: Final = "platform"  # the cloud took it back, or its hardware failed
BY_OUTSIDE: Final = "outside"  # somebody stopped it without yoyo
BY_FAULT: Final = "fault"  # it ended by itself, or never came up

# error_code of the row that closes a life -> who ended it.
ENDS: Final[Mapping[str, str]] = {
    "GUARD_LIFETIME": BY_LIFETIME,
    "GUARD_DEAD_MAN": BY_DEAD_MAN,
    "GUARD_UNREACHABLE": BY_DEAD_MAN,
    "GUARD_PLATFORM_CAP": BY_PLATFORM_CAP,
    "SPOT_PREEMPTED": BY_PLATFORM,
    "HOST_ERROR": BY_PLATFORM,
    "STOPPED_OUTSIDE": BY_OUTSIDE,
    "MACHINE_GONE": BY_OUTSIDE,
    "POWERED_OFF_INSIDE": BY_OUTSIDE,
}
_GUARD_OPERATOR: Final = "guard:"
_GUARD_CODE: Final = "GUARD_"
_GONE: Final = "MACHINE_GONE"


def guard_of(closing: Row, stopper: str = "") -> str:
    """Who ended a life; `stopper` is the operator of its TEARDOWN_REQUEST, "" without one.

    The code of the closing row goes first: its operator may be the one who merely found out,
    as the monitor does. A machine that is gone after its stop was asked for went by that.
    """
    entry = closing.entry
    code = entry.error_code
    known = ENDS.get(code)
    if code == _GONE and stopper:
        who = stopper
    elif known is not None:
        return known
    elif not code:
        who = stopper or entry.operator_id
    elif code.startswith(_GUARD_CODE):
        who = entry.operator_id
    else:
        return BY_FAULT
    if who.startswith(_GUARD_OPERATOR):
        return who.removeprefix(_GUARD_OPERATOR) or BY_FAULT
    is_asked = entry.completion_status is CompletionStatus.SUCCESS or code == _GONE
    return BY_OPERATOR if is_asked else BY_FAULT
