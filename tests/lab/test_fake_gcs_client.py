"""Google's client and curl find in the fake what they find at Google.

The same tests run against Google's own testbench, which shows that they ask for nothing of our
own making. In a copy of github.com/googleapis/storage-testbench, with its requirements:
`python3 testbench_run.py localhost 9000 10`, and then
`STORAGE_TESTBENCH=http://localhost:9000 python -m pytest tests/lab/test_fake_gcs_client.py`.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_gcs import FakeGcs
from gcs_clients import RETRY, client, curl, pattern
from google.api_core import exceptions

GRAIN = 256 * 1024
LARGE = 9 * 1024 * 1024 + 5  # over the 8 MiB from which the client makes a session


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The fake's address, or the testbench's."""
    given = os.environ.get("STORAGE_TESTBENCH", "")
    if given:
        yield given.rstrip("/")
    else:
        with FakeGcs(tmp_path / "gcs") as fake:
            yield fake.url


@pytest.fixture
def bucket(url: str) -> Iterator[Any]:
    with client(url) as made:
        yield made.create_bucket(f"lab-{uuid.uuid4().hex}")


def test_a_bucket_is_there_once_it_is_made(url: str, bucket: Any) -> None:
    with client(url) as google:
        assert google.get_bucket(bucket.name).name == bucket.name
        with pytest.raises(exceptions.Conflict):
            google.create_bucket(bucket.name)
        with pytest.raises(exceptions.NotFound):
            google.get_bucket("lab-there-is-none")


def test_a_small_object_comes_back_as_it_went(bucket: Any) -> None:
    blob = bucket.blob("names/a b/ü+%2F.json")
    blob.metadata = {"made": "by a test"}
    blob.upload_from_string(b"{}", content_type="application/json")
    assert blob.download_as_bytes() == b"{}"
    found = bucket.get_blob(blob.name)
    assert (found.size, found.content_type, found.metadata["made"]) == (
        2,
        "application/json",
        "by a test",
    )
    assert (found.crc32c, found.md5_hash) == (blob.crc32c, "mZFLkyvTelC5g8XnyQrpOw==")
    assert found.component_count is None


@pytest.mark.parametrize("size", [0, 1, GRAIN, LARGE])
def test_a_session_brings_the_same_bytes(bucket: Any, size: int) -> None:
    data = pattern(size)
    blob = bucket.blob("large", chunk_size=4 * GRAIN)
    blob.upload_from_file(io.BytesIO(data), checksum="crc32c")
    assert blob.size == size
    assert bucket.get_blob("large").download_as_bytes(checksum="crc32c") == data


def test_a_session_of_unknown_length_ends_where_the_stream_does(bucket: Any) -> None:
    data = pattern(3 * GRAIN + 7)
    with bucket.blob("streamed").open("wb", chunk_size=GRAIN) as stream:
        stream.write(data)
    assert bucket.blob("streamed").download_as_bytes() == data


def test_a_wrong_checksum_makes_no_object(bucket: Any) -> None:
    blob = bucket.blob("wrong")
    blob.md5_hash = "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(exceptions.BadRequest):
        blob.upload_from_string(b"right", checksum=None)
    assert bucket.get_blob("wrong") is None


def test_ranges(bucket: Any) -> None:
    data = pattern(1000)
    blob = bucket.blob("ranged")
    blob.upload_from_string(data)
    assert blob.download_as_bytes(start=10, end=19) == data[10:20]
    assert blob.download_as_bytes(start=990) == data[990:]
    assert blob.download_as_bytes(start=-5) == data[-5:]
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=1000)


def test_a_write_for_no_generation_makes_an_object_once(bucket: Any) -> None:
    bucket.blob("once").upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("once").upload_from_string(b"second", if_generation_match=0)
    assert bucket.blob("once").download_as_bytes() == b"first"


def test_a_write_for_a_generation_replaces_that_one_only(bucket: Any) -> None:
    blob = bucket.blob("replaced")
    blob.upload_from_string(b"first")
    first = blob.generation
    bucket.blob("replaced").upload_from_string(b"second", if_generation_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("replaced").upload_from_string(b"third", if_generation_match=first)
    found = bucket.get_blob("replaced")
    assert found.generation > first
    assert found.download_as_bytes() == b"second"
    with pytest.raises(exceptions.NotFound):
        bucket.blob("replaced", generation=first).download_as_bytes()


def test_reading_is_conditional_too(bucket: Any) -> None:
    blob = bucket.blob("read")
    blob.upload_from_string(b"bytes")
    assert blob.download_as_bytes(if_generation_match=blob.generation) == b"bytes"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("read").download_as_bytes(if_generation_match=blob.generation + 1)
    with pytest.raises(exceptions.NotModified):
        bucket.blob("read").reload(if_generation_not_match=blob.generation)
    bucket.blob("read").reload(if_metageneration_match=1)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("read").reload(if_metageneration_match=2)


def test_removing_is_conditional_and_final(bucket: Any) -> None:
    blob = bucket.blob("removed")
    blob.upload_from_string(b"bytes")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("removed").delete(if_generation_match=blob.generation + 1)
    bucket.blob("removed").delete(if_generation_match=blob.generation)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("removed").delete()


def test_listing(url: str, bucket: Any) -> None:
    names = ["a/1", "a/2", "a/b/3", "b", "c/4"]
    for name in names:
        bucket.blob(name).upload_from_string(name.encode())
    with client(url) as google:
        assert [blob.name for blob in google.list_blobs(bucket)] == names
        assert [blob.name for blob in google.list_blobs(bucket, prefix="a/")] == names[:3]
        paged = google.list_blobs(bucket, prefix="a/", page_size=2, retry=RETRY)
        assert [[blob.name for blob in page] for page in paged.pages] == [names[:2], names[2:3]]
        cut = google.list_blobs(bucket, delimiter="/")
        assert [blob.name for blob in cut] == ["b"]
        assert sorted(cut.prefixes) == ["a/", "c/"]
        after = google.list_blobs(bucket, start_offset="a/2", end_offset="b")
        assert [blob.name for blob in after] == names[1:3]
        assert list(google.list_blobs(bucket, prefix="nothing")) == []


def test_composed_objects(bucket: Any) -> None:
    parts = []
    for number in range(32):
        part = bucket.blob(f"parts/{number}")
        part.upload_from_string(pattern(1000 + number, seed=number))
        parts.append(part)
    whole = bucket.blob("whole")
    whole.compose(parts, if_generation_match=0)
    data = b"".join(pattern(1000 + number, seed=number) for number in range(32))
    assert whole.download_as_bytes(checksum="crc32c") == data
    assert (whole.component_count, whole.md5_hash, whole.size) == (32, None, len(data))
    assert whole.download_as_bytes(start=900, end=2100) == data[900:2101]
    twice = bucket.blob("twice")
    twice.compose([whole, parts[0]])
    for part in (*parts, whole):
        part.delete()
    assert twice.download_as_bytes(checksum="crc32c") == data + data[:1000]


def test_composing_is_refused(bucket: Any) -> None:
    part = bucket.blob("part")
    part.upload_from_string(b"bytes")
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("whole").compose([part] * 33)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("whole").compose([part, bucket.blob("missing")])
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("whole").compose([part], if_source_generation_match=[part.generation + 1])
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("part").compose([part], if_generation_match=0)
    assert bucket.get_blob("whole") is None
    assert bucket.blob("part").download_as_bytes() == b"bytes"


def test_copies(bucket: Any) -> None:
    blob = bucket.blob("from")
    blob.upload_from_string(b"bytes", content_type="text/plain")
    copied = bucket.copy_blob(blob, bucket, "copied", if_generation_match=0)
    assert (copied.md5_hash, copied.content_type) == (blob.md5_hash, "text/plain")
    rewritten = bucket.blob("rewritten")
    assert rewritten.rewrite(blob) == (None, 5, 5)
    blob.delete()
    assert copied.download_as_bytes() == rewritten.download_as_bytes() == b"bytes"


def test_curl_reads_as_a_node_does(url: str, bucket: Any, tmp_path: Path) -> None:
    data = pattern(LARGE)
    blob = bucket.blob("artefacts/sha256/ab/abcd")
    blob.upload_from_string(data)
    address = f"{url}/{bucket.name}/{blob.name}"
    whole, head = tmp_path / "whole", tmp_path / "head"
    assert curl("--fail", "-o", whole, "-D", head, address).returncode == 0
    assert whole.read_bytes() == data
    headers = head.read_text().lower()
    assert f"x-goog-generation: {blob.generation}\n" in headers.replace("\r", "")
    assert f"crc32c={blob.crc32c}".lower() in headers
    part = curl("--fail", "-H", "Range: bytes=100-199", "-w", "%{http_code}", address)
    assert part.stdout == data[100:200] + b"206"
    tail = curl("--fail", "-C", str(LARGE - 7), address)
    assert tail.stdout == data[-7:]
    missing = curl("-o", "/dev/null", "-w", "%{http_code}", f"{address}-not")
    assert missing.stdout == b"404"
