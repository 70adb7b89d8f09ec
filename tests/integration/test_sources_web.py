"""Sources on web servers: sizes, ranges, refusals, and servers that lie."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from nginx_parts import Nginx, Served
from sources_parts import DATA, DIGEST, refused, sources
from tls_parts import make_certificate, server_context, serving

from yoyo.drivers.sources.resolve import MAX_READ
from yoyo.errors import SourceFailed
from yoyo.model.fetch import Address, RemoteFile


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    with Nginx(tmp_path / "nginx") as made:
        (made.files / "a model.gguf").write_bytes(DATA)
        (made.files / "empty").write_bytes(b"")
        yield made


def test_a_web_servers_file_has_size_and_etag(nginx: Nginx) -> None:
    url = f"{nginx.url}/a%20model.gguf?X-Amz-Signature=secret"
    resolved = sources().resolve(url, sha256=DIGEST)
    assert resolved.url == f"{nginx.url}/a%20model.gguf"
    assert resolved.revision
    (file,) = resolved.files
    assert (file.path, file.size, file.sha256) == ("a model.gguf", len(DATA), DIGEST)
    assert file.addresses == (Address(url),)
    assert sources().read(file, 300, 256) == DATA[300:556]
    (looked, read) = nginx.requests()
    assert (looked.sent, looked.range) == (1, "bytes=0-0")
    assert read.sent == 256


def test_a_web_servers_file_needs_a_digest(nginx: Nginx) -> None:
    error = refused(f"{nginx.url}/a%20model.gguf?secret")
    assert "--sha256" in error.fix
    assert not nginx.requests()


def test_a_server_without_ranges_is_read_up_to_the_place(nginx: Nginx) -> None:
    resolved = sources().resolve(f"{nginx.url}/noranges/a%20model.gguf", sha256=DIGEST)
    assert resolved.files[0].size == len(DATA)
    assert sources().read(resolved.files[0], 1_000_000, 1000) == DATA[1_000_000:1_001_000]
    assert sources().read(resolved.files[0], len(DATA) - 7, 1000) == DATA[-7:]


def test_an_empty_file_is_a_file(nginx: Nginx) -> None:
    resolved = sources().resolve(f"{nginx.url}/empty", sha256=hashlib.sha256().hexdigest())
    assert resolved.files[0].size == 0
    assert sources().read(resolved.files[0], 0, 10) == b""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("403/x", "refused access"),
        ("404/x", "not there"),
        ("nothing", "not there"),
        ("429/x", "limits its rate"),
        ("500/x", "could not be read"),
        ("cut/x", "could not be read"),
    ],
)
def test_a_web_servers_refusal_is_explained(nginx: Nginx, path: str, words: str) -> None:
    error = refused(f"{nginx.url}/{path}?secret", sha256=DIGEST)
    assert words in error.what
    assert f"127.0.0.1:{nginx.port}" in error.why


def test_a_mirror_answers_where_the_first_does_not(nginx: Nginx) -> None:
    gone, there = f"{nginx.url}/404/x", f"{nginx.url}/a%20model.gguf"
    resolved = sources().resolve(gone, sha256=DIGEST, mirrors=(there,))
    assert resolved.files[0].size == len(DATA)
    assert sources().read(resolved.files[0], 0, 4) == DATA[:4]
    error = refused(gone, sha256=DIGEST, mirrors=(f"{nginx.url}/403/x?secret",))
    assert len(error.details) == 2
    assert "403" in error.details[1]


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@host/a",
        "https:///a",
        "https://host:99999/a",
        "https://[::1/a",
        "https://host/a b",
        "https://host/..",
        "https://host/a%2F..%2Fb",
        "https://host/a%0Ab",
        "ftp://host/a",
        "https:host/a",
        "weights.gguf",
        "",
        "://",
    ],
)
def test_hostile_addresses_are_refused(url: str) -> None:
    refused(url, sha256=DIGEST)


class Liar(BaseHTTPRequestHandler):
    """Answers what its path says, whatever was asked for."""

    def do_GET(self) -> None:
        what = self.path.strip("/")
        body = b"x" * 100
        about = {
            "other": {"Content-Range": "bytes 50-149/200"},
            "negative": {"Content-Range": "bytes 0--5/200"},
            "past": {"Content-Range": "bytes 0-99/50"},
            "none": {},
            "gzip": {"Content-Range": "bytes 0-99/200", "Content-Encoding": "gzip"},
            "short": {"Content-Range": "bytes 0-199/200"},
            "long": {"Content-Range": "bytes 0-9/200"},
            "loop": {"Location": "/loop"},
            "file": {"Location": "file:///etc/passwd"},
        }[what]
        self.send_response(302 if "Location" in about else 206)
        for name, value in about.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    "lie", ["other", "negative", "past", "none", "gzip", "short", "loop", "file"]
)
def test_a_server_that_lies_is_found_out(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoyo.drivers.sources.web._TRIES", 1)
    with Served(Liar) as server:
        file = RemoteFile("a", None, None, (Address(f"{server.url}/{lie}"),))
        with pytest.raises(SourceFailed, match="could not be read"):
            sources().read(file, 0, 200 if lie == "short" else 50)


class Slow(BaseHTTPRequestHandler):
    """Sends nothing at all, or one byte now and then."""

    over: threading.Event
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.path == "/mute":
            self.over.wait(60)
            return
        self.send_response(206)
        self.send_header("Content-Range", "bytes 0-199/200")
        self.send_header("Content-Length", "200")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(199):
                self.wfile.write(b"x")
                if self.over.wait(0.05):
                    return
            self.seen.append("waited for to its end")
            self.wfile.write(b"x")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(("path", "words"), [("drip", "sends too slowly"), ("mute", "no answer")])
def test_a_server_that_keeps_one_waiting_is_given_up(
    path: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No further try fits in: the shortest pause before one is 0.25 s.
    monkeypatch.setattr("yoyo.drivers.sources.web._PATIENCE_S", 0.4)
    monkeypatch.setattr("yoyo.drivers.sources.web.TIMEOUT_S", 0.3)
    Slow.over, Slow.seen = threading.Event(), []
    with Served(Slow) as server:
        file = RemoteFile("a", None, None, (Address(f"{server.url}/{path}"),))
        try:
            with pytest.raises(SourceFailed, match="could not be read") as caught:
                sources().read(file, 0, 200)
        finally:
            Slow.over.set()
    assert words in caught.value.why
    assert Slow.seen == [f"/{path}"]


class Plain(BaseHTTPRequestHandler):
    """Speaks no TLS, and counts who came."""

    seen: list[object]

    def setup(self) -> None:
        super().setup()
        self.seen.append(self.client_address)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_without_tls_is_named_as_such_at_once() -> None:
    Plain.seen = []
    with Served(Plain) as server:
        error = refused(server.url.replace("http:", "https:") + "/a", sha256=DIGEST)
    assert "does not speak TLS" in error.why
    assert len(Plain.seen) == 1


def test_a_certificate_that_is_not_accepted_is_asked_for_once(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    context = server_context(make_certificate(tmp_path / "server.pem", key))
    seen: list[socket.socket] = []

    def script(connection: socket.socket) -> None:
        seen.append(connection)
        context.wrap_socket(connection, server_side=True).close()

    with serving(script) as host:
        error = refused(f"https://{host}/a", sha256=DIGEST)
    assert "certificate is not accepted" in error.why
    assert len(seen) == 1


def test_more_than_was_asked_for_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    with Served(Liar) as server:
        file = RemoteFile("a", None, None, (Address(f"{server.url}/long"),))
        assert sources().read(file, 0, 10) == b"x" * 10


def test_reads_are_bounded() -> None:
    file = RemoteFile("a", 3, None, data=b"abc")
    assert sources().read(file, 1, 5) == b"bc"
    assert sources().read(file, 3, 5) == b""
    assert sources().read(file, 0, 0) == b""
    for start, length in ((-1, 1), (0, -1), (0, MAX_READ + 1)):
        with pytest.raises(ValueError, match="64 MiB"):
            sources().read(file, start, length)
