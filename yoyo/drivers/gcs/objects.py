"""The objects port over Google Cloud Storage."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from yoyo.drivers.gcs.faults import changed, missing, names_bucket, no_bucket, wrapped
from yoyo.drivers.gcs.reading import Reading
from yoyo.drivers.gcs.session import TIMEOUT_S, Session
from yoyo.drivers.gcs.upload import GcsUpload
from yoyo.errors import ArtefactMissing, StoreConflict
from yoyo.model.store import CHUNK_BYTES, ObjectInfo

_URL = re.compile(r"gs://([a-z0-9][a-z0-9._-]*)((?:/[^/]+)*)/?")
_KEY = re.compile(r"(?!\.\.?(/|$))[A-Za-z0-9._@-]+(/(?!\.\.?(/|$))[A-Za-z0-9._@-]+)*")
_TO_THE_END: Final = 1 << 62  # more than an object of Cloud Storage can have (5 TiB)
_LISTED: Final = "items(name,size,generation,updated),nextPageToken"


class GcsObjects:
    """gs://BUCKET[/PREFIX]. A key is an object's name below the prefix.

    `endpoint` is another address of the service, for trials; with one on this machine and no
    credentials anywhere, none are sent. `credentials` is a key file; without it Application
    Default Credentials are used. `patience_s` is for how long what may pass by itself is tried
    again. `chunk_bytes` is for trials.
    """

    def __init__(
        self,
        url: str,
        *,
        endpoint: str | None = None,
        credentials: Path | None = None,
        patience_s: float = 60.0,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        found = _URL.fullmatch(url)
        if not found:
            raise ValueError(f"no gs://BUCKET[/PREFIX]: {url!r}")
        self._url = url.rstrip("/")
        self.bucket = found[1]
        self._prefix = f"{found[2][1:]}/" if found[2] else ""
        self.session = Session(endpoint, credentials, patience_s)
        self._chunk_bytes = chunk_bytes

    @property
    def url(self) -> str:
        """As configured, without a trailing slash."""
        return self._url

    def address(self, key: str) -> str:
        """gs://BUCKET/PREFIX/KEY."""
        return f"{self._url}/{key}"

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self.session.close()

    def stat(self, key: str) -> ObjectInfo | None:
        """None: there is no such object.

        Raises:
            StoreUnavailable, StoreDenied: also when the bucket does not exist.
        """
        blob = self.blob(key)
        return self._info(blob) if self._load(key, blob) else None

    def _load(self, key: str, blob: Any) -> bool:
        from google.api_core.exceptions import NotFound

        with wrapped(self.address(key)):
            try:
                blob.reload(timeout=TIMEOUT_S, retry=self.session.retry)
            except NotFound as error:
                if names_bucket(error):
                    raise no_bucket(self.bucket) from error
                return False
        return True

    def read(
        self, key: str, *, start: int = 0, length: int | None = None, generation: int | None = None
    ) -> Iterator[bytes]:
        """Pieces of at most 1 MiB of a range; none where it begins behind the end.

        Raises:
            ArtefactMissing, StoreUnavailable, StoreDenied.
            StoreConflict: the object has another generation, or became another one.
        """
        if start < 0 or (length is not None and length < 0):
            raise ValueError("a range begins at 0 and has a length of 0 or more")
        name = self.name(key)
        if length == 0:
            self._expect(key, generation)
            return
        reading = Reading(self.session, self.bucket, name, self.address(key), generation)
        with wrapped(self.address(key)):
            try:
                yield from reading.pieces(start, _TO_THE_END if length is None else length)
            except StoreConflict:
                # A precondition may be refused before anybody looks whether there is an object.
                self._expect(key, None)
                raise

    def _expect(self, key: str, generation: int | None) -> None:
        found = self.stat(key)
        if found is None:
            raise missing(self.address(key))
        if generation not in (None, found.generation):
            raise changed(self.address(key))

    def put(self, key: str, data: bytes, *, if_generation: int | None = None) -> ObjectInfo:
        """Write a small object whole. `if_generation` 0: only where there is none.

        Raises:
            StoreConflict: the object has another generation.
            StoreUnavailable, StoreDenied, StoreFull.
        """
        from google.api_core.exceptions import PreconditionFailed

        blob = self.blob(key)
        retry = self.session.retry
        doubts: list[Exception] = []
        with self.wrapped(key):
            try:
                blob.upload_from_string(
                    data,
                    content_type="application/octet-stream",
                    if_generation_match=if_generation,
                    timeout=TIMEOUT_S,
                    checksum="crc32c",
                    retry=lambda call: retry(call, on_error=doubts.append),
                )
            except PreconditionFailed:
                # The first answer may have been lost: then it is our own write that is in the way.
                if not doubts or not self._is_ours(key, blob, data):
                    raise
        return self._info(blob)

    def _is_ours(self, key: str, blob: Any, data: bytes) -> bool:
        from google_crc32c import value

        if not self._load(key, blob):
            return False
        crc = base64.b64encode(value(data).to_bytes(4, "big")).decode()
        return bool(blob.size == len(data) and blob.crc32c == crc)

    def upload(self, session: str, size: int) -> GcsUpload:
        """Begin or go on with the upload of `size` bytes in chunks of CHUNK_BYTES.

        Nothing is asked yet.
        """
        return GcsUpload(self, session, size, self._chunk_bytes)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key begins with `prefix`, by key.

        Raises:
            StoreUnavailable, StoreDenied.
        """
        from google.api_core.exceptions import NotFound

        with wrapped(self.url):
            try:
                for blob in self.session.client.list_blobs(
                    self.bucket,
                    prefix=self._prefix + prefix,
                    fields=_LISTED,
                    timeout=TIMEOUT_S,
                    retry=self.session.retry,
                ):
                    # Others may keep things in the bucket; what is no key is none of ours.
                    if _KEY.fullmatch(blob.name[len(self._prefix) :]):
                        yield self._info(blob)
            except NotFound as error:
                raise no_bucket(self.bucket) from error

    def delete(self, key: str, *, generation: int | None = None) -> None:
        """Remove an object. Not there: returns silently.

        Raises:
            StoreConflict: it has another generation.
            StoreUnavailable, StoreDenied.
        """
        try:
            with self.wrapped(key):
                self.blob(key).delete(
                    if_generation_match=generation, timeout=TIMEOUT_S, retry=self.session.retry
                )
        except ArtefactMissing:
            return
        except StoreConflict:
            if self.stat(key) is not None:
                raise

    def name(self, key: str) -> str:
        """The object's name for a key.

        Raises:
            ValueError: it is no key; a mistake of the program, as keys are made by core.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"no key of a store: {key!r}")
        return self._prefix + key

    def blob(self, key: str) -> Any:
        """google.cloud.storage.Blob; nothing is asked yet."""
        name = self.name(key)
        with wrapped(self.address(key)):
            return self.session.client.bucket(self.bucket).blob(name)

    @contextmanager
    def wrapped(self, key: str) -> Iterator[None]:
        """As faults.wrapped, and says so where the bucket is what is missing."""
        with wrapped(self.address(key)):
            try:
                yield
            except Exception as error:
                if getattr(error, "code", 0) == 404 and names_bucket(error):
                    raise no_bucket(self.bucket) from error
                raise

    def _info(self, blob: Any) -> ObjectInfo:
        key = blob.name[len(self._prefix) :]
        return ObjectInfo(key, int(blob.size), int(blob.generation), blob.updated)
