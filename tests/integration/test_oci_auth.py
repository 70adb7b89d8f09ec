"""Registries that ask who is there: Debian's own behind passwords and tokens, and odd ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from oci_login_parts import IDENTITY, NOBODY, PASSWORD, configured, logged_in, said_by
from registry_lab import RegistryLab
from token_server import Asked, Reply, Scripted, TokenServer

from yoyo.drivers.oci.session import Session
from yoyo.errors import RegistryDenied, RegistryUnavailable
from yoyo.model.oci import Reference

DATA = b"some bytes"
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


def push(session: Session, ref: Reference, data: bytes = DATA) -> int:
    begun = session.request("POST", ref, "blobs/uploads/", actions="pull,push")
    assert begun.status_code == 202, begun.text
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    location = session.location(begun)
    location += f"{'&' if '?' in location else '?'}digest={digest}"
    answer = session.request("PUT", ref, location, actions="pull,push", data=data)
    return answer.status_code


def pull(session: Session, ref: Reference) -> bytes:
    answer = session.request("GET", ref, f"blobs/{DIGEST}")
    assert answer.status_code == 200
    return answer.content


def test_an_open_registry_asks_for_nothing(tmp_path: Path) -> None:
    with RegistryLab(tmp_path) as lab, Session(credentials=NOBODY) as session:
        ref = Reference(lab.host, "team/adapter")
        assert push(session, ref) == 201
        assert pull(session, ref) == DATA
        assert lab.blob_file(DIGEST).read_bytes() == DATA
        assert session.request("GET", ref, "manifests/none").status_code == 404


def test_a_password_opens_a_registry_that_wants_one(tmp_path: Path) -> None:
    with RegistryLab(tmp_path, users={"ann": PASSWORD}) as lab:
        ref = Reference(lab.host, "team/adapter")
        with Session(credentials=logged_in(tmp_path / "right", lab.host)) as session:
            assert push(session, ref) == 201
            assert pull(session, ref) == DATA
        wrong = logged_in(tmp_path / "wrong", lab.host, password=PASSWORD + "x")
        for credentials in (wrong, NOBODY):
            with (
                Session(credentials=credentials) as session,
                pytest.raises(RegistryDenied) as refused,
            ):
                pull(session, ref)
            assert f"docker login {lab.host}" in said_by(refused.value)
            assert "team/adapter" in refused.value.what
            assert ("without credentials" in refused.value.why) == (credentials is NOBODY)


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    server = TokenServer(
        tmp_path / "tokens",
        passwords={"ann": PASSWORD, "ben": PASSWORD},
        identities={IDENTITY: "ann"},
        may={"ann": "pull,push", "ben": "pull"},
    )
    with server:
        yield server


@pytest.fixture
def lab(tmp_path: Path, tokens: TokenServer) -> Iterator[RegistryLab]:
    with RegistryLab(tmp_path, tokens=tokens.auth) as lab:
        yield lab


def test_one_token_for_push_is_asked_for_up_front_and_used_for_all(
    tmp_path: Path, tokens: TokenServer, lab: RegistryLab
) -> None:
    ref = Reference(lab.host, "team/adapter")
    with Session(credentials=logged_in(tmp_path, lab.host)) as session:
        probe = session.request("HEAD", ref, f"blobs/{DIGEST}", actions="pull,push")
        assert probe.status_code == 404
        assert push(session, ref) == 201
        assert pull(session, ref) == DATA
        assert tokens.scopes() == [["repository:team/adapter:pull,push"]]
        assert tokens.asked[0].query["service"] == ["laboratory"]
        push(session, Reference(lab.host, "team/other"))
        assert tokens.scopes()[1:] == [["repository:team/other:pull,push"]]
    with Session(credentials=logged_in(tmp_path, lab.host)) as session:
        assert pull(session, ref) == DATA
        assert tokens.scopes()[2:] == [["repository:team/adapter:pull"]]


def test_an_identity_token_is_exchanged_by_post(
    tmp_path: Path, tokens: TokenServer, lab: RegistryLab
) -> None:
    credentials = configured(tmp_path, {"auths": {lab.host: {"identitytoken": IDENTITY}}})
    with Session(credentials=credentials) as session:
        assert push(session, Reference(lab.host, "team/adapter")) == 201
    assert [asked.method for asked in tokens.asked] == ["POST"]
    assert tokens.scopes() == [["repository:team/adapter:pull,push"]]
    assert IDENTITY not in tokens.asked[0].path + str(tokens.asked[0].query)


def test_mounting_asks_for_the_source_as_well(
    tmp_path: Path, tokens: TokenServer, lab: RegistryLab
) -> None:
    source, ref = Reference(lab.host, "team/source"), Reference(lab.host, "team/adapter")
    with Session(credentials=logged_in(tmp_path, lab.host)) as session:
        assert push(session, source) == 201
        path = f"blobs/uploads/?mount={DIGEST}&from=team/source"
        answer = session.request("POST", ref, path, actions="pull,push", mount="team/source")
        assert answer.status_code == 201
        assert pull(session, ref) == DATA
    assert tokens.scopes()[1:] == [
        ["repository:team/adapter:pull,push", "repository:team/source:pull"]
    ]


def test_a_token_that_the_registry_no_longer_takes_is_replaced(
    tmp_path: Path, tokens: TokenServer, lab: RegistryLab
) -> None:
    ref = Reference(lab.host, "team/adapter")
    with Session(credentials=logged_in(tmp_path, lab.host)) as session:
        assert push(session, ref) == 201
    now = [0.0]
    with Session(credentials=logged_in(tmp_path, lab.host), clock=lambda: now[0]) as session:
        pull(session, ref)
        # Fetched because the one before has run out by the clock; refused by the registry, so
        # that one more is fetched.
        now[0], tokens.stale = 1000.0, 1
        before = len(tokens.asked)
        assert pull(session, ref) == DATA
        assert len(tokens.asked) == before + 2


def test_without_expires_in_a_token_lives_a_minute(
    tmp_path: Path, tokens: TokenServer, lab: RegistryLab
) -> None:
    tokens.expires_in = None
    now = [0.0]
    credentials = logged_in(tmp_path, lab.host)
    with Session(credentials=credentials, clock=lambda: now[0]) as session:
        for moment, fetched in ((0.0, 1), (49.0, 1), (51.0, 2), (100.0, 2)):
            now[0] = moment
            push(session, Reference(lab.host, "team/adapter"))
            assert len(tokens.asked) == fetched


def test_who_may_only_pull_is_told_so(
    tmp_path: Path, tokens: TokenServer, lab: RegistryLab
) -> None:
    ref = Reference(lab.host, "team/adapter")
    with Session(credentials=logged_in(tmp_path / "ann", lab.host)) as session:
        push(session, ref)
    with Session(credentials=logged_in(tmp_path / "ben", lab.host, "ben")) as session:
        with pytest.raises(RegistryDenied) as refused:
            push(session, ref)
        assert "refused access to team/adapter" in refused.value.what
        assert "UNAUTHORIZED" in said_by(refused.value)
        assert pull(session, ref) == DATA


def test_a_wrong_password_and_none_are_refused_by_the_token_service(
    tmp_path: Path, tokens: TokenServer, lab: RegistryLab
) -> None:
    wrong = logged_in(tmp_path, lab.host, password=PASSWORD + "x")
    for credentials, what in ((wrong, "did not accept"), (NOBODY, "no token without")):
        with Session(credentials=credentials) as session, pytest.raises(RegistryDenied) as refused:
            pull(session, Reference(lab.host, "team/adapter"))
        assert what in refused.value.what
        assert "incorrect username or password" in said_by(refused.value)
    tokens.may[""] = "pull"
    with Session(credentials=NOBODY) as session:
        answer = session.request("GET", Reference(lab.host, "public/adapter"), f"blobs/{DIGEST}")
        assert answer.status_code == 404


def test_a_403_is_met_with_a_new_token_too(tmp_path: Path, tokens: TokenServer) -> None:
    """Artifact Registry says 403, and names no challenge, to a token of too little scope."""
    seen: list[str] = []

    def script(asked: Asked) -> Reply:
        if not asked.authorization:
            return Reply(
                401, headers={"WWW-Authenticate": f'Bearer realm="{tokens.url}/t",service="s"'}
            )
        seen.append(asked.authorization)
        return Reply(200 if len(set(seen)) == 2 else 403)

    with (
        Scripted(script) as registry,
        Session(credentials=logged_in(tmp_path, registry.host)) as session,
    ):
        ref = Reference(registry.host, "team/adapter")
        with pytest.raises(RegistryDenied):
            session.request("GET", ref, "a")
        assert session.request("GET", ref, "a").status_code == 200
        assert len(tokens.asked) == 2


def test_a_token_that_was_refused_is_not_used_again(tmp_path: Path, tokens: TokenServer) -> None:
    revoked: set[str] = set()

    def script(asked: Asked) -> Reply:
        told = {"WWW-Authenticate": f'Bearer realm="{tokens.url}/t",service="s"'}
        if not asked.authorization or asked.authorization in revoked:
            return Reply(401, headers=told)
        return Reply(200)

    with (
        Scripted(script) as registry,
        Session(credentials=logged_in(tmp_path, registry.host)) as session,
    ):
        ref = Reference(registry.host, "team/adapter")
        session.request("POST", ref, "x", actions="pull,push")
        revoked.add(registry.asked[-1].authorization)
        for number in (4, 5):
            assert session.request("GET", ref, "x").ok
            assert len(registry.asked) == number
        assert len(tokens.asked) == 2


def test_a_wrong_password_is_not_tried_twice_a_request(tmp_path: Path) -> None:
    """Each try counts where accounts are locked after a few."""
    told = {"WWW-Authenticate": 'Basic realm="x"'}
    with (
        Scripted(lambda asked: Reply(401, headers=told)) as registry,
        Session(credentials=logged_in(tmp_path, registry.host)) as session,
    ):
        for number in (2, 3):
            with pytest.raises(RegistryDenied):
                session.request("GET", Reference(registry.host, "team/adapter"), "x")
            assert len(registry.asked) == number


def test_a_registry_may_ask_for_more_than_is_guessed(tmp_path: Path, tokens: TokenServer) -> None:
    challenge = (
        f'Basic realm="x", Bearer realm="{tokens.url}/t?a=b",service="s",'
        'scope="repository:mirror/team:pull registry:catalog:*",error="insufficient_scope"'
    )

    def script(asked: Asked) -> Reply:
        told = {"WWW-Authenticate": challenge}
        return Reply() if asked.authorization.startswith("Bearer") else Reply(401, headers=told)

    with (
        Scripted(script) as registry,
        Session(credentials=logged_in(tmp_path, registry.host)) as session,
    ):
        assert session.request("GET", Reference(registry.host, "team/a"), "x").ok
    assert tokens.asked[0].query["a"] == ["b"]
    assert tokens.scopes() == [
        ["repository:team/a:pull", "repository:mirror/team:pull", "registry:catalog:*"]
    ]


@pytest.mark.parametrize(
    "realm",
    [
        "http://token.example.com/token", "http://10.0.0.1/token", "ftp://127.0.0.1/token",
        "//127.0.0.1/token", "token", "https://user:pw@token.example.com/", "https:///token",
        "https://token.example.com:0/", "https://token.example.com:x/", "https://[::1/token",
        "https://token.example.com\\\\@evil/", "file:///etc/passwd", "https://token.example.com/#a",
    ],
)  # fmt: skip
def test_credentials_do_not_go_where_anybody_can_read_them(tmp_path: Path, realm: str) -> None:
    def script(asked: Asked) -> Reply:
        return Reply(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})

    with (
        Scripted(script) as registry,
        Session(credentials=logged_in(tmp_path, registry.host)) as session,
    ):
        with pytest.raises(RegistryDenied, match="not safe"):
            session.request("GET", Reference(registry.host, "team/a"), "x")
        assert [asked.authorization for asked in registry.asked] == [""]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"token":""}', b'{"token":7}', b'{"token":"a b"}',
     b'{"token":"a\\r\\nb"}', b"[" * 100_000],
)  # fmt: skip
def test_a_token_service_that_sends_no_token(tmp_path: Path, body: bytes) -> None:
    def script(asked: Asked) -> Reply:
        if asked.path == "/token":
            return Reply(200, body)
        return Reply(401, headers={"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'})

    with (
        Scripted(script) as registry,
        Session(credentials=NOBODY) as session,
        pytest.raises(RegistryUnavailable) as refused,
    ):
        session.request("GET", Reference(registry.host, "team/a"), "x")
    assert "sent no token" in refused.value.why


def test_a_token_service_that_redirects_is_not_followed(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        if asked.path == "/token":
            return Reply(307, headers={"Location": "/other"})
        return Reply(401, headers={"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'})

    with (
        Scripted(script) as registry,
        Session(credentials=logged_in(tmp_path, registry.host)) as session,
    ):
        with pytest.raises(RegistryUnavailable, match="no usable answer"):
            session.request("GET", Reference(registry.host, "team/a"), "x")
        assert "GET /other" not in registry.paths()
