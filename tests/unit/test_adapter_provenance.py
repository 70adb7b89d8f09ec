"""Provenance: everything in it, and nothing else believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from adapter_statements import (
    ADAPTER,
    BUILDER_ID,
    NOON,
    TRAINING,
    changed,
    provenance,
    sha,
    signature,
)
from hypothesis import given
from hypothesis import strategies as st
from sigstore.dsse import Statement as TheirStatement
from sigstore.dsse._predicate import SLSAPredicateV1_0

from yoyo.core.adapters import statements
from yoyo.core.adapters.statements import (
    BUILD_TYPE,
    StatementError,
    UnknownBuildType,
    read_provenance,
    read_statement,
)
from yoyo.model.adapter import AdapterVersion
from yoyo.model.ids import ModuleId
from yoyo.model.signing import PROVENANCE

DIGESTS = st.binary(min_size=1, max_size=8).map(sha)
PLAIN = st.text(st.sampled_from('az09 "\\/:@.\u00e9\u4e2d'), max_size=20)
WORDS = PLAIN.filter(bool)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-11))])


def test_the_provenance_has_all_that_the_documentation_says() -> None:
    document = json.loads(provenance())
    assert document["predicateType"] == PROVENANCE
    definition = document["predicate"]["buildDefinition"]
    assert definition["buildType"] == BUILD_TYPE
    assert definition["externalParameters"] == {
        "adapter": {
            "alpha": "32",
            "architecture": "qwen2",
            "id": "acme-invoices",
            "rank": 16,
            "tasks": ["extract", "summarise"],
            "version": "1.2.0",
        },
        "base": "Qwen2.5-32B-Instruct-Q4_K_S",
        "dataset": "gs://acme-data/invoices-v3.jsonl",
        "hyperparameters": {"epochs": "3", "learning_rate": "1e-4"},
        "moduleId": "acme",
        "seed": 42,
    }
    assert definition["resolvedDependencies"] == [
        {
            "name": "base-model",
            "uri": TRAINING.base_uri,
            "digest": {"sha256": ADAPTER.base[7:]},
        },
        {
            "name": "training-data",
            "uri": TRAINING.dataset_uri,
            "digest": {"sha256": ADAPTER.data[7:]},
        },
        {"name": "trainer", "uri": TRAINING.trainer[0], "digest": {"sha256": sha("trainer")[7:]}},
        {"name": "source", "uri": TRAINING.source[0], "digest": {"gitCommit": "1" * 40}},
    ]
    assert document["predicate"]["runDetails"] == {
        "builder": {"id": BUILDER_ID},
        "metadata": {
            "finishedOn": "2026-11-02T11:00:00Z",
            "invocationId": "run-17",
            "startedOn": "2026-11-02T09:00:00Z",
        },
    }


def test_others_read_it_as_slsa_provenance() -> None:
    """sigstore's models: no field that SLSA 1.0 has not."""
    for training in (TRAINING, TRAINING._replace(seed=None, trainer=("", ""), source=("", ""))):
        payload = provenance(training=training)
        TheirStatement(payload)
        model = SLSAPredicateV1_0.model_validate(json.loads(payload)["predicate"])
        assert model.build_definition.build_type == BUILD_TYPE
        assert model.run_details.builder.id == BUILDER_ID


@given(
    adapter=st.builds(
        AdapterVersion,
        id=WORDS,
        version=WORDS,
        module_id=st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True).map(ModuleId.parse),
        base=DIGESTS,
        data=DIGESTS,
        tasks=st.lists(WORDS, max_size=3).map(tuple),
        rank=st.integers(1, 512),
        alpha=st.decimals(min_value=0, max_value=10**8, allow_nan=False, places=None),
        architecture=WORDS,
    ),
    training=st.builds(
        statements.Training,
        base_ref=WORDS,
        base_uri=PLAIN,
        dataset_uri=WORDS,
        hyperparameters=st.dictionaries(PLAIN, PLAIN, max_size=4).map(lambda d: (*d.items(),)),
        seed=st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
        trainer=st.tuples(PLAIN, DIGESTS | st.just("")),
        source=st.tuples(PLAIN, st.text("0123456789abcdef", min_size=40, max_size=40)),
        builder_id=WORDS,
        invocation_id=PLAIN,
        started=st.none() | st.datetimes(timezones=ZONES).filter(lambda at: 1 < at.year < 2026),
        finished=st.none() | st.datetimes(timezones=ZONES).filter(lambda at: 2026 < at.year < 9999),
    ),
)
def test_what_is_signed_is_what_is_read(
    adapter: AdapterVersion, training: statements.Training
) -> None:
    if len(format(adapter.alpha, "f").partition(".")[2].rstrip("0")) > 50:
        with pytest.raises(StatementError, match="alpha"):
            provenance(adapter=adapter)
        return
    payload = provenance(adapter=adapter, training=training)
    facts = read_provenance(read_statement(payload))
    assert facts.adapter == adapter
    assert facts.seed == training.seed
    assert dict(facts.hyperparameters) == dict(training.hyperparameters)
    assert (facts.base_ref, facts.dataset_uri) == (training.base_ref, training.dataset_uri)
    assert facts.builder_id == training.builder_id
    assert payload == provenance(adapter=adapter, training=training)


def test_one_alpha_has_one_form() -> None:
    payloads = {
        provenance(adapter=ADAPTER._replace(alpha=Decimal(each)))
        for each in ("32", "32.0", "3.2E1")
    }
    assert len(payloads) == 1


def test_the_order_of_hyperparameters_does_not_show() -> None:
    turned = TRAINING._replace(hyperparameters=TRAINING.hyperparameters[::-1])
    assert provenance(training=turned) == provenance()


def test_times_are_written_in_utc() -> None:
    there = timezone(timedelta(hours=2))
    training = TRAINING._replace(started=datetime(2026, 11, 2, 11, 0, tzinfo=there))
    assert provenance(training=training) == provenance()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 2**53}, "seed"),
        ({"source": ("git+https://git.example/x", "abc")}, "gitCommit"),
        ({"source": ("git+https://git.example/x", "")}, "gitCommit"),
        ({"trainer": ("pkg:pypi/peft", "sha1:aa")}, "is not sha256"),
        ({"builder_id": ""}, "builder.id is empty"),
        ({"base_ref": ""}, "base is empty"),
        ({"dataset_uri": ""}, "dataset is empty"),
        ({"base_ref": "a\nb"}, "control character"),
        ({"base_ref": "\ud800"}, "UTF-8"),
        ({"hyperparameters": (("a", "1"), ("a", "2"))}, "twice"),
        ({"started": datetime(2026, 11, 2)}, "no zone"),  # noqa: DTZ001 - that is the mistake
        ({"finished": NOON - timedelta(hours=4)}, "before"),
        ({"finished": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))}, "range"),
    ],
)
def test_nothing_is_signed_that_would_not_be_believed(change: dict[str, Any], told: str) -> None:
    with pytest.raises(StatementError, match=told):
        provenance(training=TRAINING._replace(**change))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"base": "sha256:short"}, "is not sha256"),
        ({"base": ""}, "digest is not an object"),
        ({"data": ""}, "digest is not an object"),
        ({"alpha": Decimal("NaN")}, "alpha"),
        ({"alpha": Decimal(-1)}, "alpha"),
        ({"rank": -1}, "rank"),
        ({"id": ""}, "id is empty"),
        ({"module_id": "Not A Label"}, "moduleId"),
    ],
)
def test_nor_of_an_adapter_that_is_none(change: dict[str, Any], told: str) -> None:
    with pytest.raises(StatementError, match=told):
        provenance(adapter=ADAPTER._replace(**change))


def test_a_digest_that_is_none_is_not_signed() -> None:
    for digest in ("", "sha256:", "a" * 64, "sha256:" + "A" * 64, "sha512:" + "a" * 64):
        with pytest.raises(StatementError):
            signature(digest)


EXTERNAL = ("predicate", "buildDefinition", "externalParameters")
DEPENDENCIES = ("predicate", "buildDefinition", "resolvedDependencies")


@pytest.mark.parametrize(
    ("path", "to", "told"),
    [
        ((*EXTERNAL, "extra"), 1, "unknown key 'extra'"),
        ((*EXTERNAL, "moduleId"), None, "has no moduleId"),
        ((*EXTERNAL, "moduleId"), "Acme", "moduleId"),
        ((*EXTERNAL, "seed"), True, "seed"),
        ((*EXTERNAL, "seed"), "1", "seed"),
        ((*EXTERNAL, "hyperparameters"), {"epochs": 3}, "hyperparameter is not text"),
        ((*EXTERNAL, "adapter", "rank"), "16", "rank"),
        ((*EXTERNAL, "adapter", "rank"), True, "rank"),
        ((*EXTERNAL, "adapter", "alpha"), 32, "alpha"),
        ((*EXTERNAL, "adapter", "alpha"), "1e3", "alpha"),
        ((*EXTERNAL, "adapter", "extra"), 1, "unknown key 'extra'"),
        ((*EXTERNAL, "adapter", "tasks"), "extract", "tasks"),
        (DEPENDENCIES, [], "no base-model"),
        ((*DEPENDENCIES, 0), None, "no base-model"),
        ((*DEPENDENCIES, 1), None, "no training-data"),
        ((*DEPENDENCIES, 0, "digest"), None, "digest"),
        ((*DEPENDENCIES, 0, "digest"), {"sha1": "a" * 40}, "sha256"),
        ((*DEPENDENCIES, 0, "uri"), 0, "uri"),
        ((*DEPENDENCIES, 2, "digest", "sha256"), "abc", "sha256"),
        ((*DEPENDENCIES, 2, "name"), "base-model", "twice"),
        ((*DEPENDENCIES, 3, "digest", "gitCommit"), "abc", "gitCommit"),
        (("predicate", "runDetails"), None, "runDetails"),
        (("predicate", "runDetails", "builder", "id"), "", "builder.id"),
        (("predicate", "runDetails", "metadata", "startedOn"), "yesterday", "not a time"),
        (("predicate", "runDetails", "metadata", "startedOn"), 5, "not a time"),
        (
            ("predicate", "runDetails", "metadata", "startedOn"),
            "2026-02-30T00:00:00Z",
            "not a time",
        ),
        (("predicate", "runDetails", "metadata", "startedOn"), "2026-11-02T09:00:00", "not a time"),
        (("predicate", "runDetails", "metadata", "startedOn"), "2026-11-02T13:00:00Z", "before"),
    ],
)
def test_a_malformed_provenance_is_refused(path: tuple[str | int, ...], to: Any, told: str) -> None:
    with pytest.raises(StatementError, match=told):
        read_provenance(read_statement(changed(provenance(), *path, to=to)))


def test_another_build_type_has_its_own_error() -> None:
    payload = changed(provenance(), "predicate", "buildDefinition", "buildType", to="https://x")
    with pytest.raises(UnknownBuildType, match="https://x"):
        read_provenance(read_statement(payload))


def test_fields_that_slsa_may_add_are_ignored() -> None:
    payload = changed(provenance(), "predicate", "runDetails", "byproducts", to=[{"uri": "x"}])
    assert read_provenance(read_statement(payload)).adapter == ADAPTER
