"""Verdicts on the whole adapter with one bundle exchanged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from adapter_statements import (
    BUILDER,
    EVALUATOR,
    NOON,
    SIGNER,
    TRUST,
    expected,
    provenance,
    sha,
    sign_off,
    signature,
    three,
)

from yoyo.core.adapters.policy import REASONS, Check, Verdict, judge
from yoyo.model.signing import (
    PROVENANCE,
    SIGNATURE,
    TEST_RESULT,
    Identity,
)

NAMES = ["trust", "bundles", "signature", "provenance", "sign-off", "registry"]
LATER, EARLIER = NOON + timedelta(hours=1), NOON - timedelta(hours=1)
OTHER = sha("another")


def verdict(**changes: Any) -> Verdict:
    """Of the whole adapter, with bundles by role in place of the good ones (None: taken away)."""
    known = expected(**changes.pop("expected", {}))
    trust = changes.pop("trust", TRUST)
    bundles = three() | {key.replace("_", "-"): value for key, value in changes.items()}
    return judge(known, [each for each in bundles.values() if each is not None], trust)


def only_failure(found: Verdict) -> Check:
    assert [each.name for each in found.checks] == NAMES
    assert not found.ok
    assert len(found.failures) == 1, found.failures
    (check,) = found.failures
    assert check.why
    assert check.reason in REASONS
    return check


ROLES: list[tuple[str, str, Identity, Callable[..., bytes]]] = [
    ("signature", SIGNATURE, SIGNER, signature),
    ("provenance", PROVENANCE, BUILDER, provenance),
    ("sign-off", TEST_RESULT, EVALUATOR, sign_off),
]
