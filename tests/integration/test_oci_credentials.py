"""What docker, podman, oras and Google left on file, and what is refused of it, in silence."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from oci_login_parts import IDENTITY, PASSWORD, configured, said_by
from token_server import Asked, Reply, Scripted

from yoyo.drivers.oci import credentials as credentials_module
from yoyo.drivers.oci.credentials import Basic, Credentials, IdentityToken, is_google
from yoyo.errors import ConfigInvalid, RegistryDenied
from yoyo.model.ids import Secret

HOST = "registry.example.com:5000"
ANN = Basic("ann", Secret(PASSWORD))


def entry(user: str = "ann", password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (HOST, HOST), (HOST, HOST.upper()), (f"https://{HOST}", HOST), (f"http://{HOST}/", HOST),
        (f"https://{HOST}/v1/", HOST), (f"https://{HOST}/v2/", HOST),
        ("https://index.docker.io/v1/", "docker.io"), ("docker.io", "registry-1.docker.io"),
        ("https://index.docker.io/v1/", "index.docker.io"), ("index.docker.io", "docker.io"),
    ],
)  # fmt: skip
def test_every_form_of_a_host_is_found(tmp_path: Path, key: str, host: str) -> None:
    found = configured(tmp_path, {"auths": {"other.example.com": entry("x"), key: entry()}})
    assert found.for_host(host) == ANN
    assert found.for_host("another.example.com") is None


@pytest.mark.parametrize(
    "key",
    ["registry.example.com", "example.com:5000", f"{HOST}/team", f"https://{HOST}/v3/",
     f"https://{HOST}.evil.example", f"evil.example/{HOST}", f"https://evil.example/v1/{HOST}"],
)  # fmt: skip
def test_another_host_is_not_taken_for_it(tmp_path: Path, key: str) -> None:
    assert configured(tmp_path, {"auths": {key: entry()}}).for_host(HOST) is None


def test_every_form_of_an_entry_is_read(tmp_path: Path) -> None:
    for given, found in (
        (entry(), ANN),
        (entry("ann", PASSWORD + "\0\0"), ANN),
        (entry("ann", "a:b"), Basic("ann", Secret("a:b"))),
        ({"username": "ann", "password": PASSWORD}, ANN),
        ({**entry("ann", ""), "identitytoken": IDENTITY}, IdentityToken(Secret(IDENTITY))),
        ({}, None),
        ({"email": "ann@example.com"}, None),
        (None, None),
    ):
        assert configured(tmp_path, {"auths": {HOST: given}}).for_host(HOST) == found


def test_no_secret_is_in_a_repr() -> None:
    assert PASSWORD not in repr(ANN)
    assert IDENTITY not in repr(IdentityToken(Secret(IDENTITY)))


def test_the_files_in_their_order(tmp_path: Path) -> None:
    named, home, runtime = tmp_path / "auth.json", tmp_path / "home", tmp_path / "run"
    (home / ".docker").mkdir(parents=True)
    (runtime / "containers").mkdir(parents=True)
    env = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "REGISTRY_AUTH_FILE": str(named)}
    credentials = Credentials(env=env)
    files = (
        (runtime / "containers" / "auth.json", "podman"),
        (home / ".docker" / "config.json", "docker"),
        (named, "named"),
    )
    assert credentials.for_host(HOST) is None
    for path, user in files:
        path.write_text("")  # as a first login may leave it
        path.write_text(json.dumps({"auths": {HOST: entry(user)}}))
        assert credentials.for_host(HOST) == Basic(user, Secret(PASSWORD))
    named.write_text("{}")
    env["DOCKER_CONFIG"] = str(tmp_path / "nowhere")
    assert credentials.for_host(HOST) == Basic("podman", Secret(PASSWORD))


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "7", '"x"', "\0", "[" * 100_000, '{"auths": []}', '{"auths": "x"}',
        '{"credHelpers": 1}', '{"credsStore": ["x"]}', '{"credsStore": "../evil"}',
        '{"credsStore": "a b"}', '{"credHelpers": {"HOST": "x\\n"}}', '{"auths": {"HOST": 1}}',
        '{"auths": {"HOST": {"auth": 1}}}', '{"auths": {"HOST": {"auth": "SECRET"}}}',
        '{"auths": {"HOST": {"auth": "QUJD"}}}', '{"auths": {"HOST": {"auth": "OmFi"}}}',
        '{"auths": {"HOST": {"auth": "/w=="}}}', '{"auths": {"HOST": {"identitytoken": []}}}',
        '{"auths": {"HOST": {"username": {}, "password": "SECRET"}}}',
    ],
)  # fmt: skip
def test_a_malformed_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text.replace("HOST", HOST).replace("SECRET", PASSWORD + "!"))
    with pytest.raises(ConfigInvalid) as refused:
        Credentials(env={"DOCKER_CONFIG": str(tmp_path)}).for_host(HOST)
    assert str(path) in said_by(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_file_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigInvalid) as refused:
        Credentials(env={"DOCKER_CONFIG": str(tmp_path)}).for_host(HOST)
    assert "directory" in refused.value.why


def helper(home: Path, script: str, document: dict[str, object] | None = None) -> Credentials:
    """A docker-credential-test that does as the script says, for every host or as documented."""
    home.mkdir(exist_ok=True)
    program = home / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    configured(home, document or {"credsStore": "test", "auths": {HOST: {}}})
    path = f"{home}{os.pathsep}{os.environ['PATH']}"
    return Credentials(env={"DOCKER_CONFIG": str(home), "PATH": path})


def answers(user: str, secret: str) -> str:
    document = json.dumps({"ServerURL": "x", "Username": user, "Secret": secret})
    return f'test "$*" = get && read -r server; echo "$server" > "$0.asked"\necho \'{document}\''


@pytest.mark.parametrize(
    ("host", "server"), [(HOST, HOST), ("docker.io", "https://index.docker.io/v1/")]
)
def test_a_helper_is_asked_for_the_host(tmp_path: Path, host: str, server: str) -> None:
    assert helper(tmp_path, answers("ann", PASSWORD)).for_host(host) == ANN
    assert (tmp_path / "docker-credential-test.asked").read_text() == f"{server}\n"
    assert helper(tmp_path, answers("<token>", IDENTITY)).for_host(host) == IdentityToken(
        Secret(IDENTITY)
    )
    assert helper(tmp_path, answers("ann", "")).for_host(host) is None


def test_a_helper_of_one_host_is_not_asked_for_another(tmp_path: Path) -> None:
    document: dict[str, object] = {"credHelpers": {HOST: "test"}, "auths": {"b.example": entry()}}
    credentials = helper(tmp_path, answers("helped", PASSWORD), document)
    assert credentials.for_host(HOST) == Basic("helped", Secret(PASSWORD))
    assert credentials.for_host("b.example") == ANN


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(tmp_path: Path) -> None:
    silent = "echo 'credentials not found in native keychain'; exit 1"
    assert helper(tmp_path, silent).for_host(HOST) is None
    document: dict[str, object] = {"credsStore": "test", "auths": {HOST: entry()}}
    assert helper(tmp_path, silent, document).for_host(HOST) == ANN


@pytest.mark.parametrize(
    "script",
    [f"echo {PASSWORD}; echo {PASSWORD} >&2; exit 3", f"echo {PASSWORD}", "true", "echo '[]'",
     f"echo '{{\"Secret\":\"{PASSWORD}\"}}'", "kill -9 $$", "head -c 2000000 /dev/zero"],
)  # fmt: skip
def test_a_helper_that_fails_is_named_and_not_quoted(
    tmp_path: Path, script: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RegistryDenied) as refused:
        helper(tmp_path, script).for_host(HOST)
    assert "docker-credential-test failed" in said_by(refused.value)
    assert PASSWORD not in "".join(capfd.readouterr())


def test_a_helper_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials_module, "_HELPER_S", 0.2)
    with pytest.raises(RegistryDenied) as refused:
        helper(tmp_path, "exec sleep 600").for_host(HOST)
    assert "gave no answer" in refused.value.why


def test_a_helper_that_does_not_start_is_named(tmp_path: Path) -> None:
    credentials = helper(tmp_path, "true")
    (tmp_path / "docker-credential-test").write_text("#!/no/such/interpreter\n")
    with pytest.raises(RegistryDenied) as refused:
        credentials.for_host(HOST)
    assert "did not start" in refused.value.why


def test_a_helper_that_is_not_there_is_named_unless_the_file_has_it(tmp_path: Path) -> None:
    absent = {"credsStore": "absent-helper"}
    with pytest.raises(RegistryDenied) as refused:
        configured(tmp_path, absent).for_host(HOST)
    assert "docker-credential-absent-helper" in refused.value.why
    assert configured(tmp_path, {**absent, "auths": {HOST: entry()}}).for_host(HOST) == ANN


def test_google_is_known_by_its_names() -> None:
    for host in ("gcr.io", "eu.gcr.io", "europe-west1-docker.pkg.dev", "US-docker.PKG.dev"):
        assert is_google(host)
    for host in ("pkg.dev", "evilgcr.io", "gcr.io.example.com", "a.pkg.dev:5000", "x.pkg.dev."):
        assert not is_google(host)


def service_account(path: Path, token_uri: str) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account", "project_id": "p", "client_email": "a@p.example",
        "private_key": key.decode(), "private_key_id": "1", "token_uri": token_uri,
    }  # fmt: skip
    path.write_text(json.dumps(account))


def test_google_gives_a_token_for_its_own_hosts_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def token(asked: Asked) -> Reply:
        document = {"access_token": PASSWORD, "expires_in": 3600, "token_type": "Bearer"}
        return Reply(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    with Scripted(token) as google:
        service_account(tmp_path / "account.json", google.url)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        credentials = Credentials(env={"DOCKER_CONFIG": str(tmp_path)})
        assert credentials.for_host(HOST) is None
        assert not google.asked
        for _ in range(2):
            found = credentials.for_host("europe-west1-docker.pkg.dev")
            assert found == Basic("oauth2accesstoken", Secret(PASSWORD))
        assert len(google.asked) == 1
        configured(tmp_path, {"auths": {"gcr.io": entry()}})
        assert credentials.for_host("gcr.io") == ANN


def test_google_that_refuses_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Reply(400, json.dumps({"error": "invalid_grant", "note": PASSWORD}).encode())
    with Scripted(lambda asked: refusal) as google:
        service_account(tmp_path / "account.json", google.url)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        with pytest.raises(RegistryDenied) as refused:
            Credentials(env={}).for_host("gcr.io")
    assert "gcloud auth application-default login" in said_by(refused.value)
