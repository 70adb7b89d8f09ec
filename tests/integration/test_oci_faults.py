"""Bad days while blobs are pulled, and registries that are busy or down."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from faulty_registry import Answer, Fault, FaultyProxy
from oci_parts import HastyClock, client, described, noise, put, silent
from oci_scene import BLOB, BLOBS, DATA, UPLOADS, Scene
from registry_lab import RegistryLab

from yoyo.core.oci_manifest import digest_of
from yoyo.errors import (
    ArtefactCorrupt,
    ArtefactMissing,
    RegistryUnavailable,
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


def _without_length(answer: Answer) -> Answer:
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Length"}
    return answer._replace(headers=headers)


def _body(body: bytes, **headers: str) -> Callable[[Answer], Answer]:
    def change(answer: Answer) -> Answer:
        changed = {**answer.headers, "Content-Length": str(len(body))}
        changed |= {name.replace("_", "-"): value for name, value in headers.items()}
        return answer._replace(body=body, headers=changed)

    return change


def test_a_pull_that_breaks_off_goes_on_where_it_was(scene: Scene) -> None:
    scene.proxy.add(
        Fault("GET", BLOBS, cut_answer=700_000), Fault("GET", BLOBS, cut_answer=700_000)
    )
    assert scene.pull() == DATA
    asked = [seen.headers.get("range", "") for seen in scene.proxy.seen if seen.method == "GET"]
    asked = asked[-3:]  # before them, the session asked who is there
    assert asked[0] == ""
    starts = [int(each.removeprefix("bytes=").removesuffix("-")) for each in asked[1:]]
    assert 0 < starts[0] <= 700_000 < starts[1] <= 1_400_000


def test_a_later_call_goes_on_with_what_an_earlier_one_left(scene: Scene) -> None:
    scene.proxy.add(
        Fault("GET", BLOBS, cut_answer=1_000_000),
        Fault("GET", BLOBS, times=7, cut_answer=0),
    )
    error = scene.refused(RegistryUnavailable, scene.pull)
    assert "of 2000000 bytes" in error.why
    had = scene.part.stat().st_size
    assert 0 < had <= 1_000_000
    assert scene.pull() == DATA
    assert scene.proxy.seen[-1].headers["range"] == f"bytes={had}-"


def test_a_registry_that_cannot_go_on_sends_all_again(scene: Scene) -> None:
    scene.proxy.add(Fault("GET", BLOBS, cut_answer=1_000_000), Fault("GET", BLOBS, drop="range"))
    assert scene.pull() == DATA


@pytest.mark.parametrize(
    "span", ["", "bytes 0-1999999/2000000", "bytes 1-1999999/2000000", "octets", "bytes */2000000"]
)
def test_an_answer_that_goes_on_somewhere_else_is_not_used(scene: Scene, span: str) -> None:
    scene.proxy.add(
        Fault("GET", BLOBS, cut_answer=1_000_000),
        Fault("GET", BLOBS, change=_body(DATA, Content_Range=span)),
    )
    assert scene.pull() == DATA


def test_a_blob_that_changed_meanwhile_is_never_mixed_with_the_first(scene: Scene) -> None:
    other = noise(len(DATA))

    def changed(answer: Answer) -> Answer:
        start = int(dict(answer.headers)["Content-Range"].split()[1].partition("-")[0])
        return answer._replace(body=other[start:])

    scene.proxy.add(Fault("GET", BLOBS, cut_answer=1_000_000), Fault("GET", BLOBS, change=changed))
    scene.refused(ArtefactCorrupt, scene.pull)
    assert not scene.part.exists()
    assert scene.pull() == DATA


def test_a_half_from_before_that_was_bad_costs_only_time(scene: Scene) -> None:
    scene.part.write_bytes(noise(1_000_000))
    assert scene.pull() == DATA
    assert scene.proxy.count("GET", BLOBS) == 2


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("by", [1, -1, 5_000_000])
def test_a_layer_of_another_size_is_cut_off_at_once(scene: Scene, by: int, announced: bool) -> None:
    body = DATA + bytes(by) if by > 0 else DATA[:by]
    change = _body(body)
    most: list[int] = []
    scene.proxy.add(
        Fault(
            "GET", BLOBS, change=change if announced else lambda each: _without_length(change(each))
        )
    )
    scene.refused(
        ArtefactCorrupt,
        lambda: scene.registry.pull(
            scene.ref, BLOB, scene.target, lambda done, _: most.append(done)
        ),
    )
    assert not scene.part.exists()
    assert max(most, default=0) <= len(DATA)
    if announced:
        assert most == []


def test_a_range_of_a_blob_of_another_size_is_refused(scene: Scene) -> None:
    scene.proxy.add(
        Fault("GET", BLOBS, cut_answer=1_000_000),
        Fault(
            "GET",
            BLOBS,
            change=lambda each: each._replace(
                headers={
                    **each.headers,
                    "Content-Range": dict(each.headers)["Content-Range"].replace("/2", "/9"),
                }
            ),
        ),
    )
    scene.refused(ArtefactCorrupt, scene.pull)
    assert not scene.part.exists()


def test_other_bytes_on_the_way_are_noticed(scene: Scene) -> None:
    other = DATA[:-1] + bytes([DATA[-1] ^ 1])
    scene.proxy.add(Fault("GET", BLOBS, change=_body(other)))
    scene.refused(ArtefactCorrupt, scene.pull)
    assert not scene.part.exists()


@pytest.mark.parametrize("status", [429, 503])
def test_what_passes_by_itself_is_waited_for(lab: RegistryLab, tmp_path: Path, status: int) -> None:
    clock = HastyClock()
    busy = Answer(status, {"Retry-After": "3"}, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}')
    data = noise(10_000)
    with FaultyProxy(lab.host) as proxy, client(tmp_path, clock) as registry:
        ref = Reference(proxy.host, f"adapters/busy-{status}", "1.0.0")
        for method, path in (
            ("HEAD", BLOBS), ("POST", UPLOADS), ("PUT", UPLOADS), ("PUT", "/manifests/"),
            ("GET", BLOBS), ("GET", "/manifests/"), ("GET", "/referrers/"),
        ):  # fmt: skip
            proxy.add(Fault(method, path, answer=busy))
        made, layer = put(registry, ref, data)
        registry.pull(ref, layer, tmp_path / "target", silent)
        assert registry.resolve(ref) == made
        assert registry.referrers(ref, made.digest) == ()
        assert proxy.left() == 0
    assert (tmp_path / "target").read_bytes() == data
    assert sum(pause >= 3 for pause in clock.slept) >= 6


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_registry_that_is_down_for_a_while_half_way(
    lab: RegistryLab, tmp_path: Path, direction: str
) -> None:
    """Stopped when some of the bytes have moved; started again while the client waits."""
    data, target = noise(20_000_000), tmp_path / "target"
    clock = HastyClock()
    with RegistryLab(tmp_path / "own") as own, client(tmp_path, clock) as registry:
        ref = Reference(own.host, "a/b", "1.0.0")
        if direction == "pull":
            registry.push(ref, described(data), data, silent)
        stopped = threading.Event()
        began = len(clock.slept)
        restarts: list[threading.Thread] = []

        def restart() -> None:
            while len(clock.slept) < began + 2:  # it has noticed
                stopped.wait(0.005)
            own.start()

        def moved(done: int, total: int) -> None:
            if not restarts and done > total // 3:
                own.stop()
                restarts.append(threading.Thread(target=restart))
                restarts[0].start()

        if direction == "push":
            registry.push(ref, described(data), data, moved)
            assert own.blob_file(digest_of(data)).read_bytes() == data
        else:
            registry.pull(ref, described(data), target, moved)
            assert target.read_bytes() == data
        restarts[0].join()


def test_a_registry_that_stays_down_is_named(tmp_path: Path) -> None:
    data = noise(10_000)
    with RegistryLab(tmp_path / "own") as own, client(tmp_path) as registry:
        ref = Reference(own.host, "a/b", "1.0.0")
        registry.push(ref, described(data), data, silent)
        own.stop()
        ticks = iter(range(0, 100_000, 10))
        with client(tmp_path, _Hurried(ticks)) as impatient:
            for act in (
                lambda: impatient.pull(ref, described(data), tmp_path / "target", silent),
                lambda: impatient.push(ref, described(b"x"), b"x", silent),
                lambda: impatient.resolve(ref),
                lambda: impatient.referrers(ref, digest_of(data)),
            ):
                with pytest.raises(RegistryUnavailable) as caught:
                    act()
                assert own.host in caught.value.what


class _Hurried(HastyClock):
    """Ten seconds pass between two looks."""

    def __init__(self, ticks: Iterator[int]) -> None:
        super().__init__()
        self._ticks = ticks

    def monotonic(self) -> float:
        return float(next(self._ticks))


def test_no_room_is_known_before_anything_is_fetched(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(scene.proxy.seen)

    class Usage:
        free = len(DATA) - 1

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    error = scene.refused(StoreFull, scene.pull)
    assert str(len(DATA)) in error.what
    assert len(scene.proxy.seen) == before
    # What is there already needs no room.
    scene.part.write_bytes(DATA[:1])
    assert scene.pull() == DATA


def test_a_disk_that_fills_up_keeps_the_part(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    wrote: list[int] = []

    def write(fd: int, data: bytes) -> int:
        if sum(wrote) > 1_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        wrote.append(real(fd, data))
        return wrote[-1]

    monkeypatch.setattr(os, "write", write)
    scene.refused(StoreFull, scene.pull)
    monkeypatch.undo()
    had = scene.part.stat().st_size
    assert had > 1_000_000
    assert scene.pull() == DATA
    assert scene.proxy.seen[-1].headers["range"] == f"bytes={had}-"


def test_a_missing_blob_is_missing_even_half_way(scene: Scene) -> None:
    scene.proxy.add(
        Fault("GET", BLOBS, cut_answer=1_000_000), Fault("GET", BLOBS, answer=Answer(404))
    )
    scene.refused(ArtefactMissing, scene.pull)
