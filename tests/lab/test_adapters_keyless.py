"""Adapters whose signers a Sigstore vouches for: let in by three identities, refused otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest
import sigstore_forgeries as forged
import sigstore_trust
from adapters_forgeries import (
    Case,
    Sign,
    World,
    check_refused,
    ids,
    world_of,
)
from adapters_parts import (
    BUILDER,
    EVALUATOR,
    PEOPLE,
    SIGNER,
    TONE,
    AdapterPlace,
    adapter_place,
    write_key,
)
from sigstore_lab import SigstoreLab

from yoyo.drivers.keys.signer import KeySigner


class KeylessWorld(World):
    """A world with its Sigstore, and that of a forger."""

    lab: SigstoreLab
    rogue: sigstore_trust.Parts

    def forge(self, role: str = SIGNER, **terms: object) -> bytes:
        """The role's statement under a certificate with those terms."""
        who = str(terms.pop("who", PEOPLE[role]))
        return forged.sign_bundle(self.lab.parts, self.words()[role], who, **terms)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lab() -> Iterator[SigstoreLab]:
    with SigstoreLab() as running:
        yield running


@pytest.fixture(scope="module")
def kept(lab: SigstoreLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeylessWorld]:
    """One adapter that was promoted by the real commands, each signer with a token of its own."""
    home = tmp_path_factory.mktemp("keyless")
    with adapter_place(home) as place:
        place.keyless_mode(lab)
        place.publish(TONE)
        with world_of(place, home, honest(lab)) as made:
            world = KeylessWorld(place, made.registry, made.snapshot, made.sign)
            world.lab, world.rogue = lab, sigstore_trust.make(lab.url)
            yield world


@pytest.fixture
def world(kept: KeylessWorld) -> Iterator[KeylessWorld]:
    yield kept
    kept.lab.down.clear()
    kept.snapshot.restore()


def honest(lab: SigstoreLab) -> Sign:
    return lambda role, words: forged.sign_bundle(lab.parts, words, PEOPLE[role])


def signed(make: Callable[[KeylessWorld], bytes], role: str = SIGNER) -> Callable[[World], None]:
    """The bundle of one role is replaced, those of the others are in order."""

    def tamper(world: World) -> None:
        assert isinstance(world, KeylessWorld)
        world.revouch(**{role: make(world)})

    return tamper


def altered(change: Callable[[bytes], bytes]) -> Callable[[World], None]:
    """The signer's bundle as it is, but for one thing."""
    return signed(lambda world: change(world.forge()))


def expired(world: KeylessWorld) -> bytes:
    """Signed now, with a certificate that ended an hour ago."""
    ago = forged.long_ago()
    return world.forge(not_before=ago, not_after=ago + timedelta(minutes=10))


def by_rogue(world: KeylessWorld, *, whole: bool) -> bytes:
    """Names are right, keys are not: of the authority alone, or of everything."""
    rogue, lab = world.rogue, world.lab
    parts = rogue if whole else lab.parts._replace(authority=rogue.authority, ct=rogue.ct)
    words = world.words()[SIGNER]
    return forged.sign_bundle(parts, words, PEOPLE[SIGNER], issuer=lab.issuer)


def by_keys(world: World) -> None:
    """In order for whoever trusts these keys, which are not what is trusted here."""
    folder = world.place.root / "keys"
    for role in PEOPLE:
        write_key(folder, role)
    words = world.words()
    world.revouch(**{
        role: KeySigner(folder / f"{role}.key", None).sign(words[role]) for role in words
    })  # fmt: skip


def by_author(world: KeylessWorld) -> bytes:
    """Who built it is trusted to evaluate, too."""
    people = [f"{PEOPLE[role]} {world.lab.issuer}" for role in (BUILDER, EVALUATOR)]
    world.place.settle_on(evaluators=people)
    return world.forge(EVALUATOR, who=PEOPLE[BUILDER])


CASES = (
    Case("wrong identity", signed(lambda w: w.forge(who="mallory@acme.example")), "(identity)"),
    Case("the evaluator signs", signed(lambda w: w.forge(who=PEOPLE[EVALUATOR])), "(identity)"),
    Case("wrong issuer", signed(lambda w: w.forge(issuer="https://evil.example")), "(issuer)"),
    Case("expired certificate", signed(expired), "(certificate)"),
    Case("forged certificate", signed(lambda w: by_rogue(w, whole=False)), "(certificate)"),
    Case("by another Sigstore", signed(lambda w: by_rogue(w, whole=True)), "(timestamp)"),
    Case("certificate in no log", signed(lambda w: w.forge(sct=False)), "(certificate)"),
    Case("forged inclusion proof", altered(forged.forge_inclusion), "(log)"),
    Case("forged checkpoint", altered(forged.forge_checkpoint), "(log)"),
    Case("in no log", altered(forged.drop_entry), "(log)"),
    Case("no timestamp", altered(forged.drop_timestamps), "(timestamp)"),
    Case("time moved", altered(partial(forged.forge_time, seconds=60)), "(log)"),
    Case("keys", by_keys, "(mode)"),
    Case("sign-off by the author", signed(by_author, EVALUATOR), "(author)"),
)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_it_is_refused_with_its_own_reason(world: KeylessWorld, case: Case) -> None:
    check_refused(world, case)


def test_three_identities_let_it_in_and_the_record_names_them(world: KeylessWorld) -> None:
    """Checked with the pinned root alone: no service of the Sigstore is asked."""
    place, lab = world.place, world.lab
    lab.down.update(("oidc", "fulcio", "rekor", "tsa"))
    asked = len(lab.asked)
    place.run("up")
    assert len(lab.asked) == asked
    active = place.adapters("active")["adapters"][0]
    signers = {each["role"]: each["identity"] for each in active["signers"]}
    assert signers == {
        role: f"{PEOPLE[who]} ({lab.issuer})"
        for role, who in (("signature", SIGNER), ("provenance", BUILDER), ("sign-off", EVALUATOR))
    }
    assert place.tokens({0: 1.0}) != place.tokens({0: 0.0})
    place.run("ask", "hello", "--max-tokens", "4")
    assert [row["adapter_versions"] for row in place.rows()[-2:]] == [TONE, TONE]
    place.run("down")
    place.sound()


def test_a_failed_word_counts_by_its_time(world: KeylessWorld) -> None:
    """An evaluation that failed before the one that passed is history; a later one is not."""
    earlier = forged.long_ago()
    failed = world.words(verdict="FAILED")[EVALUATOR]
    old = forged.sign_bundle(
        world.lab.parts, failed, PEOPLE[EVALUATOR], at=earlier,
        not_before=earlier - timedelta(minutes=1), not_after=earlier + timedelta(minutes=9),
    )  # fmt: skip
    world.attach(world.ref, old, "https://in-toto.io/attestation/test-result/v0.1")
    world.place.adapters("verify", TONE)
    world.vouch(world.ref, {EVALUATOR: failed})
    error = world.place.adapters("verify", TONE, code=88)["error"]
    assert "(failed)" in error["what"]


def test_without_a_root_nothing_is_started(world: KeylessWorld) -> None:
    place: AdapterPlace = world.place
    del place.trust["root"]
    before = place.rows()
    try:
        place.settle_on()
        error = place.json("up", code=10)["error"]
        assert "trust.root" in error["why"]
    finally:
        place.trust["root"] = str(place.root / "trusted_root.json")
    assert place.rows() == before
