"""What a signature bundle says, read once and strictly: both ways of verifying stand on it.

The formats: DSSE 1.0 (secure-systems-lab/dsse, protocol.md and envelope.md) inside a Sigstore
bundle v0.3 (sigstore/protobuf-specs, sigstore_bundle.proto, as protobuf's JSON). Reading says
nothing about authenticity.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final, NamedTuple, NoReturn

from yoyo.model.signing import BUNDLE_TYPE, MAX_BUNDLE_BYTES, PAYLOAD_TYPE

CERTIFICATE, PUBLIC_KEY = "certificate", "publicKey"
# A real bundle nests seven deep.
MAX_DEPTH: Final = 24
# As many as sigstore-go verifies at the most (pkg/verify/tsa.go).
MAX_TIMESTAMPS: Final = 32
_MAX_INT_CHARS: Final = 20  # of an unsigned 64-bit number
_MAX_TYPE_CHARS: Final = 256
_ENTRY: Final = (
    "logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise", "inclusionProof",
    "canonicalizedBody",
)  # fmt: skip
_PROOF: Final = ("logIndex", "rootHash", "treeSize", "hashes", "checkpoint")
_MATERIAL: Final = (CERTIFICATE, PUBLIC_KEY, "tlogEntries", "timestampVerificationData")


class DsseError(ValueError):
    """The bundle is not one; the message says where."""


class LogEntry(NamedTuple):
    """What a transparency log is claimed to have said; the entry itself is the log's to judge."""

    log_index: int  # as the promise binds it; without one, as the inclusion proof does
    integrated: int | None  # Unix seconds; None without a promise that binds it
    proven: bool  # whether there is an inclusion proof with a checkpoint


class Bundle(NamedTuple):
    """A bundle's parts, decoded. Nothing in it is verified."""

    media_type: str
    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]  # exactly one
    material: str  # CERTIFICATE or PUBLIC_KEY
    certificate: bytes = b""  # DER
    hint: str = ""  # which public key, as its signer calls it
    entries: tuple[LogEntry, ...] = ()
    timestamps: tuple[bytes, ...] = ()  # RFC 3161 responses, DER

    @property
    def signature(self) -> bytes:
        """The only one."""
        return self.signatures[0]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a DSSE signature is over (protocol.md, "Pre-Authentication Encoding")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_bundle(statement: bytes, signature: bytes, hint: str) -> bytes:
    """A bundle v0.3 of an in-toto statement, signed by the key that `hint` names."""
    return json.dumps(
        {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {PUBLIC_KEY: {"hint": hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(statement).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode()}],
            },
        },
        separators=(",", ":"),
    ).encode()


def read_bundle(data: bytes) -> Bundle:
    """The parts of a bundle v0.3 with a DSSE envelope; unknown fields are refused.

    Raises:
        DsseError.
    """
    tree = _parsed(data)
    if "messageSignature" in tree:
        raise DsseError("it signs some bytes, and not a statement about them")
    top = _fields(tree, ("mediaType", "verificationMaterial", "dsseEnvelope"), "the bundle")
    if top.get("mediaType") != BUNDLE_TYPE:
        raise DsseError(f"the bundle's media type is not {BUNDLE_TYPE}")
    envelope = _fields(
        top.get("dsseEnvelope"), ("payload", "payloadType", "signatures"), "the envelope"
    )
    signatures = _list(envelope.get("signatures"), "the envelope's signatures")
    if len(signatures) != 1:
        raise DsseError(f"the envelope has {len(signatures)} signatures, not exactly one")
    signature = _bytes(_fields(signatures[0], ("sig", "keyid"), "the signature").get("sig"), "sig")
    if not signature:
        raise DsseError("the signature is empty")
    material = _fields(top.get("verificationMaterial"), _MATERIAL, "the verification material")
    certificate, hint = _identity(material)
    return Bundle(
        media_type=BUNDLE_TYPE,
        payload_type=_text(envelope.get("payloadType"), "the payload type"),
        payload=_bytes(envelope.get("payload"), "the payload"),
        signatures=(signature,),
        material=CERTIFICATE if certificate else PUBLIC_KEY,
        certificate=certificate,
        hint=hint,
        entries=tuple(map(_entry, _list(material.get("tlogEntries", []), "tlogEntries"))),
        timestamps=_timestamps(material.get("timestampVerificationData")),
    )


def claimed_predicate_type(data: bytes) -> str:
    """The predicate type that an unverified bundle claims to have; "" if it is malformed."""
    try:
        statement = _parsed(read_bundle(data).payload)
        claimed = _text(statement.get("predicateType"), "the predicate type")
    except DsseError:
        return ""
    return claimed if claimed.isprintable() else ""


def _parsed(data: bytes) -> dict[str, Any]:
    """A JSON object: each key once, whole numbers alone, no deeper than MAX_DEPTH."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise DsseError("a key is there twice")
        return fields

    def refused(number: str) -> NoReturn:
        raise DsseError(f"{number[:20]} is no number of a bundle")

    if len(data) > MAX_BUNDLE_BYTES:
        raise DsseError(f"larger than {MAX_BUNDLE_BYTES} bytes")
    try:
        tree = json.loads(
            data.decode("utf-8"), object_pairs_hook=once, parse_constant=refused,
            parse_float=refused,
        )  # fmt: skip
    except DsseError:
        raise
    except (ValueError, RecursionError) as error:
        raise DsseError(f"not a JSON document: {type(error).__name__}") from error
    if not isinstance(tree, dict):
        raise DsseError("not a JSON object")
    _shallow(tree)
    return tree


def _shallow(tree: object) -> None:
    level: list[object] = [tree]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise DsseError(f"nested more than {MAX_DEPTH} deep")


def _fields(value: object, known: tuple[str, ...], what: str) -> dict[str, Any]:
    """An object without unknown keys: another parser might read one as a field's other name."""
    if not isinstance(value, dict):
        raise DsseError(f"{what} is missing, or not an object")
    for key in value:
        if key not in known:
            raise DsseError(f"{what} has the unknown field {key[:60]!a}")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise DsseError(f"{what} is missing, or not a list")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TYPE_CHARS:
        raise DsseError(f"{what} is not text of 1 to {_MAX_TYPE_CHARS} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DsseError(f"{what} is not Unicode") from error
    return value


def _bytes(value: object, what: str) -> bytes:
    """Standard base64 with its padding, in the one form that encoding gives."""
    if not isinstance(value, str):
        raise DsseError(f"{what} is missing, or not base64")
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DsseError(f"{what} is not base64") from error
    if base64.b64encode(decoded).decode() != value:
        raise DsseError(f"{what} is not base64 in its one form")
    return decoded


def _identity(material: dict[str, Any]) -> tuple[bytes, str]:
    """Certificate (DER) or key hint: exactly one of them is not empty."""
    given = [kind for kind in (CERTIFICATE, PUBLIC_KEY) if material.get(kind) is not None]
    if len(given) != 1:
        raise DsseError("the bundle has not exactly one of certificate and publicKey")
    if given == [CERTIFICATE]:
        leaf = _fields(material[CERTIFICATE], ("rawBytes",), "the certificate")
        certificate = _bytes(leaf.get("rawBytes"), "the certificate")
        if not certificate:
            raise DsseError("the certificate is empty")
        return certificate, ""
    key = _fields(material[PUBLIC_KEY], ("hint",), "publicKey")
    return b"", _text(key.get("hint"), "the key's hint")


def _entry(value: object) -> LogEntry:
    entry = _fields(value, _ENTRY, "the log entry")
    index = _whole(entry.get("logIndex", "0"), "logIndex")
    integrated = _whole(entry.get("integratedTime", "0"), "integratedTime")
    promised = entry.get("inclusionPromise") is not None and integrated > 0
    proven = entry.get("inclusionProof") is not None
    if proven:
        proof = _fields(entry["inclusionProof"], _PROOF, "the inclusion proof")
        proven = proof.get("checkpoint") is not None
        if not promised:
            index = _whole(proof.get("logIndex", "0"), "logIndex")
    return LogEntry(index, integrated if promised else None, proven)


def _whole(value: object, what: str) -> int:
    """A 64-bit number: protobuf's JSON writes it as text, and leaves out a zero."""
    text = value if isinstance(value, str) and len(value) <= _MAX_INT_CHARS else ""
    if not (text.isascii() and text.isdigit()):
        raise DsseError(f"{what} is no whole number")
    return int(text)


def _timestamps(value: object) -> tuple[bytes, ...]:
    if value is None:
        return ()
    data = _fields(value, ("rfc3161Timestamps",), "the timestamps")
    each = _list(data.get("rfc3161Timestamps", []), "rfc3161Timestamps")
    if len(each) > MAX_TIMESTAMPS:
        raise DsseError(f"more than {MAX_TIMESTAMPS} timestamps")
    return tuple(
        _bytes(
            _fields(one, ("signedTimestamp",), "a timestamp").get("signedTimestamp"), "a timestamp"
        )
        for one in each
    )
