"""Packed artefacts on this machine: what was packed is later pushed bit for bit, or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from yoyo.core.oci_manifest import OciError, OciManifest, digest_of, is_digest, parse_manifest
from yoyo.drivers.files.state import sync_dir, unwritable
from yoyo.errors import AdapterInvalid, ArtefactCorrupt, ArtefactExists, ArtefactMissing, StoreFull
from yoyo.model.oci import IMAGE_INDEX, IMAGE_MANIFEST, MAX_MANIFEST_BYTES, Descriptor

# image-spec, image-layout.md: the files of a layout, and the version of the layout itself.
_LAYOUT: Final = "oci-layout"
_INDEX: Final = "index.json"
_BLOBS: Final = "blobs/sha256"
_VERSION: Final = {"imageLayoutVersion": "1.0.0"}
_SMALL_BYTES: Final = 4096  # oci-layout has 30
_PIECE: Final = 1 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class FileLayouts:
    """OCI image layouts (image-layout.md), one manifest each.

    Blobs are copies, never links: whoever trains on in the file that was packed must not change
    the packed artefact.
    """

    def write(
        self, directory: Path, manifest: bytes, blobs: Mapping[str, Path | bytes]
    ) -> Descriptor:
        """See the port."""
        described = _described(manifest, directory)
        try:
            final = directory.resolve()
            final.parent.mkdir(parents=True, exist_ok=True)
            with _locked(final.parent):
                if not _taken(final, described):
                    _make(final, manifest, described, blobs)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise _failed(directory, error) from error
        return described

    def read(self, directory: Path) -> tuple[Descriptor, bytes]:
        """See the port."""
        if not directory.is_dir():
            raise ArtefactMissing(
                f"{directory} is not there.",
                why="There is no such directory.",
                fix="Pack the adapter first: yoyo adapters pack",
            )
        found = _json(directory / _LAYOUT, _SMALL_BYTES)
        if found.get("imageLayoutVersion") != _VERSION["imageLayoutVersion"]:
            raise _no_layout(directory, f"{_LAYOUT} names no layout of version 1.0.0")
        entries = _json(directory / _INDEX, MAX_MANIFEST_BYTES).get("manifests")
        if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
            raise _no_layout(directory, f"{_INDEX} does not name exactly one manifest")
        digest, size = entries[0].get("digest"), entries[0].get("size")
        if not is_digest(digest):
            raise _no_layout(directory, f"{_INDEX} names its manifest by no sha256 digest")
        document = _small(self.blob(directory, str(digest)), MAX_MANIFEST_BYTES)
        if digest_of(document) != digest or type(size) is not int or size != len(document):
            raise _corrupt(directory, f"The manifest's bytes are not those of {digest}.")
        return _described(document, directory), document

    def blob(self, directory: Path, digest: str) -> Path:
        """See the port."""
        path = directory / _BLOBS / digest.removeprefix("sha256:")
        try:
            # Not followed: a layout comes from elsewhere, and is pushed elsewhere.
            if is_digest(digest) and stat.S_ISREG(path.lstat().st_mode):
                return path
        except OSError:
            pass
        raise ArtefactMissing(
            f"{directory} has no {digest[:80]!a}.",
            why="The layout lacks that blob, or it is no regular file.",
            fix=f"Pack the adapter again into another directory than {directory}.",
        )


def _described(manifest: bytes, directory: Path) -> Descriptor:
    parsed = _parsed(manifest, directory)
    return Descriptor(
        IMAGE_MANIFEST, digest_of(manifest), len(manifest), artifact_type=parsed.artifact_type
    )


def _parsed(manifest: bytes, directory: Path) -> OciManifest:
    try:
        return parse_manifest(manifest)
    except OciError as error:
        raise AdapterInvalid(
            f"{directory} has no manifest of an adapter.",
            why=f"{error}.",
            fix="Pack the adapter again: yoyo adapters pack",
        ) from error


def _taken(final: Path, described: Descriptor) -> bool:
    """Whether that artefact is there already, whole.

    Raises:
        ArtefactExists: something else is.
    """
    try:
        if not any(final.iterdir()):
            return False
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise _exists(final, "It is a file.") from None
    layouts = FileLayouts()
    try:
        found, manifest = layouts.read(final)
        if found.digest == described.digest:
            parsed = _parsed(manifest, final)
            for each in (parsed.config, *parsed.layers):
                if layouts.blob(final, each.digest).stat().st_size != each.size:
                    raise _exists(final, f"Its blob {each.digest} has another length.")
            return True
        why = f"It holds the artefact {found.digest}."
    except (AdapterInvalid, ArtefactMissing, ArtefactCorrupt) as error:
        why = f"What it holds is no whole layout. {error.why}"
    raise _exists(final, why)


def _make(
    final: Path, manifest: bytes, described: Descriptor, blobs: Mapping[str, Path | bytes]
) -> None:
    part = final.with_name(f".{final.name}.part")
    if part.exists():  # of a run that was killed; the lock is held
        shutil.rmtree(part)
    try:
        inner = part / _BLOBS
        inner.mkdir(parents=True)
        parsed = _parsed(manifest, final)
        sizes = {each.digest: each.size for each in (parsed.config, *parsed.layers)}
        for digest in sizes.keys() - blobs.keys():
            raise _corrupt(final, f"The manifest names {digest}, which was not given.")
        for digest, source in {**blobs, described.digest: manifest}.items():
            if not is_digest(digest):
                raise _corrupt(final, f"{digest[:80]!a} is no sha256 digest.")
            _copy(source, inner / digest.removeprefix("sha256:"), digest, sizes.get(digest))
        _write(part / _INDEX, _index(described))
        _write(part / _LAYOUT, json.dumps(_VERSION).encode())
        for folder in (inner, inner.parent, part):
            sync_dir(folder)
        part.rename(final)  # an empty directory of that name gives way
        sync_dir(final.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _index(described: Descriptor) -> bytes:
    entry = {
        "mediaType": described.media_type,
        "digest": described.digest,
        "size": described.size,
    }
    if described.artifact_type:
        entry["artifactType"] = described.artifact_type
    return json.dumps(
        {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [entry]},
        separators=(",", ":"),
    ).encode()


def _copy(source: Path | bytes, target: Path, digest: str, size: int | None) -> None:
    """Copy, and check what was copied while it passes by."""
    seen, count = hashlib.sha256(), 0
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        for piece in _pieces(source):
            seen.update(piece)
            count += len(piece)
            left = memoryview(piece)
            while left:
                left = left[os.write(fd, left) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    found = f"sha256:{seen.hexdigest()}"
    name = source if isinstance(source, Path) else "What was given"
    if found != digest:
        raise _corrupt(target, f"{name} has the digest {found}, not {digest}.")
    if size not in (None, count):
        raise _corrupt(target, f"{name} has {count} bytes, not the {size} of the manifest.")


def _pieces(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    fd = os.open(source, _READ)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(source))
        while piece := os.read(fd, _PIECE):
            yield piece
    finally:
        os.close(fd)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _json(path: Path, most: int) -> dict[str, Any]:
    try:
        found = json.loads(_small(path, most))
    except (ValueError, RecursionError) as error:
        raise _no_layout(path.parent, f"{path.name} is no JSON document") from error
    if not isinstance(found, dict):
        raise _no_layout(path.parent, f"{path.name} is no JSON object")
    return found


def _small(path: Path, most: int) -> bytes:
    try:
        fd = os.open(path, _READ | os.O_NOFOLLOW)
    except OSError as error:
        raise _no_layout(path.parent, f"{path.name}: {error.strerror}") from error
    try:
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _no_layout(path.parent, f"{path.name} is no regular file")
            data = file.read(most + 1)
    except OSError as error:
        raise _no_layout(path.parent, f"{path.name}: {error.strerror}") from error
    if len(data) > most:
        raise _no_layout(path.parent, f"{path.name} is larger than {most} bytes")
    return data


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One writer at a time below that directory; killed, it frees the lock."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _no_layout(directory: Path, why: str) -> AdapterInvalid:
    return AdapterInvalid(
        f"{directory} is no packed adapter.",
        why=f"{why}.",
        fix="Name a directory that `yoyo adapters pack` has written.",
    )


def _corrupt(place: Path, why: str) -> ArtefactCorrupt:
    return ArtefactCorrupt(
        f"{place} is not what it should be.",
        why=why,
        fix="Pack the adapter again, while nobody writes to its files.",
    )


def _exists(directory: Path, why: str) -> ArtefactExists:
    return ArtefactExists(
        f"{directory} is taken.", why=why, fix="Name another directory, or remove that one."
    )


def _failed(directory: Path, error: OSError | RuntimeError) -> Exception:
    if isinstance(error, RuntimeError):
        return unwritable(directory, OSError(errno.ELOOP, "Its links lead nowhere"))
    if error.errno in _FULL:
        return StoreFull(
            f"{directory} cannot be written.",
            why=error.strerror or str(error),
            fix="Make room on that disk, and repeat the command.",
        )
    return unwritable(directory, error)
