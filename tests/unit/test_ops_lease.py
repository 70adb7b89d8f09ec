"""When looking at a node renews its dead-man's lease."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sample_node import NODE

from yoyo.model.machine import GuardStatus, MachineState, Observation
from yoyo.ops.context import Context
from yoyo.ops.lease import renew_if_due

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEASE = timedelta(seconds=NODE.guards.lease_s)


def renewals(fires_at: datetime | None, *, known: bool = True) -> int:
    """How often a look at a machine with that guard renews the lease."""
    renewed: list[Any] = []
    context = SimpleNamespace(
        node=NODE,
        clock=SimpleNamespace(now=lambda: NOW),
        machines=SimpleNamespace(renew_lease=renewed.append),
    )
    guards = (GuardStatus("dead-man", fires_at is not None, fires_at),) if known else ()
    seen = Observation(MachineState.RUNNING, guards=guards)
    renew_if_due(cast("Context", context), seen)
    return len(renewed)


@pytest.mark.parametrize(
    ("left", "renewed"),
    [(LEASE, 0), (LEASE * 0.8, 0), (LEASE * 0.7, 1), (LEASE * 0.1, 1), (-LEASE, 1)],
)
def test_a_fresh_lease_waits_and_an_old_one_is_renewed(left: timedelta, renewed: int) -> None:
    assert renewals(NOW + left) == renewed


def test_a_lease_that_nobody_knows_of_is_renewed() -> None:
    assert renewals(None) == 1
    assert renewals(None, known=False) == 1
