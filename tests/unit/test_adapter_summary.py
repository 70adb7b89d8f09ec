"""The record of a load, and what the documentation shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from adapter_statements import (
    ADAPTER,
    ARTEFACT,
    BUILDER,
    EVALUATOR,
    SIGNER,
    TRUST,
    provenance,
    sha,
    sign_off,
    signature,
    three,
)
from jsonschema import validate
from sigstore.dsse import Statement as TheirStatement

from yoyo.core.adapters.statements import (
    StatementError,
    read_statement,
)
from yoyo.core.adapters.summary import POLICY_URI, SIGNERS_FIELD, verification_summary
from yoyo.core.adapters.trust import policy_digest
from yoyo.model.adapter import Signed
from yoyo.model.signing import SUMMARY

# slsa.dev/spec/v1.0/verification_summary, as a schema; extension fields have a URI for a name.
_SET = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}
SUMMARY_SCHEMA = {
    "type": "object",
    "required": [
        "verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels",
    ],
    "additionalProperties": False,
    "patternProperties": {"^[a-z]+:": {}},
    "properties": {
        "verifier": {"type": "object", "required": ["id"]},
        "timeVerified": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        "resourceUri": {"type": "string", "minLength": 1},
        "policy": {"type": "object", "required": ["uri"], "properties": {"digest": _SET}},
        "inputAttestations": {
            "type": "array",
            "items": {"type": "object", "required": ["digest"], "properties": {"digest": _SET}},
        },
        "verificationResult": {"enum": ["PASSED", "FAILED"]},
        "verifiedLevels": {"enum": [["SLSA_BUILD_LEVEL_1"], ["FAILED"]]},
        "slsaVersion": {"const": "1.0"},
    },
}  # fmt: skip
SIGNED = (
    Signed(
        name="dka-tone@1.0.0",
        digest=sha("one"),
        weights=sha("weights one"),
        signers=(("signature", "a (https://i)"), ("sign-off", "b (https://i)")),
        attestations=(sha("s1"), sha("p1"), sha("shared")),
    ),
    Signed(
        name="acme-invoices@1.2.0",
        digest=sha("two"),
        weights=sha("weights two"),
        signers=(("signature", "a (https://i)"),),
        attestations=(sha("s2"), sha("shared")),
    ),
)


def summarised(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "resource": "urn:yoyo:node:gpu-1",
        "policy_digest": sha("policy"),
        "verifier": "urn:yoyo:verifier",
        "at": datetime(2026, 11, 2, 12, 0, tzinfo=UTC),
        "passed": True,
    } | changes
    return verification_summary(values.pop("signed", SIGNED), **values)


@pytest.mark.parametrize("passed", [True, False])
def test_a_load_decision_is_a_verification_summary(passed: bool) -> None:
    payload = summarised(passed=passed)
    TheirStatement(payload)
    statement = read_statement(payload)
    assert statement.predicate_type == SUMMARY
    assert statement.subjects == (
        ("dka-tone@1.0.0", sha("one")),
        ("acme-invoices@1.2.0", sha("two")),
    )
    predicate: Any = statement.predicate
    validate(predicate, SUMMARY_SCHEMA)
    assert predicate["verificationResult"] == ("PASSED" if passed else "FAILED")
    assert predicate["verifiedLevels"] == (["SLSA_BUILD_LEVEL_1"] if passed else ["FAILED"])
    assert predicate["policy"] == {"uri": POLICY_URI, "digest": {"sha256": sha("policy")[7:]}}
    assert [each["digest"]["sha256"] for each in predicate["inputAttestations"]] == [
        sha(each)[7:] for each in ("s1", "p1", "shared", "s2")
    ]
    assert predicate[SIGNERS_FIELD][0] == {
        "name": "dka-tone@1.0.0",
        "signers": [
            {"role": "signature", "identity": "a (https://i)"},
            {"role": "sign-off", "identity": "b (https://i)"},
        ],
        "weights": {"sha256": sha("weights one")[7:]},
    }
    assert payload == summarised(passed=passed)


@pytest.mark.parametrize(
    "changes",
    [
        {"signed": ()},
        {"signed": (SIGNED[0]._replace(attestations=()),)},
        {"signed": (SIGNED[0]._replace(digest=""),)},
        {"signed": (SIGNED[0]._replace(weights=""),)},
        {"policy_digest": ""},
        {"resource": ""},
        {"verifier": ""},
        {"at": datetime(2026, 11, 2)},  # noqa: DTZ001 - that is the mistake
    ],
)
def test_a_summary_of_nothing_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(StatementError):
        summarised(**changes)


def test_a_refusal_needs_no_attestation() -> None:
    payload = summarised(passed=False, signed=(SIGNED[0]._replace(attestations=(), signers=()),))
    predicate: Any = read_statement(payload).predicate
    assert predicate["inputAttestations"] == []


# --- what the documentation promises ------------------------------------------------------------


def test_the_documentations_examples_are_what_is_written() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats" / "attestations.md").read_text()
    examples = [json.loads(each.partition("```")[0]) for each in text.split("```json\n")[1:]]
    assert examples[:3] == [json.loads(each) for each in (signature(), provenance(), sign_off())]
    summary = json.dumps(examples[3], separators=(",", ":")).encode()
    validate(read_statement(summary).predicate, SUMMARY_SCHEMA)
    whole = Signed(
        name=ADAPTER.name,
        digest=ARTEFACT.digest,
        weights=ARTEFACT.weights.digest,
        signers=tuple(
            (role, str(who))
            for role, who in zip(
                ("signature", "provenance", "sign-off"), (SIGNER, BUILDER, EVALUATOR), strict=True
            )
        ),
        attestations=tuple(each.bundle for each in three().values()),
    )
    assert summary == summarised(signed=(whole,), policy_digest=policy_digest(TRUST))
