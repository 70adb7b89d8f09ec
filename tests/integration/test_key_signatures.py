"""Key mode: what a key signed verifies, and nothing else does, each refusal with its reason."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.dsse import key_bundle, pae
from yoyo.drivers.keys.signer import KeySigner
from yoyo.drivers.keys.verifier import KeyVerifier, identity_of
from yoyo.errors import BundleRefused, SigningFailed
from yoyo.model.ids import Secret
from yoyo.model.signing import MAX_BUNDLE_BYTES, PAYLOAD_TYPE, Identity

STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://x.example"}'
PASSWORD = "correct horse"
KINDS = pytest.mark.parametrize("kind", ["p256", "ed25519"])


class Pair(NamedTuple):
    """A private key and how its public half is written."""

    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    public: bytes


def pair(kind: str = "p256") -> Pair:
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "p256":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Pair(key, public)


def key_file(
    folder: Path, key: Any, password: str = "", form: PrivateFormat = PrivateFormat.PKCS8
) -> Path:
    path = folder / "signing.pem"
    locked = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, form, locked))
    path.chmod(0o600)
    return path


def refused(bundle: bytes, trusted: bytes, *accepted: Identity) -> BundleRefused:
    with pytest.raises(BundleRefused) as caught:
        KeyVerifier((trusted,)).verify(bundle, accepted or (identity_of(trusted),))
    assert caught.value.reason in BundleRefused.REASONS
    return caught.value


@KINDS
@pytest.mark.parametrize("password", ["", PASSWORD])
def test_what_a_key_signed_verifies_as_its_own(tmp_path: Path, kind: str, password: str) -> None:
    one = pair(kind)
    signer = KeySigner(
        key_file(tmp_path, one.private, password), Secret(password) if password else None
    )
    bundle = signer.sign(STATEMENT)
    found = KeyVerifier((pair().public, one.public)).verify(bundle, (signer.identity,))
    der = one.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found.identity == Identity(f"key:sha256:{hashlib.sha256(der).hexdigest()}", "")
    assert found.identity == identity_of(one.public) == signer.identity
    assert (found.payload, found.payload_type) == (STATEMENT, PAYLOAD_TYPE)
    assert found.bundle == "sha256:" + hashlib.sha256(bundle).hexdigest()
    assert (found.signed_at, found.log_index, signer.public) == (None, None, False)
    # As cosign names a key.
    hint = json.loads(bundle)["verificationMaterial"]["publicKey"]["hint"]
    assert hint == base64.b64encode(hashlib.sha256(der).digest()).decode()


def test_a_password_for_another_key_does_no_harm(tmp_path: Path) -> None:
    one = pair()
    bundle = KeySigner(key_file(tmp_path, one.private), Secret("other")).sign(STATEMENT)
    KeyVerifier((one.public,)).verify(bundle, (identity_of(one.public),))


def _edited(bundle: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    tree = json.loads(bundle)
    change(tree)
    return json.dumps(tree).encode()


@KINDS
def test_a_flipped_byte_of_payload_or_signature_is_refused(tmp_path: Path, kind: str) -> None:
    one = pair(kind)
    bundle = KeySigner(key_file(tmp_path, one.private), None).sign(STATEMENT)

    def payload(tree: dict[str, Any]) -> None:
        changed = STATEMENT.replace(b"x.example", b"y.example")
        tree["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()

    def signature(tree: dict[str, Any]) -> None:
        raw = bytearray(base64.b64decode(tree["dsseEnvelope"]["signatures"][0]["sig"]))
        raw[-1] ^= 1
        tree["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(raw).decode()

    assert refused(_edited(bundle, payload), one.public).reason == "signature"
    assert refused(_edited(bundle, signature), one.public).reason == "signature"


def test_the_signature_of_another_statement_or_key_is_refused(tmp_path: Path) -> None:
    one, other = pair(), pair()
    bundle = KeySigner(key_file(tmp_path, one.private), None).sign(STATEMENT)
    second = KeySigner(key_file(tmp_path, one.private), None).sign(b"{}")
    foreign = KeySigner(key_file(tmp_path, other.private), None).sign(STATEMENT)

    def swapped(source: bytes) -> bytes:
        taken = json.loads(source)["dsseEnvelope"]["signatures"]
        return _edited(bundle, lambda tree: tree["dsseEnvelope"].update(signatures=taken))

    assert refused(swapped(second), one.public).reason == "signature"
    assert refused(swapped(foreign), one.public).reason == "signature"
    assert refused(foreign, one.public).reason == "identity"


def test_two_signatures_are_refused_though_one_is_right(tmp_path: Path) -> None:
    one = pair()
    bundle = KeySigner(key_file(tmp_path, one.private), None).sign(STATEMENT)
    twice = _edited(bundle, lambda tree: tree["dsseEnvelope"]["signatures"].append({"sig": "QQ=="}))
    assert refused(twice, one.public).reason == "malformed"


@KINDS
def test_another_payload_type_is_refused_though_signed(kind: str) -> None:
    one = pair(kind)
    message = pae("text/plain", STATEMENT)
    if isinstance(one.private, ed25519.Ed25519PrivateKey):
        signature = one.private.sign(message)
    else:
        from cryptography.hazmat.primitives.hashes import SHA256

        signature = one.private.sign(message, ec.ECDSA(SHA256()))
    hint = base64.b64encode(bytes.fromhex(identity_of(one.public).subject[11:])).decode()
    bundle = _edited(
        key_bundle(STATEMENT, signature, hint),
        lambda tree: tree["dsseEnvelope"].update(payloadType="text/plain"),
    )
    assert refused(bundle, one.public).reason == "payload"


def test_a_keyless_bundle_is_refused_for_its_mode(tmp_path: Path) -> None:
    one = pair()
    bundle = KeySigner(key_file(tmp_path, one.private), None).sign(STATEMENT)

    def keyless(tree: dict[str, Any]) -> None:
        tree["verificationMaterial"] = {"certificate": {"rawBytes": "QQ=="}, "tlogEntries": []}

    assert refused(_edited(bundle, keyless), one.public).reason == "mode"


def test_only_accepted_identities_count(tmp_path: Path) -> None:
    one, other = pair(), pair()
    bundle = KeySigner(key_file(tmp_path, one.private), None).sign(STATEMENT)
    mine = identity_of(one.public)
    for accepted in (identity_of(other.public), mine._replace(issuer="https://issuer.example")):
        assert refused(bundle, one.public, accepted).reason == "identity"
    for keys in ((one.public,), ()):
        with pytest.raises(BundleRefused, match="identity"):
            KeyVerifier(keys).verify(bundle, ())
    # The key's own name is no other key's: its hint says whose it is, and the signature is not.
    lie = _edited(
        KeySigner(key_file(tmp_path, other.private), None).sign(STATEMENT),
        lambda tree: tree.update(verificationMaterial=json.loads(bundle)["verificationMaterial"]),
    )
    assert refused(lie, one.public).reason == "signature"


@pytest.mark.parametrize("bad", [b"", b"{", b"[" * 100_000, b"{}", b"null", b"\xff\xfe"])
def test_what_is_no_bundle_is_malformed(bad: bytes) -> None:
    assert refused(bad, pair().public).reason == "malformed"


@given(position=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_no_flipped_bit_makes_another_statement_pass(position: int, bit: int) -> None:
    one = _FIXED
    changed = bytearray(_FIXED_BUNDLE)
    changed[position % len(changed)] ^= 1 << bit
    try:
        found = KeyVerifier((one.public,)).verify(bytes(changed), (identity_of(one.public),))
    except BundleRefused:
        return
    assert found.payload == STATEMENT


def _fixed() -> tuple[Pair, bytes]:
    one = pair("ed25519")
    assert isinstance(one.private, ed25519.Ed25519PrivateKey)
    hint = base64.b64encode(bytes.fromhex(identity_of(one.public).subject[11:])).decode()
    return one, key_bundle(STATEMENT, one.private.sign(pae(PAYLOAD_TYPE, STATEMENT)), hint)


_FIXED, _FIXED_BUNDLE = _fixed()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_a_key_that_others_can_get_at_is_not_used(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, pair().private)
    path.chmod(mode)
    with pytest.raises(SigningFailed, match="not used") as caught:
        KeySigner(path, None).sign(STATEMENT)
    assert f"{mode:04o}" in caught.value.why
    assert caught.value.fix == f"chmod 600 {path}"
    path.chmod(0o400)
    KeySigner(path, None).sign(STATEMENT)


def _failed(path: Path, password: str | None = None) -> SigningFailed:
    with pytest.raises(SigningFailed) as caught:
        _ = KeySigner(path, Secret(password) if password is not None else None).identity
    error = caught.value
    assert error.fix
    if password:
        assert password not in f"{error.what} {error.why} {error.fix} {error!r}"
    return error


def test_an_encrypted_key_wants_its_password(tmp_path: Path) -> None:
    path = key_file(tmp_path, pair().private, PASSWORD)
    missing = _failed(path)
    assert "no password" in missing.what
    assert "YOYO_KEY_PASSWORD" in missing.fix
    assert "password is wrong" in _failed(path, "wrong horse").why
    assert "password is wrong" in _failed(path, "").why


def test_other_kinds_of_key_are_refused(tmp_path: Path) -> None:
    for other in (
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
    ):
        assert "neither EC P-256 nor Ed25519" in _failed(key_file(tmp_path, other)).why
        with pytest.raises(BundleRefused, match="untrusted"):
            identity_of(
                other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            )
    old = key_file(tmp_path, pair().private, form=PrivateFormat.TraditionalOpenSSL)
    error = _failed(old)
    assert "PKCS #8" in error.why
    assert "openssl pkcs8 -topk8" in error.fix


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in _failed(tmp_path / "absent.pem").why
    assert "not a regular file" in _failed(tmp_path).why
    pipe = tmp_path / "pipe.pem"
    os.mkfifo(pipe, 0o600)
    assert "not a regular file" in _failed(pipe).why
    path = key_file(tmp_path, pair().private)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in _failed(path).why
    path.write_bytes(whole + b" " * 70_000)
    assert "too large" in _failed(path).why


@pytest.mark.parametrize(
    "bad", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_a_trusted_key_that_is_none_is_said_to_be_none(bad: bytes) -> None:
    for use in (identity_of, lambda pem: KeyVerifier((pem,))):
        with pytest.raises(BundleRefused) as caught:
            use(bad)
        assert caught.value.reason == "untrusted"


def test_a_trusted_key_is_one_public_key(tmp_path: Path) -> None:
    one = pair()
    secret = key_file(tmp_path, one.private).read_bytes()
    with pytest.raises(BundleRefused, match="untrusted") as caught:
        identity_of(secret)
    assert "private key" in caught.value.why
    with pytest.raises(BundleRefused, match="untrusted"):
        identity_of(one.public + pair().public)


def test_a_statement_that_no_verifier_would_read_is_not_signed(tmp_path: Path) -> None:
    signer = KeySigner(key_file(tmp_path, pair().private), None)
    with pytest.raises(SigningFailed, match="too large"):
        signer.sign(b" " * MAX_BUNDLE_BYTES)
