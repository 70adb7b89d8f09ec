"""What no command of yoyo's would do to a registry, and the table of how each is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from adapters_parts import (
    BUILDER,
    BUILDER_ID,
    EVALUATOR,
    SIGNER,
    SUITE,
    TONE,
    AdapterPlace,
    Snapshot,
)
from oci_parts import client, described, silent

from yoyo.core.adapters import stages, statements
from yoyo.core.adapters.artefact import pack, read_artefact
from yoyo.core.oci_manifest import bundle_manifest, digest_of
from yoyo.core.oci_names import parse_reference
from yoyo.drivers.files.adapter_book import YamlAdapterBook
from yoyo.drivers.keys.signer import KeySigner
from yoyo.drivers.oci.registry import HttpRegistry
from yoyo.model.adapter import WEIGHT_TYPE, AdapterVersion, Artefact, LoraFacts
from yoyo.model.oci import IMAGE_MANIFEST, Descriptor, Reference
from yoyo.model.signing import PROVENANCE, SIGNATURE, TEST_RESULT

TYPES: Final = {SIGNER: SIGNATURE, BUILDER: PROVENANCE, EVALUATOR: TEST_RESULT}
TRAINING: Final = statements.Training(
    "smoke", "hf://acme/smoke", "gs://acme/tone", (), 7, ("", ""), ("", ""), BUILDER_ID
)
OTHER: Final = "sha256:" + "ab" * 32
# Part of the interface: docs/exit-codes.md.
EXIT_CODES: Final = {
    "AdapterInvalid": 87, "AdapterRefused": 88, "ArtefactCorrupt": 75, "ArtefactMissing": 74,
}  # fmt: skip
Sign = Callable[[str, bytes], bytes]  # role, statement -> bundle


class World:
    """A place with one promoted adapter, and a hand in its registry that nobody checks."""

    def __init__(
        self, place: AdapterPlace, registry: HttpRegistry, snapshot: Snapshot, sign: Sign
    ) -> None:
        self.place, self.registry, self.snapshot, self.sign = place, registry, snapshot, sign
        entry = YamlAdapterBook(place.book).read().adapters[0]
        self.ref = parse_reference(entry.ref)
        self.document = registry.manifest(self.ref)
        self.artefact = read_artefact(self.document, self.ref.digest)

    @property
    def adapter(self) -> AdapterVersion:
        return self.artefact.adapter

    def file_of(self, blob: str) -> Path:
        """A blob's bytes on the registry's disk."""
        return self.place.registry.blob_file(blob)

    def strip(self, digest: str = "") -> None:
        """Take away what refers to a manifest."""
        tag = (digest or self.ref.digest).replace(":", "-")
        tags = f"docker/registry/v2/repositories/{self.ref.repository}/_manifests/tags"
        shutil.rmtree(self.place.registry.storage / tags / tag)

    def attach(self, ref: Reference, bundle: bytes, predicate_type: str) -> None:
        """Let a bundle refer to a manifest."""
        subject = Descriptor(IMAGE_MANIFEST, ref.digest, len(self.registry.manifest(ref)))
        made = bundle_manifest(subject, bundle, predicate_type, datetime.now(UTC))
        self.registry.push(ref, made.config, made.config_bytes, silent)
        self.registry.push(ref, made.layer, bundle, silent)
        self.registry.attach(ref, subject, made.document)

    def words(
        self, adapter: AdapterVersion | None = None, digest: str = "", **changes: str
    ) -> dict[str, bytes]:
        """An honest statement of each role; `changes` are `builder`, `verdict`, `base`, `data`."""
        adapter, digest = adapter or self.adapter, digest or self.ref.digest
        told = adapter._replace(
            base=changes.get("base", adapter.base), data=changes.get("data", adapter.data)
        )
        training = TRAINING._replace(builder_id=changes.get("builder", BUILDER_ID))
        verdict = changes.get("verdict", "PASSED")
        return {
            SIGNER: statements.signature(adapter.name, digest),
            BUILDER: statements.provenance(adapter.name, digest, told, training),
            EVALUATOR: statements.test_result(
                adapter.name,
                digest,
                result=verdict,
                suite=(SUITE, "", ""),
                passed=(),
                warned=(),
                failed=("tone",) if verdict == "FAILED" else (),
                url="",
            ),
        }

    def vouch(self, ref: Reference, words: dict[str, bytes], **others: bytes) -> None:
        """Attach each role's statement, signed by it; `others` are bundles in their place."""
        for role, statement in words.items():
            bundle = others[role] if role in others else self.sign(role, statement)
            if bundle:
                self.attach(ref, bundle, TYPES[role])

    def revouch(self, **others: bytes) -> None:
        """What refers to the adapter anew; an empty bundle leaves its role out."""
        self.strip()
        self.vouch(self.ref, self.words(), **others)

    def resay(self, said: dict[str, bytes]) -> None:
        """The same, with these statements."""
        self.strip()
        self.vouch(self.ref, said)

    def put(
        self,
        weights: bytes,
        *,
        rewrite: Callable[[bytes], bytes] = lambda document: document,
        **changes: Any,
    ) -> tuple[Reference, Artefact]:
        """An adapter that is packed by hand, with a signature of each role, and not registered."""
        adapter = self.adapter._replace(**changes)
        lora = LoraFacts(adapter.architecture, adapter.rank, adapter.alpha, (), len(weights))
        made = pack(
            adapter,
            weights=described(weights, WEIGHT_TYPE),
            filename="adapter.gguf",
            files=(),
            lora=lora,
            created=datetime(1970, 1, 1, tzinfo=UTC),
        )
        for data in (weights, *(data for _, data in made.blobs)):
            self.registry.push(self.ref, described(data), data, silent)
        document = rewrite(made.manifest)
        ref = self.ref.at(digest_of(document))
        self.registry.put_manifest(ref, document, IMAGE_MANIFEST)
        self.vouch(ref, self.words(adapter, ref.digest))
        return ref, made.artefact

    def enter(self, ref: Reference, adapter: AdapterVersion) -> None:
        """Write a registry file in which that adapter, and no other, is promoted."""
        self.place.book.unlink()
        book, now = YamlAdapterBook(self.place.book), datetime.now(UTC)
        words = self.words(adapter, ref.digest)[EVALUATOR]
        book.change(
            lambda held: stages.register(
                held, adapter, str(ref), sign_off=digest_of(words), result="passed", at=now, by="x"
            )
        )
        book.change(lambda held: stages.promote(held, adapter.name, at=now, by="x"))

    def edit(self, old: str, new: str) -> None:
        """Change the registry file as with an editor."""
        text = self.place.book.read_text()
        assert old in text
        self.place.book.write_text(text.replace(old, new))


class Case(NamedTuple):
    """One thing that is off, and what it is called."""

    name: str
    tamper: Callable[[World], object]
    says: str  # in the sentence or the cause
    code: str = "AdapterRefused"
    seen_by_verify: bool = True  # False: `verify` looks at no weights
    booked: bool = True  # as a refused load; what cannot be read at all is not


def check_refused(world: World, case: Case) -> None:
    """`verify` and `up` say what is off; nothing is started, and the refusal is booked."""
    case.tamper(world)
    place = world.place
    before = place.rows()
    if case.seen_by_verify:
        verify = ("adapters", "verify", TONE, "--base", "node")
        tell(case, place.json(*verify, code=EXIT_CODES[case.code])["error"])
    else:
        place.adapters("verify", TONE, "--base", "node")
    tell(case, place.json("up", code=EXIT_CODES[case.code])["error"])
    new = place.rows()[len(before) :]
    booked = [(row["event_type"], row["completion_status"], row["error_code"]) for row in new]
    assert booked == ([("ADAPTER_LOAD", "error", "ADAPTER_REFUSED")] if case.booked else [])
    assert all(row["adapter_versions"] == TONE for row in new)
    assert place.processes() == []
    assert place.load_decisions() == []


def tell(case: Case, error: dict[str, str]) -> None:
    """The error has the right name, and says it."""
    assert error["code"] == case.code, error
    assert case.says in f"{error['what']} {error['why']}", error
    assert error["fix"]


def ids(cases: Sequence[Case]) -> list[str]:
    """What pytest calls them."""
    return [case.name.replace(" ", "-") for case in cases]


def key_sign(place: AdapterPlace) -> Sign:
    """Sign with the keys of the place."""
    return lambda role, statement: KeySigner(
        place.root / "keys" / f"{role}.key", None
    ).sign(statement)  # fmt: skip


@contextmanager
def world_of(place: AdapterPlace, home: Path, sign: Sign) -> Iterator[World]:
    """The place's registry within reach."""
    with client(home) as registry:
        yield World(place, registry, Snapshot(place, home), sign)


def retitle(document: bytes, title: str) -> bytes:
    """A manifest whose weights are called something else."""
    fields = json.loads(document)
    for key in ("org.opencontainers.image.title", "org.cncf.model.filepath"):
        fields["layers"][0]["annotations"][key] = title
    return json.dumps(fields).encode()


def resize(document: bytes, size: int) -> bytes:
    """A manifest whose weights are of that many bytes."""
    fields = json.loads(document)
    fields["layers"][0]["size"] = size
    return json.dumps(fields).encode()
