"""The lab's Fulcio: certificates of ten minutes for whom the issuer vouches, each in a CT log.

Profile: Fulcio's certificate specification; OIDs 1.3.6.1.4.1.57264.1.*. Timestamps by the log:
RFC 6962, sections 3.2 and 3.3.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from datetime import UTC, datetime, timedelta

from asn1crypto import core as asn1_core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from sigstore_oidc import Issuer, identity
from sigstore_wire import Answer, Json, Refused, Request, b64, key_id, pem, spki, unb64

ISSUER_V1_OID = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")  # raw bytes
ISSUER_V2_OID = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")  # a DER UTF8String
SCT_LIST_OID = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
POISON = "1.3.6.1.4.1.11129.2.4.3"
SIGNING_PATH = "/api/v2/signingCert"
TRUST_PATH = "/api/v2/trustBundle"
LIFETIME = timedelta(minutes=10)
# The authorities' own certificates: before and after every lab's life.
AUTHORITY_PAST, AUTHORITY_FUTURE = timedelta(days=30), timedelta(days=3650)


def name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sigstore.lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def authority_certificate(
    subject: str,
    key: ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    usage: ObjectIdentifier | None = None,
    path_length: int | None = None,
) -> x509.Certificate:
    """A CA's certificate; self-signed where subject and issuer are the same."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - AUTHORITY_PAST)
        .not_valid_after(now + AUTHORITY_FUTURE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


class CtLog:
    """A certificate transparency log: promises, by its signature, to publish a certificate."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def add_pre_chain(self, precertificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
        """The SCT list (RFC 6962, section 3.3) for a poisoned precertificate."""
        issuer_hash = hashlib.sha256(spki(issuer.public_key())).digest()
        tbs = _without_poison(precertificate)
        millis = time.time_ns() // 1_000_000
        # v1, certificate_timestamp, time, precert_entry; then what is signed.
        head = struct.pack("!BBQH", 0, 0, millis, 1)
        signed = head + issuer_hash + len(tbs).to_bytes(3, "big") + tbs + b"\0\0"
        signature = self._key.sign(signed, ec.ECDSA(hashes.SHA256()))
        sct = b"\0" + key_id(self.public_key) + struct.pack("!QH", millis, 0)
        # Hash 4 is SHA-256 and signature 3 is ECDSA (RFC 5246, section 7.4.1.4.1).
        sct += struct.pack("!BBH", 4, 3, len(signature)) + signature
        listed = struct.pack("!H", len(sct)) + sct
        return struct.pack("!H", len(listed)) + listed


def _without_poison(precertificate: x509.Certificate) -> bytes:
    tbs = asn1_x509.TbsCertificate.load(precertificate.tbs_certificate_bytes)
    kept = [each for each in tbs["extensions"] if each["extn_id"].dotted != POISON]
    tbs["extensions"] = asn1_x509.Extensions(kept)
    return bytes(tbs.dump(force=True))


class Authority:
    """Root and intermediate, as Fulcio has them."""

    def __init__(self, ct: CtLog) -> None:
        self.ct = ct
        root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        root, below = "sigstore", "sigstore-intermediate"
        self.root = authority_certificate(root, root_key.public_key(), root, root_key)
        usage = ExtendedKeyUsageOID.CODE_SIGNING
        self.intermediate = authority_certificate(
            below, self._key.public_key(), root, root_key, usage, path_length=0
        )

    def issue(
        self,
        key: ec.EllipticCurvePublicKey,
        who: str,
        issuer: str,
        *,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        sct: bool = True,
        ct: CtLog | None = None,
    ) -> x509.Certificate:
        """A signing certificate. `who` is an e-mail address, or a URI where it has `://`.

        `ct`: another log than the authority's; without `sct`, none knows of it.
        """
        begin = (not_before or datetime.now(UTC)).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.intermediate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(not_after or begin + LIFETIME)
        )
        for extension, critical in self._extensions(key, who, issuer):
            builder = builder.add_extension(extension, critical)
        if sct:
            poisoned = builder.add_extension(x509.PrecertPoison(), critical=True)
            precertificate = poisoned.sign(self._key, hashes.SHA256())
            listed = (ct or self.ct).add_pre_chain(precertificate, self.intermediate)
            value = asn1_core.OctetString(listed).dump()
            builder = builder.add_extension(
                x509.UnrecognizedExtension(SCT_LIST_OID, value), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())

    def _extensions(
        self, key: ec.EllipticCurvePublicKey, who: str, issuer: str
    ) -> list[tuple[x509.ExtensionType, bool]]:
        uri = "://" in who
        san = x509.UniformResourceIdentifier(who) if uri else x509.RFC822Name(who)
        own = self._key.public_key()
        return [
            (key_usage(signs_certificates=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
            (x509.SubjectKeyIdentifier.from_public_key(key), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(own), False),
            (x509.SubjectAlternativeName([san]), True),
            (x509.UnrecognizedExtension(ISSUER_V1_OID, issuer.encode()), False),
            (
                x509.UnrecognizedExtension(ISSUER_V2_OID, asn1_core.UTF8String(issuer).dump()),
                False,
            ),
        ]


class Fulcio:
    """The authority's HTTP API, version 2."""

    def __init__(self, authority: Authority, issuer: Issuer) -> None:
        self._authority = authority
        self._issuer = issuer

    def signing_certificate(self, request: Request) -> Answer:
        """A certificate for who proves to be somebody, and to hold the private key."""
        body = request.json()
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = str(_object(body.get("credentials")).get("oidcIdentityToken", ""))
        claims = self._issuer.verify(token)
        who = identity(claims)
        if "certificateSigningRequest" in body:
            key = _from_csr(unb64(body["certificateSigningRequest"]))
        else:
            subject = str(claims.get("email", claims["sub"]))
            key = _from_key_request(_object(body.get("publicKeyRequest")), subject)
        certificate = self._authority.issue(key, who, self._issuer.url)
        chain = [certificate, self._authority.intermediate, self._authority.root]
        texts = [pem(each).decode() for each in chain]
        said: Json = {"signedCertificateEmbeddedSct": {"chain": {"certificates": texts}}}
        return Answer(json.dumps(said).encode())

    def trust_bundle(self, _request: Request) -> Answer:
        """The authority's chain."""
        chain = [self._authority.intermediate, self._authority.root]
        said = {"chains": [{"certificates": [pem(each).decode() for each in chain]}]}
        return Answer(json.dumps(said).encode())


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _from_csr(data: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(data)
    except ValueError as error:
        raise Refused(400, f"The certificate signing request is malformed: {error}") from error
    key = request.public_key()
    if not request.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused(400, "The signature supplied in the request could not be verified")
    return key


def _from_key_request(asked: Json, subject: str) -> ec.EllipticCurvePublicKey:
    """The older form: the key, and the token's subject signed with it."""
    content = str(_object(asked.get("publicKey")).get("content", ""))
    try:
        key = serialization.load_pem_public_key(content.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Refused(400, "only ECDSA keys are taken")
        proof = unb64(asked.get("proofOfPossession"))
        key.verify(proof, subject.encode(), ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature) as error:
        text = "The signature supplied in the request could not be verified"
        raise Refused(400, text) from error
    return key


def trusted(authority: Authority, url: str, since: str) -> Json:
    """The authority's entry in a trusted root."""
    chain = [authority.intermediate, authority.root]
    return {
        "subject": {"organization": "sigstore.lab", "commonName": "sigstore"},
        "uri": url,
        "certChain": {
            "certificates": [
                {"rawBytes": b64(each.public_bytes(serialization.Encoding.DER))} for each in chain
            ]
        },
        "validFor": {"start": since},
    }
