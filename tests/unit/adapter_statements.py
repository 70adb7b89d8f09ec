"""An adapter with everything that vouches for it, whole; tests take one part away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

from yoyo.core.adapters import statements
from yoyo.core.adapters.hearing import Found
from yoyo.core.adapters.policy import Expected
from yoyo.model.adapter import WEIGHT_TYPE, AdapterVersion, Artefact, Change, Registered, Stage
from yoyo.model.ids import ModuleId
from yoyo.model.oci import Descriptor
from yoyo.model.signing import (
    KEY,
    PAYLOAD_TYPE,
    PROVENANCE,
    SIGNATURE,
    TEST_RESULT,
    Attestation,
    Identity,
    Trust,
)

NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
ISSUER = "https://issuer.example"
SIGNER = Identity("release@acme.example", ISSUER)
BUILDER = Identity("https://ci.acme.example/train", ISSUER)
EVALUATOR = Identity("quality@acme.example", ISSUER)
STRANGER = Identity("mallory@evil.example", ISSUER)
BUILDER_ID = "https://ci.acme.example/train@v1"
TRUST = Trust(
    signers=(SIGNER,), builders=(BUILDER,), evaluators=(EVALUATOR,), builder_ids=(BUILDER_ID,)
)
KEYS = [Identity(f"key:sha256:{digit * 64}") for digit in "123"]
KEY_TRUST = Trust(KEY, (KEYS[0],), (KEYS[1],), (KEYS[2],), (BUILDER_ID,))


def sha(text: str | bytes) -> str:
    return f"sha256:{sha256(text.encode() if isinstance(text, str) else text).hexdigest()}"


ADAPTER = AdapterVersion(
    id="acme-invoices",
    version="1.2.0",
    module_id=ModuleId("acme"),
    base=sha("base"),
    data=sha("data"),
    tasks=("extract", "summarise"),
    rank=16,
    alpha=Decimal(32),
    architecture="qwen2",
)
ARTEFACT = Artefact(
    digest=sha("manifest"),
    adapter=ADAPTER,
    weights=Descriptor(WEIGHT_TYPE, sha("weights"), 1000),
    filename="acme-invoices.gguf",
    files=(),
)
TRAINING = statements.Training(
    base_ref="Qwen2.5-32B-Instruct-Q4_K_S",
    base_uri="https://models.example/qwen2.5-32b.gguf",
    dataset_uri="gs://acme-data/invoices-v3.jsonl",
    hyperparameters=(("learning_rate", "1e-4"), ("epochs", "3")),
    seed=42,
    trainer=("pkg:pypi/peft@0.18.0", sha("trainer")),
    source=("git+https://git.example/acme/train", "1" * 40),
    builder_id=BUILDER_ID,
    invocation_id="run-17",
    started=NOON - timedelta(hours=3),
    finished=NOON - timedelta(hours=1),
)
NAME = "registry.example/adapters/acme-invoices"


def signature(digest: str = ARTEFACT.digest) -> bytes:
    return statements.signature(NAME, digest)


def provenance(
    digest: str = ARTEFACT.digest,
    adapter: AdapterVersion = ADAPTER,
    training: statements.Training = TRAINING,
) -> bytes:
    return statements.provenance(NAME, digest, adapter, training)


def sign_off(digest: str = ARTEFACT.digest, result: str = statements.PASSED) -> bytes:
    failed = ("toxicity",) if result == statements.FAILED else ()
    return statements.test_result(
        ADAPTER.name,
        digest,
        result=result,
        suite=("invoices-eval", "https://git.example/acme/evals", sha("suite")),
        passed=("accuracy",),
        warned=("latency",) if result == statements.WARNED else (),
        failed=failed,
        url="https://ci.acme.example/runs/17",
    )


def found(
    predicate_type: str,
    payload: bytes,
    identity: Identity,
    at: datetime | None = NOON,
    *,
    payload_type: str = PAYLOAD_TYPE,
    log_index: int | None = 7,
) -> Found:
    bundle = sha(payload + str(identity).encode() + str(at).encode())
    attestation = Attestation(payload_type, payload, identity, at, log_index, bundle)
    return Found(bundle, predicate_type, attestation, "", "")


def refused(predicate_type: str, reason: str, why: str = "as the verifier says it") -> Found:
    return Found(sha(predicate_type + reason), predicate_type, None, reason, why)


def three() -> dict[str, Found]:
    return {
        "signature": found(SIGNATURE, signature(), SIGNER),
        "provenance": found(PROVENANCE, provenance(), BUILDER),
        "sign-off": found(TEST_RESULT, sign_off(), EVALUATOR),
    }


def registered(**changes: Any) -> Registered:
    whole = Registered(
        adapter=ADAPTER,
        ref=f"{NAME}@{ARTEFACT.digest}",
        stage=Stage.PROMOTED,
        history=(Change(Stage.PROMOTED, NOON, "olga"),),
        sign_off=sha(sign_off()),
    )
    return whole._replace(**changes)


def expected(**changes: Any) -> Expected:
    return Expected(
        artefact=ARTEFACT,
        base=ADAPTER.base,
        data=ADAPTER.data,
        registered=registered(),
        sign_off_needed=True,
    )._replace(**changes)


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the leaves of a JSON document are."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from paths(child, (*path, key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from paths(child, (*path, number))
    else:
        yield path


def changed(payload: bytes, *path: str | int, to: Any) -> bytes:
    document = json.loads(payload)
    place = document
    for step in path[:-1]:
        place = place[step]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(document).encode()
