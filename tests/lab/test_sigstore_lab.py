"""The lab's Sigstore is one for the unmodified client, and each of its lies is found out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sigstore_forgeries as forged
import sigstore_trust
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from sigstore.errors import Error
from sigstore.models import Bundle
from sigstore.verify import Verifier
from sigstore_ca import Authority, CtLog
from sigstore_clients import DEVELOPER, WORKLOAD, check, client_signs, statement, verifier_of
from sigstore_lab import SigstoreLab
from sigstore_log import RekorV1, RekorV2, Tree, path_of, root_of
from sigstore_trust import Parts
from sigstore_tsa import TimestampAuthority

VERSIONS = pytest.mark.parametrize("rekor", [1, 2])


@pytest.fixture(scope="module")
def lab() -> Iterator[SigstoreLab]:
    with SigstoreLab() as running:
        yield running


@pytest.fixture(scope="module")
def verifier(lab: SigstoreLab, tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    return verifier_of(lab, tmp_path_factory.mktemp("trust"))


class TestHonest:
    @VERSIONS
    def test_client_signs_and_verifies_without_a_network(
        self, lab: SigstoreLab, verifier: Verifier, tmp_path: Path, rekor: int
    ) -> None:
        bundle = client_signs(lab, tmp_path, lab.token(DEVELOPER), rekor)
        asked = list(lab.asked)
        assert check(verifier, lab, bundle) == statement()
        assert lab.asked == asked
        assert asked[-3:] == [
            "/api/v2/signingCert",
            "/api/v1/timestamp",
            f"/api/v{rekor}/log/entries",
        ]

    @VERSIONS
    def test_workload_is_named_by_its_subject(
        self, lab: SigstoreLab, verifier: Verifier, tmp_path: Path, rekor: int
    ) -> None:
        bundle = client_signs(lab, tmp_path, lab.token(sub=WORKLOAD), rekor)
        assert check(verifier, lab, bundle, WORKLOAD) == statement()

    def test_log_alone_gives_the_time_in_version_1(
        self, lab: SigstoreLab, verifier: Verifier, tmp_path: Path
    ) -> None:
        bundle = client_signs(lab, tmp_path, lab.token(DEVELOPER), 1, tsa=False)
        assert b"signedTimestamp" not in bundle
        assert check(verifier, lab, bundle) == statement()

    @VERSIONS
    def test_bundle_without_client_is_as_good(
        self, lab: SigstoreLab, verifier: Verifier, rekor: int
    ) -> None:
        bundle = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor)
        assert check(verifier, lab, bundle) == statement()

    @VERSIONS
    def test_expired_certificate_counts_at_its_time(
        self, lab: SigstoreLab, verifier: Verifier, rekor: int
    ) -> None:
        then = forged.long_ago()
        bundle = forged.sign_bundle(
            lab.parts, statement(), DEVELOPER, rekor=rekor, not_before=then, at=then
        )
        assert check(verifier, lab, bundle) == statement()

    @VERSIONS
    def test_resigned_is_by_another(self, lab: SigstoreLab, verifier: Verifier, rekor: int) -> None:
        first = forged.sign_bundle(lab.parts, statement(), DEVELOPER)
        bundle = forged.resign(first, lab.parts, WORKLOAD, rekor=rekor)
        assert check(verifier, lab, bundle, WORKLOAD) == statement()
        with pytest.raises(Error, match="SANs do not match"):
            check(verifier, lab, bundle, DEVELOPER)

    def test_one_root_serves_several_signers(self, lab: SigstoreLab, verifier: Verifier) -> None:
        bundles = [forged.sign_bundle(lab.parts, statement(str(n)), DEVELOPER) for n in range(9)]
        indexes = [Bundle.from_json(each).log_entry._inner.log_index for each in bundles]
        assert indexes == list(range(indexes[0], indexes[0] + 9))
        for each in bundles:
            check(verifier, lab, each)


# What is altered, and what the client says to it. Both are bundles of the lab's own identity.
Change = Callable[[bytes, bytes], bytes]
ALTERED: dict[str, tuple[Change, str]] = {
    "inclusion": (lambda one, _: forged.forge_inclusion(one), "invalid root hash: expected"),
    "tree": (lambda one, _: forged.forge_tree(one), "invalid root hash signature"),
    "checkpoint": (lambda one, _: forged.forge_checkpoint(one), "checkpoint: invalid signature"),
    "times": (lambda one, _: forged.drop_timestamps(one), "inclusion promise or signed timestamp"),
    "entry": (lambda one, _: forged.drop_entry(one), "exactly one log entry"),
    "swapped entry": (forged.swap_entry, "payload hash does not match|inconsistent with other"),
    "swapped certificate": (forged.swap_certificate, "DSSE: invalid signature"),
    "swapped signature": (forged.swap_signature, "DSSE: invalid signature|verified time"),
    "payload": (
        lambda one, _: forged.swap_payload(one, statement("worse")),
        "DSSE: invalid signature",
    ),
    "type": (lambda one, _: forged.retype(one, "text/plain"), "DSSE: invalid signature"),
}
# Who lies among the parts; all else is as it should be.
Liar = Callable[[Parts], Parts]
LIARS: dict[str, tuple[Liar, str]] = {
    "authority": (
        lambda parts: parts._replace(authority=Authority(parts.ct)),
        "failed to build timestamp certificate chain",
    ),
    "another instance": (
        lambda parts: sigstore_trust.make(parts.url),
        "not enough sources of verified time|failed to build timestamp certificate chain",
    ),
    "log": (
        lambda parts: parts._replace(rekor_v1=RekorV1(), rekor_v2=RekorV2()),
        "checkpoint: invalid signature",
    ),
    "log under a known name": (
        lambda parts: parts._replace(
            rekor_v1=RekorV1(parts.rekor_v1.log_id), rekor_v2=RekorV2(parts.rekor_v2.log_id)
        ),
        "checkpoint: invalid signature",
    ),
}


class TestRefused:
    @VERSIONS
    @pytest.mark.parametrize("what", ALTERED)
    def test_altered(self, lab: SigstoreLab, verifier: Verifier, rekor: int, what: str) -> None:
        change, message = ALTERED[what]
        one = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor)
        other = forged.sign_bundle(lab.parts, statement("other"), DEVELOPER, rekor=rekor)
        check(verifier, lab, one)
        with pytest.raises(Error, match=message):
            check(verifier, lab, change(one, other))

    @VERSIONS
    @pytest.mark.parametrize("who", LIARS)
    def test_liar(self, lab: SigstoreLab, verifier: Verifier, rekor: int, who: str) -> None:
        replace, message = LIARS[who]
        bundle = forged.sign_bundle(replace(lab.parts), statement(), DEVELOPER, rekor=rekor)
        with pytest.raises(Error, match=message):
            check(verifier, lab, bundle)

    @VERSIONS
    def test_log_can_pretend(self, lab: SigstoreLab, rekor: int) -> None:
        bundles = [
            forged.sign_bundle(parts, statement(), DEVELOPER, rekor=rekor)
            for parts in (lab.parts, *(LIARS[who][0](lab.parts) for who in LIARS if "log" in who))
        ]
        ids = [Bundle.from_json(each).log_entry._inner.log_id.key_id for each in bundles]
        assert ids[0] != ids[1]
        assert ids[0] == ids[2]

    @VERSIONS
    def test_unknown_certificate_log(
        self, lab: SigstoreLab, verifier: Verifier, rekor: int
    ) -> None:
        bundle = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor, ct=CtLog())
        with pytest.raises(Error, match="failed to verify SCT"):
            check(verifier, lab, bundle)

    @VERSIONS
    def test_certificate_that_no_log_knows(
        self, lab: SigstoreLab, verifier: Verifier, rekor: int
    ) -> None:
        bundle = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor, sct=False)
        with pytest.raises(Error, match="does not contain a signed certificate timestamp"):
            check(verifier, lab, bundle)

    @VERSIONS
    @pytest.mark.parametrize("hours", [-2, 2])
    def test_certificate_of_another_time(
        self, lab: SigstoreLab, verifier: Verifier, rekor: int, hours: int
    ) -> None:
        begin = forged.long_ago() + timedelta(hours=2 + hours)
        bundle = forged.sign_bundle(
            lab.parts, statement(), DEVELOPER, rekor=rekor, not_before=begin
        )
        with pytest.raises(Error, match="failed to build timestamp certificate chain"):
            check(verifier, lab, bundle)

    def test_moved_log_time(self, lab: SigstoreLab, verifier: Verifier) -> None:
        bundle = forged.sign_bundle(lab.parts, statement(), DEVELOPER)
        with pytest.raises(Error, match="SET: invalid inclusion promise"):
            check(verifier, lab, forged.forge_time(bundle))

    def test_version_2_needs_the_timestamp_authority(
        self, lab: SigstoreLab, verifier: Verifier
    ) -> None:
        bundle = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=2)
        claimed = forged.forge_time(forged.drop_timestamps(bundle, promise=False), 1_800_000_000)
        with pytest.raises(Error, match="inclusion promise or signed timestamp"):
            check(verifier, lab, claimed)

    def test_unknown_timestamp_authority(self, lab: SigstoreLab, verifier: Verifier) -> None:
        parts = lab.parts._replace(tsa=TimestampAuthority())
        bundle = forged.sign_bundle(parts, statement(), DEVELOPER, rekor=2)
        with pytest.raises(Error, match="not enough sources of verified time"):
            check(verifier, lab, bundle)

    def test_timestamp_of_another_signature(self, lab: SigstoreLab, verifier: Verifier) -> None:
        one = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=2)
        other = forged.sign_bundle(lab.parts, statement("other"), DEVELOPER, rekor=2)
        with pytest.raises(Error, match="not enough sources of verified time"):
            check(verifier, lab, forged.swap_timestamps(one, other))

    def test_another_issuer(self, lab: SigstoreLab, verifier: Verifier) -> None:
        bundle = forged.sign_bundle(
            lab.parts, statement(), DEVELOPER, issuer="https://accounts.example.net"
        )
        with pytest.raises(Error, match="Issuer"):
            check(verifier, lab, bundle)

    @VERSIONS
    @settings(deadline=None)
    @given(data=st.data())
    def test_any_bit(
        self, lab: SigstoreLab, verifier: Verifier, rekor: int, data: st.DataObject
    ) -> None:
        bundle = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor)
        place = data.draw(st.sampled_from(SIGNED))
        bit = data.draw(st.integers(0))
        # What is no certificate any more is not in the client's own hierarchy of errors.
        with pytest.raises((Error, ValueError, x509.InvalidVersion)):
            check(verifier, lab, forged.edit(bundle, lambda whole: flip(whole, place, bit)))


Place = tuple[str | int, ...]
PROOF: Place = ("verificationMaterial", "tlogEntries", 0, "inclusionProof")
SIGNED: list[Place] = [
    ("dsseEnvelope", "payload"),
    ("dsseEnvelope", "signatures", 0, "sig"),
    ("verificationMaterial", "certificate", "rawBytes"),
    ("verificationMaterial", "tlogEntries", 0, "canonicalizedBody"),
    (*PROOF, "rootHash"),
    (*PROOF, "hashes", 0),
    (*PROOF, "hashes", -1),
]


def flip(whole: Any, place: Place, bit: int) -> None:
    """Flip one bit of base64 there; counted modulo their number."""
    for step in place[:-1]:
        whole = whole[step]
    data = bytearray(base64.b64decode(whole[place[-1]]))
    index = bit % (8 * len(data))
    data[index // 8] ^= 1 << index % 8
    whole[place[-1]] = base64.b64encode(data).decode()


class TestTree:
    def test_known_root(self) -> None:
        """The vectors of the first certificate transparency log's own tests."""
        data = ["", "00", "10", "2021", "3031", "40414243"]
        data += ["5051525354555657", "606162636465666768696a6b6c6d6e6f"]
        leaves = [hashlib.sha256(b"\0" + bytes.fromhex(each)).digest() for each in data]
        expected = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        assert root_of(leaves).hex() == expected

    @settings(deadline=None)
    @given(st.integers(1, 70), st.data())
    def test_path_leads_to_the_root(self, size: int, data: st.DataObject) -> None:
        leaves = [hashlib.sha256(b"%d" % each).digest() for each in range(size)]
        index = data.draw(st.integers(0, size - 1))
        assert walk(index, size, leaves[index], path_of(index, leaves)) == root_of(leaves)

    def test_grows(self) -> None:
        tree = Tree(others=0)
        proofs = [tree.append(b"%d" % each) for each in range(20)]
        assert [each.leaf for each in proofs] == list(range(20))
        assert len({each.root for each in proofs}) == 20


def walk(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """The root by RFC 9162, section 2.1.3.2: from the leaf up, not by splitting."""
    node, last, found = index, size - 1, leaf
    for each in path:
        assert last > 0
        if node & 1 or node == last:
            found = hashlib.sha256(b"\1" + each + found).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + each).digest()
        node, last = node >> 1, last >> 1
    assert last == 0
    return found
