"""The driver for Cloud Storage while the service, or the way to it, goes wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_gcs import FakeGcs
from gcs_clients import pattern
from gcs_faults import Fault

from yoyo.drivers.gcs.objects import GcsObjects
from yoyo.errors import (
    ArtefactMissing,
    StoreConflict,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
    YoyoError,
)

BUCKET = "yoyo-store"
URL = f"gs://{BUCKET}/p"
MIB = 1024 * 1024
CHUNK = 9 * MIB  # above what the library sends in one request
READ, CHUNKS, START, SMALL = "media.get", "upload.chunk", "upload.resumable", "upload.multipart"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGcs]:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with FakeGcs(tmp_path / "gcs", md5=False) as made:
        made.add_bucket(BUCKET)
        yield made


@pytest.fixture
def objects(fake: FakeGcs) -> Iterator[GcsObjects]:
    """Its first pause is an eighth of a second."""
    made = GcsObjects(URL, endpoint=fake.url, patience_s=2, chunk_bytes=CHUNK)
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(pattern(CHUNK))
    return path


DIGEST = hashlib.sha256(pattern(CHUNK)).hexdigest()


def send(objects: GcsObjects, source: Path) -> None:
    objects.upload("s", CHUNK).put(0, source, 0, CHUNK, DIGEST)


def sent_whole(objects: GcsObjects) -> bool:
    upload = objects.upload("s", CHUNK)
    upload.finish("artefact", (DIGEST,))
    return b"".join(objects.read("artefact")) == pattern(CHUNK)


PASSING = [
    Fault(status=503),
    Fault(status=500),
    Fault(status=502),
    Fault(status=504),
    Fault(status=408),
    Fault(status=429),
    Fault(reset=True),
]
names = [f"{fault.status or 'reset'}" for fault in PASSING]


@pytest.mark.parametrize("fault", PASSING, ids=names)
def test_what_passes_by_itself_is_waited_out(
    fake: FakeGcs, objects: GcsObjects, source: Path, fault: Fault
) -> None:
    first = objects.put("a", b"1")
    calls: list[Callable[[], object]] = [
        lambda: objects.stat("a") == first,
        lambda: list(objects.read("a")) == [b"1"],
        lambda: list(objects.list("")) == [first],
        lambda: objects.put("a", b"2").size == 1,
        lambda: objects.put("b", b"3", if_generation=0).size == 1,
        lambda: objects.delete("b"),
        lambda: send(objects, source),
        lambda: sent_whole(objects),
        lambda: objects.upload("s", CHUNK).abandon(),
    ]
    for call in calls:
        rule = fake.faults.add(fault, times=2)
        assert call() in (None, True)
        assert rule.seen >= 2
        fake.faults.clear()


@pytest.mark.parametrize("fault", PASSING, ids=names)
def test_what_does_not_pass_is_an_error_that_says_what_it_was(
    fake: FakeGcs, objects: GcsObjects, source: Path, fault: Fault
) -> None:
    objects.put("a", b"1")
    fake.faults.add(fault, times=0)
    hurried = GcsObjects(URL, endpoint=fake.url, patience_s=0.2, chunk_bytes=CHUNK)
    calls: list[Callable[[], object]] = [
        lambda: hurried.stat("a"),
        lambda: list(hurried.read("a")),
        lambda: list(hurried.list("")),
        lambda: hurried.put("a", b"2", if_generation=0),
        lambda: hurried.delete("a"),
        lambda: send(hurried, source),
        lambda: hurried.upload("s", CHUNK).finish("b", (DIGEST,)),
        lambda: hurried.upload("s", CHUNK).abandon(),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert str(fault.status) in refusal.value.why or "connection" in refusal.value.why
        assert refusal.value.fix
    hurried.close()


def test_a_server_that_is_not_there_is_said_to_be(tmp_path: Path, fake: FakeGcs) -> None:
    store = GcsObjects(URL, endpoint="http://127.0.0.1:9", patience_s=0.2)
    for call in (lambda: store.stat("a"), lambda: list(store.read("a"))):
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert "Connection refused" in refusal.value.why
    store.close()


def test_a_server_that_says_when_is_asked_then(fake: FakeGcs, objects: GcsObjects) -> None:
    """It is told to come back after longer than it has patience: it does not ask again."""
    objects.put("a", b"1")
    rule = fake.faults.add(Fault(status=429, retry_after="3"), kind=READ, times=0)
    with pytest.raises(StoreUnavailable) as refusal:
        list(objects.read("a"))
    assert "429" in refusal.value.why
    assert rule.seen == 1
    fake.faults.clear()
    rule = fake.faults.add(Fault(status=429, retry_after="1"), kind=READ)
    assert list(objects.read("a")) == [b"1"]
    assert rule.seen == 2


@pytest.mark.parametrize("at", [0, 1, MIB - 1, MIB, 3 * MIB + 7, 5 * MIB - 1])
def test_a_stream_that_breaks_goes_on(fake: FakeGcs, objects: GcsObjects, at: int) -> None:
    data = pattern(5 * MIB)
    objects.put("a", data)
    fake.faults.add(Fault(cut_sent=at), kind=READ)
    assert b"".join(objects.read("a")) == data
    assert len(fake.calls(READ)) == 2
    fake.faults.add(Fault(cut_sent=at), kind=READ)
    assert b"".join(objects.read("a", start=5, length=at)) == data[5:][:at]


# More than the system keeps of a stream before anybody reads it: what was read when it breaks is
# then certain to be something, and not all.
LONG, SOME = 24 * MIB, 14 * MIB


def test_a_stream_that_breaks_again_goes_on_where_it_broke(
    fake: FakeGcs, objects: GcsObjects
) -> None:
    data = pattern(LONG)
    objects.put("a", data)
    fake.faults.add(Fault(cut_sent=SOME), kind=READ, times=2)
    assert b"".join(objects.read("a", start=3)) == data[3:]
    begins = [
        int(seen.asked_range.removeprefix("bytes=").split("-")[0]) for seen in fake.calls(READ)
    ]
    assert begins == sorted(set(begins))
    assert len(begins) in (2, 3)


def test_a_range_that_is_ignored_is_cut_out(fake: FakeGcs, objects: GcsObjects) -> None:
    data = pattern(3 * MIB)
    objects.put("a", data)
    fake.faults.add(Fault(ignore_range=True), kind=READ, times=0)
    assert b"".join(objects.read("a", start=MIB + 3, length=MIB)) == data[MIB + 3 :][:MIB]
    assert b"".join(objects.read("a", start=5, length=3)) == data[5:8]


def test_a_broken_stream_and_an_ignored_range_at_once(fake: FakeGcs, objects: GcsObjects) -> None:
    data = pattern(3 * MIB)
    objects.put("a", data)
    fake.faults.add(Fault(cut_sent=2 * MIB), kind=READ)
    fake.faults.add(Fault(ignore_range=True), kind=READ)
    assert b"".join(objects.read("a")) == data


@pytest.mark.parametrize("flip", [0, 3 * MIB - 1])
def test_bytes_that_were_changed_on_the_way_are_not_taken_for_the_object(
    fake: FakeGcs, objects: GcsObjects, flip: int
) -> None:
    data = pattern(3 * MIB)
    objects.put("a", data)
    fake.faults.add(Fault(flip=flip), kind=READ)
    with pytest.raises(StoreUnavailable, match="could not be used") as refusal:
        list(objects.read("a"))
    assert "CRC32C" in refusal.value.why
    assert b"".join(objects.read("a")) == data


def test_an_object_that_changes_while_a_broken_stream_resumes_is_not_mixed(
    fake: FakeGcs, objects: GcsObjects
) -> None:
    objects.put("a", b"o" * LONG)
    fake.faults.add(Fault(cut_sent=SOME), kind=READ)
    pieces = objects.read("a")
    next(pieces)
    objects.put("a", b"n" * LONG)
    with pytest.raises(StoreConflict):
        list(pieces)


def test_an_object_that_goes_while_a_broken_stream_resumes_is_missing(
    fake: FakeGcs, objects: GcsObjects
) -> None:
    objects.put("a", b"o" * LONG)
    fake.faults.add(Fault(cut_sent=SOME), kind=READ)
    pieces = objects.read("a")
    next(pieces)
    objects.delete("a")
    with pytest.raises(ArtefactMissing):
        list(pieces)


@pytest.mark.parametrize("kind", [START, CHUNKS, SMALL, "storage.objects.compose"])
@pytest.mark.parametrize("status", [503, 0], ids=["503", "reset"])
def test_an_answer_that_is_lost_does_no_harm(
    fake: FakeGcs, objects: GcsObjects, source: Path, kind: str, status: int
) -> None:
    rule = fake.faults.add(Fault(status=status, reset=not status, after=True), kind=kind)
    objects.put("a", b"first", if_generation=0)
    send(objects, source)
    assert sent_whole(objects)
    assert rule.seen >= 2
    assert list(objects.read("a")) == [b"first"]
    assert [info.key for info in objects.list("")] == ["a", "artefact"]


def test_a_lost_answer_does_not_hide_that_somebody_else_was_first(
    fake: FakeGcs, objects: GcsObjects
) -> None:
    there = objects.put("a", b"theirs")
    fake.faults.add(Fault(status=503), kind=SMALL)
    with pytest.raises(StoreConflict):
        objects.put("a", b"mine", if_generation=0)
    assert objects.stat("a") == there


def test_the_same_bytes_of_somebody_else_are_still_somebody_elses(objects: GcsObjects) -> None:
    objects.put("a", b"same", if_generation=0)
    with pytest.raises(StoreConflict):
        objects.put("a", b"same", if_generation=0)


def test_a_lost_answer_to_a_replacement_is_recognised(fake: FakeGcs, objects: GcsObjects) -> None:
    first = objects.put("a", b"1")
    fake.faults.add(Fault(status=503, after=True), kind=SMALL)
    second = objects.put("a", b"2", if_generation=first.generation)
    assert objects.stat("a") == second
    assert second.generation != first.generation


def test_a_lost_answer_to_a_deletion_is_no_conflict(fake: FakeGcs, objects: GcsObjects) -> None:
    info = objects.put("a", b"1")
    fake.faults.add(Fault(status=503, after=True), kind="storage.objects.delete")
    objects.delete("a", generation=info.generation)
    assert objects.stat("a") is None


@pytest.mark.parametrize("at", [0, 1, 100_000, 8 * MIB - 1])
def test_an_upload_whose_connection_breaks_goes_on(
    fake: FakeGcs, objects: GcsObjects, source: Path, at: int
) -> None:
    fake.faults.add(Fault(cut_received=at), kind=CHUNKS)
    send(objects, source)
    # One part is sent again, never the whole chunk from its beginning.
    assert len(fake.calls(START)) == 1
    assert sent_whole(objects)


def test_an_upload_that_google_forgot_begins_again(
    fake: FakeGcs, objects: GcsObjects, source: Path
) -> None:
    for status in (404, 410):
        fake.faults.add(Fault(status=status), kind=CHUNKS, skip=1)
        send(objects, source)
        assert sent_whole(objects)
        objects.delete("artefact")
        fake.faults.clear()


def test_a_chunk_is_there_whole_or_not_at_all(
    fake: FakeGcs, objects: GcsObjects, source: Path
) -> None:
    fake.faults.add(Fault(status=403), kind=CHUNKS, skip=1, times=0)
    with pytest.raises(StoreDenied):
        send(objects, source)
    assert objects.upload("s", CHUNK).done() == {}
    with pytest.raises(StoreConflict, match="not complete"):
        objects.upload("s", CHUNK).finish("artefact", (DIGEST,))
    fake.faults.clear()
    send(objects, source)
    assert sent_whole(objects)


@pytest.mark.parametrize(
    ("fault", "kind", "error"),
    [
        (Fault(status=401), "*", StoreDenied),
        (Fault(status=403), "*", StoreDenied),
        (Fault(status=413), "upload.*", StoreFull),
        (Fault(status=403, reason="quotaExceeded"), "upload.*", StoreFull),
    ],
)
def test_a_refusal_is_not_tried_again(
    fake: FakeGcs,
    objects: GcsObjects,
    source: Path,
    fault: Fault,
    kind: str,
    error: type[YoyoError],
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: objects.put("a", b"1"),
        lambda: send(objects, source),
    ]
    if kind == "*":
        calls += [
            lambda: objects.stat("a"),
            lambda: list(objects.read("a")),
            lambda: list(objects.list("")),
            lambda: objects.delete("a"),
            lambda: objects.upload("s", CHUNK).finish("a", (DIGEST,)),
        ]
    for call in calls:
        rule = fake.faults.add(fault, kind=kind, times=0)
        with pytest.raises(error) as refusal:
            call()
        # Credentials are refreshed once or twice where they were not accepted.
        assert rule.seen <= (3 if fault.status == 401 else 1)
        assert refusal.value.why
        assert refusal.value.fix
        fake.faults.clear()


def test_no_error_shows_the_address_of_an_upload(
    fake: FakeGcs, objects: GcsObjects, source: Path
) -> None:
    """Who knows it may write to the object without any credentials."""
    import traceback

    for fault in (Fault(status=503), Fault(status=403), Fault(reset=True), Fault(status=400)):
        fake.faults.add(fault, kind=CHUNKS, times=0)
        hurried = GcsObjects(URL, endpoint=fake.url, patience_s=0.2, chunk_bytes=CHUNK)
        with pytest.raises(YoyoError) as refusal:
            send(hurried, source)
        hurried.close()
        fake.faults.clear()
        told = "".join(traceback.format_exception(refusal.value))
        assert "upload_id=" not in told + str(vars(refusal.value))
