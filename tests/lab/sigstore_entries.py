"""What the lab's Rekor writes into its logs: entries in canonical form, whose signatures hold.

Kinds: `dsse` and `hashedrekord` 0.0.1 (sigstore/rekor, `pkg/types`), and `hashedrekord` 0.0.2
(sigstore/rekor-tiles, which knows no other kind).
"""

from __future__ import annotations

import hashlib
import json

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from sigstore_wire import P256_DETAILS, Json, Refused, b64, canonical, signer_key, unb64


def pae(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE envelope's signature covers."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def body_v1(asked: Json) -> bytes:
    """The canonical body of a proposed entry, whose signatures were checked.

    Raises:
        Refused: of another kind, or a signature does not verify.
    """
    kind = f"{asked.get('kind')}/{asked.get('apiVersion')}"
    try:
        if kind == "dsse/0.0.1":
            return dsse_v1(asked["spec"])
        if kind == "hashedrekord/0.0.1":
            return hashedrekord_v1(asked["spec"])
    except (KeyError, TypeError, IndexError) as error:
        raise Refused(400, f"malformed entry: {error!r}") from error
    raise Refused(400, f"no such kind of entry: {kind}")


def dsse_v1(spec: Json) -> bytes:
    """Hashes of envelope and payload, signatures and verifiers; not the payload itself."""
    proposed = spec["proposedContent"]
    text = proposed["envelope"]
    envelope = json.loads(text)
    payload = unb64(envelope["payload"])
    signed = pae(envelope["payloadType"], payload)
    verifiers = [unb64(each) for each in proposed["verifiers"]]
    signatures = []
    for signature in envelope["signatures"]:
        verifier = next((v for v in verifiers if _signed(v, signature["sig"], signed)), None)
        if verifier is None:
            raise Refused(400, "could not verify envelope")
        signatures.append({"signature": signature["sig"], "verifier": b64(verifier)})
    body = {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": _hex(text.encode())},
            "payloadHash": {"algorithm": "sha256", "value": _hex(payload)},
            "signatures": sorted(signatures, key=lambda each: str(each["signature"])),
        },
    }
    return canonical(body)


def hashedrekord_v1(spec: Json) -> bytes:
    """A signature over something whose hash alone is known."""
    digest = spec["data"]["hash"]
    if digest["algorithm"] != "sha256":
        raise Refused(400, "only sha256")
    content = spec["signature"]["content"]
    verifier = unb64(spec["signature"]["publicKey"]["content"])
    _check(signer_key(verifier), unb64(content), bytes.fromhex(digest["value"]))
    body = {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": digest["value"]}},
            "signature": {"content": content, "publicKey": {"content": b64(verifier)}},
        },
    }
    return canonical(body)


def body_v2(asked: Json) -> bytes:
    """As `body_v1`, for Rekor's second version. An envelope comes as the hash of its PAE."""
    try:
        return hashedrekord_v2(asked["hashedRekordRequestV002"])
    except (KeyError, TypeError, IndexError) as error:
        raise Refused(400, f"malformed entry: {error!r}") from error


def hashedrekord_v2(asked: Json) -> bytes:
    signature = asked["signature"]
    digest, verifier = unb64(asked["digest"]), _verifier_v2(signature["verifier"])
    _check(_key_v2(verifier), unb64(signature["content"]), digest)
    logged = {
        "data": {"algorithm": "SHA2_256", "digest": b64(digest)},
        "signature": {"content": signature["content"], "verifier": verifier},
    }
    spec = {"hashedRekordV002": logged}
    return canonical({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec})


def _verifier_v2(given: Json) -> Json:
    if given["keyDetails"] != P256_DETAILS:
        raise Refused(400, f"only {P256_DETAILS}")
    part = "x509Certificate" if "x509Certificate" in given else "publicKey"
    return {"keyDetails": P256_DETAILS, part: {"rawBytes": given[part]["rawBytes"]}}


def _key_v2(verifier: Json) -> ec.EllipticCurvePublicKey:
    if "x509Certificate" in verifier:
        raw = unb64(verifier["x509Certificate"]["rawBytes"])
        key = x509.load_der_x509_certificate(raw).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Refused(400, "only ECDSA keys are taken")
        return key
    text = f"-----BEGIN PUBLIC KEY-----\n{verifier['publicKey']['rawBytes']}\n"
    return signer_key(f"{text}-----END PUBLIC KEY-----\n".encode())


def _signed(verifier: bytes, signature: str, data: bytes) -> bool:
    try:
        _check(signer_key(verifier), unb64(signature), hashlib.sha256(data).digest())
    except Refused:
        return False
    return True


def _check(key: ec.EllipticCurvePublicKey, signature: bytes, digest: bytes) -> None:
    try:
        key.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except (InvalidSignature, ValueError) as error:
        raise Refused(400, "invalid signature") from error


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
