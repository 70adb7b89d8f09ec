"""A plan of what goes wrong with the store, and the account of what was asked of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import unquote


@dataclass(frozen=True)
class Fault:
    """One way to go wrong. Fields that are not set do nothing."""

    status: int = 0  # of the answer
    reason: str = ""  # with `status`: Google's reason, its usual one when empty
    retry_after: str = ""  # with `status`: the header
    after: bool = False  # with `status` or `reset`: the call has had its effect all the same
    reset: bool = False  # the connection breaks without an answer
    cut_sent: int | None = None  # it breaks after so many bytes of the answer's body, at most
    cut_received: int | None = None  # it breaks after so many bytes of the request's body
    stall: threading.Event | None = None  # nothing goes on until this is set
    stall_at: int = -1  # with `stall`: bytes of the answer's body before it; -1: before all else
    ignore_range: bool = False  # 200 and the whole object
    flip: int | None = None  # the object's byte at this place is sent wrong, all bits of it


NOTHING = Fault()


@dataclass
class Rule:
    """When a fault strikes: after `skip` matching calls, `times` times (0: always)."""

    fault: Fault
    verb: str = "*"  # globs
    kind: str = "*"  # as Seen.kind has it
    path: str = ""  # searched for in the decoded target, query and all
    times: int = 1
    skip: int = 0
    seen: int = field(default=0, init=False)

    def matches(self, verb: str, kind: str, target: str) -> bool:
        return (
            fnmatchcase(verb, self.verb)
            and fnmatchcase(kind, self.kind)
            and re.search(self.path, unquote(target)) is not None
        )


@dataclass
class Seen:
    """One request. What is planned to be sent counts until a broken connection corrects it."""

    verb: str
    target: str
    kind: str  # the method's id, or upload.* media.get xml.get xml.head; see gcs_doc.Route
    asked_range: str
    status: int = 0  # 0: not answered, or not yet
    received: int = 0  # bytes of bodies
    sent: int = 0
    stalled: bool = False


class Faults:
    """The plan. Safe to change while requests come in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(
        self,
        fault: Fault,
        *,
        verb: str = "*",
        kind: str = "*",
        path: str = "",
        times: int = 1,
        skip: int = 0,
    ) -> Rule:
        """Plan a fault; where several match, the one that was planned first strikes."""
        rule = Rule(fault, verb, kind, path, times, skip)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._rules.clear()

    def choose(self, seen: Seen) -> Fault:
        """The fault that strikes a request."""
        with self._lock:
            for rule in self._rules:
                if not rule.matches(seen.verb, seen.kind, seen.target):
                    continue
                rule.seen += 1
                nth = rule.seen - rule.skip
                if nth > 0 and (rule.times == 0 or nth <= rule.times):
                    return rule.fault
        return NOTHING


class Log:
    """Every request so far. Safe from threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[Seen] = []

    def add(self, seen: Seen) -> None:
        with self._changed:
            self._calls.append(seen)
            self._changed.notify_all()

    def touch(self) -> None:
        """Tell those who wait that a request went on."""
        with self._changed:
            self._changed.notify_all()

    def of(self, kind: str, path: str) -> list[Seen]:
        """The requests of a kind (a glob) whose decoded target has the pattern in it."""
        with self._changed:
            return [
                seen
                for seen in self._calls
                if fnmatchcase(seen.kind, kind) and re.search(path, unquote(seen.target))
            ]

    def wait_until(self, reached: Callable[[], bool], timeout_s: float) -> None:
        """Wait for something in the account.

        Raises:
            TimeoutError
        """
        with self._changed:
            if not self._changed.wait_for(reached, timeout_s):
                raise TimeoutError(self._calls)
