"""Whatever is off with an adapter, it is refused with its own reason, and nothing is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sigstore_forgeries as forged
import sigstore_trust
from adapters_forgeries import (
    OTHER,
    Case,
    World,
    check_refused,
    ids,
    key_sign,
    resize,
    retitle,
    tell,
    world_of,
)
from adapters_parts import BUILDER, EVALUATOR, PEOPLE, SIGNER, TONE, adapter_place
from tiny_lora import write_lora

from yoyo.core.oci_manifest import digest_of
from yoyo.model.oci import IMAGE_MANIFEST


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("refused")
    with adapter_place(home) as place:
        place.key_mode()
        place.publish(TONE)
        with world_of(place, home, key_sign(place)) as made:
            yield made


@pytest.fixture
def world(kept: World) -> Iterator[World]:
    yield kept
    kept.snapshot.restore()


def corrupt_weights(world: World) -> None:
    path = world.file_of(world.artefact.weights.digest)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def longer_weights(world: World) -> None:
    with world.file_of(world.artefact.weights.digest).open("ab") as file:
        file.write(b"more")


def swap_manifest(world: World) -> None:
    path = world.file_of(world.ref.digest)
    path.write_bytes(path.read_bytes().replace(b"acme-tone", b"acme-tune"))


def lose_manifest(world: World) -> None:
    world.file_of(world.ref.digest).unlink()


def of_another_artefact(world: World) -> None:
    """Every bundle of another version, which are all good, under this one."""
    words = world.words(digest=OTHER)
    world.resay(words)


def keyless(world: World) -> None:
    parts = sigstore_trust.make("http://127.0.0.1:1")
    words = world.words()
    world.revouch(**{
        role: forged.sign_bundle(parts, words[role], PEOPLE[role]) for role in words
    })  # fmt: skip


def for_another_base(world: World) -> None:
    """All of it is in order, for a model that is not the node's; the file says that it is."""
    lora = write_lora(world.place.root / "other.gguf", world.place.base, seed=3)
    ref, artefact = world.put(lora.read_bytes(), base=OTHER)
    world.enter(ref, artefact.adapter)
    world.edit(OTHER, world.adapter.base)


def of_another_tenant(world: World) -> None:
    """Another tenant's adapter, all in order, is entered as ours."""
    lora = write_lora(world.place.root / "other.gguf", world.place.base, seed=3)
    ref, artefact = world.put(lora.read_bytes(), id="globex-tone", module_id="globex")
    world.enter(ref, artefact.adapter)
    world.edit("globex-tone", "acme-tone")
    world.edit("moduleId: globex", "moduleId: acme")


def broken(breakage: str, **terms: Any) -> Case:
    """A file that the engine would choke on, in an artefact that is signed as it should be."""

    def tamper(world: World) -> None:
        lora = write_lora(
            world.place.root / "bad.gguf", world.place.base, seed=3, breakage=breakage
        )
        ref, artefact = world.put(lora.read_bytes(), **terms)
        world.enter(ref, artefact.adapter)

    says, code = {
        "architecture": ("(shapes)" if terms else "(header)", "AdapterRefused"),
        "wrong inputs": ("(shapes)", "AdapterRefused"),
        "absurd rank": ("(file)", "AdapterRefused"),
        "not GGUF": ("(file)", "AdapterRefused"),
    }[breakage]
    name = f"file {breakage}{' as declared' if terms else ''}"
    return Case(name, tamper, says, code, seen_by_verify=False)


def traversal(world: World) -> None:
    ref, artefact = world.put(
        b"weights", rewrite=lambda document: retitle(document, "../../../tone.gguf")
    )
    world.enter(ref, artefact.adapter)


def larger_than_declared(world: World) -> None:
    lora = write_lora(world.place.root / "large.gguf", world.place.base, seed=3).read_bytes()
    ref, artefact = world.put(lora, rewrite=lambda document: resize(document, len(lora) - 8))
    world.enter(ref, artefact.adapter)


def by_author(world: World) -> None:
    """Who built it signs it off, and is trusted to evaluate, too."""
    world.place.settle_on(evaluators=["keys/evaluator.pub", "keys/builder.pub"])
    words = world.words()
    world.revouch(**{EVALUATOR: world.sign(BUILDER, words[EVALUATOR])})


CASES = (
    Case(
        "weights corrupted",
        corrupt_weights,
        "another digest",
        "ArtefactCorrupt",
        seen_by_verify=False,
    ),
    Case(
        "weights longer",
        longer_weights,
        "10692 bytes were",
        "ArtefactCorrupt",
        seen_by_verify=False,
    ),
    Case(
        "larger than declared",
        larger_than_declared,
        "(10680 bytes)",
        "ArtefactCorrupt",
        seen_by_verify=False,
    ),
    Case("manifest swapped", swap_manifest, "What came has the digest", "ArtefactCorrupt"),
    Case("manifest lost", lose_manifest, "has no manifest", "ArtefactMissing", booked=False),
    Case("no bundles", lambda world: world.strip(), "(unsigned)"),
    Case("no signature", lambda world: world.revouch(signer=b""), "(unsigned)"),
    Case("no provenance", lambda world: world.revouch(builder=b""), "(unattested)"),
    Case("no sign-off", lambda world: world.revouch(evaluator=b""), "(unevaluated)"),
    Case("bundles of another artefact", of_another_artefact, "(subject)"),
    Case(
        "wrong identity",
        lambda world: world.revouch(signer=world.sign("stranger", world.words()[SIGNER])),
        "(identity)",
    ),
    Case(
        "the evaluator signs",
        lambda world: world.revouch(signer=world.sign(EVALUATOR, world.words()[SIGNER])),
        "(identity)",
    ),
    Case("keyless bundles", keyless, "(mode)"),
    Case(
        "signature of other bytes",
        lambda world: world.revouch(
            signer=forged.swap_payload(
                world.sign(SIGNER, world.words(digest=OTHER)[SIGNER]), world.words()[SIGNER]
            )
        ),
        "(signature)",
    ),
    Case(
        "another payload type",
        lambda world: world.revouch(
            signer=forged.retype(world.sign(SIGNER, world.words()[SIGNER]), "text/plain")
        ),
        "(payload)",
    ),
    Case("no bundle at all", lambda world: world.revouch(signer=b"{}"), "(malformed)"),
    Case(
        "provenance for another base",
        lambda world: world.resay(world.words(base=OTHER)),
        "(base)",
    ),
    Case(
        "provenance of other data",
        lambda world: world.resay(world.words(data=OTHER)),
        "(data)",
    ),
    Case(
        "unknown builder",
        lambda world: world.resay(world.words(builder="https://elsewhere.example")),
        "(builder)",
    ),
    Case("sign-off by the author", by_author, "(author)"),
    Case(
        "evaluation failed",
        lambda world: world.resay(world.words(verdict="FAILED")),
        "(failed)",
    ),
    Case(
        "evaluation failed later",
        lambda world: world.vouch(world.ref, {EVALUATOR: world.words(verdict="FAILED")[EVALUATOR]}),
        "(failed)",
    ),
    Case(
        "evaluation with a warning",
        lambda world: world.resay(world.words(verdict="WARNED")),
        "(warned)",
    ),
    Case("for another base", for_another_base, "(base)"),
    Case("of another tenant", of_another_tenant, "(adapter)"),
    Case("registered data edited", lambda w: w.edit(w.adapter.data, OTHER), "(data)"),
    Case("registered rank edited", lambda w: w.edit("rank: 4", "rank: 8"), "(adapter)"),
    Case("registered task edited", lambda w: w.edit("[chat]", "[legal]"), "(adapter)"),
    Case(
        "registered sign-off edited",
        lambda w: w.edit(digest_of(w.words()[EVALUATOR]), OTHER),
        "(signoff)",
    ),
    Case("nobody trusted", lambda w: w.place.settle_on(signers=[]), "(trust)"),
    Case("traversal in a title", traversal, "is no plain name", "AdapterInvalid"),
    broken("architecture"),
    broken("architecture", architecture="gemma"),
    broken("wrong inputs"),
    broken("absurd rank"),
    broken("not GGUF"),
)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_it_is_refused_with_its_own_reason(world: World, case: Case) -> None:
    check_refused(world, case)


def test_the_table_has_no_case_that_passes_untampered(world: World) -> None:
    """What the cases change is all that is wrong: signed anew by hand, it is let in."""
    world.revouch()
    world.place.adapters("verify", TONE, "--base", "node")
    world.place.run("up")
    assert world.place.rows()[-1]["event_type"] == "BOOT_COMPLETE"
    world.place.run("down")


def test_a_tag_that_moves_moves_nothing(world: World) -> None:
    lora = write_lora(world.place.root / "moved.gguf", world.place.base, seed=9)
    ref, artefact = world.put(lora.read_bytes())
    assert artefact.adapter.name == TONE
    assert ref.digest != world.ref.digest
    document = world.registry.manifest(ref)
    tagged = world.ref._replace(tag="1.0.0", digest="")
    world.registry.put_manifest(tagged, document, IMAGE_MANIFEST)
    assert world.registry.resolve(tagged).digest == ref.digest

    error = world.place.adapters("register", str(tagged), code=91)["error"]
    assert ref.digest in error["why"]
    assert world.ref.digest in error["why"]
    assert world.place.adapters("verify", TONE)["ref"] == str(world.ref)
    world.place.run("up")
    shown = world.place.adapters("active")["adapters"]
    assert [each["digest"] for each in shown] == [world.ref.digest]
    world.place.run("down")
    world.place.sound()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (("moduleId: acme", "moduleId: globex"), "globex"),
        (("stage: promoted", "stage: blessed"), "blessed"),
        (("schema: 2", "schema: 99"), "99"),
        (("tasks: [chat]", "tasks: &a [chat]"), "anchor"),
    ],
)
def test_a_registry_file_that_makes_no_sense_starts_nothing(
    world: World, edit: tuple[str, str], says: str
) -> None:
    world.edit(*edit)
    before = world.place.rows()
    case = Case("", lambda _: None, says, "AdapterBookInvalid")
    for command in (("up",), ("adapters", "verify", TONE), ("adapters", "ls")):
        tell(case, world.place.json(*command, code=90)["error"])
    assert world.place.rows() == before


def test_without_an_evaluation_there_is_no_way_in(world: World) -> None:
    """Promoted in the file by hand, and nobody evaluated it: the file is not believed."""
    text = world.place.book.read_text()
    sign_off = digest_of(world.words()[EVALUATOR])
    world.place.book.write_text(text.replace(f"    sign_off: {sign_off}\n", ""))
    before = world.place.rows()
    error = world.place.json("up", code=90)["error"]
    assert "needs the evaluator's `sign_off`" in error["why"]
    assert world.place.rows() == before


@pytest.mark.parametrize(
    "breakage", ["architecture", "wrong inputs", "absurd rank", "unknown tensor", "ranks differ"]
)
def test_pack_refuses_what_the_engine_would_choke_on(
    world: World, tmp_path: Path, breakage: str
) -> None:
    lora = write_lora(tmp_path / "bad.gguf", world.place.base, seed=3, breakage=breakage)
    layout = tmp_path / "bad.oci"
    terms = ("acme-bad@1.0.0", "--data", OTHER, "--to", str(layout))
    error = world.place.adapters("pack", str(lora), *terms, code=87)["error"]
    assert error["code"] == "AdapterInvalid"
    assert error["why"]
    assert not layout.exists()
