"""The record of a load decision, whose sha256 the ledger names: a SLSA verification summary. Pure.

Source: slsa.dev/spec/v1.0/verification_summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from yoyo.core.adapters.statement_form import StatementError, digest_set, statement_bytes, timestamp
from yoyo.model.adapter import Signed
from yoyo.model.signing import SUMMARY

# Ours: docs/formats/attestations.md says what the checks are.
POLICY_URI: Final = "urn:yoyo:policy:lora-adapter:v1"
# An extension field; the specification wants a URI for its name.
SIGNERS_FIELD: Final = "urn:yoyo:signers:v1"
# Provenance exists and is signed. Nothing is claimed about how the trainer's machine is kept.
LEVEL: Final = "SLSA_BUILD_LEVEL_1"


def verification_summary(
    signed: Sequence[Signed],
    *,
    resource: str,
    policy_digest: str,
    verifier: str,
    at: datetime,
    passed: bool,
) -> bytes:
    """The statement; its subjects are the adapters' manifests, in the order of `signed`.

    `resource` and `verifier` are URIs: what the adapters are loaded into, and who decided. `at` is
    written in UTC, to the second.

    Raises:
        StatementError: no adapter, an adapter without attestations that passed, a digest that is
            none, an empty URI, or a time without its zone.
    """
    if not (resource and verifier):
        raise StatementError("a summary names a resource and a verifier")
    if passed and not all(each.attestations for each in signed):
        raise StatementError("no adapter passes without attestations")
    inputs = dict.fromkeys(digest for each in signed for digest in each.attestations)
    predicate: dict[str, object] = {
        "inputAttestations": [{"digest": digest_set(digest)} for digest in inputs],
        "policy": {"digest": digest_set(policy_digest), "uri": POLICY_URI},
        "resourceUri": resource,
        "slsaVersion": "1.0",
        "timeVerified": timestamp(at),
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": [LEVEL if passed else "FAILED"],
        "verifier": {"id": verifier},
        SIGNERS_FIELD: [
            {
                "name": each.name,
                "signers": [{"identity": who, "role": role} for role, who in each.signers],
                "weights": digest_set(each.weights),
            }
            for each in signed
        ],
    }
    return statement_bytes(SUMMARY, [(each.name, each.digest) for each in signed], predicate)
