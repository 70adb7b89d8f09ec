"""Ranges of an object as a stream that goes on by itself where it breaks."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from yoyo.drivers.gcs.faults import (
    no_bucket,
    refused,
    said,
    says_bucket,
    translated,
    unavailable,
)
from yoyo.drivers.gcs.session import TIMEOUT_S, Session
from yoyo.errors import StoreUnavailable

# What was read of a piece is lost where the stream breaks inside it.
_PIECE_BYTES: Final = 256 * 1024
# https://cloud.google.com/storage/docs/retry-strategy: what may pass by itself.
_PASSING: Final = (408, 429, 500, 502, 503, 504)
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 16.0


class Reading:
    """Reads ranges of one object; pinned to a generation from the first answer at the latest."""

    def __init__(
        self, session: Session, bucket: str, name: str, address: str, generation: int | None
    ) -> None:
        self._session = session
        self._bucket = bucket
        self._name = name
        self._address = address
        self._generation = generation
        self._crc: tuple[bytes, int] | None = None  # of the whole object, and its size

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """At most 256 KiB each, all of one generation; none behind the end.

        An object that is read whole is held against Google's CRC32C: its last piece is given
        only if it fits.

        Raises:
            ArtefactMissing, StoreConflict, StoreDenied, StoreFull, StoreUnavailable.
        """
        check = _Check() if start == 0 else None
        at, end = start, start + length
        patience = _Patience(self._session.patience_s)
        held = b""
        while at < end:
            try:
                for piece in self._stream(at, end - at):
                    at += len(piece)
                    if check:
                        check.add(piece)
                    if held:
                        yield held
                    held = piece
                    patience.renew()
                break
            except _Again as again:
                patience.wait(again)
        if check and self._crc and self._crc[1] <= end and not check.fits(*self._crc):
            raise unavailable(self._address, "Bytes were changed on the way (CRC32C differs).")
        if held:
            yield held

    def _stream(self, at: int, length: int) -> Iterator[bytes]:
        """Pieces from one answer.

        Raises:
            _Again: it broke off, or was refused for now; what was given counts.
        """
        answer = self._ask(at, length)
        with answer:
            if answer.status_code == 416:
                return
            if answer.status_code not in (200, 206):
                self._refuse(answer)
            self._pin(answer)
            # A server that ignores ranges sends all of it.
            skip = at if answer.status_code == 200 else 0
            left = length
            while left and (piece := self._next(answer, _PIECE_BYTES)):
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                piece = piece[skip : skip + left]
                skip = 0
                left -= len(piece)
                yield piece

    def _ask(self, at: int, length: int) -> Any:
        query = "alt=media"
        if self._generation is not None:
            query += f"&ifGenerationMatch={self._generation}"
        url = (
            f"{self._session.endpoint}/download/storage/v1/b/{quote(self._bucket, safe='')}"
            f"/o/{quote(self._name, safe='')}?{query}"
        )
        headers = {"Range": f"bytes={at}-{at + length - 1}", "Accept-Encoding": "identity"}
        http = self._session.http
        try:
            return http.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
        except Exception as error:
            raise self._weighed(error) from error

    def _next(self, answer: Any, count: int) -> bytes:
        try:
            found: bytes = answer.raw.read(count)
        except Exception as error:
            raise self._weighed(error) from error
        return found

    def _weighed(self, error: Exception) -> Exception:
        found = translated(self._address, error)
        return _Again(found) if isinstance(found, StoreUnavailable) else found

    def _pin(self, answer: Any) -> None:
        """Keep to the generation that was seen first."""
        if self._generation is None and "x-goog-generation" in answer.headers:
            self._generation = int(answer.headers["x-goog-generation"])
        if self._crc is None:
            self._crc = _crc_of(answer)

    def _refuse(self, answer: Any) -> None:
        status = answer.status_code
        reason, message = said(answer)
        found = refused(self._address, status, reason, message)
        if status == 404 and says_bucket(message):
            found = no_bucket(self._bucket)
        raise _Again(found, answer.headers.get("Retry-After")) if status in _PASSING else found


class _Again(Exception):
    """What may pass by itself; `error` is for the operator if it does not."""

    def __init__(self, error: Exception, retry_after: str | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        # A date is allowed there as well; Google sends seconds.
        self.retry_after_s = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0


class _Patience:
    """Pauses that double, with jitter, until nothing came for so many seconds."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.renew()

    def renew(self) -> None:
        """Something came."""
        self._until = time.monotonic() + self._patience_s
        self._pause_s = min(_FIRST_PAUSE_S, self._patience_s / 16)

    def wait(self, again: _Again) -> None:
        """Wait as long as the server asks for, or as is usual.

        Raises:
            StoreUnavailable: that would be too long.
        """
        pause = max(random.uniform(0.5, 1.5) * self._pause_s, again.retry_after_s)  # noqa: S311
        if time.monotonic() + pause > self._until:
            raise again.error from again.__cause__
        time.sleep(pause)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)


class _Check:
    """The CRC32C of what came, and how much that was."""

    def __init__(self) -> None:
        self._crc = 0
        self._size = 0

    def add(self, piece: bytes) -> None:
        from google_crc32c import extend

        self._crc = extend(self._crc, piece)
        self._size += len(piece)

    def fits(self, crc: bytes, size: int) -> bool:
        return self._size == size and self._crc.to_bytes(4, "big") == crc


def _crc_of(answer: Any) -> tuple[bytes, int] | None:
    """Google's CRC32C of the whole object and its size; None where the answer lacks either."""
    size = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    for part in answer.headers.get("x-goog-hash", "").split(","):
        name, _, value = part.strip().partition("=")
        if name == "crc32c" and size.isdecimal():
            return base64.b64decode(value), int(size)
    return None
