"""Each of the lab's Sigstore services checks what a real one checks."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
import sigstore_forgeries as forged
import sigstore_trust
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from sigstore.errors import Error
from sigstore.oidc import IdentityToken
from sigstore.oidc import Issuer as OidcClient
from sigstore.verify import Verifier, policy
from sigstore_clients import DEVELOPER, client_signs, signing_context, statement, verifier_of
from sigstore_lab import SigstoreLab
from sigstore_wire import public_pem

CERTIFICATES = "/api/v2/signingCert"
VERSIONS = pytest.mark.parametrize("rekor", [1, 2])


@pytest.fixture(scope="module")
def lab() -> Iterator[SigstoreLab]:
    with SigstoreLab() as running:
        yield running


@pytest.fixture(scope="module")
def verifier(lab: SigstoreLab, tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    return verifier_of(lab, tmp_path_factory.mktemp("trust"))


def post(lab: SigstoreLab, path: str, body: dict[str, Any], token: str = "") -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.post(lab.url + path, json=body, headers=headers, timeout=10)


class TestServices:
    @pytest.mark.parametrize("service", ["fulcio", "rekor"])
    def test_down(self, tmp_path: Path, service: str) -> None:
        with SigstoreLab() as lab:
            lab.down.add(service)
            # The client has no one error for this: Fulcio's and Rekor's are unrelated classes.
            with pytest.raises(Exception, match=r"503|^$"):
                client_signs(lab, tmp_path, lab.token(DEVELOPER), 1)

    def test_client_drops_the_timestamp_when_the_authority_is_down(self, tmp_path: Path) -> None:
        with SigstoreLab() as lab:
            lab.down.add("tsa")
            bundle = client_signs(lab, tmp_path, lab.token(DEVELOPER), 1)
            assert b"signedTimestamp" not in bundle

    @pytest.mark.parametrize("wrong", ["audience", "expired", "forged", "unverified"])
    def test_fulcio_wants_a_good_token(self, lab: SigstoreLab, tmp_path: Path, wrong: str) -> None:
        tokens = {
            "audience": lab.token(DEVELOPER, audience="elsewhere"),
            "expired": lab.token(DEVELOPER, lifetime_s=-60),
            "forged": sigstore_trust.make(lab.url).issuer.token(DEVELOPER),
            "unverified": lab.token(DEVELOPER, claims={"email_verified": False}),
        }
        answer = post(lab, CERTIFICATES, {"certificateSigningRequest": ""}, tokens[wrong])
        assert answer.status_code == (403 if wrong == "unverified" else 401)

    def test_fulcio_wants_the_request_to_be_signed(self, lab: SigstoreLab) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        for asked, status in ((request, 200), (request[:-1] + bytes([request[-1] ^ 1]), 400)):
            text = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(asked)
            text += b"-----END CERTIFICATE REQUEST-----\n"
            body = {"certificateSigningRequest": base64.b64encode(text).decode()}
            assert post(lab, CERTIFICATES, body, lab.token(DEVELOPER)).status_code == status

    @pytest.mark.parametrize(("subject", "status"), [(DEVELOPER, 200), ("eve@example.com", 400)])
    def test_fulcio_takes_a_key_with_its_proof(
        self, lab: SigstoreLab, subject: str, status: int
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        proof = key.sign(subject.encode(), ec.ECDSA(hashes.SHA256()))
        asked = {
            "publicKey": {"content": public_pem(key.public_key()).decode()},
            "proofOfPossession": base64.b64encode(proof).decode(),
        }
        body = {"publicKeyRequest": asked}
        assert post(lab, CERTIFICATES, body, lab.token(DEVELOPER)).status_code == status

    @VERSIONS
    def test_client_signs_an_artifact(
        self, lab: SigstoreLab, verifier: Verifier, tmp_path: Path, rekor: int
    ) -> None:
        context = signing_context(lab, tmp_path, rekor)
        with context.signer(IdentityToken(lab.token(DEVELOPER))) as signer:
            bundle = signer.sign_artifact(b"a blob")
        wanted = policy.Identity(identity=DEVELOPER, issuer=lab.issuer)
        verifier.verify_artifact(b"a blob", bundle, wanted)
        with pytest.raises(Error):
            verifier.verify_artifact(b"another", bundle, wanted)

    @VERSIONS
    def test_rekor_checks_what_it_logs(
        self, lab: SigstoreLab, rekor: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[dict[str, Any]] = []
        name = f"body_v{rekor}"
        honest = getattr(forged, name)

        def body(asked: dict[str, Any]) -> bytes:
            seen.append(asked)
            return bytes(honest(asked))

        monkeypatch.setattr(forged, name, body)
        forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor)
        forged.sign_bundle(lab.parts, statement("other"), DEVELOPER, rekor=rekor)
        path = f"/api/v{rekor}/log/entries"
        assert [post(lab, path, each).status_code for each in seen] == [201, 201]
        if rekor == 1:
            (one, other) = (each["spec"]["proposedContent"] for each in seen)
            one["verifiers"] = other["verifiers"]
        else:
            (one, other) = (each["hashedRekordRequestV002"] for each in seen)
            one["digest"] = other["digest"]
        refused = post(lab, path, seen[0])
        assert refused.status_code == 400
        assert refused.json()["message"] in ("could not verify envelope", "invalid signature")
        assert post(lab, path, {"kind": "jar", "apiVersion": "0.0.1"}).status_code == 400

    @pytest.mark.parametrize(
        ("kind", "body", "status"),
        [("application/json", b"{}", 415), ("application/timestamp-query", b"0\x03", 400)],
    )
    def test_timestamp_authority_wants_a_query(
        self, lab: SigstoreLab, kind: str, body: bytes, status: int
    ) -> None:
        url = f"{lab.url}/api/v1/timestamp"
        answer = requests.post(url, data=body, headers={"Content-Type": kind}, timeout=10)
        assert answer.status_code == status

    def test_cosign_environment(self, lab: SigstoreLab, tmp_path: Path) -> None:
        files = {name: Path(file) for name, file in lab.cosign_environment(tmp_path).items()}
        log = load_pem_public_key(files["SIGSTORE_REKOR_PUBLIC_KEY"].read_bytes())
        assert log == lab.parts.rekor_v1.public_key
        chain = x509.load_pem_x509_certificates(files["SIGSTORE_ROOT_FILE"].read_bytes())
        chain[0].verify_directly_issued_by(chain[1])

    def test_issuer_is_discovered(self, lab: SigstoreLab) -> None:
        assert OidcClient(lab.issuer).oidc_config.token_endpoint.startswith(lab.issuer)
        token = lab.token(DEVELOPER)
        key = jwt.PyJWKClient(f"{lab.issuer}/oidc/keys").get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, algorithms=["ES256"], audience="sigstore")
        assert claims["email"] == DEVELOPER
