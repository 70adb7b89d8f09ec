"""What is signed about an adapter: in-toto statements, written in one form and read strictly. Pure.

Sources: slsa.dev/spec/v1.0/provenance, in-toto/attestation spec/predicates/test-result.md, and
what `cosign sign` of sigstore/cosign writes.
Every builder reads its own statement back: nothing is signed that would not be believed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from yoyo.core.adapters.statement_form import (
    DESCRIPTOR_KEYS,
    Statement,
    StatementError,
    a_list,
    a_mapping,
    a_time,
    an_object,
    descriptor,
    filled,
    read_statement,
    sha256_of,
    statement_bytes,
    strict,
    timestamp,
)
from yoyo.core.manifest_fields import integer, shown, text
from yoyo.model.adapter import AdapterVersion
from yoyo.model.ids import InvalidLabel, ModuleId
from yoyo.model.signing import PROVENANCE, SIGNATURE, TEST_RESULT

__all__ = [
    "BUILD_TYPE",
    "FAILED",
    "PASSED",
    "WARNED",
    "ProvenanceFacts",
    "ResultFacts",
    "Statement",
    "StatementError",
    "Training",
    "UnknownBuildType",
    "provenance",
    "read_provenance",
    "read_statement",
    "read_test_result",
    "signature",
    "test_result",
]

# Ours: docs/formats/attestations.md says what it means.
BUILD_TYPE: Final = "urn:yoyo:build:lora-adapter:v1"
PASSED, WARNED, FAILED = "PASSED", "WARNED", "FAILED"

MAX_SEED: Final = 2**53 - 1  # RFC 8259, section 6: beyond it readers disagree about numbers

_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")  # git's SHA-1 or SHA-256
_ALPHA = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,50})?\Z")
_BASE, _DATA, _TRAINER, _SOURCE = "base-model", "training-data", "trainer", "source"


class UnknownBuildType(StatementError):
    """Provenance of a build that yoyo cannot judge."""


class Training(NamedTuple):
    """How an adapter came to be, beyond what the artefact says of itself."""

    base_ref: str  # the base model as the operator named it
    base_uri: str  # where it is; "": not said
    dataset_uri: str
    hyperparameters: tuple[tuple[str, str], ...]  # name, value as text
    seed: int | None
    trainer: tuple[str, str]  # URI, sha256:<hex> or ""; ("", ""): not said
    source: tuple[str, str]  # URI, git commit; ("", ""): not said
    builder_id: str
    invocation_id: str = ""
    started: datetime | None = None
    finished: datetime | None = None


class ProvenanceFacts(NamedTuple):
    """What a provenance of BUILD_TYPE claims."""

    builder_id: str
    adapter: AdapterVersion  # its base and data are the digests of the resolved dependencies
    base_ref: str
    dataset_uri: str
    hyperparameters: tuple[tuple[str, str], ...]  # by name
    seed: int | None


class ResultFacts(NamedTuple):
    """What a test result claims."""

    result: str  # PASSED, WARNED or FAILED
    suites: tuple[tuple[str, str], ...]  # name or URI, sha256:<hex> or ""
    passed: tuple[str, ...]
    warned: tuple[str, ...]
    failed: tuple[str, ...]
    url: str


def signature(name: str, digest: str) -> bytes:
    """The statement of a plain signature, as `cosign sign` makes it: the predicate is empty.

    Raises:
        StatementError: `digest` is no sha256.
    """
    return statement_bytes(SIGNATURE, ((name, digest),), {})


def provenance(name: str, digest: str, adapter: AdapterVersion, training: Training) -> bytes:
    """SLSA provenance v1 of BUILD_TYPE for the manifest with that digest.

    Raises:
        StatementError: a field that `read_provenance` would refuse.
    """
    external: dict[str, object] = {
        "adapter": {
            "alpha": _decimal_text(adapter.alpha),
            "architecture": adapter.architecture,
            "id": adapter.id,
            "rank": adapter.rank,
            "tasks": list(adapter.tasks),
            "version": adapter.version,
        },
        "base": training.base_ref,
        "dataset": training.dataset_uri,
        "hyperparameters": _once(training.hyperparameters),
        "moduleId": str(adapter.module_id),
    }
    if training.seed is not None:
        external["seed"] = training.seed
    metadata = {
        "invocationId": training.invocation_id,
        "startedOn": timestamp(training.started) if training.started else "",
        "finishedOn": timestamp(training.finished) if training.finished else "",
    }
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": external,
            "resolvedDependencies": _dependencies(adapter, training),
        },
        "runDetails": {
            "builder": {"id": training.builder_id},
            "metadata": {key: value for key, value in metadata.items() if value},
        },
    }
    payload = statement_bytes(PROVENANCE, ((name, digest),), predicate)
    if read_provenance(read_statement(payload)).adapter != adapter:
        raise StatementError("the adapter's fields do not survive being written")
    return payload


@strict
def read_provenance(statement: Statement) -> ProvenanceFacts:
    """What a provenance claims; unknown external parameters are refused, as SLSA asks.

    Raises:
        UnknownBuildType: another buildType than BUILD_TYPE.
        StatementError: another predicate type, or a malformed predicate.
    """
    _expect(statement, PROVENANCE)
    definition = a_mapping(statement.predicate.get("buildDefinition"), "buildDefinition")
    if definition.get("buildType") != BUILD_TYPE:
        raise UnknownBuildType(
            f"its buildType is {shown(definition.get('buildType'))}, not {BUILD_TYPE}"
        )
    external = an_object(
        definition.get("externalParameters"),
        ("adapter", "base", "dataset", "hyperparameters", "moduleId"),
        ("seed",),
        "externalParameters",
    )
    dependencies = _named(definition.get("resolvedDependencies"))
    run = a_mapping(statement.predicate.get("runDetails"), "runDetails")
    builder = a_mapping(run.get("builder"), "builder")
    _check_metadata(a_mapping(run.get("metadata", {}), "metadata"))
    return ProvenanceFacts(
        builder_id=filled(builder.get("id"), "builder.id"),
        adapter=_adapter(external, dependencies),
        base_ref=filled(external["base"], "base"),
        dataset_uri=filled(external["dataset"], "dataset"),
        hyperparameters=tuple(
            (text(key, "a hyperparameter's name"), text(value, "a hyperparameter"))
            for key, value in sorted(
                a_mapping(external["hyperparameters"], "hyperparameters").items()
            )
        ),
        seed=_seed(external["seed"]) if "seed" in external else None,
    )


def test_result(
    name: str,
    digest: str,
    *,
    result: str,
    suite: tuple[str, str, str],
    passed: Sequence[str],
    warned: Sequence[str],
    failed: Sequence[str],
    url: str,
) -> bytes:
    """An evaluator's sign-off; `suite` is the name, URI ("": none) and sha256:<hex> ("": none) of
    what was run, `url` ("": none) leads to the run.

    Raises:
        StatementError: a field that `read_test_result` would refuse, or PASSED with failed tests.
    """
    suite_name, uri, suite_digest = suite
    predicate: dict[str, object] = {
        "configuration": [descriptor(suite_name, uri, suite_digest)],
        "failedTests": list(failed),
        "passedTests": list(passed),
        "result": result,
        "warnedTests": list(warned),
    }
    if url:
        predicate["url"] = url
    payload = statement_bytes(TEST_RESULT, ((name, digest),), predicate)
    if read_test_result(read_statement(payload)).result != result:
        raise StatementError(f"the result is {result}, yet tests failed")
    return payload


@strict
def read_test_result(statement: Statement) -> ResultFacts:
    """What an evaluator claims. Where a test failed the result is FAILED, whatever it says.

    Raises:
        StatementError: another predicate type, or a malformed predicate.
    """
    _expect(statement, TEST_RESULT)
    predicate = statement.predicate
    result = predicate.get("result")
    if result not in (PASSED, WARNED, FAILED):
        raise StatementError(f"its result is {shown(result)}, none of PASSED, WARNED, FAILED")
    suites = []
    for each in a_list(predicate.get("configuration"), "configuration"):
        fields = an_object(each, (), DESCRIPTOR_KEYS, "a configuration")
        called = fields.get("name") or fields.get("uri") or fields.get("downloadLocation")
        digests = a_mapping(fields.get("digest", {}), "digest")
        suites.append((text(called, "a configuration's name"), sha256_of(digests, needed=False)))
    passed, warned, failed = (
        tuple(text(each, "a test's name") for each in a_list(predicate.get(key, []), key))
        for key in ("passedTests", "warnedTests", "failedTests")
    )
    return ResultFacts(
        result=FAILED if failed else str(result),
        suites=tuple(suites),
        passed=passed,
        warned=warned,
        failed=failed,
        url=text(predicate.get("url", ""), "url"),
    )


def _dependencies(adapter: AdapterVersion, training: Training) -> list[dict[str, object]]:
    found = [
        descriptor(_BASE, training.base_uri, adapter.base),
        descriptor(_DATA, training.dataset_uri, adapter.data),
    ]
    if any(training.trainer):
        found.append(descriptor(_TRAINER, *training.trainer))
    if any(training.source):
        uri, commit = training.source
        found.append(descriptor(_SOURCE, uri, "") | {"digest": {"gitCommit": commit}})
    return found


def _adapter(external: dict[str, Any], dependencies: dict[str, dict[str, Any]]) -> AdapterVersion:
    fields = an_object(
        external["adapter"],
        ("alpha", "architecture", "id", "rank", "tasks", "version"),
        (),
        "adapter",
    )
    for name in (_BASE, _DATA):
        if name not in dependencies:
            raise StatementError(f"resolvedDependencies has no {name}")
    if not _ALPHA.match(text(fields["alpha"], "alpha")):
        raise StatementError(f"alpha is {shown(fields['alpha'])}, not a decimal")
    try:
        module_id = ModuleId.parse(text(external["moduleId"], "moduleId"))
    except InvalidLabel as error:
        raise StatementError(f"its moduleId: {error}") from error
    return AdapterVersion(
        id=filled(fields["id"], "id"),
        version=filled(fields["version"], "version"),
        module_id=module_id,
        base=sha256_of(dependencies[_BASE].get("digest")),
        data=sha256_of(dependencies[_DATA].get("digest")),
        tasks=tuple(filled(each, "a task") for each in a_list(fields["tasks"], "tasks")),
        rank=integer(fields["rank"], "rank"),
        alpha=Decimal(fields["alpha"]),
        architecture=filled(fields["architecture"], "architecture"),
    )


def _named(value: object) -> dict[str, dict[str, Any]]:
    """The resolved dependencies by name, each once, with the form of their digests checked."""
    found: dict[str, dict[str, Any]] = {}
    for each in a_list(value, "resolvedDependencies"):
        fields = an_object(each, (), DESCRIPTOR_KEYS, "a resolved dependency")
        name = text(fields.get("name", ""), "a dependency's name")
        if name in found:
            raise StatementError(f"resolvedDependencies has {shown(name)} twice")
        text(fields.get("uri", ""), "a dependency's uri")
        sha256_of(fields.get("digest", {}), needed=False)
        found[name] = fields
    source = found.get(_SOURCE)
    if source is not None:
        commit = a_mapping(source.get("digest"), "digest").get("gitCommit")
        if not (isinstance(commit, str) and _COMMIT.match(commit)):
            raise StatementError(f"the source's gitCommit is {shown(commit)}")
    return found


def _check_metadata(metadata: dict[str, Any]) -> None:
    text(metadata.get("invocationId", ""), "invocationId")
    times = [a_time(metadata[key], key) for key in ("startedOn", "finishedOn") if key in metadata]
    if times != sorted(times):
        raise StatementError("finishedOn is before startedOn")


def _seed(value: object) -> int:
    if type(value) is not int or abs(value) > MAX_SEED:
        raise StatementError(f"seed is not a whole number between -{MAX_SEED} and {MAX_SEED}")
    return value


def _expect(statement: Statement, predicate_type: str) -> None:
    if statement.predicate_type != predicate_type:
        raise StatementError(
            f"its predicateType is {shown(statement.predicate_type)}, not {predicate_type}"
        )


def _once(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise StatementError("a hyperparameter is there twice")
    return found


def _decimal_text(value: Decimal) -> str:
    """Without exponent and trailing zeros: 8.0 and 8 are one alpha."""
    found = format(value, "f")
    return found.rstrip("0").rstrip(".") if "." in found else found
