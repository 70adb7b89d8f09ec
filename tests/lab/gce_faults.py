"""A plan of what goes wrong: which call, which time, in which way."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

JSON = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One way to go wrong. Fields that are not set do nothing."""

    http: int = 0  # status of the answer
    reason: str = ""  # with `http`: Google's reason, its usual one when empty
    message: str = ""
    after: bool = False  # with `http`: the call has had its effect all the same
    reset: str = ""  # the connection breaks "before" or "after" the effect
    operation_error: str = ""  # code inside the operation, such as ZONE_RESOURCE_POOL_EXHAUSTED
    metric: str = ""  # with QUOTA_EXCEEDED: GPUS_ALL_REGIONS is global, others regional
    delay_s: float = 0.0  # before anything else happens
    operation_s: float = 0.0  # how much longer the operation takes
    undone_wait: bool = False  # a wait returns at once, with the operation as it is
    drop_cap: bool = False  # no terminationTimestamp, and nothing fires


@dataclass
class Rule:
    """When a fault strikes: at the nth matching call and, from there, `times` times (0: always)."""

    fault: Fault
    method: str = "*"  # globs
    zone: str = "*"
    name: str = "*"
    nth: int = 1
    times: int = 1
    probability: float = 1.0
    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def matches(self, method: str, zone: str, name: str) -> bool:
        return (
            fnmatchcase(method, self.method)
            and fnmatchcase(zone, self.zone)
            and fnmatchcase(name, self.name)
        )


class Faults:
    """The plan. Safe to change while calls come in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._random = random.Random(0)
        self.struck: list[tuple[str, Fault]] = []

    def add(
        self,
        method: str = "*",
        *,
        zone: str = "*",
        name: str = "*",
        nth: int = 1,
        times: int = 1,
        probability: float = 1.0,
        **effect: Any,
    ) -> Rule:
        """Add a rule: `faults.add("compute.instances.insert", http=503, after=True)`."""
        rule = Rule(Fault(**effect), method, zone, name, nth, times, probability)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Nothing goes wrong from now on."""
        with self._lock:
            self._rules.clear()

    def seed(self, number: int) -> None:
        """Begin the row of random numbers again, which rules with a probability draw from."""
        with self._lock:
            self._random = random.Random(number)

    def load(self, plan: JSON) -> None:
        """Replace the plan by one from JSON: {"seed": 1, "rules": [{"method": .., "http": 503}]}.

        Raises:
            ValueError: a name in it is unknown; the plan is as it was.
        """
        known = {f.name for f in fields(Fault)} | {
            "method",
            "zone",
            "name",
            "nth",
            "times",
            "probability",
        }
        unknown = {name for rule in plan.get("rules", []) for name in rule} - known
        unknown |= set(plan) - {"seed", "rules"}
        if unknown:
            raise ValueError(f"unknown in a fault plan: {sorted(unknown)}")
        self.clear()
        self.seed(plan.get("seed", 0))
        for rule in plan.get("rules", []):
            self.add(**rule)

    def choose(self, method: str, zone: str, name: str) -> Fault:
        """The fault for a call; the first rule that strikes decides."""
        with self._lock:
            for rule in self._rules:
                if not rule.matches(method, zone, name):
                    continue
                rule.seen += 1
                spent = rule.times and rule.struck >= rule.times
                if rule.seen < rule.nth or spent or self._random.random() >= rule.probability:
                    continue
                rule.struck += 1
                self.struck.append((method, rule.fault))
                return rule.fault
        return NO_FAULT


NO_FAULT = Fault()
