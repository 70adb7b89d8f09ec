"""A request's body and an answer's, in pieces: no object is ever whole in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.message import Message
from io import BufferedIOBase
from typing import Any, NamedTuple

from gce_errors import ApiError
from gcs_disk import Extent
from gcs_doc import Route
from gcs_errors import Disconnected, bad, bad_range
from gcs_faults import Seen

JSON = dict[str, Any]

PIECE = 1 << 16  # larger ones cost more: each is allocated anew
# Of documents in JSON: Google refuses longer ones too.
DOCUMENT_BYTES = 1 << 20
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Body:
    """What a client sends. `broken` from when the connection ended before its promised length."""

    def __init__(self, file: BufferedIOBase, length: int, seen: Seen, cut_at: int | None) -> None:
        self.remaining = length
        self.broken = False
        self._file = file
        self._seen = seen
        self._cut_at = cut_at

    def read(self, limit: int = PIECE) -> bytes:
        """What has come, at most `limit` bytes; b"" at the end, or where it breaks."""
        wanted = min(limit, self.remaining)
        if self._cut_at is not None:
            wanted = min(wanted, self._cut_at - self._seen.received)
        piece = b""
        if wanted > 0 and not self.broken:
            try:
                # Not read(): it waits for all, and forgets what it has when the line breaks.
                piece = self._file.read1(wanted)
            except OSError:
                piece = b""
        if not piece and self.remaining:
            self.broken = True
        self.remaining -= len(piece)
        self._seen.received += len(piece)
        return piece

    def pieces(self, length: int | None = None) -> Iterator[bytes]:
        """All of it, or the next `length` bytes; ends early where it breaks."""
        left = self.remaining if length is None else length
        while left > 0 and (piece := self.read(min(left, PIECE))):
            left -= len(piece)
            yield piece

    def whole(self, limit: int = DOCUMENT_BYTES) -> bytes:
        """A small body.

        Raises:
            ApiError: 413.
            Disconnected
        """
        if self.remaining > limit:
            raise ApiError(413, "Request entity is too large.", "uploadTooLarge")
        found = b"".join(self.pieces())
        self.check()
        return found

    def line(self, limit: int = 8192) -> bytes:
        """One line, with its end; for the heads of multipart bodies."""
        line = self._file.readline(min(limit, self.remaining))
        self.remaining -= len(line)
        self._seen.received += len(line)
        return line

    def check(self) -> None:
        """Raise Disconnected if the body came in part."""
        if self.broken:
            raise Disconnected

    def drain(self) -> None:
        """Read the rest: a client hears an answer only when it has sent all."""
        for _ in self.pieces():
            pass


class Call(NamedTuple):
    """One request, routed."""

    route: Route
    headers: Message[str, str]
    body: Body
    base: str  # the server's address as the client knows it
    asked: dict[str, str]  # the query


@dataclass
class Answer:
    """What goes back: a few bytes, or extents of files, which `held` closes."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    extents: list[Extent] = field(default_factory=list)
    held: ExitStack = field(default_factory=ExitStack)
    first: int = 0  # the place in the object of the first byte of the extents
    phrase: str | None = None

    @property
    def length(self) -> int:
        """Of the body, in bytes."""
        return len(self.body) + sum(extent.length for extent in self.extents)


def as_json(value: JSON, status: int = 200) -> Answer:
    """A resource as an answer."""
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return Answer(status, headers, json.dumps(value).encode())


def document(raw: bytes) -> JSON:
    """A body's JSON object; {} for none."""
    try:
        value = json.loads(raw or b"{}")
    except ValueError as error:
        raise ApiError(400, "Parse Error", "parseError") from error
    if not isinstance(value, dict):
        raise bad("Invalid argument.")
    return value


def range_of(text: str, size: int) -> tuple[int, int] | None:
    """First byte and length that a Range header asks for; None: all, as if it were not there.

    Several ranges at once are answered with all, as Google does.

    Raises:
        ApiError: 416.
    """
    match = RANGE.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size - 1
        start = size if not int(last) else start
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
    if start >= size:
        raise bad_range(text)
    return start, end - start + 1
