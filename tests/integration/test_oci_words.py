"""What an operator reads while a registry is away, and when it refuses or is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from oci_login_parts import NOBODY, PASSWORD, Time, configured, logged_in, ref, replies, said_by
from oci_parts import client
from token_server import Asked, Reply, Scripted

from yoyo.drivers.oci.credentials import Credentials
from yoyo.drivers.oci.session import Session
from yoyo.drivers.sigstore.signer import SigstoreSigner
from yoyo.errors import AdapterInvalid, RegistryDenied, RegistryUnavailable, SigningFailed
from yoyo.model.oci import Reference

PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


def _patient(time: Time, told: list[str]) -> Session:
    return Session(
        credentials=NOBODY, clock=lambda: time.now, sleep=time.sleep, waiting=told.append
    )


def test_who_waits_for_a_registry_is_told_once_and_at_once() -> None:
    time, told = Time(), list[str]()
    with Scripted(replies(Reply())) as server:
        gone = ref(server)
    with _patient(time, told) as session, pytest.raises(RegistryUnavailable) as refused:
        session.request("GET", gone, "x")
    assert told == [f"no answer from {gone.registry} (connection refused): trying for up to 60 s"]
    assert len(time.slept) > 3
    assert "--set nodes.NAME.adapters=none" in refused.value.fix


def test_nothing_is_said_of_an_answer_or_of_a_single_try() -> None:
    time, told = Time(), list[str]()
    with Scripted(replies(Reply(200), Reply(503))) as server, _patient(time, told) as session:
        session.request("GET", ref(server), "x")
        with pytest.raises(RegistryUnavailable):
            session.request("GET", ref(server), "x", retry=False)
    assert told == []


def test_every_long_pause_that_is_asked_for_is_said() -> None:
    time, told = Time(), list[str]()
    pauses = [Reply(429, headers={"Retry-After": after}) for after in ("0", "1", "5", "7")]
    with Scripted(replies(*pauses, Reply(200))) as server, _patient(time, told) as session:
        assert session.request("GET", ref(server), "x").ok
    assert [re.findall(r"to wait (\d+) s", line) for line in told] == [["0"], ["5"], ["7"]]


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_refusal_says_whose_credentials_were_refused(scheme: str, tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        challenge = f'{scheme} realm="http://{asked.headers["Host"]}/token"'
        return Reply(401, headers={"WWW-Authenticate": challenge})

    with (
        Scripted(script) as server,
        Session(credentials=logged_in(tmp_path, server.host)) as session,
        pytest.raises(RegistryDenied) as refused,
    ):
        session.request("GET", ref(server), "x")
    used = f"with the credentials of the user ann from {tmp_path / 'config.json'}."
    assert used in said_by(refused.value)
    assert f"docker login {server.host}" in refused.value.fix
    assert "or: Run" not in refused.value.fix


def test_a_refusal_names_the_helper_that_had_the_credentials(tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-here"
    helper.write_text(f'#!/bin/sh\necho \'{{"Username":"<token>","Secret":"{PASSWORD}"}}\'\n')
    helper.chmod(0o700)

    def script(asked: Asked) -> Reply:
        challenge = f'Bearer realm="http://{asked.headers["Host"]}/token"'
        return Reply(401, headers={"WWW-Authenticate": challenge})

    with Scripted(script) as server:
        configured(tmp_path, {"credHelpers": {server.host: "here"}})
        env = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
        with (
            Session(credentials=Credentials(env=env)) as session,
            pytest.raises(RegistryDenied) as refused,
        ):
            session.request("GET", ref(server), "x")
    assert "with the identity token from docker-credential-here" in said_by(refused.value)


def test_a_file_of_credentials_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    named = tmp_path / "mistyped.json"
    credentials = Credentials(env={"REGISTRY_AUTH_FILE": str(named)})
    with (
        Scripted(replies(Reply(401, headers={"WWW-Authenticate": "Basic"}))) as server,
        Session(credentials=credentials) as session,
    ):
        with pytest.raises(RegistryDenied, match="refused access") as refused:
            session.request("GET", ref(server), "x")
        assert "without credentials" in refused.value.why
        assert f"$REGISTRY_AUTH_FILE names {named}: that file is missing." in refused.value.why
        named.write_text("{}")
        with pytest.raises(RegistryDenied) as refused:
            session.request("GET", ref(server), "x")
        assert "missing" not in refused.value.why


def test_a_repository_alone_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with Scripted(replies(Reply(404))) as server, client(tmp_path) as registry:
        for ask in (registry.resolve, registry.manifest):
            with pytest.raises(AdapterInvalid) as refused:
                ask(ref(server))
            assert f"Give a tag or a digest: {server.host}/team/adapter:TAG" in refused.value.fix
        assert server.asked == []


@pytest.mark.parametrize("page", [PAGE, b"\xef\xbb\xbf \r\n" + PAGE, b"<?xml version='1.0'?><a/>"])
def test_a_web_page_is_called_one(page: bytes, tmp_path: Path) -> None:
    with Scripted(replies(Reply(200, page))) as server, client(tmp_path) as registry:
        at = Reference(server.host, "team/adapter", "1.0")
        pinned = at.at(f"sha256:{'0' * 64}")
        for ask in (
            lambda: registry.resolve(at),
            lambda: registry.manifest(pinned),
            lambda: registry.tags(at),
        ):
            with pytest.raises(RegistryUnavailable, match=server.host) as refused:
                ask()
            assert "A web page came" in refused.value.why


def test_what_is_no_json_is_said_without_the_parser(tmp_path: Path) -> None:
    with Scripted(replies(Reply(200, b"it works"))) as server, client(tmp_path) as registry:
        with pytest.raises(AdapterInvalid) as refused:
            registry.resolve(Reference(server.host, "team/adapter", "1.0"))
        assert refused.value.why == "What came is no JSON document."


def _signing(error: Exception) -> str:
    def fails() -> str:
        raise error

    signer = SigstoreSigner(None, fails)
    with pytest.raises(SigningFailed) as refused:
        signer._in_time(lambda: fails().encode())
    return refused.value.why


def test_a_sigstore_service_that_is_away_is_put_in_plain_words() -> None:
    import requests

    with Scripted(replies(Reply(raw=b""))) as server:
        with pytest.raises(requests.ConnectionError) as closed:
            requests.post(f"http://{server.host}/api", timeout=5)
        assert _signing(closed.value) == "a Sigstore service closed the connection"
    with pytest.raises(requests.ConnectionError) as gone:
        requests.post(f"http://{server.host}/api", timeout=5)
    assert "HTTPConnectionPool" in str(gone.value)
    assert _signing(gone.value) == f"no connection to {server.host} (connection refused)"
    refused = ValueError("the log has it already")
    refused.__cause__ = gone.value
    assert _signing(refused) == (
        f"the log has it already: no connection to {server.host} (connection refused)"
    )
    late = "HTTPSConnectionPool(host='log.test', port=443): Read timed out. (read timeout=5)"
    assert _signing(OSError(late)) == "log.test:443 did not answer in time"
