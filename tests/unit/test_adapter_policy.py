"""The verdict: everything in order, or refused for a reason of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from adapter_statements import (
    ADAPTER,
    ARTEFACT,
    BUILDER,
    BUILDER_ID,
    EVALUATOR,
    ISSUER,
    KEY_TRUST,
    KEYS,
    SIGNER,
    STRANGER,
    TRAINING,
    TRUST,
    expected,
    found,
    provenance,
    refused,
    sha,
    sign_off,
    signature,
    three,
)
from adapter_verdicts import NAMES, OTHER, ROLES, only_failure, verdict

from yoyo.core.adapters.policy import Check, Expected, Found, Verdict, judge
from yoyo.errors import BundleRefused
from yoyo.model.signing import (
    KEY,
    PROVENANCE,
    SIGNATURE,
    TEST_RESULT,
    Identity,
    Trust,
)

# --- everything in order ------------------------------------------------------------------------


def test_a_whole_adapter_passes_with_its_evidence() -> None:
    bundles = three()
    got = judge(expected(), list(bundles.values()), TRUST)
    assert got.ok
    assert [each.name for each in got.checks] == NAMES
    assert got.signers == (
        ("signature", str(SIGNER)),
        ("provenance", str(BUILDER)),
        ("sign-off", str(EVALUATOR)),
    )
    assert got.attestations == tuple(each.bundle for each in bundles.values())
    assert got.sign_off == sha(sign_off())
    assert got.result == "passed"
    evidence = {each.name: each.evidence for each in got.checks}
    assert all(evidence.values())
    for role, who in got.signers:
        assert who in evidence[role]
        assert "2026-11-02T12:00:00" in evidence[role]
        assert bundles[role].bundle in evidence[role]
    assert ADAPTER.base in evidence["provenance"]
    assert ADAPTER.data in evidence["provenance"]
    assert "the loaded base too" in evidence["provenance"]
    assert f"PASSED by {EVALUATOR}" in evidence["sign-off"]


def test_it_passes_with_keys_too() -> None:
    bundles = [
        found(SIGNATURE, signature(), KEYS[0], None, log_index=None),
        found(PROVENANCE, provenance(), KEYS[1], None, log_index=None),
        found(TEST_RESULT, sign_off(), KEYS[2], None, log_index=None),
    ]
    assert judge(expected(), bundles, KEY_TRUST).ok
    assert not judge(expected(), bundles, TRUST).ok
    assert not judge(expected(), bundles, TRUST._replace(mode=KEY)).ok


def test_it_passes_where_nothing_is_known_to_compare_with() -> None:
    got = verdict(expected={"base": "", "data": "", "registered": None})
    assert got.ok
    assert "not known here" in got.checks[3].evidence
    assert "not registered" in got.checks[5].evidence


def test_the_order_of_bundles_does_not_count() -> None:
    bundles = list(three().values())
    assert judge(expected(), bundles[::-1], TRUST) == judge(expected(), bundles, TRUST)


def test_a_refused_bundle_beside_good_ones_is_shown_only() -> None:
    bundles = [*three().values(), refused(SIGNATURE, "certificate", "expired in 2025")]
    got = judge(expected(), bundles, TRUST)
    assert got.ok
    assert "refused (certificate): expired in 2025" in got.checks[1].evidence
    assert "refused (certificate): expired in 2025" in got.checks[2].evidence


# --- faults, one by one -------------------------------------------------------------------------


def test_no_bundle_at_all_is_a_refusal() -> None:
    got = judge(expected(), [], TRUST)
    assert [each.reason for each in got.checks] == [
        "", "unsigned", "unsigned", "unattested", "unevaluated", "signoff",
    ]  # fmt: skip
    assert (got.signers, got.attestations, got.sign_off, got.result) == ((), (), "", "")


@pytest.mark.parametrize(
    "trust",
    [
        Trust(),
        TRUST._replace(signers=()),
        TRUST._replace(builders=()),
        TRUST._replace(evaluators=()),
        TRUST._replace(builder_ids=()),
        TRUST._replace(mode=KEY),
    ],
)
def test_half_a_trust_trusts_nobody(trust: Trust) -> None:
    got = verdict(trust=trust)
    assert not got.ok
    assert got.failures[0].name == "trust"
    assert got.failures[0].reason == "trust"
    assert trust.signers or "wanted one of: nobody" in got.failures[1].why


def test_unsigned() -> None:
    assert only_failure(verdict(signature=None)).reason == "unsigned"


def test_without_provenance() -> None:
    assert only_failure(verdict(provenance=None)).reason == "unattested"


def test_without_sign_off() -> None:
    got = verdict(sign_off=None)
    assert [(each.name, each.reason) for each in got.failures] == [
        ("sign-off", "unevaluated"),
        ("registry", "signoff"),
    ]


EACH_ROLE = pytest.mark.parametrize(("role", "kind", "who", "make"), ROLES)


def replaced(role: str, instead: Found) -> Check:
    """The failure when that role's bundle is replaced, in a registry that knows no sign-off yet."""
    return only_failure(verdict(**{role: instead}, expected={"registered": None}))


@EACH_ROLE
@pytest.mark.parametrize("reason", BundleRefused.REASONS)
def test_what_the_verifier_refused(
    role: str, kind: str, who: Identity, make: Callable[..., bytes], reason: str
) -> None:
    check = replaced(role, refused(kind, reason, f"told by {who}"))
    assert (check.name, check.reason) == (role, reason)
    assert check.why.startswith(f"told by {who}")
    assert f"refused ({reason})" in check.evidence


@EACH_ROLE
def test_wrong_identity(role: str, kind: str, who: Identity, make: Callable[..., bytes]) -> None:
    check = replaced(role, found(kind, make(), STRANGER))
    assert (check.name, check.reason) == (role, "identity")
    assert str(STRANGER) in check.why
    assert f"wanted one of: {who}" in check.why


@EACH_ROLE
def test_wrong_issuer(role: str, kind: str, who: Identity, make: Callable[..., bytes]) -> None:
    check = replaced(role, found(kind, make(), who._replace(issuer="https://evil.example")))
    assert (check.name, check.reason) == (role, "issuer")
    assert f"wanted one of: {who}" in check.why


@EACH_ROLE
def test_somebody_in_another_role(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    for other in {SIGNER, BUILDER, EVALUATOR} - {who}:
        assert replaced(role, found(kind, make(), other)).reason == "identity"


@EACH_ROLE
def test_bundle_of_another_artefact(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    check = replaced(role, found(kind, make(OTHER), who))
    assert (check.name, check.reason) == (role, "subject")
    assert OTHER in check.why
    assert ARTEFACT.digest in check.why


@EACH_ROLE
def test_bundle_of_several_artefacts(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    document = json.loads(make())
    document["subject"].append({"digest": {"sha256": OTHER[7:]}})
    assert replaced(role, found(kind, json.dumps(document).encode(), who)).reason == "subject"


@EACH_ROLE
def test_no_attested_time(role: str, kind: str, who: Identity, make: Callable[..., bytes]) -> None:
    assert replaced(role, found(kind, make(), who, None)).reason == "timestamp"
    naive = datetime(2026, 11, 2)  # noqa: DTZ001 - a driver's mistake must not pass
    assert replaced(role, found(kind, make(), who, naive)).reason == "timestamp"


@EACH_ROLE
def test_in_no_log(role: str, kind: str, who: Identity, make: Callable[..., bytes]) -> None:
    assert replaced(role, found(kind, make(), who, log_index=None)).reason == "log"


@EACH_ROLE
def test_another_payload_type(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    check = replaced(role, found(kind, make(), who, payload_type="application/json"))
    assert check.reason == "payload"


@EACH_ROLE
def test_a_statement_that_is_none(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    for payload in (b"", b"{}", make()[:-1], make().replace(b'{"_type"', b'{"a":1,"_type"')):
        assert replaced(role, found(kind, payload, who)).reason == "malformed"


@EACH_ROLE
def test_another_predicate_type_than_was_offered(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    payload = make().replace(kind.encode(), kind.encode() + b"x")
    check = replaced(role, found(kind, payload, who))
    assert (check.name, check.reason) == (role, "predicate")


@EACH_ROLE
def test_one_role_does_not_speak_for_another(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    """Everybody is trusted with everything, and offers what he has as something else."""
    all_of_them = (SIGNER, BUILDER, EVALUATOR)
    trust = TRUST._replace(signers=all_of_them, builders=all_of_them, evaluators=all_of_them)
    for _, other, _, payload in ROLES:
        if other != kind:
            got = verdict(**{role: found(kind, payload(), who)}, trust=trust)
            assert role in [each.name for each in got.failures]


@EACH_ROLE
def test_an_unreadable_bundle_may_have_been_the_missing_one(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    assert replaced(role, refused("", "malformed", "no JSON")).reason == "malformed"


@EACH_ROLE
def test_what_was_offered_as_something_else_may_have_been_it(
    role: str, kind: str, who: Identity, make: Callable[..., bytes]
) -> None:
    check = replaced(role, found("https://cyclonedx.org/bom", make(), who))
    assert (check.name, check.reason) == (role, "predicate")


def test_a_refusal_without_words_still_has_some() -> None:
    assert replaced("signature", refused(SIGNATURE, "", "")).reason == "malformed"


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        (found(SIGNATURE, signature(OTHER), SIGNER), found(SIGNATURE, signature(), STRANGER)),
        (refused(SIGNATURE, "issuer"), refused(SIGNATURE, "identity")),
        (refused(SIGNATURE, "identity"), refused(SIGNATURE, "log")),
        (refused(SIGNATURE, "timestamp"), refused("", "malformed")),
        (refused(SIGNATURE, "malformed"), refused(SIGNATURE, "news of a later verifier")),
    ],
)
def test_the_reason_is_of_the_one_that_came_closest(nearer: Found, farther: Found) -> None:
    for pair in ([nearer, farther], [farther, nearer]):
        got = judge(expected(), [*pair, *list(three().values())[1:]], TRUST)
        check = only_failure(got)
        alone = only_failure(judge(expected(), [nearer, *list(three().values())[1:]], TRUST))
        assert check.reason == alone.reason
        assert check.evidence.count("refused (") == 2


def test_a_bundle_of_another_kind_is_not_the_missing_one() -> None:
    sbom = refused("https://cyclonedx.org/bom", "identity")
    assert only_failure(verdict(signature=sbom)).reason == "unsigned"


def built(adapter: Any = ADAPTER, training: Any = TRAINING) -> Found:
    return found(PROVENANCE, provenance(adapter=adapter, training=training), BUILDER)


def test_provenance_for_another_base() -> None:
    check = only_failure(verdict(provenance=built(ADAPTER._replace(base=OTHER))))
    assert (check.name, check.reason) == ("provenance", "base")
    assert OTHER in check.why
    assert ADAPTER.base in check.why


@pytest.mark.parametrize("field", ["base", "data"])
def test_also_where_only_the_artefact_says_which(field: str) -> None:
    change: dict[str, Any] = {field: OTHER}
    known = {"base": "", "data": "", "registered": None}
    got = verdict(provenance=built(ADAPTER._replace(**change)), expected=known)
    assert only_failure(got).reason == field


def test_another_base_is_loaded() -> None:
    check = only_failure(verdict(expected={"base": OTHER}))
    assert (check.name, check.reason) == ("provenance", "base")
    assert f"the one that is loaded is {OTHER}" in check.why


def test_provenance_for_other_data() -> None:
    check = only_failure(verdict(provenance=built(ADAPTER._replace(data=OTHER))))
    assert (check.name, check.reason) == ("provenance", "data")


def test_other_data_are_registered() -> None:
    check = only_failure(verdict(expected={"data": OTHER}))
    assert (check.name, check.reason) == ("provenance", "data")
    assert f"registered are {OTHER}" in check.why


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "acme-letters"),
        ("version", "1.2.1"),
        ("module_id", "other"),
        ("tasks", ("extract",)),
        ("rank", 32),
        ("alpha", Decimal(16)),
        ("architecture", "llama"),
    ],
)
def test_provenance_of_another_adapter(field: str, value: Any) -> None:
    check = only_failure(verdict(provenance=built(ADAPTER._replace(**{field: value}))))
    assert (check.name, check.reason) == ("provenance", "adapter")
    assert field in check.why


def test_an_unknown_builder() -> None:
    training = TRAINING._replace(builder_id="https://laptop.example")
    check = only_failure(verdict(provenance=built(training=training)))
    assert (check.name, check.reason) == ("provenance", "builder")
    assert "https://laptop.example" in check.why
    assert BUILDER_ID in check.why


def test_an_unknown_build_type() -> None:
    payload = provenance().replace(b"urn:yoyo:build:lora-adapter:v1", b"https://other.example")
    check = only_failure(verdict(provenance=found(PROVENANCE, payload, BUILDER)))
    assert (check.name, check.reason) == ("provenance", "buildtype")


def test_one_whole_provenance_among_others_is_enough() -> None:
    wrong = built(ADAPTER._replace(base=OTHER))
    got = judge(expected(), [wrong, *three().values()], TRUST)
    assert got.ok
    assert "refused (base)" in got.checks[3].evidence


def test_two_halves_are_no_whole() -> None:
    halves = [built(ADAPTER._replace(base=OTHER)), built(ADAPTER._replace(data=OTHER))]
    bundles = three() | {"provenance": halves[0], "other": halves[1]}
    assert only_failure(judge(expected(), list(bundles.values()), TRUST)).name == "provenance"


def test_an_empty_verdict_is_no_pass() -> None:
    assert not Verdict((), (), (), "", "").ok


def test_expectations_are_of_the_artefact() -> None:
    """The artefact's own annotations say another base than the signed provenance."""
    other = ARTEFACT._replace(adapter=ADAPTER._replace(base=OTHER))
    known = Expected(other, OTHER, ADAPTER.data, None, True)
    check = only_failure(judge(known, list(three().values()), TRUST))
    assert (check.name, check.reason) == ("provenance", "base")
    assert ISSUER not in check.why
