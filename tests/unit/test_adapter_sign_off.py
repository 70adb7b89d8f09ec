"""Whose sign-off counts, which one, and what the registry file says of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from adapter_statements import (
    ADAPTER,
    ARTEFACT,
    BUILDER,
    EVALUATOR,
    KEY_TRUST,
    KEYS,
    NOON,
    SIGNER,
    STRANGER,
    TRUST,
    expected,
    found,
    provenance,
    registered,
    sha,
    sign_off,
    signature,
    three,
)
from adapter_verdicts import EARLIER, LATER, OTHER, only_failure, verdict

from yoyo.cli.render_adapters import verified_text
from yoyo.core.adapters.policy import Found, judge
from yoyo.model.adapter import Change, Stage
from yoyo.model.oci import Reference
from yoyo.model.signing import (
    PROVENANCE,
    SIGNATURE,
    TEST_RESULT,
    Identity,
)
from yoyo.ops.adapters.examine import Examined


@pytest.mark.parametrize("role", ["signer", "builder"])
@pytest.mark.parametrize(
    "alias",
    [
        lambda who: who,
        lambda who: who._replace(issuer="https://another.example"),
        lambda who: who._replace(subject=who.subject.upper()),
    ],
)
def test_sign_off_by_the_author_himself(role: str, alias: Callable[[Identity], Identity]) -> None:
    author = alias(SIGNER if role == "signer" else BUILDER)
    got = verdict(
        sign_off=found(TEST_RESULT, sign_off(), author),
        trust=TRUST._replace(evaluators=(EVALUATOR, author)),
        expected={"registered": None},
    )
    check = only_failure(got)
    assert (check.name, check.reason) == ("sign-off", "author")
    assert "by the author himself" in check.why
    assert got.result == ""
    assert got.sign_off == ""


def test_a_second_signature_makes_the_evaluator_an_author() -> None:
    """Also one that is not needed: who has signed it cannot be the one who judges it."""
    trust = TRUST._replace(signers=(SIGNER, EVALUATOR))
    extra = found(SIGNATURE, signature(), EVALUATOR)
    got = judge(expected(registered=None), [*three().values(), extra], trust)
    assert only_failure(got).reason == "author"


def test_an_evaluator_who_signs_other_artefacts_is_no_author() -> None:
    trust = TRUST._replace(signers=(SIGNER, EVALUATOR))
    extra = found(SIGNATURE, signature(OTHER), EVALUATOR)
    assert judge(expected(), [*three().values(), extra], trust).ok


def test_warned_is_not_passed() -> None:
    warned = found(TEST_RESULT, sign_off(result="WARNED"), EVALUATOR)
    check = only_failure(verdict(sign_off=warned, expected={"registered": None}))
    assert (check.name, check.reason) == ("sign-off", "warned")


def failed(at: datetime | None = NOON, who: Identity = EVALUATOR) -> Found:
    log_index = 7 if who.issuer else None
    return found(TEST_RESULT, sign_off(result="FAILED"), who, at, log_index=log_index)


def test_failed() -> None:
    got = verdict(sign_off=failed(), expected={"registered": None})
    assert only_failure(got).reason == "failed"
    assert got.result == "failed"
    assert got.sign_off == sha(sign_off(result="FAILED"))


@pytest.mark.parametrize(("at", "ok"), [(EARLIER, True), (NOON, False), (LATER, False)])
def test_failed_beats_passed_unless_it_is_older(at: datetime, ok: bool) -> None:
    got = judge(expected(), [*three().values(), failed(at)], TRUST)
    assert got.ok == ok
    assert got.result == ("passed" if ok else "failed")
    assert ok or got.failures[0].reason == "failed"


def test_without_times_any_failed_refuses() -> None:
    bundles = [
        found(SIGNATURE, signature(), KEYS[0], None, log_index=None),
        found(PROVENANCE, provenance(), KEYS[1], None, log_index=None),
        found(TEST_RESULT, sign_off(), KEYS[2], None, log_index=None),
    ]
    for place in range(4):
        some = [*bundles[:place], failed(None, KEYS[2]), *bundles[place:]]
        got = judge(expected(), some, KEY_TRUST)
        assert got.failures[0].reason == "failed"


@pytest.mark.parametrize("change", [{"digest": OTHER}, {"who": STRANGER}])
def test_a_failed_that_does_not_count_refuses_nothing(change: dict[str, Any]) -> None:
    payload = sign_off(change.get("digest", ARTEFACT.digest), "FAILED")
    extra = found(TEST_RESULT, payload, change.get("who", EVALUATOR), LATER)
    assert judge(expected(), [*three().values(), extra], TRUST).ok


def test_the_author_may_fail_his_own_work() -> None:
    trust = TRUST._replace(evaluators=(EVALUATOR, SIGNER))
    got = judge(expected(), [*three().values(), failed(LATER, SIGNER)], trust)
    assert got.failures[0].reason == "failed"


def again(at: datetime) -> Found:
    """A second PASSED, of other bytes."""
    return found(TEST_RESULT, sign_off().replace(b"accuracy", b"fluency"), EVALUATOR, at)


def test_the_registered_sign_off_counts_where_there_are_two() -> None:
    for extra in (again(EARLIER), again(LATER)):
        for bundles in ([extra, *three().values()], [*three().values(), extra]):
            got = judge(expected(), bundles, TRUST)
            assert got.ok
            assert got.sign_off == sha(sign_off())


def test_a_failed_after_the_registered_sign_off_refuses_whatever_came_then() -> None:
    newer = again(LATER + timedelta(hours=1))
    got = judge(expected(), [*three().values(), failed(LATER), newer], TRUST)
    assert got.failures[0].reason == "failed"


def test_the_newest_sign_off_counts_while_none_is_registered() -> None:
    newer = again(LATER)
    assert newer.attestation is not None
    for bundles in ([newer, *three().values()], [*three().values(), newer]):
        got = judge(expected(registered=None), bundles, TRUST)
        assert got.sign_off == sha(newer.attestation.payload)


def test_a_sign_off_that_came_later_is_registered_without_the_old_one() -> None:
    known = {"sign_off_needed": False, "registered": registered(sign_off=OTHER)}
    got = verdict(expected=known)
    assert got.ok
    assert got.sign_off == sha(sign_off())
    newer = again(LATER)
    assert newer.attestation is not None
    got = judge(expected(sign_off_needed=False), [*three().values(), newer], TRUST)
    assert got.sign_off == sha(newer.attestation.payload)


def test_where_none_is_needed_its_absence_is_shown() -> None:
    pending = registered(sign_off="", stage=Stage.EVAL_PENDING)
    got = verdict(sign_off=None, expected={"sign_off_needed": False, "registered": pending})
    assert got.ok
    assert "not needed yet" in got.checks[4].evidence
    assert (got.sign_off, got.result) == ("", "")


def test_where_none_is_needed_a_failed_one_is_told() -> None:
    got = verdict(sign_off=failed(), expected={"sign_off_needed": False, "registered": None})
    assert got.ok
    assert got.result == "failed"
    assert got.sign_off == sha(sign_off(result="FAILED"))


# --- the registry file --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (registered(ref=f"registry.example/a@{OTHER}"), "moved"),
        (registered(ref="registry.example/a"), "moved"),
        (registered(adapter=ADAPTER._replace(base=OTHER)), "base"),
        (registered(adapter=ADAPTER._replace(data=OTHER)), "data"),
        (registered(adapter=ADAPTER._replace(rank=8)), "adapter"),
        (registered(adapter=ADAPTER._replace(tasks=())), "adapter"),
        (registered(sign_off=OTHER), "signoff"),
        (registered(sign_off=""), "signoff"),
    ],
)
def test_the_registry_knows_it_otherwise(entry: Any, reason: str) -> None:
    check = only_failure(verdict(expected={"registered": entry}))
    assert (check.name, check.reason) == ("registry", reason)
    if reason == "signoff":
        assert f"registered as {entry.sign_off or 'none'}, found {sha(sign_off())}" in check.why


def test_what_the_registry_file_rejects_is_refused() -> None:
    """Also with every statement in order, and where no sign-off is asked for."""
    steps = (Change(Stage.PROMOTED, EARLIER, "olga"), Change(Stage.REJECTED, NOON, "dora"))
    for needed in (True, False):
        for statement in (sha(sign_off()), ""):
            entry = registered(stage=Stage.REJECTED, history=steps, sign_off=statement)
            got = verdict(expected={"registered": entry, "sign_off_needed": needed})
            check = only_failure(got)
            assert (check.name, check.reason) == ("registry", "rejected")
            assert check.why == f"the registry file says rejected since {NOON.isoformat()} by dora"
            assert got.stage == "rejected"


def test_a_rejection_without_history_is_one_too() -> None:
    entry = registered(stage=Stage.REJECTED, history=())
    check = only_failure(verdict(expected={"registered": entry}))
    assert (check.reason, check.why) == ("rejected", "the registry file says rejected")


@pytest.mark.parametrize("stage", [each for each in Stage if each is not Stage.REJECTED])
def test_no_other_stage_refuses(stage: Stage) -> None:
    got = verdict(expected={"registered": registered(stage=stage)})
    assert got.ok
    assert got.stage == stage


def test_the_stage_is_told_only_where_it_is_registered() -> None:
    got = verdict(expected={"registered": None})
    assert got.stage == ""
    for verdict_, told in (
        (got, "is verified  "),
        (verdict(), "is verified, registered as promoted  "),
    ):
        place = Reference("127.0.0.1:5000", "adapters", digest=ARTEFACT.digest)
        text = verified_text(Examined(place, ARTEFACT, verdict_), explain=False)
        assert text.splitlines()[0] == f"{ADAPTER.name} {told}{place}"


def test_the_alpha_of_the_registry_is_a_number() -> None:
    entry = registered(adapter=ADAPTER._replace(alpha=Decimal("32.0")))
    assert verdict(expected={"registered": entry}).ok
