"""The registry driver against Debian's registry, and against one with the Referrers API."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from oci_parts import CONFIG, KIND, client, described, noise, put, referring, silent
from registry_lab import RegistryLab

from yoyo.core.oci_manifest import (
    EMPTY_BYTES,
    digest_of,
    index_with,
    parse_manifest,
)
from yoyo.drivers.oci.registry import HttpRegistry
from yoyo.errors import AdapterInvalid, ArtefactCorrupt, ArtefactMissing, StateUnwritable
from yoyo.model.oci import (
    IMAGE_INDEX,
    IMAGE_MANIFEST,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Reference,
)


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


def test_what_is_pushed_comes_back(
    registry: HttpRegistry, ref: Reference, lab: RegistryLab, tmp_path: Path
) -> None:
    data = noise(3 * 1024 * 1024 + 7)
    blob, source, target = described(data), tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(data)
    sent: list[tuple[int, int]] = []
    came: list[tuple[int, int]] = []
    registry.push(ref, blob, source, lambda *step: sent.append(step))
    registry.pull(ref, blob, target, lambda *step: came.append(step))
    assert target.read_bytes() == lab.blob_file(blob.digest).read_bytes() == data
    assert not target.with_name("target.part").exists()
    for steps in (sent, came):
        assert steps == sorted(steps)
        assert len(steps) > 3
        assert steps[-1] == (len(data), len(data))


@pytest.mark.parametrize("size", [0, 1])
def test_the_smallest_blobs(
    registry: HttpRegistry, ref: Reference, lab: RegistryLab, tmp_path: Path, size: int
) -> None:
    data = b"x" * size
    blob, source = described(data), tmp_path / "source"
    source.write_bytes(data)
    registry.push(ref, blob, source, silent)
    assert lab.blob_file(blob.digest).read_bytes() == data
    registry.pull(ref, blob, tmp_path / "target", silent)
    assert (tmp_path / "target").read_bytes() == registry.blob(ref, blob) == data


def test_manifests_tags_and_digests(registry: HttpRegistry, ref: Reference) -> None:
    assert registry.tags(ref) == ()
    made, layer = put(registry, ref, b"weights")
    assert registry.resolve(ref) == registry.resolve(ref.at(made.digest)) == made
    assert registry.tags(ref) == ("1.0.0",)
    found = parse_manifest(registry.manifest(ref.at(made.digest)))
    assert found.layers == (layer,)
    assert registry.blob(ref, CONFIG) == EMPTY_BYTES
    other, _ = put(registry, ref._replace(tag="1.0.1"), b"other weights")
    assert registry.tags(ref) == ("1.0.0", "1.0.1")
    # The tag moves; who has pinned the digest does not notice.
    put(registry, ref, b"other weights")
    assert registry.resolve(ref) == other
    assert digest_of(registry.manifest(ref.at(made.digest))) == made.digest


def test_a_manifest_without_a_tag(registry: HttpRegistry, ref: Reference) -> None:
    registry.push(ref, CONFIG, EMPTY_BYTES, silent)
    document = referring(described(b"nobody"), "x")
    made = registry.put_manifest(ref._replace(tag=""), document, IMAGE_MANIFEST)
    assert registry.manifest(ref.at(made.digest)) == document
    with pytest.raises(ArtefactCorrupt):
        registry.put_manifest(ref.at(digest_of(b"x")), document, IMAGE_MANIFEST)


def test_what_is_not_there_is_missing(
    registry: HttpRegistry, ref: Reference, tmp_path: Path
) -> None:
    nowhere = described(b"nowhere")
    for ask in (
        lambda: registry.resolve(ref),
        lambda: registry.manifest(ref.at(nowhere.digest)),
        lambda: registry.blob(ref, nowhere),
        lambda: registry.pull(ref, nowhere, tmp_path / "x", silent),
    ):
        with pytest.raises(ArtefactMissing) as caught:
            ask()
        assert ref.place in caught.value.what
        assert "404" in caught.value.why
    assert registry.referrers(ref, nowhere.digest) == ()


def test_an_index_is_no_artefact(registry: HttpRegistry, ref: Reference) -> None:
    made, _ = put(registry, ref, b"weights")
    many = ref._replace(tag="many")
    registry.put_manifest(many, index_with(None, made), IMAGE_INDEX)
    with pytest.raises(AdapterInvalid) as caught:
        registry.resolve(many)
    assert "index of several images" in caught.value.why


def test_a_blob_that_is_there_is_not_sent_again(
    registry: HttpRegistry, ref: Reference, tmp_path: Path
) -> None:
    data = noise(5000)
    registry.push(ref, described(data), data, silent)
    steps: list[tuple[int, int]] = []
    # Nothing is read either: the file is not there.
    registry.push(ref, described(data), tmp_path / "none", lambda *step: steps.append(step))
    assert steps == [(5000, 5000)]


def test_a_blob_is_mounted_from_another_repository(
    registry: HttpRegistry, ref: Reference, lab: RegistryLab
) -> None:
    data = noise(5000)
    blob, other = described(data), ref._replace(repository="adapters/other")
    registry.push(ref, blob, data, silent)
    before = lab.log.read_text().count('"PUT ')
    registry.push(other, blob, data, silent, mount=ref.repository)
    assert lab.log.read_text().count('"PUT ') == before
    assert registry.blob(other, blob) == data
    # A repository that does not have it: the bytes are sent.
    more = noise(5000)
    registry.push(other, described(more), more, silent, mount="adapters/none")
    assert registry.blob(other, described(more)) == more


@pytest.mark.parametrize("as_file", [True, False])
@pytest.mark.parametrize("changed", ["middle", "end", "longer", "shorter"])
def test_the_registry_never_gets_to_keep_other_bytes(
    registry: HttpRegistry,
    ref: Reference,
    lab: RegistryLab,
    tmp_path: Path,
    changed: str,
    as_file: bool,
) -> None:
    data = noise(3_000_000)
    other = {
        "middle": data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
        "end": data[:-1] + bytes([data[-1] ^ 1]),
        "longer": data + b"x",
        "shorter": data[:-1],
    }[changed]
    source = tmp_path / "source"
    source.write_bytes(other)
    with pytest.raises(ArtefactCorrupt) as caught:
        registry.push(ref, described(data), source if as_file else other, silent)
    assert described(data).digest in caught.value.what
    for each in (data, other):
        assert not lab.blob_file(digest_of(each)).exists()


def test_a_file_that_is_there_is_left_alone(
    registry: HttpRegistry, ref: Reference, tmp_path: Path
) -> None:
    data, target = noise(5000), tmp_path / "target"
    target.write_bytes(data)
    before = target.stat()
    registry.pull(ref, described(data), target, silent)  # the registry does not even have it
    after = target.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_file_of_that_name_is_replaced(
    registry: HttpRegistry, ref: Reference, tmp_path: Path
) -> None:
    data, target = noise(5000), tmp_path / "target"
    registry.push(ref, described(data), data, silent)
    target.write_bytes(noise(5000))
    registry.pull(ref, described(data), target, silent)
    assert target.read_bytes() == data


@pytest.mark.parametrize("left", ["half", "whole", "wrong half", "wrong whole", "too long"])
def test_what_is_left_of_the_last_time_is_gone_on_with_or_dropped(
    registry: HttpRegistry, ref: Reference, lab: RegistryLab, tmp_path: Path, left: str
) -> None:
    data, target = noise(1_000_000), tmp_path / "target"
    registry.push(ref, described(data), data, silent)
    (tmp_path / "target.part").write_bytes(
        {
            "half": data[:400_000],
            "whole": data,
            "wrong half": noise(400_000),
            "wrong whole": noise(1_000_000),
            "too long": data + b"x",
        }[left]
    )
    steps: list[int] = []
    registry.pull(ref, described(data), target, lambda done, _: steps.append(done))
    assert target.read_bytes() == data
    assert (len(steps) == 0) == (left == "whole")
    if left == "half":
        assert steps[0] > 400_000


def test_a_part_that_is_a_link_is_not_followed(
    registry: HttpRegistry, ref: Reference, tmp_path: Path
) -> None:
    data, victim = noise(5000), tmp_path / "victim"
    registry.push(ref, described(data), data, silent)
    victim.write_bytes(b"precious")
    (tmp_path / "target.part").symlink_to(victim)
    with pytest.raises(StateUnwritable):
        registry.pull(ref, described(data), tmp_path / "target", silent)
    assert victim.read_bytes() == b"precious"


def test_pulls_to_one_path_take_turns(lab: RegistryLab, ref: Reference, tmp_path: Path) -> None:
    data, target = noise(4_000_000), tmp_path / "target"
    with client(tmp_path) as registry:
        registry.push(ref, described(data), data, silent)

    def pull(_: int) -> None:
        with client(tmp_path) as registry:
            registry.pull(ref, described(data), target, silent)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(pull, range(6)))
    assert target.read_bytes() == data
    assert [path.name for path in tmp_path.glob("target*")] == ["target"]


def test_a_corrupt_blob_in_the_registrys_storage_is_noticed(
    registry: HttpRegistry, ref: Reference, lab: RegistryLab, tmp_path: Path
) -> None:
    data, target = noise(2_000_000), tmp_path / "target"
    blob = described(data)
    registry.push(ref, blob, data, silent)
    stored = lab.blob_file(blob.digest)
    for bad in (data[:-1] + bytes([data[-1] ^ 1]), data + b"x", data[:-1]):
        stored.write_bytes(bad)
        with pytest.raises(ArtefactCorrupt) as caught:
            registry.pull(ref, blob, target, silent)
        assert blob.digest in caught.value.what
        assert list(tmp_path.glob("target*")) == []
        with pytest.raises(ArtefactCorrupt):
            registry.blob(ref, blob)
    stored.write_bytes(data)
    registry.pull(ref, blob, target, silent)


def test_a_manifest_that_was_swapped_in_the_registry_is_noticed(
    registry: HttpRegistry, ref: Reference, lab: RegistryLab
) -> None:
    made, _ = put(registry, ref, b"weights")
    other, _ = put(registry, ref._replace(tag="other"), b"more weights")
    right = lab.blob_file(made.digest).read_bytes()
    lab.blob_file(made.digest).write_bytes(lab.blob_file(other.digest).read_bytes())
    with pytest.raises(ArtefactCorrupt):
        registry.manifest(ref.at(made.digest))
    with pytest.raises(ArtefactCorrupt):
        registry.resolve(ref.at(made.digest))
    # Behind a tag, it is what it is: the digest is computed, and nobody is fooled.
    assert registry.resolve(ref).digest == other.digest
    lab.blob_file(made.digest).write_bytes(right)
    assert registry.resolve(ref) == made


def test_a_small_blob_that_claims_to_be_large_is_not_fetched(
    registry: HttpRegistry, ref: Reference
) -> None:
    blob = Descriptor(KIND, digest_of(b"x"), MAX_MANIFEST_BYTES + 1)
    with pytest.raises(ArtefactCorrupt):
        registry.blob(ref, blob)
