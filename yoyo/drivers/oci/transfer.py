"""Blobs of any size come in constant memory, and go on where they broke off.

One piece of PIECE bytes is in memory at a time. A registry is never believed: what is received
counts when its digest is the one that was asked for.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.drivers.oci import faults
from yoyo.errors import (
    ArtefactCorrupt,
    ArtefactMissing,
    StateUnwritable,
    StoreFull,
    YoyoError,
)
from yoyo.model.oci import Descriptor, Reference

if TYPE_CHECKING:
    import requests

    from yoyo.drivers.oci.session import Session
    from yoyo.ports.oci import Moved

# Large enough that the interpreter does not count; larger pieces no longer fit a core's cache, and
# took longer to hash and write.
PIECE: Final = 1 << 18
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")


class Patience:
    """How often something that breaks off is begun again without getting further than before.

    Each request has the session's own retries; these are for what breaks half-way. Seven pauses
    of 0.1 to 12.8 s, jittered: together half a minute at the most.
    """

    def __init__(self, sleep: Callable[[float], object]) -> None:
        self._sleep = sleep
        self._left = 7
        self._best = -1

    def pause(self, error: YoyoError, reached: int) -> None:
        """Wait before the next try; raise `error` when there have been too many."""
        if reached > self._best:
            self._best, self._left = reached, 7
        if not self._left:
            raise error
        self._left -= 1
        self._sleep(random.uniform(0.5, 1.0) * 0.2 * 2 ** (6 - self._left))  # noqa: S311 - jitter


def pull(
    session: Session,
    sleep: Callable[[float], object],
    ref: Reference,
    blob: Descriptor,
    path: Path,
    moved: Moved,
) -> None:
    """See ports.oci.OciRegistry.pull. Two pulls to one path take turns.

    Raises:
        ArtefactMissing, ArtefactCorrupt, StoreFull, StateUnwritable, RegistryUnavailable,
        RegistryDenied.
    """
    if _has(path, blob):
        moved(blob.size, blob.size)
        return
    name = path.with_name(f"{path.name}.part")
    with _disk(name):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _held(name) as fd:
        if _has(path, blob):  # another process had the lock, and brought it
            name.unlink(missing_ok=True)
            moved(blob.size, blob.size)
            return
        part = _Part(name, fd, blob)
        try:
            resumed = part.adopt()
            _room(path.parent, blob.size - part.have)
            _fetch(session, sleep, ref, part, moved)
            if resumed and not part.right:
                # What was left of the last time may be what is wrong, not the registry.
                part.restart()
                _fetch(session, sleep, ref, part, moved)
            if not part.right:
                raise corrupt(ref, blob, "The bytes have another digest.")
        except ArtefactCorrupt:
            name.unlink(missing_ok=True)
            raise
        part.settle(path)


def missing(ref: Reference, what: str, answer: requests.Response) -> ArtefactMissing:
    """The registry has no such thing."""
    return ArtefactMissing(
        f"{ref.place} has no {what}.",
        why=faults.answered(ref.registry, answer),
        fix="Check the reference; what was pushed to a registry may also have been removed there.",
    )


def corrupt(ref: Reference, blob: Descriptor, why: str) -> ArtefactCorrupt:
    """The registry has other bytes than the digest and the size say."""
    return ArtefactCorrupt(
        f"{ref.place} has other bytes for {blob.digest} ({blob.size} bytes).",
        why=why,
        fix="Do not use it. Push the artefact anew, under another tag, from where it was made.",
    )


class _Part:
    """The file in which a blob grows, and the digest of what it has."""

    def __init__(self, path: Path, fd: int, blob: Descriptor) -> None:
        self.blob = blob
        self.have = 0
        self._path = path
        self._fd = fd
        self._sha = hashlib.sha256()

    @property
    def right(self) -> bool:
        """Whether it is the blob."""
        return f"sha256:{self._sha.hexdigest()}" == self.blob.digest

    def adopt(self) -> bool:
        """Take what is there for the beginning; whether there is any."""
        with _disk(self._path):
            if os.fstat(self._fd).st_size > self.blob.size:
                self.restart()
            while piece := os.read(self._fd, PIECE):
                self._sha.update(piece)
                self.have += len(piece)
            if self.have == self.blob.size and not self.right:
                self.restart()
        return self.have > 0

    def restart(self) -> None:
        """Forget what is there."""
        with _disk(self._path):
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        self.have = 0
        self._sha = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Write on; the caller has made sure that it fits."""
        self._sha.update(piece)
        with _disk(self._path):
            left = memoryview(piece)
            while left:
                count = os.write(self._fd, left)
                self.have += count
                left = left[count:]

    def settle(self, path: Path) -> None:
        """Give the whole blob its name, on the disk for good."""
        with _disk(path):
            os.fsync(self._fd)
            self._path.replace(path)
            above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(above)
            finally:
                os.close(above)


def _fetch(
    session: Session,
    sleep: Callable[[float], object],
    ref: Reference,
    part: _Part,
    moved: Moved,
) -> None:
    patience = Patience(sleep)
    while part.have < part.blob.size:
        try:
            why = _receive(session, ref, part, moved)
        except _BrokeOff:
            why = "The connection broke."
        if part.have < part.blob.size:
            why = f"{why} It had {part.have} of {part.blob.size} bytes of {part.blob.digest}."
            patience.pause(faults.unavailable(ref.registry, why), part.have)


class _BrokeOff(Exception):
    """No more bytes come over this connection."""


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError  # requests does not wrap it where a body is read

    while True:
        try:
            piece = answer.raw.read(PIECE, decode_content=False)
        except (OSError, HTTPError) as error:
            raise _BrokeOff from error
        if not piece:
            return
        yield piece


def _receive(session: Session, ref: Reference, part: _Part, moved: Moved) -> str:
    """One answer's bytes; why it may have ended too early.

    Raises:
        _BrokeOff, ArtefactMissing, ArtefactCorrupt.
    """
    blob = part.blob
    headers = {"Accept-Encoding": "identity"}
    if part.have:
        headers["Range"] = f"bytes={part.have}-"
    answer = session.request("GET", ref, f"blobs/{blob.digest}", headers=headers, stream=True)
    with closing(answer):
        if answer.status_code == 416 or (
            answer.status_code == 206 and not _goes_on(answer, ref, part)
        ):
            part.restart()
            return "It did not go on where it broke off."
        if answer.status_code == 404:
            raise missing(ref, f"blob {blob.digest}", answer)
        if answer.status_code not in (200, 206):
            raise faults.unexpected(ref, answer)
        if answer.status_code == 200 and part.have:
            part.restart()  # it cannot go on, and sends everything
        length = answer.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) != blob.size - part.have:
            raise corrupt(ref, blob, f"{int(length)} bytes were announced.")
        for piece in _pieces(answer):
            if part.have + len(piece) > blob.size:
                raise corrupt(ref, blob, "There are more bytes than that.")
            part.add(piece)
            moved(part.have, blob.size)
        if part.have < blob.size and "chunked" in answer.headers.get("Transfer-Encoding", ""):
            raise corrupt(ref, blob, f"There are {part.have} bytes, and no more.")
    return "The registry stopped sending."


def _goes_on(answer: requests.Response, ref: Reference, part: _Part) -> bool:
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if found is None or int(found[1]) != part.have:
        return False
    if int(found[3]) != part.blob.size:
        raise corrupt(ref, part.blob, f"It has {int(found[3])} bytes in the registry.")
    return int(found[2]) < part.blob.size


@contextmanager
def _held(part: Path) -> Iterator[int]:
    """The part file, open and locked."""
    while True:
        with _disk(part):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(part, flags, 0o644)
        try:
            with _disk(part):
                fcntl.flock(fd, fcntl.LOCK_EX)
                # The one who had it may have renamed or removed it meanwhile.
                mine = False
                with suppress(FileNotFoundError):
                    mine = os.path.samestat(os.fstat(fd), part.lstat())
            if mine:
                yield fd
                return
        finally:
            os.close(fd)


def _has(path: Path, blob: Descriptor) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    with open(fd, "rb", buffering=0) as file, suppress(OSError):  # noqa: PTH123 - no path
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_size == blob.size:
            sha = hashlib.sha256()
            while piece := file.read(PIECE):
                sha.update(piece)
            return f"sha256:{sha.hexdigest()}" == blob.digest
    return False


def _room(directory: Path, needed: int) -> None:
    with _disk(directory):
        free = shutil.disk_usage(directory).free
    if free < needed:
        raise StoreFull(
            f"{directory} has no room for {needed} bytes.",
            why=f"{free} bytes are free there.",
            fix="Make room on that disk, then run the command again.",
        )


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"{error.strerror or error}."
        if error.errno in _FULL:
            raise StoreFull(
                f"{path} cannot be written.",
                why=why,
                fix="Make room on that disk; what is there is kept, and the same command goes on.",
            ) from error
        raise StateUnwritable(
            f"{path} could not be written.",
            why=why,
            fix=f"Make {path.parent} a directory that you may write to.",
        ) from error
