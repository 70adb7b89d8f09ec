"""The HTTP of the registry driver: what is tried again, and what is not."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from oci_login_parts import NOBODY, Time, logged_in, ref, replies
from token_server import Asked, Reply, Scripted

from yoyo.drivers.oci import session as session_module
from yoyo.drivers.oci.faults import retry_after_s
from yoyo.drivers.oci.session import Session
from yoyo.errors import DriverUnavailable, RegistryUnavailable
from yoyo.model.oci import Reference


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def session(time: Time) -> Iterator[Session]:
    with Session(credentials=NOBODY, clock=lambda: time.now, sleep=time.sleep) as session:
        yield session


def test_what_passes_by_itself_is_tried_again(session: Session, time: Time) -> None:
    busy = [Reply(status) for status in (500, 502, 503, 504, 408)]
    with Scripted(replies(*busy, Reply(200, b"here"))) as server:
        assert session.request("GET", ref(server), "x").content == b"here"
        assert server.paths() == ["GET /v2/team/adapter/x"] * 6
    for number, pause in enumerate(time.slept):
        assert 0.5 * 2**number * 0.5 <= pause <= 0.5 * 2**number * 1.5


def test_broken_and_truncated_answers_are_tried_again(session: Session) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    broken = [
        Reply(raw=b""),
        Reply(raw=b"nonsense\r\n\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhe"),
        Reply(raw=chunked + b"2\r\nhe\r\n"),
        Reply(raw=chunked + b"2\r\nhe\r\n2\r\nre\r\n0\r\n\r\n"),
    ]
    with Scripted(replies(*broken)) as server:
        assert session.request("GET", ref(server), "x").content == b"here"
        assert len(server.asked) == 5


def test_a_registry_that_stays_away_is_given_up_within_a_minute(
    session: Session, time: Time
) -> None:
    with Scripted(replies(Reply(503, b'{"errors":[{"code":"UNAVAILABLE"}]}'))) as server:
        with pytest.raises(RegistryUnavailable, match=server.host) as refused:
            session.request("GET", ref(server), "x")
        assert "answered 503: UNAVAILABLE." in refused.value.why
    assert 20 < time.now <= 60
    with pytest.raises(RegistryUnavailable) as refused:
        session.request("GET", ref(server), "x")
    assert "connection refused" in refused.value.why
    assert 40 < time.now <= 120


def test_without_retry_there_is_one_try(session: Session, time: Time) -> None:
    with Scripted(replies(Reply(503), Reply())) as server:
        with pytest.raises(RegistryUnavailable):
            session.request("GET", ref(server), "x", retry=False)
        assert len(server.asked) == 1
    assert not time.slept


def test_a_registry_that_asks_for_time_gets_it(session: Session, time: Time) -> None:
    with Scripted(replies(Reply(429, headers={"Retry-After": "17"}), Reply())) as server:
        assert session.request("GET", ref(server), "x").ok
    assert 17 <= time.now < 18


def test_a_registry_that_asks_for_too_much_time_is_taken_at_its_word(
    session: Session, time: Time
) -> None:
    with Scripted(replies(Reply(429, headers={"Retry-After": "3600"}), Reply())) as server:
        with pytest.raises(RegistryUnavailable) as refused:
            session.request("GET", ref(server), "x")
        assert "asks to wait 3600 s" in refused.value.why
        assert len(server.asked) == 1
    assert not time.slept


def test_retry_after_is_read_in_both_forms() -> None:
    assert retry_after_s("5") == 5
    assert retry_after_s("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert (retry_after_s("Fri, 01 Jan 2100 00:00:00 GMT") or 0) > 1e9
    for nonsense in (None, "", "-1", "soon", "1e3", "\u0665", "Fri, 99 Jan 2100"):
        assert retry_after_s(nonsense) is None


def test_a_body_is_sent_again_only_if_it_can_be_rewound(session: Session) -> None:
    source = io.BytesIO(b"x" * 3_000_000)

    def uploads(asked: Asked) -> Reply:
        if asked.path == "/v2/":
            return Reply()
        puts = sum(other.method == "PUT" for other in server.asked)
        return Reply(503 if puts in (1, 3) else 201)

    with Scripted(uploads) as server:
        answer = session.request(
            "PUT", ref(server), "x", data=source, rewind=lambda: source.seek(0)
        )
        assert answer.status_code == 201
        assert [len(asked.body) for asked in server.asked] == [0, 3_000_000, 3_000_000]
        assert [asked.headers["Content-Length"] for asked in server.asked[1:]] == ["3000000"] * 2
        with pytest.raises(RegistryUnavailable):
            session.request("PUT", ref(server), "x", data=iter([b"abc", b"def"]))
        assert server.asked[-1].body == b"abcdef"
        assert server.asked[-1].headers["Transfer-Encoding"] == "chunked"
        assert len(server.asked) == 4


def test_minutes_of_sending_are_no_minutes_of_waiting(session: Session, time: Time) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.now += 300.0
            return super().read(size)

    source = Slow(b"abc")

    def uploads(asked: Asked) -> Reply:
        return Reply(200 if asked.path == "/v2/" else 503 if len(server.asked) == 2 else 201)

    with Scripted(uploads) as server:
        headers = {"Content-Length": "3"}
        answer = session.request(
            "PUT", ref(server), "x", data=source, headers=headers, rewind=lambda: source.seek(0)
        )
        assert answer.status_code == 201


def test_a_length_that_is_given_is_used(session: Session) -> None:
    with Scripted(replies(Reply(201))) as server:
        headers = {"Content-Length": "6", "Content-Range": "0-5"}
        session.request("PATCH", ref(server), "x", data=iter([b"abc", b"def"]), headers=headers)
        assert server.asked[-1].body == b"abcdef"
        assert server.asked[-1].headers["Content-Range"] == "0-5"
        assert "Transfer-Encoding" not in server.asked[-1].headers


def test_a_body_waits_until_it_is_known_who_may_send_it(tmp_path: Path) -> None:
    def uploads(asked: Asked) -> Reply:
        if not asked.authorization:
            return Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return Reply(201)

    with (
        Scripted(uploads) as server,
        Session(credentials=logged_in(tmp_path, server.host)) as session,
    ):
        assert session.request("PUT", ref(server), "x", data=iter([b"abc"])).status_code == 201
        assert server.paths() == ["GET /v2/", "PUT /v2/team/adapter/x"]
        assert [asked.body for asked in server.asked] == [b"", b"abc"]


def test_a_source_that_cannot_be_read_is_no_fault_of_the_registry(
    session: Session, time: Time
) -> None:
    def source() -> Iterator[bytes]:
        yield b"abc"
        raise OSError(5, "Input/output error")

    with Scripted(replies(Reply())) as server, pytest.raises(OSError, match="Input/output error"):
        session.request("PUT", ref(server), "x", data=source())
    assert not time.slept


def test_paths_are_relative_to_the_repository_or_the_registry(session: Session) -> None:
    with Scripted(replies(Reply())) as server:
        paths = ("tags/list?n=5", "/v2/a/b", f"{server.url}/c?d=http://x", f"//{server.host}/d")
        for path in paths:
            session.request("GET", ref(server), path)
        assert server.paths() == [
            "GET /v2/team/adapter/tags/list", "GET /v2/a/b", "GET /c", "GET /d",
        ]  # fmt: skip


def test_tls_is_for_every_other_machine() -> None:
    assert session_module._origin("example.com:5000") == "https://example.com:5000"
    assert session_module._origin("docker.io") == "https://registry-1.docker.io"
    assert session_module._origin("[::1]:5000") == "http://[::1]:5000"
    # A registry behind a proxy that ends TLS may not know that it has any.
    named = Reference("example.com", "a")
    assert session_module._target(named, "http://example.com/v2/u?s=1") == (
        "https://example.com/v2/u?s=1"
    )
    with pytest.raises(RegistryUnavailable):
        session_module._target(named, "http://127.0.0.1/v2/u")


def test_connections_are_used_again(session: Session) -> None:
    def script(asked: Asked) -> Reply:
        return Reply(404 if asked.path.endswith("none") else 200, b"document")

    with Scripted(script) as server:
        for method, path in (("GET", "x"), ("HEAD", "x"), ("GET", "none"), ("PUT", "x")):
            for _ in range(3):
                session.request(method, ref(server), path, data=b"a" if method == "PUT" else None)
        with session.request("GET", ref(server), "x", stream=True) as streamed:
            assert streamed.raw.read(100) == b"document"
        session.request("GET", ref(server), "x")
        assert len({asked.connection for asked in server.asked}) == 1


def test_without_the_extra_its_name_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(DriverUnavailable) as refused:
        session.request("GET", Reference("127.0.0.1:1", "a"), "x")
    assert "yoyo[adapters]" in refused.value.fix
