"""Trust as configured becomes identities, exactly, or nothing."""

from __future__ import annotations

import pytest
from adapter_statements import BUILDER, EVALUATOR, KEY_TRUST, KEYS, SIGNER, STRANGER, TRUST
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.adapters.trust import TrustError, accepted, mistakes, policy_digest, trust_of
from yoyo.model.signing import (
    KEY,
    PROVENANCE,
    SIGNATURE,
    SUMMARY,
    TEST_RESULT,
    Identity,
    Trust,
    TrustSettings,
)


def no_keys(path: str) -> Identity:
    raise AssertionError(f"{path} was read as a key in keyless mode")


def settings(entry: str) -> TrustSettings:
    return TrustSettings(signers=(entry,))


def test_keyless_entries_are_subject_and_issuer() -> None:
    found = trust_of(
        TrustSettings(
            signers=("release@acme.example https://issuer.example",),
            builders=("https://ci.acme.example/train https://issuer.example",),
            evaluators=("quality@acme.example https://issuer.example",),
            builder_ids=TRUST.builder_ids,
        ),
        no_keys,
    )
    assert found == TRUST


def test_key_entries_are_read_as_keys() -> None:
    paths = {"a.pem": KEYS[0], "b.pem": KEYS[1], "c.pem": KEYS[2]}
    found = trust_of(
        TrustSettings(KEY, ("a.pem",), ("b.pem",), ("c.pem",), KEY_TRUST.builder_ids),
        paths.__getitem__,
    )
    assert found == KEY_TRUST


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "a@b",
        "a@b ",
        " https://i",
        "a@b  https://i",
        "a@b https://i ",
        "a@b\thttps://i",
        "a@b https://i\n",
        "a@b https://i https://j",
        "*@b https://i",
        "a@b https://*",
        "a@b i.example",
        "a\u200b@b https://i",
    ],
)
def test_an_entry_that_is_not_exact_is_refused(entry: str) -> None:
    with pytest.raises(TrustError, match=r"SUBJECT ISSUER|no URL"):
        trust_of(settings(entry), no_keys)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(TrustError, match="mode is 'both'"):
        trust_of(TrustSettings(mode="both"), no_keys)


@given(st.text(max_size=30))
def test_an_entry_means_exactly_what_it_says_or_nothing(entry: str) -> None:
    try:
        (found,) = trust_of(settings(entry), no_keys).signers
    except TrustError:
        return
    assert f"{found.subject} {found.issuer}" == entry


def test_each_predicate_type_has_its_own_people() -> None:
    assert accepted(TRUST, SIGNATURE) == (SIGNER,)
    assert accepted(TRUST, PROVENANCE) == (BUILDER,)
    assert accepted(TRUST, TEST_RESULT) == (EVALUATOR,)


@given(st.sampled_from(["", SUMMARY, PROVENANCE + "/", SIGNATURE.upper()]) | st.text())
def test_nobody_may_sign_what_is_unknown(predicate_type: str) -> None:
    if predicate_type not in (SIGNATURE, PROVENANCE, TEST_RESULT):
        assert accepted(TRUST, predicate_type) == ()


def test_a_whole_trust_has_no_mistakes() -> None:
    assert mistakes(TRUST) == ()
    assert mistakes(KEY_TRUST) == ()


@pytest.mark.parametrize(
    ("trust", "told"),
    [
        (TRUST._replace(signers=()), "no signer is"),
        (TRUST._replace(builders=()), "no builder is"),
        (TRUST._replace(evaluators=()), "no evaluator is"),
        (TRUST._replace(builder_ids=()), "no builder id is"),
        (TRUST._replace(mode=KEY), "is no public key"),
        (KEY_TRUST._replace(mode="keyless"), "has no issuer"),
        (TRUST._replace(signers=(KEYS[0],)), "has no issuer"),
        (KEY_TRUST._replace(evaluators=(SIGNER,)), "is no public key"),
        (KEY_TRUST._replace(evaluators=(Identity(KEYS[0].subject, "https://i"),)), "no public key"),
        (TRUST._replace(mode=""), "mode '' is unknown"),
    ],
)
def test_half_a_trust_has(trust: Trust, told: str) -> None:
    assert any(told in each for each in mistakes(trust))


def test_the_digest_is_stable() -> None:
    """Ledgers hold it: it never changes for the same trust."""
    assert policy_digest(TRUST) == (
        "sha256:008bad3704ad2d80602525df0d50ea7ae4b5998f25bc713a592afae90a5ff8d2"
    )
    two = TRUST._replace(signers=(STRANGER, SIGNER))
    assert policy_digest(two) == policy_digest(TRUST._replace(signers=(SIGNER, STRANGER, SIGNER)))


def test_the_digest_tells_any_two_apart() -> None:
    trusts = [
        TRUST,
        KEY_TRUST,
        Trust(),
        TRUST._replace(mode=KEY),
        TRUST._replace(signers=(STRANGER,)),
        TRUST._replace(signers=TRUST.builders, builders=TRUST.signers),
        TRUST._replace(signers=(SIGNER, STRANGER)),
        TRUST._replace(evaluators=(SIGNER._replace(issuer="https://other.example"),)),
        TRUST._replace(builder_ids=("https://other.example",)),
    ]
    assert len({policy_digest(each) for each in trusts}) == len(trusts)
