"""Verifies keyless bundles offline, against a trusted root that was pinned beforehand.

`sigstore` checks everything; before that, this looks at each part by itself in an order in which
the first thing that is wrong can be named. Nothing here accepts what `sigstore` refuses.
"""

from __future__ import annotations

import hashlib
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.core.dsse import CERTIFICATE, Bundle, DsseError, pae, read_bundle
from yoyo.drivers.sigstore.certificate import Accepted
from yoyo.drivers.sigstore.timestamps import TimestampAuthorities
from yoyo.errors import BundleRefused
from yoyo.model.signing import PAYLOAD_TYPE, Attestation, Identity

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.models import TrustedRoot

MAX_ROOT_BYTES: Final = 4 * 1024 * 1024
_WHY_CHARS: Final = 200
# How sigstore 4's messages begin (sigstore/verify/verifier.py); what is not here is about the log.
_BEGINNINGS: Final = (
    ("failed to verify SCT", "certificate"),
    ("Key usage", "certificate"),
    ("Extended usage", "certificate"),
    ("invalid signing cert", "certificate"),
    ("not enough sources of verified time", "timestamp"),
    ("no Timestamp Authorities", "timestamp"),
    ("too many signed timestamp", "timestamp"),
    ("duplicate timestamp", "timestamp"),
    ("Invalid Timestamp", "timestamp"),
    ("DSSE: ", "signature"),
)


class SigstoreVerifier:
    """A `Verifier` of keyless bundles; the trusted root is read at the first one, and only then."""

    def __init__(self, trusted_root: Path) -> None:
        self._path = trusted_root
        self._checks: KeylessChecks | None = None

    def verify(self, bundle: bytes, accepted: tuple[Identity, ...]) -> Attestation:
        """Signature, times, certificate, who signed, log entry. No network is used.

        Raises:
            BundleRefused.
        """
        if self._checks is None:
            self._checks = KeylessChecks(_read_root(self._path))
        return self._checks.verify(bundle, accepted)


class KeylessChecks:
    """The checks against one trusted root, which is taken apart once."""

    def __init__(self, root: TrustedRoot) -> None:
        """Raise BundleRefused(`untrusted`) where the root lacks an authority or a log."""
        from sigstore.errors import Error
        from sigstore.verify import Verifier

        try:
            self._sigstore = Verifier(trusted_root=root)
            self._authorities = TimestampAuthorities(root)
        except (Error, ValueError) as error:
            raise BundleRefused("untrusted", f"the trusted root: {_short(error)}") from error

    def verify(self, data: bytes, accepted: tuple[Identity, ...]) -> Attestation:
        """See `SigstoreVerifier.verify`."""
        if not accepted:
            raise BundleRefused("identity", "nobody is accepted for this")
        found = _parts(data)
        _check_signature(_leaf(found), found)
        times = self._times(found)
        identity = self._sigstore_verdict(data, found, accepted)
        return Attestation(
            found.payload_type,
            found.payload,
            identity,
            min(times),  # by the earliest it existed; a later one can be had for any old signature
            found.entries[0].log_index,
            "sha256:" + hashlib.sha256(data).hexdigest(),
        )

    def _times(self, found: Bundle) -> list[datetime]:
        """Every time that the bundle names: at least one, and none that nobody vouches for.

        The log's time is vouched for by its promise, which `sigstore` verifies later.
        """
        times = []
        for response in found.timestamps:
            said = self._authorities.time_of(response, found.signature)
            if said is None:
                raise BundleRefused(
                    "timestamp",
                    "no trusted authority gave its timestamp, or not for this signature",
                )
            times.append(said)
        integrated = found.entries[0].integrated
        if integrated is not None:
            try:
                times.append(datetime.fromtimestamp(integrated, UTC))
            except (OverflowError, ValueError, OSError) as error:
                raise BundleRefused("log", "the log entry's time is none") from error
        if not times:
            raise BundleRefused("timestamp", "nobody vouches for when it was signed")
        return times

    def _sigstore_verdict(
        self, data: bytes, found: Bundle, accepted: tuple[Identity, ...]
    ) -> Identity:
        """Whom the certificate names, once `sigstore` has accepted everything."""
        from cryptography.x509 import DuplicateExtension, ExtensionNotFound
        from sigstore import models
        from sigstore.errors import CertValidationError, MetadataError, VerificationError

        policy = Accepted(accepted)
        try:
            bundle = models.Bundle.from_json(data)
            said = self._sigstore.verify_dsse(bundle, policy)
        except BundleRefused:
            raise
        except (CertValidationError, ExtensionNotFound, DuplicateExtension) as error:
            raise BundleRefused("certificate", _short(error)) from error
        except VerificationError as error:
            raise BundleRefused(_reason(str(error)), _short(error)) from error
        except MetadataError as error:
            raise BundleRefused("untrusted", _short(error)) from error
        except Exception as error:
            # A hostile bundle must not get past by an exception that nobody foresaw.
            raise BundleRefused("malformed", f"{type(error).__name__}: {_short(error)}") from error
        if said != (found.payload_type, found.payload) or policy.found is None:
            raise BundleRefused("malformed", "two ways of reading the bundle do not agree")
        return policy.found


def _read_root(path: Path) -> TrustedRoot:
    from sigstore.errors import Error
    from sigstore.models import TrustedRoot

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise BundleRefused("untrusted", f"the trusted root {path} is no regular file")
        if status.st_size > MAX_ROOT_BYTES:
            raise BundleRefused("untrusted", f"the trusted root {path} is too large")
        return TrustedRoot.from_file(str(path))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BundleRefused("untrusted", f"the trusted root {path}: {why}") from error
    except (Error, ValueError) as error:
        why = "it is no trusted root of Sigstore"
        raise BundleRefused("untrusted", f"the trusted root {path}: {why}") from error


def _parts(data: bytes) -> Bundle:
    """The bundle's parts, as far as a keyless one must have them."""
    try:
        found = read_bundle(data)
    except DsseError as error:
        raise BundleRefused("malformed", str(error)) from error
    if found.material != CERTIFICATE:
        raise BundleRefused("mode", "it was signed with a key, and keyless is what is trusted here")
    if found.payload_type != PAYLOAD_TYPE:
        raise BundleRefused("payload", f"its payload is not {PAYLOAD_TYPE}")
    if len(found.entries) != 1:
        raise BundleRefused("log", f"it has {len(found.entries)} log entries, not exactly one")
    if not found.entries[0].proven:
        raise BundleRefused("log", "its log entry has no inclusion proof with a checkpoint")
    return found


def _leaf(found: Bundle) -> Certificate:
    from cryptography.x509 import load_der_x509_certificate

    try:
        return load_der_x509_certificate(found.certificate)
    except ValueError as error:
        raise BundleRefused("certificate", "the certificate cannot be read") from error


def _check_signature(leaf: Certificate, found: Bundle) -> None:
    """Looked at first: a timestamp and a log entry are about this signature, right or wrong."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BundleRefused("certificate", "the certificate's key cannot be read") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise BundleRefused("certificate", "the certificate's key is not an ECDSA key")
    try:
        key.verify(found.signature, pae(found.payload_type, found.payload), ECDSA(SHA256()))
    except InvalidSignature as error:
        why = "the signature is not of the certificate's key over this payload"
        raise BundleRefused("signature", why) from error


def _reason(message: str) -> str:
    for beginning, reason in _BEGINNINGS:
        if message.startswith(beginning):
            return reason
    return "log"


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:_WHY_CHARS]
