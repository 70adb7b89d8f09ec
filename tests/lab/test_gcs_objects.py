"""The driver for Cloud Storage: what it asks for, whom it asks, and what it costs."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_gce import FakeGce
from fake_gcs import FakeGcs
from gcs_auth import accepted_by
from gcs_clients import pattern

from yoyo.drivers.gcs.objects import GcsObjects
from yoyo.errors import ArtefactMissing, StoreDenied

BUCKET = "yoyo-store"
URL = f"gs://{BUCKET}/p"
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have some."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeGcs]:
    with FakeGcs(tmp_path / "gcs", md5=False) as made:
        made.add_bucket(BUCKET)
        yield made


@pytest.fixture
def objects(fake: FakeGcs) -> Iterator[GcsObjects]:
    made = GcsObjects(URL, endpoint=fake.url)
    yield made
    made.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_keys_lie_below_the_prefix_and_nothing_else_is_seen(fake: FakeGcs) -> None:
    below = GcsObjects(f"gs://{BUCKET}/p/q/", endpoint=fake.url)
    above = GcsObjects(f"gs://{BUCKET}", endpoint=fake.url)
    assert below.url == f"gs://{BUCKET}/p/q"
    below.put("a", b"1")
    above.put("p/qq", b"2")
    above.put("p/r/a", b"3")
    assert [info.key for info in below.list("")] == ["a"]
    assert [info.key for info in above.list("")] == ["p/q/a", "p/qq", "p/r/a"]
    assert list(above.read("p/q/a")) == [b"1"]
    below.close()
    above.close()


def test_what_others_keep_in_the_bucket_is_not_listed(fake: FakeGcs, objects: GcsObjects) -> None:
    objects.put("a", b"1")
    bucket = objects.session.client.bucket(BUCKET)
    for name in ("p/folder/", "p/a b", "p/a//b", "p/ü"):
        bucket.blob(name).upload_from_string(b"")
    assert [info.key for info in objects.list("")] == ["a"]


def test_a_chunk_of_more_than_one_part_is_sent_resumably(
    fake: FakeGcs, objects: GcsObjects, tmp_path: Path
) -> None:
    data = pattern(20 * MIB + 5)
    source = tmp_path / "source"
    source.write_bytes(b"before" + data + b"behind")
    upload = objects.upload("s", len(data))
    upload.put(0, source, 6, len(data), sha256(data))
    assert len(fake.calls("upload.chunk")) == 3
    upload.finish("artefact", (sha256(data),))
    assert b"".join(objects.read("artefact")) == data
    # Joining moves nothing through this machine.
    assert fake.received("*") < len(data) + 64 * 1024


def test_a_resumed_upload_sends_only_what_is_missing(fake: FakeGcs, tmp_path: Path) -> None:
    size = 3 * MIB
    data = pattern(size)
    source = tmp_path / "source"
    source.write_bytes(data)
    hashes = tuple(sha256(data[n * MIB :][:MIB]) for n in range(3))
    first = GcsObjects(URL, endpoint=fake.url, chunk_bytes=MIB)
    first.upload("s", size).put(1, source, MIB, MIB, hashes[1])
    first.close()
    sent = fake.received("upload.*")
    second = GcsObjects(URL, endpoint=fake.url, chunk_bytes=MIB)
    upload = second.upload("s", size)
    assert upload.done() == {1: hashes[1]}
    for n in {0, 1, 2} - set(upload.done()):
        upload.put(n, source, n * MIB, MIB, hashes[n])
    upload.finish("artefact", hashes)
    assert 2 * MIB <= fake.received("upload.*") - sent < 2 * MIB + 8192
    assert b"".join(second.read("artefact")) == data
    second.close()


def test_the_bucket_itself_is_never_asked_for(
    fake: FakeGcs, objects: GcsObjects, tmp_path: Path
) -> None:
    """That needs a permission of its own, which an account for objects does not have."""
    source = tmp_path / "source"
    source.write_bytes(b"1")
    objects.put("a", b"1")
    objects.stat("a")
    list(objects.read("a"))
    upload = objects.upload("s", 1)
    upload.put(0, source, 0, 1, sha256(b"1"))
    upload.finish("b", (sha256(b"1"),))
    objects.delete("a")
    assert not fake.calls("storage.buckets.*")


def test_a_whole_object_is_read_in_one_request(fake: FakeGcs, objects: GcsObjects) -> None:
    objects.put("a", pattern(5 * MIB))
    before = len(fake.calls())
    assert b"".join(objects.read("a")) == pattern(5 * MIB)
    assert len(fake.calls()) - before == 1


SENDING = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from yoyo.drivers.gcs.objects import GcsObjects
url, endpoint, path = sys.argv[1:]
mib = 1024 * 1024
store = GcsObjects(url, endpoint=endpoint)
store.stat("a")  # what is imported is no part of it
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
upload = store.upload("s", 256 * mib)
with ThreadPoolExecutor(4) as pool:
    for done in [
        pool.submit(upload.put, n, Path(path), 0, 64 * mib, f"{n:064x}") for n in range(4)
    ]:
        done.result()
print(len(upload.done()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_sending_four_chunks_at_once_takes_at_most_40_mib_each(
    fake: FakeGcs, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"")
    os.truncate(source, 64 * MIB)
    asked = [sys.executable, "-c", SENDING, URL, fake.url, str(source)]
    told = subprocess.run(asked, capture_output=True, text=True, check=True)
    done, grown = map(int, told.stdout.split())
    assert done == 4
    assert grown < 4 * 40 * 1024, f"{grown} KiB"


def test_importing_the_driver_imports_nothing_of_googles() -> None:
    code = (
        "import sys, yoyo.drivers.gcs.objects as o; o.GcsObjects('gs://bucket/p').url; "
        "print([m for m in sys.modules if m.split('.')[0] in ('google', 'requests', 'urllib3')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[tuple[FakeGcs, FakeGce, Path]]:
    """A store that wants tokens, who grants them, and a key file."""
    with FakeGce(host=None) as cloud:
        key = cloud.credentials(tmp_path / "key.json")
        accept = accepted_by(cloud.auth)
        with FakeGcs(tmp_path / "gcs", accept=accept, md5=False) as fake:
            fake.add_bucket(BUCKET)
            yield fake, cloud, key


@pytest.fixture
def asked_hosts(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every host that a name or a connection is asked for, from now on."""
    found: set[str] = set()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: object, **more: object) -> object:
        found.add(host)
        return real(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


@pytest.mark.parametrize("found_by", ["setting", "variable", "gcloud"])
def test_a_key_file_is_found_and_nobody_else_is_asked(
    closed: tuple[FakeGcs, FakeGce, Path],
    asked_hosts: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found_by: str,
) -> None:
    fake, _, key = closed
    if found_by == "variable":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    if found_by == "gcloud":
        (tmp_path / "gcloud").mkdir()
        key.rename(tmp_path / "gcloud/application_default_credentials.json")
    store = GcsObjects(URL, endpoint=fake.url, credentials=key if found_by == "setting" else None)
    store.put("a", b"1")
    assert list(store.read("a")) == [b"1"]
    assert [info.key for info in store.list("")] == ["a"]
    store.close()
    assert asked_hosts == {"127.0.0.1"}


def test_without_credentials_none_are_sent_and_nobody_is_asked_for_some(
    closed: tuple[FakeGcs, FakeGce, Path], asked_hosts: set[str]
) -> None:
    store = GcsObjects(URL, endpoint=closed[0].url, patience_s=2)
    for call in (
        lambda: store.put("a", b"1"),
        lambda: store.stat("a"),
        lambda: list(store.read("a")),
        lambda: list(store.list("")),
        lambda: store.delete("a"),
    ):
        with pytest.raises(StoreDenied) as refusal:
            call()
        assert "gcloud auth application-default login" in refusal.value.fix
    store.close()
    assert asked_hosts == {"127.0.0.1"}


def test_a_token_that_has_expired_is_replaced(closed: tuple[FakeGcs, FakeGce, Path]) -> None:
    fake, cloud, key = closed
    store = GcsObjects(URL, endpoint=fake.url, credentials=key)
    store.put("a", pattern(2 * MIB))
    cloud.auth.expire_tokens()
    assert b"".join(store.read("a")) == pattern(2 * MIB)
    cloud.auth.expire_tokens()
    store.put("b", b"1")
    store.close()


def test_a_key_that_was_revoked_is_said_to_be(
    closed: tuple[FakeGcs, FakeGce, Path], tmp_path: Path
) -> None:
    fake, cloud, key = closed
    store = GcsObjects(URL, endpoint=fake.url, credentials=key, patience_s=2, chunk_bytes=MIB)
    store.put("a", b"1")
    source = tmp_path / "source"
    source.write_bytes(pattern(MIB))
    cloud.auth.revoked = True
    for call in (
        lambda: store.stat("a"),
        lambda: list(store.read("a")),
        lambda: store.upload("s", MIB).put(0, source, 0, MIB, "0" * 64),
    ):
        with pytest.raises(StoreDenied) as refusal:
            call()
        assert "gcloud auth application-default login" in refusal.value.fix
        assert "ya29" not in str(vars(refusal.value))
    store.close()


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_a_key_file_that_is_none_is_said_to_be(
    fake: FakeGcs, tmp_path: Path, content: str | None
) -> None:
    key = tmp_path / "key.json"
    if content is not None:
        key.write_text(content)
    store = GcsObjects(URL, endpoint=fake.url, credentials=key)
    with pytest.raises(StoreDenied) as refusal:
        store.stat("a")
    assert refusal.value.fix
    store.close()


def test_an_account_that_may_only_read_is_told_the_role(tmp_path: Path) -> None:
    with FakeGcs(tmp_path / "gcs", read_only=lambda _: True, md5=False) as fake:
        fake.add_bucket(BUCKET)
        store = GcsObjects(URL, endpoint=fake.url)
        assert store.stat("a") is None
        with pytest.raises(StoreDenied) as refusal:
            store.put("a", b"1")
        assert "roles/storage.objectUser" in refusal.value.fix
        store.close()


def test_a_bucket_that_does_not_exist_is_named(fake: FakeGcs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"1")
    store = GcsObjects("gs://no-such-bucket/p", endpoint=fake.url, patience_s=2)
    for call in (
        lambda: store.stat("a"),
        lambda: store.put("a", b"1"),
        lambda: store.put("a", b"1", if_generation=0),
        lambda: list(store.read("a")),
        lambda: list(store.list("")),
        lambda: store.delete("a"),
        lambda: store.upload("s", 1).put(0, source, 0, 1, "0" * 64),
        lambda: store.upload("s", 1).finish("a", ("0" * 64,)),
    ):
        with pytest.raises(StoreDenied, match="no-such-bucket") as refusal:
            call()
        assert "buckets create gs://no-such-bucket" in refusal.value.fix
    store.close()


def test_only_addresses_of_cloud_storage_are_taken() -> None:
    for url in ("file:///a", "gs://", "gs:///a", "https://b/a", "gs://B/a", "gs://b//a"):
        with pytest.raises(ValueError, match="no gs://"):
            GcsObjects(url)


def test_errors_name_the_object_and_what_to_do(objects: GcsObjects) -> None:
    with pytest.raises(ArtefactMissing) as refusal:
        list(objects.read("names/a.json"))
    assert f"{URL}/names/a.json" in refusal.value.what
    assert json.dumps([refusal.value.why, refusal.value.fix])
