"""Keyless signing with a Sigstore of our own: what leaves verifies offline, or nothing leaves."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sigstore_ca
import sigstore_trust
from keyless_parts import (
    DEVELOPER,
    REKORS,
    WORKLOAD,
    all_up,
    lab,
    no_network,
    signer_for,
    statement,
)
from sigstore_lab import SigstoreLab

from yoyo.drivers.sigstore.signer import SigstoreSigner
from yoyo.drivers.sigstore.verifier import SigstoreVerifier
from yoyo.errors import SigningFailed
from yoyo.model.signing import PAYLOAD_TYPE, Identity

__all__ = ["all_up", "lab", "no_network"]


@REKORS
@pytest.mark.parametrize("who", [{"email": DEVELOPER}, {"sub": WORKLOAD}])
def test_what_was_signed_verifies_without_any_service(
    rekor: int, who: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    with SigstoreLab() as lab:
        signer = signer_for(lab, tmp_path, rekor, **who)
        expected = Identity(next(iter(who.values())), lab.issuer)
        assert signer.identity == expected
        bundle = signer.sign(statement())
        assert signer.identity == expected
        assert not signer.public
        root = lab.trusted_root(tmp_path)
    request.getfixturevalue("no_network")
    stranger = Identity("stranger@example.com", lab.issuer)
    found = SigstoreVerifier(root).verify(bundle, (stranger, expected))
    assert (found.identity, found.payload, found.payload_type) == (
        expected,
        statement(),
        PAYLOAD_TYPE,
    )
    assert found.signed_at is not None
    assert before <= found.signed_at <= datetime.now(UTC)
    entry = json.loads(bundle)["verificationMaterial"]["tlogEntries"][0]
    assert found.log_index == int(entry["logIndex"])
    assert found.bundle == "sha256:" + hashlib.sha256(bundle).hexdigest()


def test_one_certificate_serves_for_several_statements(lab: SigstoreLab, tmp_path: Path) -> None:
    signer = signer_for(lab, tmp_path)
    lab.asked.clear()
    one, other = signer.sign(statement("one")), signer.sign(statement("other"))
    assert lab.asked.count("/api/v2/signingCert") == 1
    assert one != other


def test_a_certificate_near_its_end_is_renewed(
    lab: SigstoreLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sigstore_ca, "LIFETIME", timedelta(seconds=50))
    signer = signer_for(lab, tmp_path)
    lab.asked.clear()
    signer.sign(statement("one"))
    signer.sign(statement("other"))
    assert lab.asked.count("/api/v2/signingCert") == 2


def test_who_signed_is_whom_the_certificate_names(lab: SigstoreLab, tmp_path: Path) -> None:
    """The token claims another issuer, which this instance does not look at."""
    claims = {"federated_claims": {"connector_id": "https://other.example"}}
    signer = signer_for(lab, tmp_path, email=DEVELOPER, claims=claims)
    assert signer.identity == Identity(DEVELOPER, "https://other.example")
    signer.sign(statement())
    assert signer.identity == Identity(DEVELOPER, lab.issuer)


def _echo(server: socket.socket) -> None:
    """Answer one request with its own bearer token as the reason."""
    taken, _ = server.accept()
    with taken:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += taken.recv(65536)
        token = asked.partition(b"Bearer ")[2].partition(b"\r\n")[0]
        taken.sendall(b"HTTP/1.1 400 no " + token + b"\r\nContent-Length: 0\r\n\r\n")


def test_a_token_that_a_service_echoes_is_masked(lab: SigstoreLab, tmp_path: Path) -> None:
    config = lab.trust_config(tmp_path)
    told = json.loads(config.read_text())
    token = lab.token(DEVELOPER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        told["signingConfig"]["caUrls"][0]["url"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        config.write_text(json.dumps(told))
        thread = threading.Thread(target=_echo, args=(server,))
        thread.start()
        with pytest.raises(SigningFailed, match="certificate authority") as caught:
            SigstoreSigner(config, lambda: token).sign(statement())
        thread.join()
    assert "no ****" in caught.value.why


@REKORS
@pytest.mark.parametrize(
    ("service", "said"),
    [("fulcio", "certificate authority"), ("rekor", "transparency log"), ("tsa", "no timestamp")],
)
def test_a_service_that_refuses_leaves_no_bundle(
    service: str, said: str, rekor: int, lab: SigstoreLab, tmp_path: Path
) -> None:
    signer = signer_for(lab, tmp_path, rekor)
    lab.down.add(service)
    with caught_logs() as logged, pytest.raises(SigningFailed, match=said) as caught:
        signer.sign(statement())
    assert caught.value.fix
    assert "eyJ" not in f"{caught.value.why}{logged}"
    assert "503" in caught.value.why
    lab.down.clear()
    signer.sign(statement())


class caught_logs:
    """What any library would have printed."""

    def __enter__(self) -> list[str]:
        self._seen: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: self._seen.append(record.getMessage())  # type: ignore[method-assign]
        self._handler = handler
        logging.getLogger().addHandler(handler)
        return self._seen

    def __exit__(self, *_error: object) -> None:
        logging.getLogger().removeHandler(self._handler)


def test_an_instance_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with SigstoreLab() as lab:
        signer = signer_for(lab, tmp_path)
        token = lab.token(DEVELOPER)
    with pytest.raises(SigningFailed, match="could not be reached") as caught:
        signer.sign(statement())
    assert token not in caught.value.why
    assert "no connection to" in caught.value.why
    assert "ConnectionPool" not in caught.value.why


def test_a_silent_service_is_not_waited_for_without_end(lab: SigstoreLab, tmp_path: Path) -> None:
    config = lab.trust_config(tmp_path)
    told = json.loads(config.read_text())
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for service in told["signingConfig"]["caUrls"]:
            service["url"] = f"http://127.0.0.1:{mute.getsockname()[1]}"
        config.write_text(json.dumps(told))
        signer = SigstoreSigner(config, lambda: lab.token(DEVELOPER), deadline_s=0.3)
        with pytest.raises(SigningFailed, match="was not signed") as caught:
            signer.sign(statement())
        mute.accept()[0].close()
        for thread in threading.enumerate():
            if thread.name == "yoyo-sign":
                thread.join(30)
    assert "silent" in caught.value.why


def test_a_bundle_that_nobody_could_verify_never_leaves(lab: SigstoreLab, tmp_path: Path) -> None:
    """The trust config's services are of one instance, and a key of its root is another's."""
    config = lab.trust_config(tmp_path)
    for part, said in (
        ("tlogs", "does not verify"),
        ("timestampAuthorities", "does not verify"),
        ("certificateAuthorities", "does not verify"),
        ("ctlogs", "could not be signed"),
    ):
        told = json.loads(lab.trust_config(tmp_path).read_text())
        stranger = sigstore_trust.trusted_root(sigstore_trust.make(lab.url))
        told["trustedRoot"][part] = stranger[part]
        config.write_text(json.dumps(told))
        with pytest.raises(SigningFailed, match=said):
            SigstoreSigner(config, lambda: lab.token(DEVELOPER)).sign(statement())


def test_no_time_at_all_never_leaves(lab: SigstoreLab, tmp_path: Path) -> None:
    """Rekor v2 gives none, and this instance's config names no timestamp authority."""
    config = lab.trust_config(tmp_path, rekor=2, tsa=False)
    with pytest.raises(SigningFailed):
        SigstoreSigner(config, lambda: lab.token(DEVELOPER)).sign(statement())


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_trust_config_that_is_none_is_said_to_be(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SigningFailed, match="trust config"):
        SigstoreSigner(path, lambda: "a.b.c").sign(statement())


@pytest.mark.parametrize(
    "terms", [{"lifetime_s": -100.0}, {"audience": "another"}, {"claims": {"sub": None}}]
)
def test_a_token_of_no_use_is_refused_and_not_shown(
    terms: dict[str, Any], lab: SigstoreLab, tmp_path: Path
) -> None:
    token = lab.token(DEVELOPER, **terms)
    signer = SigstoreSigner(lab.trust_config(tmp_path), lambda: token)
    for use in (lambda: signer.identity, lambda: signer.sign(statement())):
        with pytest.raises(SigningFailed, match="token") as caught:
            use()
        assert token not in f"{caught.value.what}{caught.value.why}{caught.value.fix}"


def test_what_is_no_statement_is_not_signed(lab: SigstoreLab, tmp_path: Path) -> None:
    lab.asked.clear()
    with pytest.raises(SigningFailed, match="could not be signed"):
        signer_for(lab, tmp_path).sign(b"{}")
    assert lab.asked == []


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    modules = ["keys.signer", "keys.verifier", "sigstore.signer", "sigstore.verifier"]
    code = "".join(f"import yoyo.drivers.{each}\n" for each in modules)
    code += "import sys; print({'sigstore', 'cryptography', 'requests', 'jwt'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_only_the_public_instance_is_public(tmp_path: Path) -> None:
    assert SigstoreSigner(None, str).public
    assert not SigstoreSigner(tmp_path / "config.json", str).public
