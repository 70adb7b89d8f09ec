"""Who a certificate names, and where an identity token comes from: in doubt, nobody and none."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sigstore_forgeries as forged
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from keyless_parts import (
    DEVELOPER,
    WORKLOAD,
    developer,
    lab,
    statement,
    verifier,
)
from sigstore_lab import SigstoreLab

from yoyo.drivers.sigstore.certificate import ISSUER_DER, ISSUER_RAW, Accepted, named_by
from yoyo.drivers.sigstore.tokens import identity_token
from yoyo.drivers.sigstore.verifier import SigstoreVerifier
from yoyo.errors import BundleRefused, SigningFailed
from yoyo.model.signing import Identity

__all__ = ["lab", "verifier"]


def _certificate(
    names: list[x509.GeneralName], issuers: dict[str, bytes], key: Any = None
) -> x509.Certificate:
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(subject_name=x509.Name([]), issuer_name=x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(minutes=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for dotted, value in issuers.items():
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), value)
        builder = builder.add_extension(unknown, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm)


_MAIL, _URI = x509.RFC822Name(DEVELOPER), x509.UniformResourceIdentifier(WORKLOAD)
_ISSUER = b"https://issuer.example"


def _der(text: bytes) -> bytes:
    length = bytes([len(text)]) if len(text) < 128 else bytes([0x81, len(text)])
    return b"\x0c" + length + text


@pytest.mark.parametrize(
    "issuers",
    [{ISSUER_RAW: _ISSUER}, {ISSUER_DER: _der(_ISSUER)},
     {ISSUER_RAW: _ISSUER, ISSUER_DER: _der(_ISSUER)}],
)  # fmt: skip
def test_a_certificate_names_one_subject_and_its_issuer(issuers: dict[str, bytes]) -> None:
    said = Identity(DEVELOPER, _ISSUER.decode())
    assert named_by(_certificate([_MAIL], issuers)) == said
    assert named_by(_certificate([_URI], issuers)).subject == WORKLOAD
    policy = Accepted((said,))
    policy.verify(_certificate([_MAIL], issuers))
    assert policy.found == said


def test_a_long_issuer_is_read() -> None:
    long = b"https://" + b"i" * 190
    assert named_by(_certificate([_MAIL], {ISSUER_DER: _der(long)})).issuer == long.decode()


@pytest.mark.parametrize(
    ("names", "issuers"),
    [
        ([], {ISSUER_RAW: _ISSUER}),
        ([_MAIL, _URI], {ISSUER_RAW: _ISSUER}),
        ([_MAIL, _MAIL], {ISSUER_RAW: _ISSUER}),
        ([x509.DNSName("example.com")], {ISSUER_RAW: _ISSUER}),
        ([_MAIL], {}),
        ([_MAIL], {ISSUER_RAW: b""}),
        ([_MAIL], {ISSUER_RAW: b"\xff"}),
        ([_MAIL], {ISSUER_RAW: _ISSUER, ISSUER_DER: _der(b"https://other.example")}),
        ([_MAIL], {ISSUER_DER: _ISSUER}),
        ([_MAIL], {ISSUER_DER: _der(_ISSUER) + b"x"}),
        ([_MAIL], {ISSUER_DER: b"\x0c\x81\x03abc"}),
        ([_MAIL], {ISSUER_DER: b"\x0c"}),
    ],
)
def test_a_certificate_that_names_nobody_for_certain_is_refused(
    names: list[x509.GeneralName], issuers: dict[str, bytes]
) -> None:
    with pytest.raises(BundleRefused) as caught:
        named_by(_certificate(names, issuers))
    assert caught.value.reason == "certificate"


def test_a_key_that_is_not_ecdsa_is_refused(lab: SigstoreLab, verifier: SigstoreVerifier) -> None:

    key = ed25519.Ed25519PrivateKey.generate()
    leaf = _certificate([_MAIL], {ISSUER_RAW: _ISSUER}, key).public_bytes(Encoding.DER)
    good = forged.sign_bundle(lab.parts, statement(), DEVELOPER)
    raw = {"rawBytes": base64.b64encode(leaf).decode()}
    bad = forged.edit(good, lambda whole: whole["verificationMaterial"].update(certificate=raw))
    with pytest.raises(BundleRefused) as caught:
        verifier.verify(bad, (developer(lab),))
    assert caught.value.reason == "certificate"


TOKEN, OTHER = "aaa.bbb.ccc", "ddd.eee.fff"


@pytest.fixture
def no_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "GITLAB_", "ACTIONS_", "BUILDKITE", "CIRCLE", "GOOGLE_")):
            monkeypatch.delenv(name)


def test_the_tokens_file_goes_before_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    env = {"SIGSTORE_ID_TOKEN": "x.y.z", "YOYO_IDENTITY_TOKEN": OTHER}
    assert identity_token(path, env) == TOKEN
    assert identity_token(None, env) == OTHER
    assert identity_token(None, {"SIGSTORE_ID_TOKEN": "x.y.z"}) == "x.y.z"


def test_a_token_from_the_platform_comes_last(
    no_platform: None, monkeypatch: pytest.MonkeyPatch, lab: SigstoreLab
) -> None:
    token = lab.token(DEVELOPER)
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", token)
    assert identity_token(None, {}) == token
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "not.a.token")
    with pytest.raises(SigningFailed, match="platform") as caught:
        identity_token(None, {})
    assert "not.a.token" not in f"{caught.value.what}{caught.value.why}"


def test_no_token_names_the_three_ways(no_platform: None) -> None:
    with pytest.raises(SigningFailed, match="no identity token") as caught:
        identity_token(None, {})
    for way in ("token_file", "YOYO_IDENTITY_TOKEN", "GitHub Actions"):
        assert way in caught.value.fix


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_token_file_that_others_can_read_is_not_used(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(mode)
    with pytest.raises(SigningFailed, match="not used") as caught:
        identity_token(path, {"YOYO_IDENTITY_TOKEN": OTHER})
    assert caught.value.fix == f"chmod 600 {path}"


@pytest.mark.parametrize("content", [b"", b"hunter2", b"a.b", b"a.b.c.d", b"a b.c.d", b"\xff" * 9])
def test_what_is_no_token_is_refused_and_not_shown(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SigningFailed) as caught:
        identity_token(path, {"YOYO_IDENTITY_TOKEN": OTHER})
    assert "hunter2" not in f"{caught.value.what}{caught.value.why}{caught.value.fix}"


def test_a_token_file_that_is_none_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    large = tmp_path / "large"
    large.write_bytes(b"a" * 100_000)
    large.chmod(0o600)
    for path in (tmp_path / "absent", tmp_path, pipe, large):
        with pytest.raises(SigningFailed, match="token file"):
            identity_token(path, {"YOYO_IDENTITY_TOKEN": OTHER})
