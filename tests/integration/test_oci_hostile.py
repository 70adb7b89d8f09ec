"""Registries that mean no good: nothing goes where it should not, or grows without end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from oci_login_parts import NOBODY, SIGNED, Time, logged_in, ref, replies
from tls_parts import make_certificate, tls, until_closed
from token_server import Asked, Reply, Scripted

from yoyo.drivers.oci import session as session_module
from yoyo.drivers.oci.session import Session
from yoyo.errors import RegistryDenied, RegistryUnavailable
from yoyo.model.oci import Reference


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def session(time: Time) -> Iterator[Session]:
    with Session(credentials=NOBODY, clock=lambda: time.now, sleep=time.sleep) as session:
        yield session


def test_no_token_follows_a_redirect_to_another_host(tmp_path: Path) -> None:
    with Scripted(replies(Reply(200, b"blob"))) as storage:
        target = f"{storage.url}/blob?{SIGNED}"

        def registry(asked: Asked) -> Reply:
            if not asked.authorization:
                return Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            headers = {"Set-Cookie": "session=1; Path=/"}
            if asked.path.endswith("/elsewhere"):
                return Reply(307, headers={"Location": target, **headers})
            if asked.path.endswith("/here"):
                return Reply(302, headers={"Location": "elsewhere", **headers})
            return Reply(202, headers={"Location": target})

        with (
            Scripted(registry) as server,
            Session(credentials=logged_in(tmp_path, server.host)) as session,
        ):
            wanted = {"Range": "bytes=1-"}
            answer = session.request("GET", ref(server), "here", headers=wanted, stream=True)
            assert answer.raw.read() == b"blob"
            answer.close()
            begun = session.request("POST", ref(server), "uploads")
            assert session.location(begun) == target
            session.request("PUT", ref(server), session.location(begun), data=iter([b"abc"]))
            assert [bool(asked.authorization) for asked in server.asked] == [False] + [True] * 3
        assert [asked.method for asked in storage.asked] == ["GET", "PUT"]
        assert [asked.authorization for asked in storage.asked] == ["", ""]
        assert storage.asked[0].headers["Range"] == "bytes=1-"
        assert not any("Cookie" in asked.headers for asked in (*storage.asked, *server.asked))


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_signed_address_is_never_told(session: Session, time: Time, status: int) -> None:
    with Scripted(replies(Reply(status, f"no {SIGNED}".encode()))) as storage:
        redirect = Reply(307, headers={"Location": f"{storage.url}/blob?{SIGNED}"})
        with Scripted(replies(redirect)) as server:
            with pytest.raises(RegistryUnavailable) as refused:
                session.request("GET", ref(server), "x")
            assert storage.host in refused.value.why + refused.value.what
            assert f"answered {status}" in refused.value.why
            tries = len(server.asked)
            assert tries > 3  # each time with an address that is signed anew
            with pytest.raises(RegistryUnavailable) as again:
                session.request("GET", ref(server), f"{storage.url}/blob?{SIGNED}", retry=False)
            if status != 500:
                before = len(storage.asked)
                with pytest.raises(RegistryUnavailable):
                    session.request("GET", ref(server), f"{storage.url}/blob?{SIGNED}")
                assert len(storage.asked) == before + 1
        for error in (refused.value, again.value):
            told = " ".join((error.what, error.why, error.fix, repr(error)))
            assert SIGNED not in told
            assert error.__cause__ is None
            assert error.__suppress_context__ or error.__context__ is None
    gone = f"{storage.url}/blob?{SIGNED}"
    with pytest.raises(RegistryUnavailable) as refused:
        session.request("GET", Reference(server.host, "a"), gone)
    assert SIGNED not in refused.value.why
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "location",
    [
        "http://storage.example.com/blob", "http://10.1.2.3/blob", "ftp://127.0.0.1/blob",
        "file:///etc/passwd", "https://user:pw@127.0.0.1/blob", "https://127.0.0.1:0/blob",
        "http://[::1/blob", "https:///blob", "http://127.0.0.1\\@example.com/", "//10.1.2.3/blob",
        "http://127.0.0.1:99999/", "https://exa mple.com/", "https://example.com/" + "a" * 9000,
        "https://a..b/", f"https://{'a' * 64}.example/",
    ],
)  # fmt: skip
def test_where_a_registry_may_not_send_a_client(
    session: Session, time: Time, location: str
) -> None:
    with Scripted(replies(Reply(307, headers={"Location": location}))) as server:
        with pytest.raises(RegistryUnavailable):
            session.request("GET", ref(server), "x")
        assert len(server.asked) == 1
        if "://" in location:
            with pytest.raises(RegistryUnavailable):
                session.request("PUT", ref(server), location, data=b"abc")
        assert len(server.asked) == 1
    assert not time.slept


def test_redirects_in_circles_end(session: Session) -> None:
    with Scripted(replies(Reply(302, headers={"Location": "x"}))) as server:
        with pytest.raises(RegistryUnavailable, match="no usable answer") as refused:
            session.request("GET", ref(server), "x")
        assert "circles" in refused.value.why
        assert len(server.asked) == 6
        assert session.request("PUT", ref(server), "x", data=b"").status_code == 302


def test_the_environment_adds_no_credentials_and_no_proxy(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ann password not-for-registries\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Scripted(replies(Reply())) as server:
        assert session.request("GET", ref(server), "x").ok
        assert server.asked[0].authorization == ""
        assert server.asked[0].headers["User-Agent"].startswith("yoyo/")
        # Else a digest would be compared with that of compressed bytes.
        assert server.asked[0].headers["Accept-Encoding"] == "identity"


def test_a_document_without_end_is_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "MAX_BODY", 1 << 20)
    fits, over = Reply(200, b"x" * (1 << 20)), Reply(200, b"x" * ((1 << 20) + 1))
    with Scripted(replies(fits, over)) as server:
        assert len(session.request("GET", ref(server), "x").content) == 1 << 20
        with pytest.raises(RegistryUnavailable) as refused:
            session.request("GET", ref(server), "x")
        assert "more than 1 MiB" in refused.value.why
        assert len(server.asked) == 2


def test_an_answer_that_dribbles_is_given_up() -> None:
    ticks = itertools.count(0, 40)
    with (
        Scripted(replies(Reply(200, b"document"))) as server,
        Session(credentials=NOBODY, clock=lambda: next(ticks), sleep=lambda _: None) as session,
    ):
        with pytest.raises(RegistryUnavailable) as refused:
            session.request("GET", ref(server), "x")
        assert "fell silent" in refused.value.why
        assert len(server.asked) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    session: Session, time: Time, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "tls.pem", ec.generate_private_key(ec.SECP256R1()))
    with tls(certificate, until_closed) as endpoint:
        host = Reference(endpoint.url.removeprefix("https://"), "a")
        with pytest.raises(RegistryUnavailable) as refused:
            session.request("GET", host, f"{endpoint.url}/health?{SIGNED}")
        assert "the certificate was not accepted" in refused.value.why
        assert refused.value.__cause__ is None
    assert not time.slept


def test_a_refusal_without_end_is_cut(session: Session) -> None:
    with Scripted(replies(Reply(404, b"x" * 1_000_000))) as server:
        assert len(session.request("GET", ref(server), "x", stream=True).content) == 65536


def test_what_a_registry_says_is_cleaned(session: Session) -> None:
    hostile = (
        '{"errors":[{"code":"DENIED","message":"\\u001b[31mno\\u202e\\nline '
        f'https://storage.example.com/blob?{SIGNED} end"}},7,'
        f'{{"message":"{"long " * 1000}"}},{{"code":"NEVER"}}]}}'
    ).encode()
    with Scripted(replies(Reply(403, hostile))) as server:
        with pytest.raises(RegistryDenied) as refused:
            session.request("GET", ref(server), "x")
        why = refused.value.why
    assert "DENIED:" in why
    assert "https://storage.example.com/... end" in why
    assert why.isascii()
    assert why.isprintable()
    assert SIGNED not in why
    assert "NEVER" not in why
    assert len(why) < 500


def test_of_many_errors_the_first_few_are_told(session: Session) -> None:
    body = b'{"errors":[{"code":"A"},{"code":"B"},{"code":"C"},{"code":"NEVER"}]}'
    with Scripted(replies(Reply(403, body))) as server:
        with pytest.raises(RegistryDenied) as refused:
            session.request("GET", ref(server), "x")
        assert "answered 403: A; B; C. " in refused.value.why


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 60_000, b'{"errors":{}}', b'"x"', b"null"])
def test_what_is_no_error_document_is_left_out(session: Session, body: bytes) -> None:
    with (
        Scripted(replies(Reply(403, body))) as server,
        pytest.raises(RegistryDenied) as refused,
    ):
        session.request("GET", ref(server), "x")
    assert "answered 403. " in refused.value.why
