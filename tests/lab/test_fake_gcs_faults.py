"""What goes wrong at the fake store goes wrong for real clients; the account says at what cost."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fake_gcs import FakeGcs
from gcs_clients import RETRY, client, curl, pattern
from gcs_faults import Fault
from google.api_core import exceptions

GRAIN = 256 * 1024
SIZE = 8 * GRAIN + 11
DATA = pattern(SIZE)
RST = 56  # curl's exit status for a connection that was reset; an orderly end would give 18


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeGcs]:
    with FakeGcs(tmp_path / "gcs") as made:
        made.add_bucket("lab")
        yield made


@pytest.fixture
def bucket(fake: FakeGcs) -> Iterator[Any]:
    with client(fake.url) as google:
        yield google.bucket("lab")


@pytest.fixture
def stored(fake: FakeGcs, bucket: Any) -> str:
    """The address of an object of SIZE bytes."""
    bucket.blob("o").upload_from_string(DATA)
    return f"{fake.url}/lab/o"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_googles_client_tries_again_after_what_may_pass(
    fake: FakeGcs, bucket: Any, stored: str, status: int
) -> None:
    # Not at a download: the client forgets to close the connection of the refused one.
    fake.faults.add(Fault(status=status, retry_after="0"), kind="storage.objects.get", times=2)
    assert bucket.get_blob("o", retry=RETRY).size == SIZE
    assert [seen.status for seen in fake.calls("storage.objects.get")] == [status, status, 200]


def test_googles_client_gives_up_at_a_refusal(fake: FakeGcs, bucket: Any, stored: str) -> None:
    fake.faults.add(Fault(status=403, reason="forbidden"), path="/o/o", times=0)
    with pytest.raises(exceptions.Forbidden):
        bucket.blob("o").reload(retry=RETRY)
    assert len(fake.calls("storage.objects.get")) == 1
    fake.faults.clear()
    bucket.blob("o").reload()


def test_a_refusal_carries_what_curl_goes_by(fake: FakeGcs, stored: str) -> None:
    fake.faults.add(Fault(status=429, retry_after="7"), kind="xml.get")
    fake.faults.add(Fault(status=401), kind="xml.get")
    busy = requests.get(stored, timeout=30)
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "7")
    assert "<Code>SlowDown</Code>" in busy.text
    assert "WWW-Authenticate" in requests.get(stored, timeout=30).headers
    assert requests.get(stored, timeout=30).content == DATA


def test_a_broken_stream_is_fetched_from_where_it_broke(
    fake: FakeGcs, stored: str, tmp_path: Path
) -> None:
    fake.faults.add(Fault(cut_sent=3 * GRAIN), kind="xml.get")
    target = tmp_path / "target"
    assert curl("--fail", "-o", target, stored).returncode == RST
    have = target.stat().st_size
    assert have <= 3 * GRAIN
    assert curl("--fail", "-C", "-", "-o", target, stored).returncode == 0
    assert target.read_bytes() == DATA
    assert [seen.sent for seen in fake.calls("xml.get")] == [3 * GRAIN, SIZE - have]


def test_googles_client_goes_on_with_a_broken_download(
    fake: FakeGcs, bucket: Any, stored: str
) -> None:
    fake.faults.add(Fault(cut_sent=GRAIN), kind="media.get")
    assert bucket.blob("o").download_as_bytes(retry=RETRY) == DATA
    assert len(fake.calls("media.get")) == 2


def test_googles_client_sends_a_cut_chunk_again(fake: FakeGcs, bucket: Any) -> None:
    fake.faults.add(Fault(cut_received=5 * GRAIN + 100), kind="upload.chunk")
    blob = bucket.blob("o", chunk_size=8 * GRAIN)
    blob.upload_from_file(io.BytesIO(DATA), if_generation_match=0, checksum="crc32c", retry=RETRY)
    assert bucket.blob("o").download_as_bytes() == DATA
    chunks = [seen.received for seen in fake.calls("upload.chunk")]
    assert chunks == [5 * GRAIN + 100, 8 * GRAIN, 11]


def test_a_cut_upload_keeps_whole_grains(fake: FakeGcs, bucket: Any) -> None:
    address = bucket.blob("o").create_resumable_upload_session(size=SIZE)
    fake.faults.add(Fault(cut_received=5 * GRAIN + 100), kind="upload.chunk")
    with pytest.raises(requests.ConnectionError):
        requests.put(address, data=DATA, timeout=30)
    asked = requests.put(address, headers={"Content-Range": "bytes */*"}, timeout=30)
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{5 * GRAIN - 1}")
    said = {"Content-Range": f"bytes {5 * GRAIN}-{SIZE - 1}/{SIZE}"}
    assert requests.put(address, data=DATA[5 * GRAIN :], headers=said, timeout=30).ok
    assert fake.received("upload.[cq]*") == SIZE + 100
    assert bucket.blob("o").download_as_bytes(checksum="crc32c") == DATA


def test_a_cut_write_in_one_request_makes_nothing(fake: FakeGcs, tmp_path: Path) -> None:
    fake.faults.add(Fault(cut_received=GRAIN), kind="upload.media")
    where = f"{fake.url}/upload/storage/v1/b/lab/o?uploadType=media&name=o"
    with pytest.raises(requests.ConnectionError):
        requests.post(where, data=DATA, timeout=30)
    assert requests.get(f"{fake.url}/lab/o", timeout=30).status_code == 404
    assert list((tmp_path / "gcs" / "incoming").iterdir()) == []


@pytest.mark.parametrize("fault", [Fault(status=503, after=True), Fault(reset=True, after=True)])
def test_a_write_whose_answer_is_lost_is_found_done(
    fake: FakeGcs, bucket: Any, fault: Fault
) -> None:
    fake.faults.add(fault, kind="upload.multipart")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("o").upload_from_string(b"bytes", if_generation_match=0, retry=RETRY)
    assert bucket.blob("o").download_as_bytes() == b"bytes"


def test_a_session_whose_last_answer_is_lost_says_that_it_is_done(
    fake: FakeGcs, bucket: Any
) -> None:
    address = bucket.blob("o").create_resumable_upload_session(size=5)
    fake.faults.add(Fault(reset=True, after=True), kind="upload.chunk")
    with pytest.raises(requests.ConnectionError):
        requests.put(address, data=b"bytes", timeout=30)
    asked = requests.put(address, headers={"Content-Range": "bytes */*"}, timeout=30)
    assert (asked.status_code, asked.json()["size"]) == (200, "5")


def test_a_stalled_download_goes_on_when_it_is_let(
    fake: FakeGcs, stored: str, tmp_path: Path
) -> None:
    release = threading.Event()
    fake.faults.add(Fault(stall=release, stall_at=GRAIN), kind="xml.get")
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(requests.get(stored, timeout=60).content))
    thread.start()
    fake.wait_until(lambda: any(seen.stalled for seen in fake.calls("xml.get")))
    assert got == []
    release.set()
    thread.join()
    assert got == [DATA]


def test_closing_ends_a_stall(tmp_path: Path) -> None:
    with FakeGcs(tmp_path) as fake:
        fake.faults.add(Fault(stall=threading.Event()))
        line = requests.Session()
        failed = threading.Event()

        def ask() -> None:
            with pytest.raises(requests.ConnectionError):
                line.get(f"{fake.url}/lab/o", timeout=60)
            failed.set()

        thread = threading.Thread(target=ask)
        thread.start()
        fake.wait_until(lambda: any(seen.stalled for seen in fake.calls()))
    thread.join()
    line.close()
    assert failed.is_set()


def test_a_server_that_ignores_ranges(fake: FakeGcs, stored: str) -> None:
    fake.faults.add(Fault(ignore_range=True), kind="xml.get")
    answer = requests.get(stored, headers={"Range": "bytes=5-9"}, timeout=30)
    assert (answer.status_code, answer.content) == (200, DATA)
    answer = requests.get(stored, headers={"Range": "bytes=5-9"}, timeout=30)
    assert (answer.status_code, answer.content) == (206, DATA[5:10])


@pytest.mark.parametrize("place", [0, GRAIN, SIZE - 1])
def test_a_flipped_byte_is_one_byte(fake: FakeGcs, stored: str, place: int) -> None:
    fake.faults.add(Fault(flip=place), kind="xml.get", times=2)
    wrong = requests.get(stored, timeout=30).content
    assert [at for at in range(SIZE) if wrong[at] != DATA[at]] == [place]
    start = max(0, place - 1)
    part = requests.get(stored, headers={"Range": f"bytes={start}-"}, timeout=30).content
    assert part == wrong[start:]
    assert requests.get(stored, timeout=30).content == DATA


def test_googles_client_sees_a_flipped_byte(fake: FakeGcs, bucket: Any, stored: str) -> None:
    from google.cloud.storage.exceptions import DataCorruption

    fake.faults.add(Fault(flip=7), kind="media.get", times=0)
    with pytest.raises(DataCorruption):
        bucket.blob("o").download_as_bytes(checksum="crc32c", retry=None)


def test_faults_reach_over_the_parts_of_a_composed_object(fake: FakeGcs, bucket: Any) -> None:
    parts = []
    for number in range(3):
        parts.append(bucket.blob(f"p{number}"))
        parts[-1].upload_from_string(pattern(1000, seed=number))
    bucket.blob("whole").compose(parts)
    address, whole = f"{fake.url}/lab/whole", b"".join(pattern(1000, n) for n in range(3))
    fake.faults.add(Fault(flip=1000), kind="xml.get")
    fake.faults.add(Fault(cut_sent=2000), kind="xml.get")
    wrong = requests.get(address, timeout=30).content
    assert [at for at in range(3000) if wrong[at] != whole[at]] == [1000]
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(address, timeout=30)
    assert [seen.sent for seen in fake.calls("xml.get")] == [3000, 2000]


def test_a_fault_strikes_where_it_is_planned(fake: FakeGcs, bucket: Any) -> None:
    fake.faults.add(Fault(status=503), verb="DELETE", path=r"/o/b/2\?", times=1, skip=1)

    def removed(name: str) -> int:
        bucket.blob(name).upload_from_string(b"")
        try:
            bucket.blob(name).delete(retry=None)
        except exceptions.ServiceUnavailable:
            return 503
        return 204

    assert [removed(f"b/{n}") for n in (1, 2, 2, 1, 2)] == [204, 204, 503, 204, 204]
    assert [seen.status for seen in fake.calls("*.delete")] == [204, 204, 503, 204, 204]
