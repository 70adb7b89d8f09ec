"""Bundles that must be refused: signed afresh with parts that lie, or altered afterwards.

`sign_bundle` needs no server and no client: what differs from an honest bundle is in its arguments.
The other functions take a bundle's JSON and give another; none changes more than it says.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore_ca import CtLog
from sigstore_entries import body_v1, body_v2, pae
from sigstore_trust import Parts
from sigstore_wire import P256_DETAILS, Json, b64, der, pem

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sign_bundle(
    parts: Parts,
    statement: bytes,
    who: str,
    *,
    issuer: str = "",
    rekor: int = 1,
    tsa: bool = True,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    at: datetime | None = None,
    sct: bool = True,
    ct: CtLog | None = None,
    payload_type: str = PAYLOAD_TYPE,
) -> bytes:
    """A bundle by these parts, for whomever they are told to vouch for.

    `at` is when log and timestamp authority say that they saw it. Parts of several instances can
    be mixed: `lab.parts._replace(tsa=sigstore_trust.make(lab.url).tsa)`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = parts.authority.issue(
        key.public_key(),
        who,
        issuer or parts.issuer.url,
        not_before=not_before,
        not_after=not_after,
        sct=sct,
        ct=ct,
    )
    signature = key.sign(pae(payload_type, statement), ec.ECDSA(hashes.SHA256()))
    envelope = {
        "payload": b64(statement),
        "payloadType": payload_type,
        "signatures": [{"sig": b64(signature)}],
    }
    material: Json = {"certificate": {"rawBytes": b64(der(certificate))}}
    if rekor == 1:
        body = body_v1(_proposed_v1(envelope, pem(certificate)))
        seconds = None if at is None else at.timestamp()
        material["tlogEntries"] = [parts.rekor_v1.transparency_entry(body, at=seconds)]
    else:
        digest = hashlib.sha256(pae(payload_type, statement)).digest()
        body = body_v2(_proposed_v2(digest, signature, der(certificate)))
        material["tlogEntries"] = [parts.rekor_v2.transparency_entry(body)]
    if tsa:
        token = parts.tsa.token(hashlib.sha256(signature).digest(), at=at)
        material["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": b64(token)}]
        }
    return _encode(
        {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    )


def resign(bundle: bytes, parts: Parts, who: str, **terms: Any) -> bytes:
    """The same statement, signed by somebody else. `terms` as for `sign_bundle`."""
    envelope = json.loads(bundle)["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    return sign_bundle(parts, payload, who, payload_type=envelope["payloadType"], **terms)


def forge_inclusion(bundle: bytes) -> bytes:
    """One bit of the path from the entry to the tree's root is wrong."""

    def change(entry: Json) -> None:
        path = entry["inclusionProof"]["hashes"]
        path[0] = _flipped(path[0])

    return _edit_entry(bundle, change)


def forge_tree(bundle: bytes) -> bytes:
    """A proof that is right for a tree of this entry alone, under the true log's checkpoint."""
    return _edit_entry(bundle, _alone)


def forge_checkpoint(bundle: bytes) -> bytes:
    """As `forge_tree`, and the checkpoint says so too, under the true checkpoint's signature."""

    def change(entry: Json) -> None:
        _alone(entry)
        proof = entry["inclusionProof"]
        text, _, signatures = proof["checkpoint"]["envelope"].partition("\n\n")
        origin = text.split("\n")[0]
        said = f"{origin}\n{proof['treeSize']}\n{proof['rootHash']}"
        proof["checkpoint"]["envelope"] = f"{said}\n\n{signatures}"

    return _edit_entry(bundle, change)


def _alone(entry: Json) -> None:
    leaf = hashlib.sha256(b"\0" + base64.b64decode(entry["canonicalizedBody"])).digest()
    entry["inclusionProof"] |= {
        "logIndex": "0",
        "treeSize": "1",
        "hashes": [],
        "rootHash": b64(leaf),
    }


def forge_time(bundle: bytes, seconds: int = 1) -> bytes:
    """The log's integrated time is moved; its promise is the one for the true time."""

    def change(entry: Json) -> None:
        entry["integratedTime"] = str(int(entry["integratedTime"]) + seconds)

    return _edit_entry(bundle, change)


def drop_promise(bundle: bytes) -> bytes:
    """Without the log's signed time."""

    def change(entry: Json) -> None:
        entry.pop("inclusionPromise", None)

    return _edit_entry(bundle, change)


def drop_timestamps(bundle: bytes, *, promise: bool = True) -> bytes:
    """Without the timestamp authority's word; and without the log's, where `promise`."""

    def change(whole: Json) -> None:
        whole["verificationMaterial"].pop("timestampVerificationData", None)

    dropped = edit(bundle, change)
    return drop_promise(dropped) if promise else dropped


def drop_entry(bundle: bytes) -> bytes:
    """Without any log entry."""

    def change(whole: Json) -> None:
        whole["verificationMaterial"]["tlogEntries"] = []

    return edit(bundle, change)


def swap_timestamps(bundle: bytes, other: bytes) -> bytes:
    """With the timestamps of another bundle."""
    return _swap(bundle, other, "verificationMaterial", "timestampVerificationData")


def swap_entry(bundle: bytes, other: bytes) -> bytes:
    """With the log entry of another bundle."""
    return _swap(bundle, other, "verificationMaterial", "tlogEntries")


def swap_certificate(bundle: bytes, other: bytes) -> bytes:
    """With the certificate of another bundle."""
    return _swap(bundle, other, "verificationMaterial", "certificate")


def swap_signature(bundle: bytes, other: bytes) -> bytes:
    """With the envelope's signature of another bundle."""
    return _swap(bundle, other, "dsseEnvelope", "signatures")


def swap_payload(bundle: bytes, payload: bytes) -> bytes:
    """With another statement under the same signature."""

    def change(whole: Json) -> None:
        whole["dsseEnvelope"]["payload"] = b64(payload)

    return edit(bundle, change)


def retype(bundle: bytes, payload_type: str) -> bytes:
    """With another payload type under the same signature."""

    def change(whole: Json) -> None:
        whole["dsseEnvelope"]["payloadType"] = payload_type

    return edit(bundle, change)


def edit(bundle: bytes, change: Callable[[Json], None]) -> bytes:
    """The bundle after `change` worked on its JSON in place."""
    whole: Json = json.loads(bundle)
    change(whole)
    return _encode(whole)


def long_ago() -> datetime:
    """Before any certificate of now, and after the lab's trust began."""
    return datetime.fromtimestamp(int(datetime.now(UTC).timestamp()) - 7200, UTC)


def _edit_entry(bundle: bytes, change: Callable[[Json], None]) -> bytes:
    def each(whole: Json) -> None:
        for entry in whole["verificationMaterial"]["tlogEntries"]:
            change(entry)

    return edit(bundle, each)


def _swap(bundle: bytes, other: bytes, group: str, part: str) -> bytes:
    def change(whole: Json) -> None:
        whole[group][part] = json.loads(other)[group][part]

    return edit(bundle, change)


def _proposed_v1(envelope: Json, verifier: bytes) -> Json:
    content = {"envelope": json.dumps(envelope), "verifiers": [b64(verifier)]}
    return {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": content}}


def _proposed_v2(digest: bytes, signature: bytes, certificate: bytes) -> Json:
    verifier = {"x509Certificate": {"rawBytes": b64(certificate)}, "keyDetails": P256_DETAILS}
    signed = {"content": b64(signature), "verifier": verifier}
    return {"hashedRekordRequestV002": {"digest": b64(digest), "signature": signed}}


def _flipped(text: str) -> str:
    data = base64.b64decode(text)
    return b64(bytes([data[0] ^ 1]) + data[1:])


def _encode(whole: Json) -> bytes:
    return json.dumps(whole).encode()
