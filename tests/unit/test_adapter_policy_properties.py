"""Whatever is taken away, changed or added: never a pass without everything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from adapter_statements import (
    BUILDER,
    EVALUATOR,
    KEYS,
    NOON,
    SIGNER,
    STRANGER,
    TRUST,
    expected,
    found,
    paths,
    provenance,
    refused,
    sign_off,
    signature,
    three,
)
from adapter_verdicts import LATER, OTHER, ROLES, verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from yoyo.core.adapters.policy import REASONS, Found, judge
from yoyo.errors import BundleRefused
from yoyo.model.signing import (
    PROVENANCE,
    SIGNATURE,
    TEST_RESULT,
    Identity,
)


def test_taking_any_one_away_refuses() -> None:
    for role, _, _, _ in ROLES:
        assert not verdict(**{role: None}).ok


# What policy compares with nothing: it is recorded, and changes of it are the builder's own word.
RECORDED = {
    ("subject", 0, "name"),
    ("predicate", "buildDefinition", "externalParameters", "base"),
    ("predicate", "buildDefinition", "externalParameters", "dataset"),
    ("predicate", "buildDefinition", "externalParameters", "hyperparameters", "epochs"),
    ("predicate", "buildDefinition", "externalParameters", "hyperparameters", "learning_rate"),
    ("predicate", "buildDefinition", "resolvedDependencies", 0, "uri"),
    ("predicate", "buildDefinition", "resolvedDependencies", 1, "uri"),
    ("predicate", "buildDefinition", "resolvedDependencies", 2, "name"),
    ("predicate", "buildDefinition", "resolvedDependencies", 2, "uri"),
    ("predicate", "buildDefinition", "resolvedDependencies", 3, "name"),
    ("predicate", "buildDefinition", "resolvedDependencies", 3, "uri"),
    ("predicate", "runDetails", "metadata", "invocationId"),
}
LEAVES = [
    (role, kind, who, make(), path)
    for role, kind, who, make in ROLES
    for path in paths(json.loads(make()))
]


@given(st.sampled_from(LEAVES), st.text(max_size=5) | st.integers() | st.none() | st.just([]))
@settings(max_examples=150)
def test_changing_any_one_field_refuses(
    leaf: tuple[str, str, Identity, bytes, tuple[str | int, ...]], to: Any
) -> None:
    """Even signed by the right one. Texts that are only recorded may be other texts."""
    role, kind, who, payload, path = leaf
    document = json.loads(payload)
    place = document
    for step in path[:-1]:
        place = place[step]
    same = place[path[-1]] == to or (isinstance(to, int) and path[-1] == "seed")
    place[path[-1]] = to
    got = verdict(**{role: found(kind, json.dumps(document).encode(), who)})
    allowed = same or (path in RECORDED and isinstance(to, str))
    if not allowed:
        assert not got.ok
    if role == "sign-off" and not same:
        assert not got.ok  # the registry has the digest of the very statement


@pytest.mark.parametrize("role", ["signature", "provenance", "sign-off"])
def test_leaving_any_one_judged_field_out_refuses(role: str) -> None:
    optional = [("seed",), ("startedOn",), ("finishedOn",), (2, "digest", "sha256")]
    for of, kind, who, payload, path in LEAVES:
        if of != role or path in RECORDED or any(path[-len(each) :] == each for each in optional):
            continue
        document = json.loads(payload)
        place = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        assert not verdict(**{role: found(kind, json.dumps(document).encode(), who)}).ok, path


IDENTITIES = st.sampled_from(
    [
        STRANGER,
        Identity("", ""),
        SIGNER._replace(issuer="https://evil.example"),
        SIGNER._replace(subject=SIGNER.subject + "\n"),
        Identity(SIGNER.subject),
        KEYS[0],
    ]
)
KINDS = st.sampled_from([SIGNATURE, PROVENANCE, TEST_RESULT, "", "https://cyclonedx.org/bom"])
PAYLOADS = st.sampled_from(
    [signature(), provenance(), sign_off(), signature(OTHER), provenance(OTHER), sign_off(OTHER)]
)
WHEN = st.sampled_from([NOON, LATER, None])


def junk() -> st.SearchStrategy[Found]:
    """Bundles that must not count: refused, by strangers, about others, or of no statement."""
    unverified = st.builds(refused, KINDS, st.sampled_from((*BundleRefused.REASONS, "")))
    strangers = st.builds(found, KINDS, PAYLOADS, IDENTITIES, WHEN)
    people = st.sampled_from([SIGNER, BUILDER, EVALUATOR])
    others = PAYLOADS.filter(lambda each: OTHER[7:].encode() in each)
    about_others = st.builds(found, KINDS, others, people, WHEN)
    nonsense = st.builds(found, KINDS, st.binary(max_size=40), people, WHEN)
    types = st.sampled_from(["", "application/json", "text/plain"])
    wrong_type = st.builds(
        lambda kind, payload, who, type_: found(kind, payload, who, payload_type=type_),
        KINDS, PAYLOADS, people, types,
    )  # fmt: skip
    return unverified | strangers | about_others | nonsense | wrong_type


@given(st.sets(st.sampled_from(["signature", "provenance", "sign-off"])), st.lists(junk()))
@settings(max_examples=150)
def test_junk_never_turns_a_verdict(left: set[str], extra: list[Found]) -> None:
    good = [bundle for role, bundle in three().items() if role in left]
    before = judge(expected(), good, TRUST)
    for bundles in ([*good, *extra], [*extra, *good]):
        after = judge(expected(), bundles, TRUST)
        assert after.ok == before.ok == (len(left) == 3)
        assert (after.signers, after.attestations) == (before.signers, before.attestations)
        assert (after.sign_off, after.result) == (before.sign_off, before.result)


@given(st.lists(junk() | st.sampled_from([*three().values()])), st.booleans())
def test_every_failure_has_a_reason_and_nothing_unprintable(
    bundles: list[Found], needed: bool
) -> None:
    got = judge(expected(sign_off_needed=needed), bundles, TRUST)
    for check in got.checks:
        assert check.evidence
        assert check.ok == (not check.reason)
        assert check.ok or check.reason in REASONS
        assert check.ok == (not check.why)
        assert all(len(each) <= 4096 for each in (check.evidence, check.why))
        assert "\n" not in check.evidence + check.why


def test_the_documentation_has_every_reason() -> None:
    page = Path(__file__).parents[2] / "docs" / "formats" / "attestations.md"
    listed = re.findall(r"^\| `([a-z]+)` \|", page.read_text().partition("### Reasons")[2], re.M)
    assert sorted(listed) == sorted(REASONS)
    assert len(REASONS) == len(set(REASONS))
