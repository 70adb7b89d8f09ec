"""The lab's timestamp authority: says under its signature when it saw a hash (RFC 3161)."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from sigstore_ca import AUTHORITY_FUTURE, AUTHORITY_PAST, authority_certificate, key_usage, name
from sigstore_wire import Answer, Json, Refused, Request, b64, der

PATH = "/api/v1/timestamp"
QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
POLICY = "1.3.6.1.4.1.57264.2"
DIGESTS = {"sha256": 32, "sha384": 48, "sha512": 64}


class TimestampAuthority:
    """A root, and a leaf that signs nothing but time."""

    def __init__(self) -> None:
        root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        root = "sigstore-tsa-root"
        self.root = authority_certificate(root, root_key.public_key(), root, root_key)
        self.leaf = _leaf(self._key.public_key(), self.root, root_key)

    def timestamp(self, request: Request) -> Answer:
        """`POST` of a timestamp query."""
        if request.headers.get("content-type") != QUERY:
            raise Refused(415, f"expected {QUERY}")
        try:
            query = tsp.TimeStampReq.load(request.body)
            imprint = query["message_imprint"]
            algorithm = imprint["hash_algorithm"]["algorithm"].native
            digest = imprint["hashed_message"].native
            nonce, with_certificate = query["nonce"].native, bool(query["cert_req"].native)
        except (ValueError, TypeError) as error:
            raise Refused(400, f"malformed query: {error}") from error
        if DIGESTS.get(algorithm) != len(digest):
            raise Refused(400, f"bad imprint: {algorithm}")
        token = self.token(digest, algorithm, nonce, with_certificate=with_certificate)
        return Answer(token, 201, REPLY)

    def token(
        self,
        digest: bytes,
        algorithm: str = "sha256",
        nonce: int | None = None,
        *,
        with_certificate: bool = True,
        at: datetime | None = None,
    ) -> bytes:
        """A granted response (DER) for a message's digest. `at`: not now, but then."""
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": POLICY,
                "message_imprint": {
                    "hash_algorithm": {"algorithm": algorithm},
                    "hashed_message": digest,
                },
                "serial_number": secrets.randbits(120) | 1,
                "gen_time": (at or datetime.now(UTC)).replace(microsecond=0),
                "accuracy": {"seconds": 1},
            }
        )
        if nonce is not None:
            info["nonce"] = nonce
        response = tsp.TimeStampResp(
            {
                "status": {"status": "granted"},
                "time_stamp_token": {
                    "content_type": "signed_data",
                    "content": self._signed(info, with_certificate),
                },
            }
        )
        return bytes(response.dump())

    def _signed(self, info: tsp.TSTInfo, with_certificate: bool) -> cms.SignedData:
        leaf = asn1_x509.Certificate.load(der(self.leaf))
        sha256 = algos.DigestAlgorithm({"algorithm": "sha256"})
        attributes = self._attributes(info)
        signature = self._key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256()))
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier(
                    {
                        "issuer_and_serial_number": {
                            "issuer": leaf.issuer,
                            "serial_number": leaf.serial_number,
                        }
                    }
                ),
                "digest_algorithm": sha256,
                "signed_attrs": attributes,
                "signature_algorithm": {"algorithm": "sha256_ecdsa"},
                "signature": signature,
            }
        )
        content = {
            "content_type": "tst_info",
            "content": core.ParsableOctetString(info.dump()),
        }
        data = {
            "version": "v3",
            "digest_algorithms": [sha256],
            "encap_content_info": content,
            "signer_infos": [signer],
        }
        if with_certificate:
            data["certificates"] = [cms.CertificateChoices({"certificate": leaf})]
        return cms.SignedData(data)

    def _attributes(self, info: tsp.TSTInfo) -> cms.CMSAttributes:
        """What is signed in the token's place: RFC 5652, section 5.4, and RFC 5816."""
        own = hashlib.sha256(der(self.leaf)).digest()
        values = {
            "content_type": "tst_info",
            "signing_time": cms.Time({"utc_time": info["gen_time"].native}),
            "message_digest": hashlib.sha256(info.dump()).digest(),
            "signing_certificate_v2": tsp.SigningCertificateV2({"certs": [{"cert_hash": own}]}),
        }
        return cms.CMSAttributes(
            [cms.CMSAttribute({"type": kind, "values": [value]}) for kind, value in values.items()]
        )


def _leaf(
    key: ec.EllipticCurvePublicKey, root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = datetime.now(UTC)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name("sigstore-tsa"))
        .issuer_name(root.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - AUTHORITY_PAST)
        .not_valid_after(now + AUTHORITY_FUTURE - timedelta(days=1))
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(own, critical=False)
        .sign(root_key, hashes.SHA256())
    )


def trusted(authority: TimestampAuthority, url: str, since: str) -> Json:
    """The authority's entry in a trusted root."""
    chain = [authority.leaf, authority.root]
    return {
        "subject": {"organization": "sigstore.lab", "commonName": "sigstore-tsa"},
        "uri": url,
        "certChain": {"certificates": [{"rawBytes": b64(der(each))} for each in chain]},
        "validFor": {"start": since},
    }
