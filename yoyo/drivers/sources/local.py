"""Files that are on this machine already, and bytes that the source spells out."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from yoyo.drivers.sources import names
from yoyo.errors import SourceFailed
from yoyo.model.fetch import RemoteFile, Resolved

_MAX_INLINE: Final = 1 << 20  # bytes


def resolve(url: str) -> Resolved:
    """`file:///PATH`: a file, with the other shards where it is one, or a folder.

    Of a folder its regular files are taken, not those below it or hidden ones. A symbolic link in
    it may point to another file of the same folder, or, in a snapshot of the hub's own cache, into
    that repository's blobs; anything else that it points to was not named, and is refused.

    Raises:
        SourceFailed.
    """
    parts = urlsplit(url)
    if "?" in url or "#" in url:
        raise SourceFailed(
            f"The source {ascii(url)[1:-1]} is not understood.",
            why="In an address, what follows `?` or `#` is no part of the path.",
            fix="Write %3F for `?` and %23 for `#`.",
        )
    path = unquote(parts.path)
    source = _shown(path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise SourceFailed(
            f"The source {names.shown(url)} is not understood.",
            why="It is not file:///PATH with an absolute path.",
            fix="Give the whole path, after three slashes.",
        )
    if ".." in path.split("/"):
        raise SourceFailed(
            f"The source {source} leads upwards.",
            why="Its path has `..` in it.",
            fix="Give the path without it.",
        )
    try:
        return _resolve(Path(path), source)
    except OSError as error:
        raise _unreadable(source, error) from None
    except RuntimeError:
        # What pathlib makes of a loop of links.
        loop = OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        raise _unreadable(source, loop) from None


def _resolve(place: Path, source: str) -> Resolved:
    if not place.is_dir():
        folder, wanted = place.parent, names.shards_of(place.name, source)
        if len(wanted) == 1:
            # The operator named this one: where it leads to is what is meant.
            size = _regular(place.resolve(strict=True), source)
            name = names.checked_path(place.name, source)
            file = RemoteFile(name, size, None, local=place.resolve())
            return Resolved(source, "", "", (file,))
        names.missing(wanted, tuple(one.name for one in folder.iterdir()), source)
    else:
        folder = place
        listed = tuple(
            sorted(
                one.name
                for one in folder.iterdir()
                if not one.name.startswith(".") and not one.is_dir()
            )
        )
        wanted = names.set_of(listed, source, anything=True)
    files = tuple(_inside(folder, names.checked_path(name, source), source) for name in wanted)
    return Resolved(source, "", "", files)


def _inside(folder: Path, name: str, source: str) -> RemoteFile:
    target = (folder / name).resolve(strict=True)
    home = folder.resolve()
    allowed = [home]
    if home.parent.name == "snapshots":
        allowed.append(home.parent.parent / "blobs")
    if target.parent not in allowed:
        raise SourceFailed(
            f"The source {source} holds a link that leads out of it.",
            why=f"{name!a} points elsewhere.",
            fix="Put the file itself there, or name it by its own path.",
        )
    return RemoteFile(name, _regular(target, source), None, local=target)


def _regular(path: Path, source: str) -> int:
    """Its size in bytes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise SourceFailed(
            f"The source {source} is not a regular file.",
            why=f"{path.name!a} is a device, a pipe or a socket.",
            fix="Name a file, or a folder of files.",
        )
    return status.st_size


def read(path: Path, start: int, length: int) -> bytes:
    """A range of a regular file.

    Raises:
        SourceFailed.
    """
    source = _shown(str(path))
    try:
        # Not to be led elsewhere, nor to hang on a pipe, if it was exchanged since.
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise OSError(0, "it is not a regular file any more")
            data = bytearray()
            while len(data) < length:
                piece = os.pread(opened, length - len(data), start + len(data))
                if not piece:
                    break
                data += piece
            return bytes(data)
        finally:
            os.close(opened)
    except OSError as error:
        raise _unreadable(source, error) from None


def inline(text: str) -> Resolved:
    """The text itself, as UTF-8, up to 1 MiB.

    Raises:
        SourceFailed.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = b""
    if not data or len(data) > _MAX_INLINE:
        raise SourceFailed(
            "The inline source cannot be taken.",
            why="It is empty, not UTF-8, or larger than 1 MiB.",
            fix="Put it into a file, and give file:///PATH.",
        )
    digest = hashlib.sha256(data).hexdigest()
    file = RemoteFile("inline", len(data), digest, data=data)
    # The text may be anything: only its digest is kept.
    return Resolved("inline:", f"sha256:{digest}", "", (file,))


def _shown(path: str) -> str:
    """The path as an address that leads to it again."""
    for letter in "%?#":
        path = path.replace(letter, f"%{ord(letter):02X}")
    return names.shown(f"file://{path}")


def _unreadable(source: str, error: OSError) -> SourceFailed:
    return SourceFailed(
        f"The source {source} could not be read.",
        why=f"{error.strerror or type(error).__name__}.",
        fix="Check the path and its permissions.",
    )
