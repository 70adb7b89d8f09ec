"""Statements: one form written, and nothing else believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from adapter_statements import (
    ARTEFACT,
    NAME,
    changed,
    provenance,
    sha,
    sign_off,
    signature,
)
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import validate
from sigstore.dsse import Statement as TheirStatement

from yoyo.core.adapters import statements
from yoyo.core.adapters.statement_form import MAX_STATEMENT_BYTES, statement_bytes
from yoyo.core.adapters.statements import (
    StatementError,
    read_provenance,
    read_statement,
    read_test_result,
)
from yoyo.model.signing import PROVENANCE, SIGNATURE, STATEMENT_TYPE, TEST_RESULT

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_the_signature_is_what_cosign_writes() -> None:
    assert (
        signature()
        == (
            '{"_type":"https://in-toto.io/Statement/v1","predicate":{},'
            '"predicateType":"https://sigstore.dev/cosign/sign/v1",'
            f'"subject":[{{"digest":{{"sha256":"{ARTEFACT.digest[7:]}"}},"name":"{NAME}"}}]}}'
        ).encode()
    )


def test_a_signature_as_cosign_prints_it_is_read() -> None:
    """protojson of the subject: no name, empty annotations, spaces where it likes."""
    payload = (
        '{"_type":"https://in-toto.io/Statement/v1", "subject":[{"digest":{"sha256":"%s"}, '
        '"annotations":{}}], "predicateType":"https://sigstore.dev/cosign/sign/v1", "predicate":{}}'
    ) % ("a" * 64)
    found = read_statement(payload.encode())
    assert found == (SIGNATURE, (("", "sha256:" + "a" * 64),), {})


# --- the sign-off -------------------------------------------------------------------------------

# spec/predicates/test-result.md, as a schema.
RESULT_SCHEMA = {
    "type": "object",
    "required": ["result", "configuration"],
    "additionalProperties": False,
    "properties": {
        "result": {"enum": ["PASSED", "WARNED", "FAILED"]},
        "configuration": {
            "type": "array",
            "items": {"type": "object", "anyOf": [{"required": ["uri"]}, {"required": ["digest"]}]},
        },
        "url": {"type": "string"},
        "passedTests": {"type": "array", "items": {"type": "string"}},
        "warnedTests": {"type": "array", "items": {"type": "string"}},
        "failedTests": {"type": "array", "items": {"type": "string"}},
    },
}


@pytest.mark.parametrize("result", ["PASSED", "WARNED", "FAILED"])
def test_a_test_result_is_in_the_specifications_form(result: str) -> None:
    payload = sign_off(result=result)
    TheirStatement(payload)
    validate(json.loads(payload)["predicate"], RESULT_SCHEMA)
    facts = read_test_result(read_statement(payload))
    assert facts.result == result
    assert facts.suites == (("invoices-eval", sha("suite")),)
    assert facts.passed == ("accuracy",)
    assert facts.url == "https://ci.acme.example/runs/17"


def test_the_specifications_own_example_is_read() -> None:
    """Its form: a configuration with a download location and a git blob, empty lists."""
    predicate = {
        "result": "PASSED",
        "configuration": [
            {
                "name": "ci.yml",
                "downloadLocation": "https://git.example/ci.yml",
                "digest": {"gitBlob": "e" * 40},
            }
        ],
        "passedTests": ["build"],
        "warnedTests": [],
        "failedTests": [],
    }
    payload = statement_bytes(TEST_RESULT, [("", ARTEFACT.digest)], predicate)
    assert read_test_result(read_statement(payload)).suites == (("ci.yml", ""),)


def test_where_a_test_failed_the_result_is_failed() -> None:
    payload = changed(sign_off(), "predicate", "failedTests", to=["toxicity"])
    assert json.loads(payload)["predicate"]["result"] == "PASSED"
    assert read_test_result(read_statement(payload)).result == "FAILED"


def test_passed_with_failed_tests_is_not_signed() -> None:
    with pytest.raises(StatementError, match="yet tests failed"):
        statements.test_result(
            NAME, ARTEFACT.digest, result="PASSED", suite=("s", "", sha("s")),
            passed=(), warned=(), failed=("x",), url="",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("predicate", "result"), "passed"),
        (("predicate", "result"), None),
        (("predicate", "result"), ["PASSED"]),
        (("predicate", "configuration"), None),
        (("predicate", "configuration"), [{}]),
        (("predicate", "failedTests"), "toxicity"),
        (("predicate", "passedTests"), [1]),
        (("predicateType",), PROVENANCE),
    ],
)
def test_a_malformed_test_result_is_refused(path: tuple[str | int, ...], to: Any) -> None:
    with pytest.raises(StatementError):
        read_test_result(read_statement(changed(sign_off(), *path, to=to)))


# --- hostile statements -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "not a JSON document"),
        (b"\xff", "not a JSON document"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b"[" * 100_000, "not a JSON document"),
        (b"[" * 17 + b"]" * 17, "levels deep"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "levels deep"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":NaN}', "is no number"),
        (b'{"a":' + b"9" * 5000 + b"}", "not a JSON document"),
        (b" " * (MAX_STATEMENT_BYTES + 1), "bytes, at most"),
        (changed(signature(), "_type", to="https://in-toto.io/Statement/v0.1"), "its _type is"),
        (changed(signature(), "_type", to=STATEMENT_TYPE + "/"), "its _type is"),
        (changed(signature(), "_type", to=None), "has no _type"),
        (changed(signature(), "extra", to=1), "unknown key 'extra'"),
        (changed(signature(), "predicateType", to=""), "predicateType is empty"),
        (changed(signature(), "predicateType", to=1), "predicateType is not text"),
        (changed(signature(), "predicate", to=[]), "predicate is not an object"),
        (changed(signature(), "subject", to=[]), "no subject"),
        (changed(signature(), "subject", to={}), "subject is not a list"),
        (changed(signature(), "subject", to=[1] * 1025), "1025 entries, at most"),
        (
            changed(signature(), "predicate", to=dict.fromkeys(map(str, range(1025)))),
            "at most 1024",
        ),
        (changed(signature(), "subject", 0, "extra", to=1), "unknown key 'extra'"),
        (changed(signature(), "subject", 0, "digest", to=None), "has no digest"),
        (changed(signature(), "subject", 0, "digest", to={"sha512": "a" * 128}), "sha256 is"),
        (changed(signature(), "subject", 0, "digest", "sha256", to="A" * 64), "sha256 is"),
        (changed(signature(), "subject", 0, "digest", "sha256", to="a" * 64 + "\n"), "sha256 is"),
        (changed(signature(), "subject", 0, "name", to="a\u202eb"), "control character"),
    ],
)
def test_a_malformed_statement_is_refused(payload: bytes, told: str) -> None:
    with pytest.raises(StatementError, match=told):
        read_statement(payload)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_reading_raises_nothing_else(payload: bytes) -> None:
    with pytest.raises(StatementError):
        read_statement(payload)


@given(st.sampled_from([PROVENANCE, TEST_RESULT]), st.dictionaries(st.text(), JSON, max_size=4))
def test_neither_do_the_predicates(predicate_type: str, predicate: dict[str, Any]) -> None:
    statement = statements.Statement(predicate_type, (("", ARTEFACT.digest),), predicate)
    for read in (read_provenance, read_test_result):
        with pytest.raises(StatementError):
            read(statement)


@given(st.data(), st.sampled_from([provenance(), sign_off(), signature()]), JSON)
def test_nor_a_leaf_of_another_kind(data: st.DataObject, payload: bytes, to: Any) -> None:
    document = json.loads(payload)
    place: Any = document
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner and data.draw(st.booleans())):
            place[key] = to
            break
        place = inner
    try:
        statement = read_statement(json.dumps(document).encode())
    except StatementError:
        return
    for read in (read_provenance, read_test_result):
        try:
            read(statement)
        except StatementError:
            pass
