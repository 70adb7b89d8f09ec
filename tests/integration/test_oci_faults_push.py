"""Bad days while blobs are pushed, and while documents come and go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from faulty_registry import Answer, Fault, FaultyProxy
from modern_registry import ModernRegistry
from oci_parts import client, described, noise, put, referring, silent
from oci_scene import UPLOADS, Scene
from registry_lab import RegistryLab

from yoyo.core.oci_manifest import digest_of
from yoyo.core.oci_names import fallback_tag
from yoyo.errors import (
    ArtefactCorrupt,
    RegistryUnavailable,
    SourceFailed,
    StoreFull,
)
from yoyo.model.oci import Reference

_NUMBERS = count()  # each test has a repository of its own


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryLab]:
    with RegistryLab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture
def scene(lab: RegistryLab, tmp_path: Path) -> Iterator[Scene]:
    name = f"scene-{next(_NUMBERS)}"
    with FaultyProxy(lab.host) as proxy, client(tmp_path) as registry:
        found = Scene(proxy, registry, name, tmp_path)
        found.push()
        yield found
        assert proxy.left() == 0, "a fault did not happen"


@pytest.mark.parametrize("sent", [0, 1, 500_000, 1_999_999])
def test_a_push_that_breaks_off_is_made_again(
    scene: Scene, lab: RegistryLab, tmp_path: Path, sent: int
) -> None:
    data = noise(2_000_000)
    scene.proxy.add(Fault("PUT", UPLOADS, cut_request=sent))
    source = tmp_path / "source"
    source.write_bytes(data)
    scene.registry.push(scene.ref, described(data), source, silent)
    assert lab.blob_file(digest_of(data)).read_bytes() == data
    # Debian's registry forgets an upload that broke off: a new one was begun.
    assert scene.proxy.count("POST", UPLOADS) == 3


def test_a_push_goes_on_where_the_registry_says(tmp_path: Path) -> None:
    data = noise(2_000_000)
    with (
        ModernRegistry() as modern,
        FaultyProxy(
            modern.host,
            Fault("PUT", UPLOADS, cut_request=600_000),
            Fault("PATCH", UPLOADS, cut_request=600_000),
        ) as proxy,
        client(tmp_path) as registry,
    ):
        registry.push(Reference(proxy.host, "a/b"), described(data), data, silent)
        assert modern.blobs[digest_of(data)] == data
        assert proxy.count("POST", UPLOADS) == 1
        spans = [
            int(seen.headers["content-range"].partition("-")[0])
            for seen in proxy.seen
            if seen.method == "PATCH"
        ]
        # What the registry had read of a cut request, it says; the rest was lost on the way.
        assert 0 < spans[0] <= 600_000
        assert spans[0] < spans[1] <= 1_200_000


def test_a_source_that_changes_while_it_is_pushed_is_not_kept(
    scene: Scene, lab: RegistryLab, tmp_path: Path
) -> None:
    data, source = noise(2_000_000), tmp_path / "source"
    source.write_bytes(data)

    def moved(done: int, total: int) -> None:
        with source.open("r+b") as file:
            file.seek(total - 1)
            file.write(bytes([data[-1] ^ 1]))

    scene.refused(
        ArtefactCorrupt,
        lambda: scene.registry.push(scene.ref, described(data), source, moved),
    )
    assert not lab.blob_file(digest_of(data)).exists()
    assert not lab.blob_file(digest_of(source.read_bytes())).exists()


def test_a_source_that_is_not_there(scene: Scene, tmp_path: Path) -> None:
    scene.refused(
        SourceFailed,
        lambda: scene.registry.push(scene.ref, described(b"x"), tmp_path / "none", silent),
    )


def test_a_registry_that_takes_no_more_is_full(scene: Scene) -> None:
    full = Answer(413, {}, b'{"errors":[{"code":"DENIED","message":"quota"}]}')
    scene.proxy.add(Fault("PUT", UPLOADS, answer=full), Fault("PUT", "/manifests/", answer=full))
    error = scene.refused(StoreFull, lambda: scene.push(noise(5000)))
    assert "quota" in error.why
    scene.refused(
        StoreFull,
        lambda: scene.registry.put_manifest(scene.ref, b"{}", "application/x.y"),
    )


@pytest.mark.parametrize("status", [400, 405])
def test_an_upload_that_is_refused_is_not_tried_again(scene: Scene, status: int) -> None:
    no = Answer(status, {}, b'{"errors":[{"code":"UNSUPPORTED"}]}')
    for method in ("PUT", "POST"):
        scene.proxy.add(Fault(method, UPLOADS, answer=no))
        before = len(scene.proxy.seen)
        error = scene.refused(RegistryUnavailable, lambda: scene.push(b"x"))
        assert "UNSUPPORTED" in error.why
        asked = [seen.method for seen in scene.proxy.seen[before:]]
        assert asked == ["HEAD", "POST", "PUT"][: 3 if method == "PUT" else 2]


def test_a_manifest_that_was_changed_on_the_way(scene: Scene) -> None:
    made, _ = put(scene.registry, scene.ref, b"weights")
    pinned = scene.ref.at(made.digest)
    scene.proxy.add(
        *(Fault("GET", "/manifests/", change=lambda each: each._replace(body=each.body[:-1] + b" "))
          for _ in range(2))
    )  # fmt: skip
    for act in (lambda: scene.registry.manifest(pinned), lambda: scene.registry.resolve(pinned)):
        assert made.digest in scene.refused(ArtefactCorrupt, act).what
    scene.proxy.add(Fault("GET", "/manifests/", answer=Answer(200, {}, b" " * (5 << 20))))
    scene.refused(ArtefactCorrupt, lambda: scene.registry.resolve(scene.ref))


def test_a_registry_that_kept_another_manifest(scene: Scene) -> None:
    other = {"Docker-Content-Digest": digest_of(b"other")}
    scene.proxy.add(Fault("PUT", "/manifests/", change=lambda each: each._replace(headers=other)))
    scene.refused(ArtefactCorrupt, lambda: put(scene.registry, scene.ref, b"weights"))


def test_referrers_behind_a_page_of_html_and_behind_rot(scene: Scene) -> None:
    subject, _ = put(scene.registry, scene.ref, b"weights")
    entry = scene.registry.attach(scene.ref, subject, referring(subject, "x"))
    scene.proxy.add(Fault("GET", "/referrers/", answer=Answer(200, {}, b"<html>hello</html>")))
    found = scene.registry.referrers(scene.ref, subject.digest)
    assert [each.descriptor for each in found] == [entry]
    # A manifest with other bytes than its digest says is none of the subject's.
    scene.proxy.add(
        Fault("GET", f"/manifests/{entry.digest}", answer=Answer(200, {}, found[0].document + b" "))
    )
    assert scene.registry.referrers(scene.ref, subject.digest) == ()


def test_an_index_that_was_not_written_is_read_anew_before_the_next_try(scene: Scene) -> None:
    subject, _ = put(scene.registry, scene.ref, b"weights")
    tag = fallback_tag(subject.digest)
    scene.proxy.add(
        Fault("PUT", f"/manifests/{tag}", answer=Answer(503)),
        Fault("PUT", f"/manifests/{tag}", cut_request=10),
    )
    entry = scene.registry.attach(scene.ref, subject, referring(subject, "x"))
    steps = [seen.method for seen in scene.proxy.seen if seen.path.endswith(tag)]
    assert steps[:6] == ["GET", "PUT"] * 3
    assert [each.descriptor for each in scene.registry.referrers(scene.ref, subject.digest)] == [
        entry
    ]


def _tags(*tags: object) -> bytes:
    return json.dumps({"name": "x", "tags": tags}).encode()


def test_tags_come_in_pages_and_are_checked(scene: Scene) -> None:
    def page(link: str, *tags: object) -> Answer:
        return Answer(200, {"Link": link} if link else {}, _tags(*tags))

    path = "/tags/list"
    scene.proxy.add(
        Fault("GET", path, answer=page(f'</v2/x{path}?last=b>; rel="next"', "a", "b", "../c", 5)),
        Fault("GET", "last=b", answer=page("", "b", "d" * 129, "e")),
    )
    assert scene.registry.tags(scene.ref) == ("a", "b", "e")
    scene.proxy.add(Fault("GET", path, answer=page('<https://other.example/x>; rel="next"', "a")))
    error = scene.refused(RegistryUnavailable, lambda: scene.registry.tags(scene.ref))
    assert "another host" in error.why
    scene.proxy.add(
        Fault("GET", path, times=100, answer=page(f'</v2/x{path}?last=a>; rel="next"', "a"))
    )
    assert scene.registry.tags(scene.ref) == ("a",)
    for bad in (b"[", b'{"tags":5}', b"[1]"):
        scene.proxy.add(Fault("GET", path, answer=Answer(200, {}, bad)))
        scene.refused(RegistryUnavailable, lambda: scene.registry.tags(scene.ref))
