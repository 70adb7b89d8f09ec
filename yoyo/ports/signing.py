"""The signing ports: statements become bundles, and bundles become attestations again."""

from __future__ import annotations

from typing import Protocol

from yoyo.model.signing import Attestation, Identity


class Signer(Protocol):
    """One identity that signs."""

    @property
    def identity(self) -> Identity:
        """Who it signs as.

        Raises:
            SigningFailed: there is no token or key, or it is of no use.
        """
        ...

    @property
    def public(self) -> bool:
        """Whether a public transparency log learns of every signature."""
        ...

    def sign(self, statement: bytes) -> bytes:
        """A Sigstore bundle v0.3 whose DSSE envelope holds this in-toto statement.

        Raises:
            SigningFailed.
        """
        ...


class Verifier(Protocol):
    """Checks bundles offline, against what was pinned beforehand."""

    def verify(self, bundle: bytes, accepted: tuple[Identity, ...]) -> Attestation:
        """Everything cryptographic: signature, certificate, log entry, time, and who signed.

        Raises:
            BundleRefused: with a reason. No accepted identities: always.
        """
        ...
