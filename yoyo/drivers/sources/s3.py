"""Objects of S3 and what speaks like it: read through signed addresses, by boto3."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from yoyo.drivers.sources import names, web
from yoyo.errors import DriverUnavailable, SourceFailed
from yoyo.model.fetch import Address, RemoteFile, Resolved

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
# A large model on a slow line is fetched within it; a session's token may end it earlier.
_SIGNED_FOR_S: Final = 24 * 3600
_MOST_OBJECTS: Final = 20_000
_CREDENTIALS: Final = (
    "Put credentials that may read the object (s3:GetObject) where the AWS tools look for "
    "them, such as AWS_PROFILE."
)


def resolve(rest: str, *, env: Mapping[str, str]) -> Resolved:
    """`BUCKET/KEY`, or `BUCKET/FOLDER/` for a set.

    Pinned to its version where the bucket has them, else to its ETag: once the object is
    overwritten, its address is refused.

    Raises:
        SourceFailed, DriverUnavailable.
    """
    source, bucket, key = names.bucket_and_key(rest, "s3", _BUCKET)
    folder = key[: key.rfind("/") + 1]
    with _client(source, env) as client:
        if key == folder:
            wanted = names.set_of(_list(client, bucket, folder, source), source)
        else:
            name = names.checked_path(key, source).removeprefix(folder)
            wanted = names.shards_of(name, source)
            if len(wanted) > 1:
                names.missing(wanted, _list(client, bucket, folder, source), source)
        found_files = [
            _file(client, bucket, folder, names.checked_path(name, source)) for name in wanted
        ]
    revision = names.combined(tuple(revision for revision, _ in found_files))
    return Resolved(source, revision, "", tuple(file for _, file in found_files))


def _file(client: Any, bucket: str, folder: str, name: str) -> tuple[str, RemoteFile]:
    key = folder + name
    said = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    version = str(said.get("VersionId") or "")
    # "null" is the version of an object from before the bucket had any.
    pinned = {"VersionId": version} if version not in ("", "null") else {}
    etag = str(said.get("ETag") or "")
    # The signature covers the header, so that whoever fetches must send just this one.
    headers = (("If-Match", etag),) if etag and not pinned else ()
    if headers:
        pinned = {"IfMatch": etag}
    url = client.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": key, **pinned}, ExpiresIn=_SIGNED_FOR_S
    )
    revision = pinned.get("VersionId") or etag.strip('"')
    size = int(said["ContentLength"])
    return revision, RemoteFile(name, size, _sha256(said), (Address(str(url), headers),))


def _sha256(said: Mapping[str, Any]) -> str | None:
    """S3's own digest of the whole; that of an upload in parts is a digest of digests: none."""
    text = str(said.get("ChecksumSHA256") or "")
    if said.get("ChecksumType") == "COMPOSITE" or "-" in text:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 32 else None


def _list(client: Any, bucket: str, folder: str, source: str) -> tuple[str, ...]:
    found: list[str] = []
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=folder, Delimiter="/"
    )
    for page in pages:
        found += [str(one["Key"]).removeprefix(folder) for one in page.get("Contents") or ()]
        if len(found) > _MOST_OBJECTS:
            raise SourceFailed(
                f"The source {source} has too many objects.",
                why=f"More than {_MOST_OBJECTS} lie in that folder.",
                fix="Name one file of it.",
            )
    return tuple(name for name in found if name)


@contextlib.contextmanager
def _client(source: str, env: Mapping[str, str]) -> Iterator[Any]:
    """A client of boto3's, with what it raises put into words."""
    try:
        import boto3
        import botocore
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise DriverUnavailable(
            "S3 needs a part of yoyo that is not installed.",
            why=f"The package {error.name} is missing.",
            fix="pip install 'yoyo[s3]'",
        ) from error
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    host = urlsplit(endpoint).netloc if endpoint else "S3"
    try:
        session = boto3.session.Session(
            aws_access_key_id=env.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=env.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=env.get("AWS_SESSION_TOKEN"),
            region_name=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION"),
            profile_name=env.get("AWS_PROFILE"),
        )
        # A public bucket needs no credentials, and refuses wrong ones.
        signature = "s3v4" if session.get_credentials() else botocore.UNSIGNED
        config = Config(
            signature_version=signature,
            connect_timeout=web.TIMEOUT_S,
            read_timeout=web.TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": 4},
        )
        client = session.client("s3", endpoint_url=endpoint, config=config)
        try:
            yield client
        finally:
            client.close()
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        refused = web.Refused(host, status)
        raise web.explain(source, refused, credentials=_CREDENTIALS) from None
    except (BotoCoreError, ValueError) as error:
        broken = web.Broken(f"{host}: {type(error).__name__}")
        raise web.explain(source, broken, credentials=_CREDENTIALS) from None
