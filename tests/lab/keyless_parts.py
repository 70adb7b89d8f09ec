"""What the tests of keyless signatures share: who signs what, and a lab that is running."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sigstore_lab import SigstoreLab

from yoyo.drivers.sigstore.signer import SigstoreSigner
from yoyo.drivers.sigstore.verifier import SigstoreVerifier
from yoyo.model.signing import Identity

DEVELOPER, WORKLOAD = "dev@example.com", "https://ci.example.com/jobs/train@refs/heads/main"
REKORS = pytest.mark.parametrize("rekor", [1, 2])


def statement(what: str = "adapter") -> bytes:
    digest = hashlib.sha256(what.encode()).hexdigest()
    said = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": what, "digest": {"sha256": digest}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
    }
    return json.dumps(said).encode()


@pytest.fixture(scope="module")
def lab() -> Iterator[SigstoreLab]:
    with SigstoreLab() as running:
        yield running


@pytest.fixture(autouse=True)
def all_up(lab: SigstoreLab) -> Iterator[None]:
    yield
    lab.down.clear()


@pytest.fixture(scope="module")
def verifier(lab: SigstoreLab, tmp_path_factory: pytest.TempPathFactory) -> SigstoreVerifier:
    return SigstoreVerifier(lab.trusted_root(tmp_path_factory.mktemp("trust")))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def developer(lab: SigstoreLab) -> Identity:
    return Identity(DEVELOPER, lab.issuer)


def signer_for(lab: SigstoreLab, folder: Path, rekor: int = 1, **claims: Any) -> SigstoreSigner:
    config = lab.trust_config(folder, rekor=rekor)
    return SigstoreSigner(config, lambda: lab.token(**(claims or {"email": DEVELOPER})))
