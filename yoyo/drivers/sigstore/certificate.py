"""Whom a Fulcio certificate names, and whether that is somebody whose word counts here.

Profile: sigstore/fulcio, docs/certificate-specification.md and docs/oid-info.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yoyo.errors import BundleRefused
from yoyo.model.signing import Identity

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Extensions

ISSUER_RAW: Final = "1.3.6.1.4.1.57264.1.1"  # text as it is
ISSUER_DER: Final = "1.3.6.1.4.1.57264.1.8"  # a DER UTF8String
_UTF8_STRING: Final = 0x0C  # X.690, section 8.23; universal tag 12


class Accepted:
    """sigstore's verification policy: exactly one of these identities, by their exact text.

    It keeps whom it found.
    """

    def __init__(self, accepted: tuple[Identity, ...]) -> None:
        self._accepted = accepted
        self.found: Identity | None = None

    def verify(self, cert: Certificate) -> None:
        """Raise BundleRefused (`identity`, `issuer`) unless the certificate names one of them."""
        found = named_by(cert)
        if found not in self._accepted:
            issuers = sorted(
                each.issuer for each in self._accepted if each.subject == found.subject
            )
            if issuers:
                raise BundleRefused(
                    "issuer",
                    f"{found.subject} is vouched for by {found.issuer}, not by {issuers[0]}",
                )
            raise BundleRefused(
                "identity", f"it was signed by {found}, who is not accepted for this"
            )
        self.found = found


def named_by(certificate: Certificate) -> Identity:
    """The one subject alternative name, an e-mail address or a URI, and the OIDC issuer.

    Several names are refused: which of them signed could not be said.

    Raises:
        BundleRefused: `certificate`.
    """
    from cryptography import x509

    try:
        extensions = certificate.extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise _refused("it names nobody in a way that can be read") from error
    if len(names) != 1:
        raise _refused(f"it has {len(names)} subject alternative names, not exactly one")
    name = names[0]
    if not isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier):
        raise _refused("its subject is neither an e-mail address nor a URI")
    return Identity(name.value, _issuer(extensions))


def _issuer(extensions: Extensions) -> str:
    """What the issuer extensions say. Where both are there, they must agree."""
    from cryptography import x509

    said: set[str] = set()
    for extension in extensions:
        value = extension.value
        if not isinstance(value, x509.UnrecognizedExtension):
            continue
        dotted = extension.oid.dotted_string
        if dotted in (ISSUER_RAW, ISSUER_DER):
            said.add(_text(value.value if dotted == ISSUER_RAW else _der_text(value.value)))
    if len(said) != 1 or "" in said:
        raise _refused("it names no issuer, or more than one")
    return said.pop()


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused("its issuer is not text") from error


def _der_text(data: bytes) -> bytes:
    """The content of a DER UTF8String of up to 255 bytes (X.690, sections 8.1.3 and 10.1)."""
    if len(data) >= 2 and data[0] == _UTF8_STRING:
        if data[1] < 0x80 and len(data) == 2 + data[1]:
            return data[2:]
        if data[1] == 0x81 and len(data) >= 3 and data[2] >= 0x80 and len(data) == 3 + data[2]:
            return data[3:]
    raise _refused("its issuer is not a DER string")


def _refused(why: str) -> BundleRefused:
    return BundleRefused("certificate", f"the certificate: {why}")
