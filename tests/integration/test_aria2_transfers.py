"""Downloads by aria2 from nginx: whole, resumed, refused, cut, by mirrors, with tokens."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from aria2_parts import DEADLINE_S, SIZE, children, finished, logged, remote, until
from hub import Hub
from nginx_parts import Nginx, Served

from yoyo.drivers.aria2.transfers import Aria2Transfers
from yoyo.drivers.sources.resolve import WeightSources
from yoyo.errors import DriverUnavailable, SourceFailed
from yoyo.model.fetch import Address, RemoteFile


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture
def nginx(tmp_path: Path, data: bytes) -> Iterator[Nginx]:
    with Nginx(tmp_path / "nginx", rate="6m") as made:
        (made.files / "m.gguf").write_bytes(data)
        yield made


@pytest.fixture
def transfers(tmp_path: Path) -> Iterator[Aria2Transfers]:
    made = Aria2Transfers(tmp_path / "aria2")
    yield made
    made.close()
    assert not list((tmp_path / "aria2").glob("*")), "aria2c's files stayed"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf.part"


class Short(BaseHTTPRequestHandler):
    """Says that it has 5 MB, and closes after 1 MB."""

    def do_GET(self) -> None:
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        last = int(end or 4_999_999)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{last}/5000000")
        self.send_header("Content-Length", str(last - int(start) + 1))
        self.end_headers()
        self.wfile.write(b"x" * max(0, min(1_000_000, last + 1) - int(start)))

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_file_arrives_whole(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    transfer = transfers.start(remote(f"{nginx.url}/m.gguf"), target)
    state = until(transfer, finished)
    transfer.close()
    transfer.close()
    assert state.done == state.total == SIZE
    assert state.has(0, SIZE)
    assert target.read_bytes() == data
    assert [path.name for path in target.parent.iterdir() if "part" in path.name] == [target.name]


def test_what_is_reported_is_on_the_disk(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    transfer = transfers.start(remote(f"{nginx.url}/slow/m.gguf"), target)
    piece, looks = 1 << 20, 0
    deadline = time.monotonic() + DEADLINE_S
    while not (state := transfer.state()).finished:
        assert time.monotonic() < deadline
        looks += state.done > 0
        with target.open("rb") as file:
            for start in range(0, SIZE, piece):
                if state.has(start, min(piece, SIZE - start)):
                    file.seek(start)
                    assert file.read(piece) == data[start : start + piece]
        time.sleep(0.02)
    transfer.close()
    assert looks, "the transfer was over before it was looked at"
    assert target.read_bytes() == data


def test_the_front_is_whole_early(transfers: Aria2Transfers, tmp_path: Path, target: Path) -> None:
    size, piece = 200 << 20, 1 << 20
    location = f"location /quick/ {{ alias {tmp_path}/quick/files/; limit_rate 20m; }}"
    with Nginx(tmp_path / "quick", extra=location) as nginx:
        with (nginx.files / "m.gguf").open("wb") as file:
            file.truncate(size)
        transfer = transfers.start(remote(f"{nginx.url}/quick/m.gguf", size=size), target)
        state = until(transfer, lambda seen: seen.done > size * 0.9)
        transfer.close()
    assert not state.finished
    front = 0
    while state.has(front, piece):
        front += piece
    # Four connections lie within 100 MiB of each other; of four equal parts the front is 45 MiB.
    assert front > state.done - (110 << 20)


def test_what_is_on_the_disk_is_accounted_for_from_the_first_byte(
    transfers: Aria2Transfers, nginx: Nginx, target: Path
) -> None:
    # aria2's own account comes a second later: killed before, the file would have unknown holes.
    transfer = transfers.start(remote(f"{nginx.url}/slow/m.gguf"), target)
    account = target.with_name(target.name + ".aria2").read_bytes()
    transfer.close()
    assert int.from_bytes(account[14:22], "big") == SIZE


def test_a_closed_transfer_goes_on_where_it_was(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    transfer = transfers.start(remote(f"{nginx.url}/slow/m.gguf"), target)
    state = until(transfer, lambda seen: seen.done > SIZE * 2 // 3)
    transfer.close()
    assert transfer.state().done >= state.done
    again = transfers.start(remote(f"{nginx.url}/m.gguf"), target)
    until(again, finished)
    again.close()
    assert target.read_bytes() == data
    # A third is left; what is on the way when a connection meets a fetched piece is lost.
    assert logged(nginx, "/m.gguf") < SIZE * 0.6


def test_a_finished_file_is_not_fetched_again(
    transfers: Aria2Transfers, nginx: Nginx, target: Path
) -> None:
    first = transfers.start(remote(f"{nginx.url}/m.gguf"), target)
    until(first, finished)
    first.close()
    before = len(nginx.requests())
    again = transfers.start(remote(f"{nginx.url}/m.gguf"), target)
    assert again.state().finished
    again.close()
    assert len(nginx.requests()) == before + 1  # the look at its size


@pytest.mark.parametrize("what", ["foreign", "longer", "torn", "lost", "alone"])
def test_a_target_that_is_not_ours_is_fetched_anew(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes, what: str
) -> None:
    control = target.with_name(target.name + ".aria2")
    if what != "alone":
        target.write_bytes(b"x" * (SIZE + 9 if what == "longer" else SIZE // 2))
    if what in ("torn", "alone"):
        control.write_bytes(b"\0\1" + b"\0" * 9)
    if what == "longer":
        control.write_bytes(b"")
    transfer = transfers.start(remote(f"{nginx.url}/m.gguf"), target)
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data
    assert not control.exists()


def test_a_server_that_ignores_ranges_works_from_the_start(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    target.write_bytes(b"x" * 1000)
    transfer = transfers.start(remote(f"{nginx.url}/noranges/m.gguf"), target)
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data


def test_an_empty_file(transfers: Aria2Transfers, nginx: Nginx, target: Path) -> None:
    (nginx.files / "empty").write_bytes(b"")
    transfer = transfers.start(remote(f"{nginx.url}/empty", size=0), target)
    assert transfer.state().finished
    transfer.close()
    assert target.read_bytes() == b""


def test_a_mirror_takes_over(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    bad = [f"{nginx.url}/{path}?secret=1" for path in ("403/x", "404/x", "429/x")]
    transfer = transfers.start(remote(*bad, f"{nginx.url}/m.gguf"), target)
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data


def test_a_mirror_of_another_size_is_refused(
    transfers: Aria2Transfers, nginx: Nginx, target: Path
) -> None:
    (nginx.files / "other").write_bytes(b"x" * 5)
    with pytest.raises(SourceFailed) as caught:
        transfers.start(remote(f"{nginx.url}/other?secret=1", f"{nginx.url}/403/x"), target)
    assert f"has 5 bytes instead of {SIZE}" in caught.value.why
    assert "answered 403" in caught.value.why
    assert f"127.0.0.1:{nginx.port}" in caught.value.why
    assert "secret" not in str(vars(caught.value))
    assert not target.exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("403/x", "answered 403 (no access)"),
        ("404/x", "answered 404 (moved"),
        ("429/x", "answered 429 (too many requests), and asks to wait 3600 s"),
    ],
)
def test_a_refusal_names_host_and_reason(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, path: str, words: str
) -> None:
    with pytest.raises(SourceFailed) as caught:
        transfers.start(remote(f"{nginx.url}/{path}?secret=1"), target)
    assert f"127.0.0.1:{nginx.port} {words}" in caught.value.why
    assert "secret" not in str(vars(caught.value))


def test_a_name_that_is_not_known_is_said(
    transfers: Aria2Transfers, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoyo.drivers.aria2.transfers._TRIES", 1)
    with pytest.raises(SourceFailed) as caught:
        transfers.start(remote("http://nowhere.invalid/m.gguf?secret=1"), target)
    assert "nowhere.invalid: its name is not known (DNS)" in caught.value.why
    assert "secret" not in str(vars(caught.value))


def test_a_server_that_sends_less_than_it_says_is_found_out(
    transfers: Aria2Transfers, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoyo.drivers.aria2.transfers._TRIES", 1)
    with Served(Short) as server:
        transfer = transfers.start(remote(f"{server.url}/m.gguf?secret=1", size=None), target)
        with pytest.raises(SourceFailed) as caught:
            until(transfer, finished)
        transfer.close()
    assert server.url.removeprefix("http://") in caught.value.why
    assert "secret" not in str(vars(caught.value))


def test_a_refusal_that_passes_is_waited_out(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    nginx.stop()
    transfer = transfers.start(remote(f"{nginx.url}/m.gguf"), target)
    assert not transfer.state().finished
    nginx.start()
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data


def test_a_server_that_dies_in_between_is_gone_on_with(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    transfer = transfers.start(remote(f"{nginx.url}/slow/m.gguf"), target)
    until(transfer, lambda seen: seen.done > SIZE // 2)
    nginx.stop()
    until(transfer, lambda seen: seen.speed == 0)
    nginx.start()
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data
    # The cut requests are in no log; what came after the cut is less than the whole.
    assert logged(nginx, "/slow/m.gguf") < SIZE


def test_the_token_reaches_its_server_and_nobody_else(
    transfers: Aria2Transfers, tmp_path: Path, target: Path
) -> None:
    token = "hf_TokenThatMustNotBeShown"
    content = random.Random(2).randbytes(3_000_000)
    with Hub(tmp_path / "hub") as hub:
        hub.tokens.add(token)
        hub.private.add("acme/tiny")
        hub.add("acme/tiny", "main", {"t.gguf": content})
        ours = WeightSources(
            hub=hub.url,
            hub_mirrors=(),
            storage_endpoint=None,
            storage_credentials=None,
            env={"HF_TOKEN": token},
        )
        (file,) = ours.resolve("hf://acme/tiny/t.gguf").files
        transfer = transfers.start(file, target)
        for pid in children(os.getpid()):
            assert token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        until(transfer, finished)
        transfer.close()
        assert hashlib.sha256(target.read_bytes()).hexdigest() == file.sha256
        for one in hub.seen:
            assert ("authorization" in one.headers) is (one.host == "hub"), one


def test_a_header_is_sent_to_a_server_that_does_not_redirect(
    transfers: Aria2Transfers, nginx: Nginx, target: Path, data: bytes
) -> None:
    place = Address(f"{nginx.url}/token/m.gguf", (("Authorization", "Bearer good-token"),))
    transfer = transfers.start(RemoteFile("m.gguf", SIZE, None, (place,)), target)
    until(transfer, finished)
    transfer.close()
    assert target.read_bytes() == data
    wrong = place._replace(headers=(("Authorization", "Bearer x\r\nCookie: secret"),))
    with pytest.raises(SourceFailed):
        transfers.start(RemoteFile("m.gguf", SIZE, None, (wrong,)), target)


def test_a_missing_aria2c_is_said(
    tmp_path: Path, target: Path, nginx: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DriverUnavailable) as caught:
        Aria2Transfers(tmp_path / "aria2").start(remote(f"{nginx.url}/m.gguf"), target)
    assert "apt-get install aria2" in caught.value.fix
