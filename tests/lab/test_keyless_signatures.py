"""Keyless verification against a Sigstore of our own: no forgery passes, each has its reason."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sigstore_forgeries as forged
import sigstore_trust
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyless_parts import (
    DEVELOPER,
    all_up,
    developer,
    lab,
    no_network,
    statement,
    verifier,
)
from sigstore_ca import CtLog
from sigstore_lab import SigstoreLab

from yoyo.core.dsse import key_bundle
from yoyo.drivers.sigstore.verifier import SigstoreVerifier
from yoyo.errors import BundleRefused
from yoyo.model.signing import Identity

__all__ = ["all_up", "lab", "no_network", "verifier"]


Forgery = Callable[[SigstoreLab, bytes], bytes]


def _signed(who: str = DEVELOPER, **terms: Any) -> Forgery:
    """A bundle that was signed afresh on terms of the forger's."""

    def forge(lab: SigstoreLab, _good: bytes) -> bytes:
        return forged.sign_bundle(lab.parts, statement(), who, **terms)

    return forge


def _with_rogue(part: str, **terms: Any) -> Forgery:
    """A bundle in which one service is another instance's, of the same name."""

    def forge(lab: SigstoreLab, _good: bytes) -> bytes:
        rogue = getattr(sigstore_trust.make(lab.url), part)
        parts = lab.parts._replace(**{part: rogue})
        return forged.sign_bundle(parts, statement(), DEVELOPER, issuer=lab.issuer, **terms)

    return forge


def _other(lab: SigstoreLab, rekor: int = 1) -> bytes:
    return forged.sign_bundle(lab.parts, statement("another"), DEVELOPER, rekor=rekor)


def _material(**fields: Any) -> Forgery:
    def change(whole: dict[str, Any]) -> None:
        whole["verificationMaterial"].update(fields)

    return lambda _lab, good: forged.edit(good, change)


def _entry_field(**fields: Any) -> Forgery:
    def change(whole: dict[str, Any]) -> None:
        whole["verificationMaterial"]["tlogEntries"][0].update(fields)

    return lambda _lab, good: forged.edit(good, change)


def _long_ago(_lab: SigstoreLab, _good: bytes) -> bytes:
    """A certificate that had expired when the log and the timestamp authority saw it."""
    begin = forged.long_ago()
    end = begin + timedelta(minutes=10)
    return forged.sign_bundle(_lab.parts, statement(), DEVELOPER, not_before=begin, not_after=end)


def _promise_alone(_lab: SigstoreLab, good: bytes) -> bytes:
    """The log's time without the promise that binds it, and no other time."""
    return forged.drop_timestamps(good)


FORGERIES: dict[str, tuple[str, int, Forgery]] = {
    "truncated": ("malformed", 1, lambda _lab, good: good[:-5]),
    "deep": ("malformed", 1, lambda _lab, _good: b'{"a":' * 9000 + b"1" + b"}" * 9000),
    "two readings": ("malformed", 1, lambda _lab, good: b'{"mediaType":"x",' + good[1:]),
    "a field's other name": ("malformed", 1, _entry_field(integrated_time="1")),
    "two signatures": (
        "malformed", 1,
        lambda _lab, good: forged.edit(
            good, lambda whole: whole["dsseEnvelope"]["signatures"].append({"sig": "QQ=="})
        ),
    ),
    "a log id of another type": ("malformed", 1, _entry_field(logId=7)),
    "a key's": ("mode", 1, lambda _lab, _good: key_bundle(statement(), b"signature", "hint")),
    "another's": ("identity", 1, _signed(who="eve@example.com")),
    "another's, alike": ("identity", 1, _signed(who=DEVELOPER.upper())),
    "another's with ours as its end": ("identity", 1, _signed(who="e" + DEVELOPER)),
    "another issuer": ("issuer", 1, _signed(issuer="https://issuer.example.com")),
    "expired certificate": ("certificate", 1, _long_ago),
    "expired certificate, v2": ("certificate", 2, lambda lab, good: _long_ago_v2(lab)),
    "certificate of the future": (
        "certificate", 1,
        lambda lab, _good: forged.sign_bundle(
            lab.parts, statement(), DEVELOPER,
            not_before=datetime.now(UTC) + timedelta(hours=1),
        ),
    ),
    "rogue authority": ("certificate", 1, _with_rogue("authority")),
    "certificate that no log knows": ("certificate", 1, _signed(sct=False)),
    "certificate that a rogue log knows": ("certificate", 1, lambda lab, _good: forged.sign_bundle(
        lab.parts, statement(), DEVELOPER, ct=CtLog())),
    "no certificate": ("certificate", 1, _material(certificate={"rawBytes": "QUJD"})),
    "no time": ("timestamp", 1, _promise_alone),
    "no time, v2": ("timestamp", 2, lambda _lab, good: forged.drop_timestamps(good)),
    "no timestamps asked for, v2": ("timestamp", 2, _signed(rekor=2, tsa=False)),
    "rogue timestamp authority": ("timestamp", 2, _with_rogue("tsa", rekor=2)),
    # The log's own time would do; a wrong one beside it is still a lie.
    "rogue timestamp authority beside the log's": ("timestamp", 1, _with_rogue("tsa")),
    "another's timestamp": (
        "timestamp", 2, lambda lab, good: forged.swap_timestamps(good, _other(lab, 2))
    ),
    "a timestamp that is none": (
        "timestamp", 1,
        _material(timestampVerificationData={"rfc3161Timestamps": [{"signedTimestamp": "QQ=="}]}),
    ),
    "forged inclusion": ("log", 1, lambda _lab, good: forged.forge_inclusion(good)),
    "forged inclusion, v2": ("log", 2, lambda _lab, good: forged.forge_inclusion(good)),
    "forged tree": ("log", 1, lambda _lab, good: forged.forge_tree(good)),
    "forged checkpoint": ("log", 1, lambda _lab, good: forged.forge_checkpoint(good)),
    "forged checkpoint, v2": ("log", 2, lambda _lab, good: forged.forge_checkpoint(good)),
    "forged time": ("log", 1, lambda _lab, good: forged.forge_time(good)),
    "an impossible time": ("log", 1, _entry_field(integratedTime=str(2**63))),
    "rogue log": ("log", 1, _with_rogue("rekor_v1")),
    "rogue log, v2": ("log", 2, _with_rogue("rekor_v2", rekor=2)),
    "no log entry": ("log", 1, lambda _lab, good: forged.drop_entry(good)),
    "no proof": ("log", 1, lambda _lab, good: forged.edit(
        good, lambda whole: whole["verificationMaterial"]["tlogEntries"][0].pop("inclusionProof"))),
    "another's entry": ("log", 1, lambda lab, good: forged.swap_entry(good, _other(lab))),
    "another's entry, v2": ("log", 2, lambda lab, good: forged.swap_entry(good, _other(lab, 2))),
    "another payload": (
        "signature", 1, lambda _lab, good: forged.swap_payload(good, statement("evil"))
    ),
    "another's signature": (
        "signature", 1, lambda lab, good: forged.swap_signature(good, _other(lab))
    ),
    "another's certificate": (
        "signature", 1, lambda lab, good: forged.swap_certificate(good, _other(lab))
    ),
    "retyped": ("payload", 1, lambda _lab, good: forged.retype(good, "text/plain")),
    "of another type": ("payload", 1, _signed(payload_type="text/plain")),
}  # fmt: skip


def _long_ago_v2(lab: SigstoreLab) -> bytes:
    begin = forged.long_ago()
    end = begin + timedelta(minutes=10)
    return forged.sign_bundle(
        lab.parts, statement(), DEVELOPER, rekor=2, not_before=begin, not_after=end
    )


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_refused_for_the_right_reason(
    name: str, lab: SigstoreLab, verifier: SigstoreVerifier, no_network: None
) -> None:
    reason, rekor, forge = FORGERIES[name]
    good = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor)
    verifier.verify(good, (developer(lab),))
    with pytest.raises(BundleRefused) as caught:
        verifier.verify(forge(lab, good), (developer(lab),))
    assert (caught.value.reason, bool(caught.value.why)) == (reason, True), caught.value.why
    verifier.verify(good, (developer(lab),))


def _paths(tree: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where anything is in a JSON tree."""
    below: list[tuple[Any, Any]] = []
    if isinstance(tree, dict):
        below = list(tree.items())
    elif isinstance(tree, list):
        below = list(enumerate(tree))
    for step, value in below:
        yield (*path, step)
        yield from _paths(value, (*path, step))


_VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.just({}) | st.just([]) | st.just("")
    | st.integers(-1, 2**70).map(str) | st.text(max_size=30)
    | st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode())
)  # fmt: skip


@pytest.fixture(scope="module")
def honest(lab: SigstoreLab) -> list[bytes]:
    """One bundle of each log."""
    return [forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor) for rekor in (1, 2)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    which=st.integers(0, 1),
    where=st.integers(0, 10_000),
    within=st.none() | st.integers(0, 10_000),
    value=_VALUES,
    character=st.sampled_from("AB0+=\n\u2014 "),
)
def test_no_change_anywhere_makes_another_statement_or_signer(
    which: int,
    where: int,
    within: int | None,
    value: object,
    character: str,
    lab: SigstoreLab,
    honest: list[bytes],
    verifier: SigstoreVerifier,
    no_network: None,
) -> None:
    tree = json.loads(honest[which])
    paths = list(_paths(tree))
    *above, last = paths[where % len(paths)]
    place = tree
    for step in above:
        place = place[step]
    if isinstance(place[last], str) and within is not None:
        old, at = place[last], within % len(place[last])
        value = old[:at] + character + old[at + 1 :]
    place[last] = value
    try:
        found = verifier.verify(json.dumps(tree).encode(), (developer(lab),))
    except BundleRefused:
        return
    true = verifier.verify(honest[which], (developer(lab),))
    assert (found.payload, found.identity) == (true.payload, true.identity)
    entry = json.loads(honest[which])["verificationMaterial"]["tlogEntries"][0]
    assert found.log_index in (true.log_index, int(entry["inclusionProof"]["logIndex"]))


def test_every_reason_has_its_forgery() -> None:
    provoked = {reason for reason, _rekor, _forge in FORGERIES.values()}
    assert provoked | {"untrusted"} == set(BundleRefused.REASONS)


def test_nobody_accepted_is_a_refusal(lab: SigstoreLab, verifier: SigstoreVerifier) -> None:
    good = forged.sign_bundle(lab.parts, statement(), DEVELOPER)
    for accepted in ((), (Identity("key:sha256:00"),), (Identity(DEVELOPER),)):
        with pytest.raises(BundleRefused) as caught:
            verifier.verify(good, accepted)
        assert caught.value.reason in ("identity", "issuer")
    with pytest.raises(BundleRefused, match="identity"):
        verifier.verify(b"", ())


def test_the_earliest_of_several_times_is_told(
    lab: SigstoreLab, verifier: SigstoreVerifier
) -> None:
    """A second timestamp, got later for the same signature, does not make it newer."""
    now = datetime.now(UTC).replace(microsecond=0)
    good = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=2)
    first = verifier.verify(good, (developer(lab),)).signed_at
    later = forged.edit(good, lambda whole: _stamped_again(lab, whole, now + timedelta(minutes=5)))
    assert verifier.verify(later, (developer(lab),)).signed_at == first


def _stamped_again(lab: SigstoreLab, whole: dict[str, Any], at: datetime) -> None:
    signature = base64.b64decode(whole["dsseEnvelope"]["signatures"][0]["sig"])
    token = lab.parts.tsa.token(hashlib.sha256(signature).digest(), at=at)
    stamps = whole["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps.append({"signedTimestamp": base64.b64encode(token).decode()})


@pytest.mark.parametrize("rekor", [1, 2])
@pytest.mark.parametrize("bound", ["start", "end"])
def test_a_timestamp_authority_counts_in_its_time_alone(
    bound: str, rekor: int, lab: SigstoreLab, tmp_path: Path
) -> None:
    path = lab.trusted_root(tmp_path)
    root = json.loads(path.read_text())
    hour = timedelta(hours=1 if bound == "start" else -1)
    at = (datetime.now(UTC) + hour).strftime("%Y-%m-%dT%H:%M:%SZ")
    root["timestampAuthorities"][0]["validFor"][bound] = at
    path.write_text(json.dumps(root))
    good = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=rekor)
    with pytest.raises(BundleRefused) as caught:
        SigstoreVerifier(path).verify(good, (developer(lab),))
    assert caught.value.reason == "timestamp"


def test_the_index_is_the_one_that_is_proven(lab: SigstoreLab, verifier: SigstoreVerifier) -> None:
    """Rekor v2 promises nothing, so that an entry's own index binds nobody."""
    good = forged.sign_bundle(lab.parts, statement(), DEVELOPER, rekor=2)
    proven = verifier.verify(good, (developer(lab),)).log_index
    lied = _entry_field(logIndex="999999")(lab, good)
    assert verifier.verify(lied, (developer(lab),)).log_index == proven


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]", '{"mediaType": "other"}'])
def test_a_trusted_root_that_is_none_trusts_nobody(
    content: str | None, lab: SigstoreLab, tmp_path: Path
) -> None:
    path = tmp_path / "root.json"
    if content is not None:
        path.write_text(content)
    good = forged.sign_bundle(lab.parts, statement(), DEVELOPER)
    with pytest.raises(BundleRefused) as caught:
        SigstoreVerifier(path).verify(good, (developer(lab),))
    assert caught.value.reason == "untrusted"
    assert str(path) in caught.value.why


@pytest.mark.parametrize(
    ("part", "reason"),
    [("tlogs", "untrusted"), ("certificateAuthorities", "untrusted"), ("ctlogs", "untrusted"),
     ("timestampAuthorities", "timestamp")],
)  # fmt: skip
def test_a_trusted_root_without_a_part_trusts_nobody(
    part: str, reason: str, lab: SigstoreLab, tmp_path: Path
) -> None:
    path = lab.trusted_root(tmp_path)
    root = json.loads(path.read_text())
    root[part] = []
    path.write_text(json.dumps(root))
    good = forged.sign_bundle(lab.parts, statement(), DEVELOPER)
    with pytest.raises(BundleRefused) as caught:
        SigstoreVerifier(path).verify(good, (developer(lab),))
    assert caught.value.reason == reason
