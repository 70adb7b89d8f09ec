"""Where to try next after a refused start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.failover import (
    Attempt,
    Refusal,
    Scope,
    attempts,
    backoff_s,
    is_stockout,
    next_attempt,
    region_of,
    scope_of,
)

ZONES = ("us-central1-a", "us-central1-b", "us-east1-b", "europe-west4-a")


@pytest.mark.parametrize(
    ("code", "message", "status", "scope"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "", 200, Scope.ZONE),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "", 200, Scope.ZONE),
        ("RESOURCE_POOL_EXHAUSTED", "", 200, Scope.ZONE),
        ("GPU_STOCKOUT", "", 200, Scope.ZONE),
        ("insufficientCapacity", "", 200, Scope.ZONE),
        ("UNSUPPORTED_OPERATION", "", 200, Scope.ZONE),
        ("REGION_RESOURCE_POOL_EXHAUSTED", "", 200, Scope.REGION),
        ("QUOTA_EXCEEDED", "Quota 'NVIDIA_L4_GPUS' exceeded.", 200, Scope.REGION),
        ("quotaExceeded", "Quota 'NVIDIA_L4_GPUS' exceeded.", 403, Scope.REGION),
        ("QUOTA_EXCEEDED", "Quota 'GPUS_ALL_REGIONS' exceeded.", 200, Scope.GLOBAL),
        ("QUOTA_EXCEEDED", "GPUS-ALL-REGIONS-per-project", 200, Scope.GLOBAL),
        ("INVALID_USAGE", "", 200, Scope.GLOBAL),
        ("forbidden", "", 403, Scope.GLOBAL),
        ("authError", "", 401, Scope.GLOBAL),
        ("invalid", "'zones/us-east1-b/machineTypes/g2-standard-4'", 400, Scope.ZONE),
        ("notFound", "zones/us-east1-b/machineTypes/g2-standard-4", 404, Scope.ZONE),
        ("invalid", "Invalid value for field 'resource.name'", 400, Scope.GLOBAL),
        ("backendError", "", 503, Scope.UNKNOWN),
        ("", "no answer", 0, Scope.UNKNOWN),
    ],
)
def test_how_far_a_refusal_reaches(code: str, message: str, status: int, scope: Scope) -> None:
    assert scope_of(code, message, status) is scope


def test_a_quota_is_no_stockout() -> None:
    assert is_stockout("GPU_STOCKOUT")
    assert not is_stockout("QUOTA_EXCEEDED")


def refused(attempt: Attempt, scope: Scope) -> tuple[Attempt, Refusal]:
    return attempt, Refusal(attempt.zone, scope, "X", "")


def test_a_stockout_goes_to_the_next_zone_and_a_quota_to_the_next_region() -> None:
    order = attempts(ZONES, "standard")
    assert next_attempt(order, []) == order[0]
    assert next_attempt(order, [refused(order[0], Scope.ZONE)]) == order[1]
    assert next_attempt(order, [refused(order[0], Scope.REGION)]) == order[2]
    assert next_attempt(order, [refused(order[0], Scope.GLOBAL)]) is None
    assert next_attempt(order, [refused(order[0], Scope.UNKNOWN)]) is None


def test_spot_comes_first_and_has_quotas_of_its_own() -> None:
    order = attempts(ZONES[:2], "spot-then-standard")
    assert [each.spot for each in order] == [True, True, False, False]
    assert next_attempt(order, [refused(order[0], Scope.REGION)]) == order[2]


@given(
    st.lists(st.sampled_from([Scope.ZONE, Scope.REGION]), max_size=20),
    st.sampled_from(["standard", "spot", "spot-then-standard"]),
)
def test_each_attempt_is_made_once_and_none_in_a_closed_region(
    scopes: list[Scope], provisioning: str
) -> None:
    order = attempts(ZONES, provisioning)
    done: list[tuple[Attempt, Refusal]] = []
    for scope in scopes:
        attempt = next_attempt(order, done)
        if attempt is None:
            break
        assert attempt not in [each for each, _ in done]
        assert all(
            (region_of(each.zone), each.spot) != (region_of(attempt.zone), attempt.spot)
            for each, refusal in done
            if refusal.scope is Scope.REGION
        )
        done.append(refused(attempt, scope))
    if len(scopes) >= len(order):
        assert next_attempt(order, done) is None


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_and_stay_bounded(number: int, share: float) -> None:
    assert 15 <= backoff_s(number, share) <= 375
    assert backoff_s(number + 1, 0) >= backoff_s(number, 0)
