"""The fake store keeps to the protocol: sessions, restarts, writers at once, tokens, names."""

from __future__ import annotations

import concurrent.futures
import http.client
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import requests
from fake_gce import FakeGce
from fake_gcs import AgainstTheDocument, FakeGcs
from gcs_auth import accepted_by, granted
from gcs_clients import client, curl, pattern
from gcs_hash import combined, encoded
from google.api_core import exceptions
from google.oauth2 import service_account
from hypothesis import given
from hypothesis import strategies as st

GRAIN = 256 * 1024
UNIVERSE = "lab.invalid"  # not Google's: with it, google-auth would call out of this machine
SCOPES = ["https://www.googleapis.com/auth/devstorage.read_write"]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeGcs]:
    with FakeGcs(tmp_path / "gcs") as made:
        made.add_bucket("lab")
        yield made


def start(fake: FakeGcs, name: str, body: str = "{}", **query: str) -> requests.Response:
    return requests.post(
        f"{fake.url}/upload/storage/v1/b/lab/o",
        params={"uploadType": "resumable", "name": name, **query},
        data=body,
        timeout=30,
    )


def put(address: str, data: bytes, content_range: str, **headers: str) -> requests.Response:
    return requests.put(
        address, data=data, headers={"Content-Range": content_range, **headers}, timeout=30
    )


def read(fake: FakeGcs, name: str, **headers: str) -> requests.Response:
    return requests.get(f"{fake.url}/lab/{name}", headers=headers, timeout=30)


def reason(answer: requests.Response) -> str:
    found: str = answer.json()["error"]["errors"][0]["reason"]
    return found


# sessions


def test_a_session_says_how_far_it_is(fake: FakeGcs) -> None:
    data = pattern(2 * GRAIN + 3)
    address = start(fake, "o").headers["Location"]
    fresh = put(address, b"", "bytes */*")
    assert (fresh.status_code, "Range" in fresh.headers) == (308, False)
    sent = put(address, data[:GRAIN], f"bytes 0-{GRAIN - 1}/*")
    assert (sent.status_code, sent.headers["Range"]) == (308, f"bytes=0-{GRAIN - 1}")
    asked = put(address, b"", f"bytes */{len(data)}")
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{GRAIN - 1}")
    done = put(address, data[GRAIN:], f"bytes {GRAIN}-{len(data) - 1}/{len(data)}")
    assert (done.status_code, done.json()["size"]) == (200, str(len(data)))
    again = put(address, b"", "bytes */*")
    assert (again.status_code, again.json()["generation"]) == (200, done.json()["generation"])
    assert read(fake, "o").content == data


def test_bytes_that_are_there_already_are_not_kept_twice(fake: FakeGcs) -> None:
    data = pattern(3 * GRAIN)
    address = start(fake, "o").headers["Location"]
    put(address, data[: 2 * GRAIN], f"bytes 0-{2 * GRAIN - 1}/*")
    assert put(address, data[GRAIN:], f"bytes {GRAIN}-{3 * GRAIN - 1}/{3 * GRAIN}").ok
    assert read(fake, "o").content == data


def test_bad_chunks_are_refused(fake: FakeGcs) -> None:
    address = start(fake, "o").headers["Location"]
    gap = put(address, bytes(GRAIN), f"bytes {GRAIN}-{2 * GRAIN - 1}/*")
    assert gap.status_code == 503
    for data, said in (
        (bytes(100), "bytes 0-99/*"),  # no multiple of 256 KiB, and not the last
        (bytes(100), "bytes 0-98/99"),  # another length
        (bytes(100), "bytes 0-99/50"),  # over the total
        (bytes(100), "bytes */100"),
        (bytes(100), "0-99/100"),
    ):
        assert put(address, data, said).status_code == 400, said
    assert put(address, bytes(GRAIN), f"bytes 0-{GRAIN - 1}/{2 * GRAIN}").status_code == 308
    assert put(address, b"", f"bytes */{3 * GRAIN}").status_code == 400
    assert read(fake, "o").status_code == 404


def test_a_cancelled_session_is_gone(fake: FakeGcs) -> None:
    address = start(fake, "o").headers["Location"]
    assert requests.delete(address, timeout=30).status_code == 499
    assert put(address, b"x", "bytes 0-0/1").status_code == 404
    assert requests.delete(address, timeout=30).status_code == 404


def test_a_session_checks_its_condition_at_both_ends(fake: FakeGcs) -> None:
    address = start(fake, "o", ifGenerationMatch="0").headers["Location"]
    other = start(fake, "o", ifGenerationMatch="0").headers["Location"]
    assert put(address, b"first", "bytes 0-4/5").status_code == 200
    late = put(other, b"other", "bytes 0-4/5")
    assert (late.status_code, reason(late)) == (412, "conditionNotMet")
    assert put(other, b"", "bytes */*").status_code == 404
    assert start(fake, "o", ifGenerationMatch="0").status_code == 412
    assert read(fake, "o").content == b"first"


@pytest.mark.parametrize("where", ["resource", "header"])
def test_a_session_checks_what_it_was_told_of_its_bytes(fake: FakeGcs, where: str) -> None:
    wrong = encoded(int(google_crc32c.value(b"other")))
    body = json.dumps({"crc32c": wrong}) if where == "resource" else "{}"
    headers = {"X-Goog-Hash": f"crc32c={wrong}"} if where == "header" else {}
    address = start(fake, "o", body).headers["Location"]
    refused = put(address, b"bytes", "bytes 0-4/5", **headers)
    assert (refused.status_code, "doesn't match" in refused.text) == (400, True)
    assert put(address, b"", "bytes */*").status_code == 404
    assert read(fake, "o").status_code == 404


def test_a_session_goes_on_after_a_restart(tmp_path: Path) -> None:
    data = pattern(2 * GRAIN + 1)
    with FakeGcs(tmp_path) as fake:
        fake.add_bucket("lab")
        address = start(fake, "o").headers["Location"]
        put(address, data[:GRAIN], f"bytes 0-{GRAIN - 1}/*")
        port = fake.port
    with FakeGcs(tmp_path, port=port) as fake:
        assert put(address, b"", "bytes */*").headers["Range"] == f"bytes=0-{GRAIN - 1}"
        done = put(address, data[GRAIN:], f"bytes {GRAIN}-{len(data) - 1}/{len(data)}")
        assert done.json()["crc32c"] == encoded(int(google_crc32c.value(data)))
        assert read(fake, "o").content == data


# what lies in the directory


def test_objects_are_there_after_a_restart(tmp_path: Path) -> None:
    with FakeGcs(tmp_path) as fake, client(fake.url) as google:
        bucket = google.create_bucket("lab")
        parts = [bucket.blob("a"), bucket.blob("b")]
        for part in parts:
            part.upload_from_string(part.name.encode() * 1000)
        whole = bucket.blob("whole")
        whole.compose(parts)
        parts[0].delete()
    stray = tmp_path / "buckets" / "lab" / "data" / "1.0"
    stray.write_bytes(b"of a write that was killed")
    with FakeGcs(tmp_path) as fake, client(fake.url) as google:
        assert not stray.exists()
        found = google.bucket("lab").get_blob("whole")
        assert found.generation == whole.generation
        assert found.download_as_bytes() == b"a" * 1000 + b"b" * 1000
        assert [blob.name for blob in google.list_blobs("lab")] == ["b", "whole"]
        google.bucket("lab").blob("new").upload_from_string(b"")
        assert google.bucket("lab").get_blob("new").generation > whole.generation


def test_of_many_writers_at_once_one_makes_the_object(fake: FakeGcs) -> None:
    def write(number: int) -> bool:
        with client(fake.url) as google:
            blob = google.bucket("lab").blob("contested")
            try:
                blob.upload_from_string(str(number) * 1000, if_generation_match=0)
            except exceptions.PreconditionFailed:
                return False
            return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(write, range(8)))
    assert made.count(True) == 1
    assert read(fake, "contested").text == str(made.index(True)) * 1000


def test_a_reader_keeps_the_object_that_it_began_with(fake: FakeGcs) -> None:
    size = 64 * 1024 * 1024  # more than sockets hold
    with client(fake.url) as google:
        blob = google.bucket("lab").blob("o")
        blob.upload_from_string(bytes(size))
        with requests.get(f"{fake.url}/lab/o", stream=True, timeout=30) as answer:
            blob.upload_from_string(b"\1" * 10)
            kept = answer.raw.read()
    assert (len(kept), any(kept)) == (size, False)
    assert read(fake, "o").content == b"\1" * 10


def test_generations_rise_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with FakeGcs(tmp_path) as fake, client(fake.url) as google:
        blob = google.create_bucket("lab").blob("o")
        generations = []
        for number in range(50):
            blob.upload_from_string(str(number))
            generations.append(blob.generation)
    assert generations == sorted(set(generations))
    assert len(list((tmp_path / "buckets" / "lab" / "data").iterdir())) == 1
    assert list((tmp_path / "incoming").iterdir()) == []


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_checksums_compose(parts: list[bytes]) -> None:
    crcs = [(encoded(int(google_crc32c.value(part))), len(part)) for part in parts]
    assert combined(crcs) == encoded(int(google_crc32c.value(b"".join(parts))))


# the XML API's reads, beyond what curl asks for


def test_heads_and_tags(fake: FakeGcs) -> None:
    with client(fake.url) as google:
        blob = google.bucket("lab").blob("o")
        blob.upload_from_string(b"0123456789", content_type="text/plain")
    head = requests.head(f"{fake.url}/lab/o", timeout=30)
    assert (head.headers["Content-Length"], head.content) == ("10", b"")
    assert head.headers["ETag"] == '"781e5e245d69b566979b86e28d23f2c7"'
    assert head.headers["Accept-Ranges"] == "bytes"
    assert head.headers["Content-Type"] == "text/plain"
    assert requests.head(f"{fake.url}/lab/no", timeout=30).status_code == 404
    tag = head.headers["ETag"]
    assert read(fake, "o", **{"If-None-Match": tag}).status_code == 304
    assert read(fake, "o", **{"If-Match": '"other"'}).status_code == 412
    assert read(fake, "o", **{"x-goog-if-generation-match": "1"}).status_code == 412
    assert read(fake, "o", **{"Range": "bytes=2-3", "If-Range": tag}).content == b"23"
    assert read(fake, "o", **{"Range": "bytes=2-3", "If-Range": '"x"'}).content == b"0123456789"
    assert read(fake, f"o?generation={blob.generation}").status_code == 200
    assert "<Code>NoSuchKey</Code>" in read(fake, "o?generation=1").text


@pytest.mark.parametrize(
    ("asked", "status", "said", "body"),
    [
        ("bytes=0-0", 206, "bytes 0-0/10", b"0"),
        ("bytes=8-99", 206, "bytes 8-9/10", b"89"),
        ("bytes=7-", 206, "bytes 7-9/10", b"789"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=-99", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=10-", 416, "bytes */10", None),
        ("bytes=-0", 416, "bytes */10", None),
        ("bytes=3-2", 200, None, b"0123456789"),
        ("bytes=0-1,4-5", 200, None, b"0123456789"),
        ("lines=1-2", 200, None, b"0123456789"),
    ],
)
def test_ranges(
    fake: FakeGcs, asked: str, status: int, said: str | None, body: bytes | None
) -> None:
    with client(fake.url) as google:
        google.bucket("lab").blob("o").upload_from_string(b"0123456789")
    answer = read(fake, "o", Range=asked)
    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, said)
    assert body is None or answer.content == body


# who may call


def test_the_tokens_of_a_fake_compute_engine_open_the_store(tmp_path: Path) -> None:
    made: Any = service_account.Credentials
    with (
        FakeGce() as cloud,
        FakeGcs(tmp_path / "gcs", accept=accepted_by(cloud.auth)) as fake,
    ):
        fake.add_bucket("lab")
        key = str(cloud.credentials(tmp_path / "key.json", UNIVERSE))
        credentials = made.from_service_account_file(key, scopes=SCOPES)
        with client(fake.url, credentials, UNIVERSE) as google:
            blob = google.bucket("lab").blob("o")
            blob.upload_from_file(io.BytesIO(pattern(9 << 20)))
        token = str(granted(cloud.auth)["access_token"])
        assert read(fake, "o", Authorization=f"Bearer {token}").content == pattern(9 << 20)
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic eDp5"}):
            refused = read(fake, "o", **headers)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"].startswith("Bearer ")
        cloud.auth.expire_tokens()
        assert read(fake, "o", Authorization=f"Bearer {token}").status_code == 401


def test_a_token_that_may_only_read(tmp_path: Path) -> None:
    with FakeGcs(tmp_path, read_only=lambda token: token == "reader") as fake:
        fake.add_bucket("lab")
        bearer = {"Authorization": "Bearer reader"}
        address = f"{fake.url}/upload/storage/v1/b/lab/o?uploadType=media&name=o"
        refused = requests.post(address, data=b"x", headers=bearer, timeout=30)
        assert (refused.status_code, reason(refused)) == (403, "insufficientPermissions")
        assert requests.post(address, data=b"x", timeout=30).status_code == 200
        assert read(fake, "o", **bearer).content == b"x"


# the document


def test_what_the_document_does_not_know_is_refused_and_kept(tmp_path: Path) -> None:
    with (  # noqa: PT012 - what is raised at the end is about all of it
        pytest.raises(AgainstTheDocument, match="ifGenerationMach"),
        FakeGcs(tmp_path) as fake,
    ):
        fake.add_bucket("lab")
        address = f"{fake.url}/storage/v1/b/lab/o/o"
        for where in (f"{address}?ifGenerationMach=0", f"{address}?generation=new"):
            assert requests.get(where, timeout=30).status_code == 400
        assert start(fake, "o", '{"md5": "x"}').status_code == 400
        assert requests.get(f"{fake.url}/storage/v1/nothing", timeout=30).status_code == 404
        assert len(fake.violations) == 4


@pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "x" * 1025])
def test_names_that_no_object_may_have(fake: FakeGcs, name: str) -> None:
    assert start(fake, name).status_code == 400


def test_names_go_nowhere_in_the_directory(fake: FakeGcs, tmp_path: Path) -> None:
    for name in ("../../../../escaped", "/etc/escaped", "a/../../b", "x" * 1024):
        assert put(start(fake, name).headers["Location"], b"x", "bytes 0-0/1").status_code == 200
    assert {path.name for path in tmp_path.iterdir()} == {"gcs"}
    assert len(list((tmp_path / "gcs" / "buckets" / "lab" / "data").iterdir())) == 4
    made = requests.post(f"{fake.url}/storage/v1/b?project=p", json={"name": "../up"}, timeout=30)
    assert made.status_code == 400


def test_a_body_of_unknown_length_is_refused(fake: FakeGcs) -> None:
    line = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=30)
    try:
        line.putrequest("POST", "/upload/storage/v1/b/lab/o?uploadType=media&name=o")
        line.endheaders()
        assert line.getresponse().status == 411
    finally:
        line.close()


# as a process


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_process_serves_large_objects_in_little_memory(tmp_path: Path) -> None:
    size = 512 * 1024 * 1024
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(size)
    program = Path(__file__).with_name("fake_gcs.py")
    command = [sys.executable, str(program), str(tmp_path / "gcs"), "--bucket=lab", "--no-md5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            before = peak_kib(process.pid)
            where = f"{url}/upload/storage/v1/b/lab/o?uploadType=media&name=o"
            sent = curl("--fail", "-X", "POST", "-T", source, where)
            assert (sent.returncode, json.loads(sent.stdout)["size"]) == (0, str(size))
            assert "md5Hash" not in json.loads(sent.stdout)
            assert curl("--fail", "-o", target, f"{url}/lab/o").returncode == 0
            grown = peak_kib(process.pid) - before
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert target.stat().st_size == size
    assert grown < 64 * 1024
