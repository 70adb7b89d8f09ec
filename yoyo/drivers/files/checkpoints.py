"""Implements the port of checkpoints: a directory beside the ledger, one read-only file a note."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import Final

from yoyo.drivers.files.copied import COPIED_FILE, copied_to, remember
from yoyo.drivers.files.state import sync_dir, write_atomically
from yoyo.errors import CheckpointFailed, CheckpointInvalid
from yoyo.model.audit import Frontier

_MAX_BYTES: Final = 64 * 1024
_NOTE: Final = re.compile("[0-9]{20}-[0-9a-f]{8}", re.ASCII)
_KEY: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_NOTE_END, _KEY_END, _TREE = ".note", ".vkey", "tree.json"
_TREE_FORMAT: Final = "yoyo-tree/1"


class FileCheckpoints:
    """`SIZE-KEYID.note`, `NAME.vkey` and two caches in `LEDGER.checkpoints/`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, name: str, note: bytes) -> None:
        """See the port. `name` is 20 digits of size, a dash, 8 hex digits of the key's id."""
        self._keep(self._path(name, _NOTE, _NOTE_END), note)

    def keep_key(self, name: str, vkey: bytes) -> None:
        """See the port. `name` is letters, digits and `._-`."""
        self._keep(self._path(name, _KEY, _KEY_END), vkey)

    def names(self) -> tuple[str, ...]:
        """See the port."""
        return tuple(name for name in self._listed(_NOTE_END) if _NOTE.fullmatch(name))

    def read(self, name: str) -> bytes:
        """See the port."""
        path = self._path(name, _NOTE, _NOTE_END)
        try:
            return _read(path)
        except OSError as error:
            raise CheckpointInvalid(
                f"The checkpoint {path} could not be read.",
                why=error.strerror or type(error).__name__,
                fix="fetch it again from the second store, or name another one",
            ) from error

    def keys(self) -> tuple[bytes, ...]:
        """See the port. One that cannot be read is left out."""
        found = []
        for name in self._listed(_KEY_END):
            if not _KEY.fullmatch(name):
                continue
            try:
                found.append(_read(self._directory / f"{name}{_KEY_END}"))
            except OSError:
                continue
        return tuple(found)

    def cached_frontier(self) -> Frontier | None:
        """See the port."""
        from yoyo.core.audit.documents import (
            DocumentError,
            hash_of,
            hashes_of,
            load_object,
            text_of,
            whole_of,
        )
        from yoyo.core.audit.merkle import TreeError, root_of

        try:
            keys = frozenset(("format", "size", "row_hash", "nodes", "root"))
            fields = load_object(_read(self._directory / _TREE), keys)
            frontier = Frontier(
                whole_of(fields, "size"), hashes_of(fields, "nodes"), text_of(fields, "row_hash")
            )
            # The root is there for this alone: a flipped bit must not become a signed tree.
            same = root_of(frontier).root == hash_of(fields["root"], "root")
            return frontier if same and text_of(fields, "format") == _TREE_FORMAT else None
        except (OSError, DocumentError, TreeError):
            return None

    def cache_frontier(self, frontier: Frontier) -> None:
        """See the port."""
        from yoyo.core.audit.documents import dump_object, encode_hash
        from yoyo.core.audit.merkle import root_of

        document = dump_object(
            {
                "format": _TREE_FORMAT,
                "size": frontier.size,
                "row_hash": frontier.row_hash,
                "nodes": [encode_hash(node) for node in frontier.nodes],
                "root": encode_hash(root_of(frontier).root),
            }
        )
        try:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomically(self._directory / _TREE, document, durable=False)
        except OSError:
            return

    def copied(self, store: str) -> frozenset[str]:
        """See the port."""
        return copied_to(self._directory / COPIED_FILE, store)

    def remember_copied(self, store: str, file: str) -> None:
        """See the port."""
        remember(self._directory / COPIED_FILE, store, file)

    def _listed(self, end: str) -> list[str]:
        try:
            entries = [entry.name for entry in self._directory.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            # Not the same as none: the ledger would be signed as if it never had been.
            raise CheckpointInvalid(
                f"The checkpoints in {self._directory} could not be read.",
                why=error.strerror or type(error).__name__,
                fix="make it a directory that you may read",
            ) from error
        return sorted(entry.removesuffix(end) for entry in entries if entry.endswith(end))

    def _path(self, name: str, form: re.Pattern[str], end: str) -> Path:
        if not form.fullmatch(name):
            raise CheckpointInvalid(
                f"{name[:80]!a} is no name of a checkpoint or a key.",
                why="it is not of the form that docs/formats/checkpoint.md gives",
                fix="`yoyo ledger verify` lists those that are there",
            )
        return self._directory / f"{name}{end}"

    def _keep(self, path: Path, content: bytes) -> None:
        try:
            if len(content) > _MAX_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {_MAX_BYTES} bytes")
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            same = _write_once(path, content) or _read(path) == content
            # Also where it was there: whoever wrote it may have died before this.
            sync_dir(path.parent)
        except OSError as error:
            raise CheckpointFailed(
                f"The checkpoint {path} could not be kept.",
                why=error.strerror or type(error).__name__,
                fix=f"make room, and make {self._directory} a directory that you may write to",
            ) from error
        if not same:
            raise CheckpointFailed(
                f"The checkpoint {path} is there with other content.",
                why="two histories of the same length were signed, or the file was changed",
                fix="keep both, and compare them: yoyo ledger verify --against FILE",
            )


def _write_once(path: Path, content: bytes) -> bool:
    """False where there is one already; a reader sees all of it or nothing."""
    # A name that was never used: what a killed writer left may be a link to a kept note.
    part = path.with_name(f".{path.name}.{os.urandom(6).hex()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(part, flags, 0o600)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(file, left) :]
            os.fchmod(file, 0o444)
            os.fsync(file)
        finally:
            os.close(file)
        os.link(part, path, follow_symlinks=False)  # unlike a rename, it replaces nothing
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def _read(path: Path) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_MAX_BYTES} bytes")
    return content
