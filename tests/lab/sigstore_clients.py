"""The unmodified Python client against the lab: how it signs, and how it checks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import sigstore_forgeries as forged
from sigstore.dsse import Statement
from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier, policy
from sigstore_lab import SigstoreLab

DEVELOPER, WORKLOAD = "dev@example.com", "https://ci.example.com/jobs/train@refs/heads/main"


def statement(what: str = "adapter") -> bytes:
    digest = hashlib.sha256(what.encode()).hexdigest()
    said = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": what, "digest": {"sha256": digest}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {"buildDefinition": {"externalParameters": {"seed": 7}}},
    }
    return json.dumps(said).encode()


def verifier_of(lab: SigstoreLab, folder: Path) -> Verifier:
    root = lab.trusted_root(folder)
    return Verifier(trusted_root=TrustedRoot.from_file(str(root)))


def signing_context(lab: SigstoreLab, folder: Path, rekor: int, tsa: bool = True) -> SigningContext:
    config = lab.trust_config(folder, rekor=rekor, tsa=tsa).read_text(encoding="utf-8")
    return SigningContext.from_trust_config(ClientTrustConfig.from_json(config))


def client_signs(lab: SigstoreLab, folder: Path, token: str, rekor: int, tsa: bool = True) -> bytes:
    with signing_context(lab, folder, rekor, tsa).signer(IdentityToken(token)) as signer:
        return signer.sign_dsse(Statement(statement())).to_json().encode()


def check(verifier: Verifier, lab: SigstoreLab, bundle: bytes, who: str = DEVELOPER) -> bytes:
    wanted = policy.Identity(identity=who, issuer=lab.issuer)
    kind, payload = verifier.verify_dsse(Bundle.from_json(bundle), wanted)
    assert kind == forged.PAYLOAD_TYPE
    return payload
