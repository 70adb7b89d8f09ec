"""Sources in object stores: S3 by moto, Cloud Storage by so much of it as is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from nginx_parts import Served
from sources_parts import DATA, DIGEST, refused, sources

from yoyo.drivers.sources.resolve import WeightSources
from yoyo.errors import SourceFailed
from yoyo.model.fetch import Address

S3_ENV = {
    "AWS_ACCESS_KEY_ID": "key-id",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "eu-west-1",
}


@pytest.fixture
def s3() -> Iterator[tuple[WeightSources, Any]]:
    import boto3
    from moto.server import ThreadedMotoServer

    server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="key-id",
        aws_secret_access_key="secret",
        region_name="eu-west-1",
    )
    client.create_bucket(
        Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    yield sources({**S3_ENV, "AWS_ENDPOINT_URL": url}), client
    client.close()
    requests.post(f"{url}/moto-api/reset", timeout=30).close()  # moto's state outlives its server
    server.stop()


def test_an_s3_object(s3: tuple[WeightSources, Any]) -> None:
    ours, client = s3
    client.put_object(Bucket="models", Key="q/a.gguf", Body=DATA, ChecksumAlgorithm="SHA256")
    resolved = ours.resolve("s3://models/q/a.gguf")
    (file,) = resolved.files
    assert (file.path, file.size, file.sha256) == ("a.gguf", len(DATA), DIGEST)
    assert resolved.revision == hashlib.md5(DATA).hexdigest()
    assert ours.read(file, 5, 300) == DATA[5:305]
    assert "X-Amz-Signature" in file.addresses[0].url
    assert "X-Amz" not in resolved.url


def test_an_s3_version_is_pinned(s3: tuple[WeightSources, Any]) -> None:
    ours, client = s3
    client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket="models", Key="a.gguf", Body=DATA)["VersionId"]
    resolved = ours.resolve("s3://models/a.gguf")
    assert resolved.revision == version
    client.put_object(Bucket="models", Key="a.gguf", Body=b"other")
    assert ours.read(resolved.files[0], 0, 300) == DATA[:300]
    assert ours.resolve("s3://models/a.gguf").revision != version


def test_an_s3_object_without_versions_is_pinned_to_its_etag(s3: tuple[WeightSources, Any]) -> None:
    ours, client = s3
    client.put_object(Bucket="models", Key="a.gguf", Body=DATA)
    (file,) = ours.resolve("s3://models/a.gguf").files
    etag = hashlib.md5(DATA).hexdigest()
    assert file.addresses[0].headers == (("If-Match", f'"{etag}"'),)
    assert "if-match" in parse_qs(urlsplit(file.addresses[0].url).query)["X-Amz-SignedHeaders"][0]
    assert ours.read(file, 5, 300) == DATA[5:305]
    client.put_object(Bucket="models", Key="a.gguf", Body=DATA[::-1])
    with pytest.raises(SourceFailed, match="was changed since") as caught:
        ours.read(file, 5, 300)
    assert "412" in caught.value.why


@pytest.mark.parametrize("source", ["gs://b/o", "s3://b/o"])
def test_a_buckets_name_that_is_too_short_is_named(source: str) -> None:
    error = refused(source)
    assert source in error.what
    assert "'b' is too short" in error.why


def test_s3_sets_and_refusals(s3: tuple[WeightSources, Any]) -> None:
    ours, client = s3
    for n in (1, 2):
        client.put_object(Bucket="models", Key=f"s/b-{n:05}-of-00002.gguf", Body=DATA[n:])
    for source in ("s3://models/s/b-00001-of-00002.gguf", "s3://models/s/"):
        resolved = ours.resolve(source)
        assert [file.size for file in resolved.files] == [len(DATA) - 1, len(DATA) - 2]
        assert resolved.revision.startswith("set-")
    client.delete_object(Bucket="models", Key="s/b-00002-of-00002.gguf")
    with pytest.raises(SourceFailed, match="lacks 1 of 2"):
        ours.resolve("s3://models/s/b-00001-of-00002.gguf")
    for source, words in (
        ("s3://models/none.gguf", "not there"),
        ("s3://nobucket/none.gguf", "not there"),
        ("s3://models", "not understood"),
        ("s3://models/a/../b.gguf", "not accepted"),
    ):
        with pytest.raises(SourceFailed, match=words):
            ours.resolve(source)


class Storage(BaseHTTPRequestHandler):
    """Just so much of Cloud Storage as a reader of one object and of one folder asks for."""

    objects: dict[str, bytes]

    def do_POST(self) -> None:
        self._send(200, json.dumps({"access_token": "good", "expires_in": 3600}).encode())

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self.headers.get("Authorization") != "Bearer good":
            self._send(401)
        elif parts.path == "/storage/v1/b/models/o":
            query = parse_qs(parts.query)
            found = sorted(name for name in self.objects if name.startswith(query["prefix"][0]))
            at = int(query.get("pageToken", ["0"])[0])
            more = {"nextPageToken": str(at + 1)} if at + 1 < len(found) else {}
            items = [self._about(name) for name in found[at : at + 1]]
            self._send(200, json.dumps({"items": items} | more).encode())
        elif parts.path.startswith("/storage/v1/b/models/o/"):
            name = unquote(parts.path.rpartition("/")[2])
            if name in self.objects:
                self._send(200, json.dumps(self._about(name)).encode())
            else:
                self._send(404)
        elif parts.query == "generation=7":
            self._send(200, self.objects[unquote(parts.path.removeprefix("/models/"))])
        else:
            self._send(404)

    def _about(self, name: str) -> dict[str, str]:
        return {"name": name, "size": str(len(self.objects[name])), "generation": "7"}

    def _send(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def service_account(path: Path, token_url: str) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    said = {
        "type": "service_account",
        "client_email": "yoyo@acme.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "private_key_id": "1",
        "token_uri": token_url,
    }
    path.write_text(json.dumps(said))
    return path


def test_cloud_storage_objects_are_pinned_to_their_generation(tmp_path: Path) -> None:
    Storage.objects = {
        "q/a.gguf": DATA,
        "s/b-00001-of-00002.gguf": DATA[1:],
        "s/b-00002-of-00002.gguf": DATA[2:],
    }
    with Served(Storage) as server:
        account = service_account(tmp_path / "account.json", f"{server.url}/token")
        ours = sources(endpoint=server.url, credentials=account)
        resolved = ours.resolve("gs://models/q/a.gguf", sha256=DIGEST)
        assert resolved.revision == "7"
        (file,) = resolved.files
        assert (file.path, file.size) == ("a.gguf", len(DATA))
        assert file.addresses == (
            Address(
                f"{server.url}/models/q/a.gguf?generation=7", (("Authorization", "Bearer good"),)
            ),
        )
        assert ours.read(file, 7, 300) == DATA[7:307]
        for source in ("gs://models/s/", "gs://models/s/b-00002-of-00002.gguf"):
            sizes = [one.size for one in ours.resolve(source).files]
            assert sizes == [len(DATA) - 1, len(DATA) - 2]
        for source, words in (
            ("gs://models/none.gguf", "not there"),
            ("gs://models/s/../b.gguf", "not accepted"),
            ("gs://models", "not understood"),
        ):
            with pytest.raises(SourceFailed, match=words):
                ours.resolve(source)
        broken = tmp_path / "broken.json"
        broken.write_text("{}")
        with pytest.raises(SourceFailed, match="No token"):
            sources(endpoint=server.url, credentials=broken).resolve("gs://models/q/a.gguf")
