"""Signed statements: who may sign what, and what a verified bundle says."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

KEYLESS, KEY = "keyless", "key"
BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
# Predicate types: what each one says, and in which role its signer speaks.
SIGNATURE: Final = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
SUMMARY: Final = "https://slsa.dev/verification_summary/v1"
# A bundle of three statements of ours has some 10 KiB.
MAX_BUNDLE_BYTES: Final = 1024 * 1024


class Identity(NamedTuple):
    """Who signed: exactly this subject, vouched for by exactly this issuer."""

    subject: str  # the certificate's SAN; in key mode `key:sha256:<hex>` of the public key's DER
    issuer: str = ""  # the OIDC issuer's URL; "" in key mode

    def __str__(self) -> str:
        return f"{self.subject} ({self.issuer})" if self.issuer else self.subject


class Attestation(NamedTuple):
    """A bundle that verified. Its payload is authentic; what it claims is for policy to judge."""

    payload_type: str
    payload: bytes
    identity: Identity
    signed_at: datetime | None  # as log or timestamp authority say; None in key mode
    log_index: int | None  # in the transparency log; None in key mode
    bundle: str  # sha256:<hex> of the bundle's bytes


class Trust(NamedTuple):
    """Whose word counts for what. Empty tuples: nobody's, so that everything is refused."""

    mode: str = KEYLESS  # KEYLESS or KEY; never both
    signers: tuple[Identity, ...] = ()  # of SIGNATURE
    builders: tuple[Identity, ...] = ()  # of PROVENANCE
    evaluators: tuple[Identity, ...] = ()  # of TEST_RESULT
    builder_ids: tuple[str, ...] = ()  # what runDetails.builder.id may be


class TrustSettings(NamedTuple):
    """Trust as it is configured: identities in keyless mode, public keys (PEM) in key mode."""

    mode: str = KEYLESS
    signers: tuple[str, ...] = ()  # `SUBJECT ISSUER`, or paths
    builders: tuple[str, ...] = ()
    evaluators: tuple[str, ...] = ()
    builder_ids: tuple[str, ...] = ()
    trusted_root: Path | None = None  # pinned; keyless mode needs it


class SigningSettings(NamedTuple):
    """How this machine signs."""

    mode: str = KEYLESS
    trust_config: Path | None = None  # a Sigstore client trust config; None: the public instance
    key: Path | None = None  # PEM, PKCS #8; key mode
    token_file: Path | None = None  # an OIDC identity token; None: the environment, or ambient
