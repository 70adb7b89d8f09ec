"""A bundle is read in one way only, whatever it is made of."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.dsse import (
    CERTIFICATE,
    MAX_DEPTH,
    MAX_TIMESTAMPS,
    PUBLIC_KEY,
    DsseError,
    LogEntry,
    claimed_predicate_type,
    key_bundle,
    pae,
    read_bundle,
)
from yoyo.model.signing import BUNDLE_TYPE, MAX_BUNDLE_BYTES, PAYLOAD_TYPE

STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/x"}'
BYTES = base64.b64encode(b"some bytes").decode()
ENTRY = {
    "logIndex": "12",
    "logId": {"keyId": BYTES},
    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
    "integratedTime": "1793000000",
    "inclusionPromise": {"signedEntryTimestamp": BYTES},
    "inclusionProof": {
        "logIndex": "3",
        "rootHash": BYTES,
        "treeSize": "9",
        "hashes": [BYTES],
        "checkpoint": {"envelope": "text"},
    },
    "canonicalizedBody": BYTES,
}


def keyless() -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(key_bundle(STATEMENT, b"signature", "unused"))
    tree["verificationMaterial"] = {
        "certificate": {"rawBytes": BYTES},
        "tlogEntries": [json.loads(json.dumps(ENTRY))],
        "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": BYTES}]},
    }
    return tree


def written(tree: object) -> bytes:
    return json.dumps(tree).encode()


def test_what_is_signed_is_what_the_protocol_says() -> None:
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("\u00e9", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@given(st.text(), st.binary(), st.text(), st.binary())
def test_two_messages_are_never_signed_as_the_same_bytes(
    one: str, first: bytes, other: str, second: bytes
) -> None:
    try:
        same = pae(one, first) == pae(other, second)
    except UnicodeEncodeError:
        return
    assert same == ((one, first) == (other, second))


@given(
    st.binary(max_size=2000),
    st.binary(min_size=1, max_size=100),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=256),
)
def test_what_a_key_signed_is_read_again(payload: bytes, signature: bytes, hint: str) -> None:
    found = read_bundle(key_bundle(payload, signature, hint))
    assert (found.payload, found.signature, found.hint) == (payload, signature, hint)
    assert (found.material, found.payload_type) == (PUBLIC_KEY, PAYLOAD_TYPE)
    assert (found.certificate, found.entries, found.timestamps) == (b"", (), ())


def test_a_keyless_bundle_is_read() -> None:
    found = read_bundle(written(keyless()))
    assert (found.material, found.certificate, found.hint) == (CERTIFICATE, b"some bytes", "")
    assert found.timestamps == (b"some bytes",)
    assert found.entries == (LogEntry(12, 1793000000, True),)


def test_a_time_without_a_promise_is_none_and_the_index_is_the_proofs() -> None:
    tree = keyless()
    del tree["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]
    assert read_bundle(written(tree)).entries == (LogEntry(3, None, True),)
    tree["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "0"
    del tree["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    assert read_bundle(written(tree)).entries == (LogEntry(3, None, False),)


def test_a_promise_of_no_time_is_no_time() -> None:
    tree = keyless()
    tree["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "0"
    assert read_bundle(written(tree)).entries == (LogEntry(3, None, True),)


def _set(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(tree: Any) -> None:
        for step in path[:-1]:
            tree = tree[step]
        tree[path[-1]] = to

    return change


_VM, _ENV = "verificationMaterial", "dsseEnvelope"
_SIG = {"sig": BYTES}
MALFORMED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another version": (
        _set("mediaType", to="application/vnd.dev.sigstore.bundle+json;version=0.3"),
        "media type",
    ),
    "no media type": (lambda tree: tree.pop("mediaType"), "media type"),
    "signs bytes": (_set("messageSignature", to={}), "not a statement"),
    "unknown field": (_set("dsse_envelope", to={}), "unknown field 'dsse_envelope'"),
    "no envelope": (lambda tree: tree.pop(_ENV), "the envelope is missing"),
    "envelope is a list": (_set(_ENV, to=[]), "the envelope is missing"),
    "no signature": (_set(_ENV, "signatures", to=[]), "0 signatures"),
    "two signatures": (_set(_ENV, "signatures", to=[_SIG, _SIG]), "2 signatures"),
    "empty signature": (_set(_ENV, "signatures", to=[{"sig": ""}]), "signature is empty"),
    "signature is text": (_set(_ENV, "signatures", to=["sig"]), "the signature is missing"),
    "payload type is a number": (_set(_ENV, "payloadType", to=1), "the payload type"),
    "payload type is half a character": (_set(_ENV, "payloadType", to="\ud800"), "not Unicode"),
    "payload is no base64": (_set(_ENV, "payload", to="a b="), "the payload is not base64"),
    "payload is base64url": (_set(_ENV, "payload", to="__8="), "the payload is not base64"),
    "payload has no padding": (_set(_ENV, "payload", to="QQ"), "the payload is not base64"),
    "payload has stray bits": (_set(_ENV, "payload", to="QR=="), "in its one form"),
    "payload is Arabic digits": (_set(_ENV, "payload", to="\u0661" * 4), "not base64"),
    "no material": (_set(_VM, to={}), "exactly one of certificate and publicKey"),
    "both materials": (_set(_VM, "publicKey", to={"hint": "x"}), "exactly one of"),
    "a chain": (_set(_VM, "x509CertificateChain", to={}), "unknown field"),
    "empty certificate": (_set(_VM, "certificate", "rawBytes", to=""), "certificate is empty"),
    "key without a hint": (_set(_VM, to={"publicKey": {}}), "hint"),
    "entries are an object": (_set(_VM, "tlogEntries", to={}), "tlogEntries"),
    "entry is a number": (_set(_VM, "tlogEntries", to=[1]), "the log entry is missing"),
    "entry by another name": (
        _set(_VM, "tlogEntries", 0, "integrated_time", to="1"),
        "unknown field 'integrated_time'",
    ),
    "proof by another name": (
        _set(_VM, "tlogEntries", 0, "inclusionProof", "log_index", to="1"),
        "unknown field 'log_index'",
    ),
    "negative index": (_set(_VM, "tlogEntries", 0, "logIndex", to="-1"), "logIndex"),
    "index as a number": (_set(_VM, "tlogEntries", 0, "logIndex", to=1), "logIndex"),
    "endless index": (_set(_VM, "tlogEntries", 0, "logIndex", to="9" * 5000), "logIndex"),
    "many timestamps": (
        _set(
            _VM, "timestampVerificationData",
            to={"rfc3161Timestamps": [{"signedTimestamp": BYTES}] * (MAX_TIMESTAMPS + 1)},
        ),
        "timestamps",
    ),
    "timestamp is text": (
        _set(_VM, "timestampVerificationData", to={"rfc3161Timestamps": [BYTES]}),
        "a timestamp is missing",
    ),
    "a fraction": (_set(_VM, "tlogEntries", 0, "kindVersion", to=1.5), "1.5 is no number"),
    "not a number": (_set(_VM, "tlogEntries", 0, "kindVersion", to=float("nan")), "NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused_with_its_place(name: str) -> None:
    change, said = MALFORMED[name]
    tree = keyless()
    change(tree)
    with pytest.raises(DsseError, match=said):
        read_bundle(written(tree))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a JSON document"),
        (b"[]", "not a JSON object"),
        (b"\xff{}", "not a JSON document"),
        (b'{"mediaType": 1, "mediaType": 2}', "twice"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "not a JSON document|nested"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested"),
        (b"[" * 200_000, "not a JSON document"),
        (b'{"a":' + b"9" * 5000 + b"}", "not a JSON document"),
        (b" " * MAX_BUNDLE_BYTES + b"{}", "larger than"),
    ],
)
def test_no_document_is_too_strange_to_be_refused(data: bytes, said: str) -> None:
    with pytest.raises(DsseError, match=said):
        read_bundle(data)


def test_every_truncation_is_refused() -> None:
    whole = written(keyless())
    for length in range(len(whole)):
        with pytest.raises(DsseError):
            read_bundle(whole[:length])


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DsseError):
        read_bundle(data)
    assert claimed_predicate_type(data) == ""


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.data(), _JSON)
def test_any_value_in_any_place_is_read_or_refused(data: st.DataObject, value: object) -> None:
    tree: Any = keyless()
    place = tree
    while True:
        steps = range(len(place)) if isinstance(place, list) else sorted(place)
        step: Any = data.draw(st.sampled_from(list(steps)))
        if not isinstance(place[step], dict | list) or not place[step] or data.draw(st.booleans()):
            break
        place = place[step]
    place[step] = value
    try:
        found = read_bundle(written(tree))
    except DsseError:
        return
    assert len(found.signatures) == 1
    assert found.media_type == BUNDLE_TYPE


def test_the_predicate_type_is_what_an_unverified_statement_claims() -> None:
    assert claimed_predicate_type(key_bundle(STATEMENT, b"x", "x")) == "https://slsa.dev/x"


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b'{"predicateType":1}', b'{"predicateType":"a\\nb"}',
     b'{"predicateType":"' + b"a" * 257 + b'"}', b'{"predicateType":"\\ud800"}',
     b'{"predicateType":"a","predicateType":"b"}'],
)  # fmt: skip
def test_no_predicate_type_is_claimed_by_what_is_no_statement(payload: bytes) -> None:
    assert claimed_predicate_type(key_bundle(payload, b"x", "x")) == ""
