"""What refers to a manifest is attached, found, and never lost, with and without the API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest
from modern_registry import ModernRegistry
from oci_parts import CONFIG, KIND, HastyClock, client, described, put, referring, silent
from registry_lab import RegistryLab

from yoyo.core.oci_manifest import (
    EMPTY_BYTES,
    bundle_manifest,
    digest_of,
    index_with,
    parse_index,
)
from yoyo.core.oci_names import fallback_tag
from yoyo.drivers.oci.registry import HttpRegistry
from yoyo.errors import AdapterInvalid, ArtefactCorrupt
from yoyo.model.oci import (
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    Descriptor,
    Reference,
)
from yoyo.model.signing import BUNDLE_TYPE, PROVENANCE


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryLab]:
    with RegistryLab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[HttpRegistry]:
    with client(tmp_path) as found:
        yield found


@pytest.fixture
def ref(lab: RegistryLab, request: pytest.FixtureRequest) -> Reference:
    """A repository of the test's own."""
    name = request.node.name.partition("[")[0].replace("_", "-")
    return Reference(lab.host, f"adapters/{name}", "1.0.0")


def test_bundles_are_attached_and_found_by_the_fallback_tag(
    registry: HttpRegistry, ref: Reference, tmp_path: Path
) -> None:
    subject, _ = put(registry, ref, b"weights")
    made = []
    for at in range(3):
        bundle = b'{"number":%d}' % at
        found = bundle_manifest(subject, bundle, PROVENANCE, datetime(2026, 11, 21, tzinfo=UTC))
        registry.push(ref, found.layer, bundle, silent)
        registry.push(ref, found.config, found.config_bytes, silent)
        entry = registry.attach(ref, subject, found.document)
        assert registry.attach(ref, subject, found.document) == entry  # twice is once
        made.append((entry, found.document))
    assert list(registry.referrers(ref, subject.digest)) == made
    assert made[0][0].artifact_type == BUNDLE_TYPE
    index = registry._manifest(ref, fallback_tag(subject.digest))
    assert parse_index(index) == tuple(entry for entry, _ in made)
    assert registry.referrers(ref, described(b"other").digest) == ()


def test_entries_of_others_are_kept_and_lies_are_left_out(
    registry: HttpRegistry, ref: Reference
) -> None:
    subject, _ = put(registry, ref, b"weights")
    other, _ = put(registry, ref._replace(tag="other"), b"more weights")
    registry.push(ref, CONFIG, EMPTY_BYTES, silent)
    elsewhere = registry.put_manifest(ref._replace(tag=""), referring(other, "x"), IMAGE_MANIFEST)
    index = index_with(index_with(None, other), elsewhere)
    before = json.loads(index)
    # Debian's registry takes no index whose entries it does not have.
    before["manifests"][0] |= {"annotations": {"theirs": "kept"}, "artifactType": KIND}
    before["annotations"] = {"also": "kept"}
    tag = fallback_tag(subject.digest)
    registry.put_manifest(ref._replace(tag=tag), json.dumps(before).encode(), IMAGE_INDEX)
    assert registry.referrers(ref, subject.digest) == ()
    entry = registry.attach(ref, subject, referring(subject, "mine"))
    assert [each.descriptor for each in registry.referrers(ref, subject.digest)] == [entry]
    after = json.loads(registry._manifest(ref, tag))
    assert after["manifests"][:2] == before["manifests"]
    assert after["annotations"] == before["annotations"]
    assert len(after["manifests"]) == 3


def test_a_manifest_is_attached_only_to_its_own_subject(
    registry: HttpRegistry, ref: Reference
) -> None:
    subject, _ = put(registry, ref, b"weights")
    with pytest.raises(AdapterInvalid):
        registry.attach(ref, subject, referring(described(b"other"), "x"))
    with pytest.raises(AdapterInvalid):
        registry.attach(ref, subject, b"{}")
    assert registry.referrers(ref, subject.digest) == ()


def test_something_else_under_the_fallback_tag_is_not_overwritten(
    registry: HttpRegistry, ref: Reference
) -> None:
    subject, _ = put(registry, ref, b"weights")
    tagged, _ = put(registry, ref._replace(tag=fallback_tag(subject.digest)), b"precious")
    with pytest.raises(ArtefactCorrupt) as caught:
        registry.attach(ref, subject, referring(subject, "x"))
    assert "remove the tag" in caught.value.fix
    assert registry.resolve(ref._replace(tag=fallback_tag(subject.digest))) == tagged
    assert registry.referrers(ref, subject.digest) == ()


def _attach(task: tuple[Path, Reference, Descriptor, int]) -> None:
    home, ref, subject, number = task
    with client(home) as registry:
        registry.attach(ref, subject, referring(subject, f"number {number}"))


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_attaches_at_the_same_time_lose_nothing(
    registry: HttpRegistry, ref: Reference, tmp_path: Path, workers: str
) -> None:
    ref = ref._replace(tag=workers)
    subject, _ = put(registry, ref, workers.encode())
    tasks = [(tmp_path, ref, subject, at) for at in range(16)]
    if workers == "threads":
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(_attach, tasks))
    else:
        with ProcessPoolExecutor(8, get_context("spawn")) as processes:
            list(processes.map(_attach, tasks))
    found = registry.referrers(ref, subject.digest)
    assert {each.descriptor.annotated["note"] for each in found} == {
        f"number {at}" for at in range(16)
    }


def test_an_entry_that_another_machine_overwrote_is_added_again(
    registry: HttpRegistry, ref: Reference, tmp_path: Path
) -> None:
    subject, _ = put(registry, ref, b"weights")
    tag = fallback_tag(subject.digest)
    registry.attach(ref, subject, referring(subject, "first"))
    stale = registry._manifest(ref, tag)
    overwritten = threading.Event()

    class Interfering(HastyClock):
        """While the writer watches, somebody writes what he had read before."""

        def sleep(self, seconds: float) -> None:
            if not overwritten.is_set():
                overwritten.set()
                registry.put_manifest(ref._replace(tag=tag), stale, IMAGE_INDEX)
            super().sleep(seconds)

    with client(tmp_path, Interfering()) as other:
        other.attach(ref, subject, referring(subject, "second"))
    assert overwritten.is_set()
    notes = [each.descriptor.annotated["note"] for each in registry.referrers(ref, subject.digest)]
    assert notes == ["first", "second"]


def test_a_registry_with_the_referrers_api_keeps_the_list_itself(tmp_path: Path) -> None:
    with ModernRegistry() as modern, client(tmp_path) as registry:
        ref = Reference(modern.host, "adapters/modern", "1.0.0")
        subject, _ = put(registry, ref, b"weights")
        made = [
            registry.attach(ref, subject, referring(subject, f"number {at}")) for at in range(5)
        ]
        found = registry.referrers(ref, subject.digest)
        assert [each.descriptor for each in found] == made
        assert {each.descriptor.artifact_type for each in found} == {KIND}  # the index lies
        assert fallback_tag(subject.digest) not in modern.manifests
        # One who knew nothing of the API used the tag: both lists count, and nobody twice.
        modern.says_subject = False
        last = registry.attach(ref, subject, referring(subject, "by tag"))
        assert fallback_tag(subject.digest) in modern.manifests
        found = registry.referrers(ref, subject.digest)
        assert [each.descriptor for each in found] == [*made, last]


def claim(modern: ModernRegistry, subject: Descriptor, documents: Sequence[bytes]) -> None:
    """An index under the fallback tag that names them all."""
    index = None
    for document in documents:
        modern.manifests[digest_of(document)] = document
        index = index_with(index, described(document, IMAGE_MANIFEST))
    assert index is not None
    modern.manifests[fallback_tag(subject.digest)] = index


def test_more_than_256_referrers_are_told_and_never_cut(tmp_path: Path) -> None:
    """Whoever may push could bury an evaluator's word behind what nobody wants to read."""
    with ModernRegistry(says_subject=False) as modern, client(tmp_path) as registry:
        ref = Reference(modern.host, "adapters/many", "1.0.0")
        subject, _ = put(registry, ref, b"weights")
        documents = [referring(subject, f"number {at}") for at in range(257)]
        claim(modern, subject, documents[:256])
        assert len(registry.referrers(ref, subject.digest)) == 256
        claim(modern, subject, documents)
        with pytest.raises(AdapterInvalid) as caught:
            registry.referrers(ref, subject.digest)
        assert "More than 256 manifests" in caught.value.why
        assert caught.value.fix


def test_more_bytes_than_are_looked_at_are_told_and_never_cut(tmp_path: Path) -> None:
    with ModernRegistry(says_subject=False) as modern, client(tmp_path) as registry:
        ref = Reference(modern.host, "adapters/large", "1.0.0")
        subject, _ = put(registry, ref, b"weights")
        large = [referring(subject, f"{at}") + b" " * 3_500_000 for at in range(5)]
        claim(modern, subject, large[:4])
        assert len(registry.referrers(ref, subject.digest)) == 4
        claim(modern, subject, large)
        with pytest.raises(AdapterInvalid) as caught:
            registry.referrers(ref, subject.digest)
        assert "bytes" in caught.value.why


def test_what_calls_itself_a_bundle_and_cannot_be_had_is_not_left_out(
    registry: HttpRegistry, tmp_path: Path
) -> None:
    with ModernRegistry(says_subject=False) as modern:
        ref = Reference(modern.host, "adapters/rotten", "1.0.0")
        subject, _ = put(registry, ref, b"weights")
        other = referring(described(b"other"), "x")
        rotten = [described(data, IMAGE_MANIFEST) for data in (b"is gone", b"{}", other)]
        for each, data in zip(rotten[1:], (b"{}", other), strict=True):
            modern.manifests[each.digest] = data
        index = None
        for each in rotten:
            index = index_with(index, each._replace(artifact_type=BUNDLE_TYPE))
        assert index is not None
        modern.manifests[fallback_tag(subject.digest)] = index
        found = registry.referrers(ref, subject.digest)
        assert [each.descriptor.digest for each in found] == [each.digest for each in rotten]
        assert {each.document for each in found} == {b""}
