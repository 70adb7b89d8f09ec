"""Bundles as files: packed in one way only, and unpacked with suspicion."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, cast

from yoyo.core import bundle
from yoyo.core.bundle import BundleDocument, BundleFile
from yoyo.core.manifest_fields import ManifestError, shown
from yoyo.errors import ArtefactCorrupt, ArtefactMissing, BuildFailed
from yoyo.model.store import EngineBuild

# A higher level makes cuBLAS hardly smaller, and takes minutes.
ZSTD_LEVEL: Final = 10
_PIECE = 1024 * 1024
# A zstd frame's first bytes: RFC 8878, section 3.1.1.
_MAGIC: Final = bytes.fromhex("28b52ffd")


def pack(stage: Path, build: EngineBuild, part: Path) -> tuple[str, int]:
    """Write what lies in `stage` as a bundle to `part`: its sha256 and size.

    The same content gives the same bytes with one version of zstd: order, times, owners, modes,
    level and number of threads are fixed. On the disk when this returns.

    Raises:
        BuildFailed.
    """
    files = _staged(stage)
    try:
        head = bundle.encode(BundleDocument(build, files))
    except ManifestError as error:
        raise BuildFailed(
            "The bundle's content breaks a rule.",
            why=str(error),
            fix=f"delete {stage.parent} and repeat the command; if that does not help, report it",
        ) from error
    command = ["zstd", f"-{ZSTD_LEVEL}", "-T1", "--quiet", "--check", "--stdout"]
    with part.open("wb") as out:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out) as packer:
            into = cast(IO[bytes], packer.stdin)
            try:
                with (
                    into,
                    tarfile.open(fileobj=into, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
                ):
                    tar.addfile(_member(bundle.DOCUMENT, len(head), False), io.BytesIO(head))
                    for file in files:
                        with (stage / file.path).open("rb") as data:
                            tar.addfile(_member(file.path, file.size, file.executable), data)
            except BrokenPipeError:
                pass  # zstd says why, by its exit status
        if packer.returncode != 0:
            raise BuildFailed(
                "The bundle could not be written.",
                why=f"zstd ended with status {packer.returncode}",
                fix=f"df -h {part.parent}",
            )
        out.flush()
        os.fsync(out.fileno())
    with part.open("rb") as whole:
        return hashlib.file_digest(whole, "sha256").hexdigest(), part.stat().st_size


def read_document(path: Path) -> BundleDocument:
    """What the bundle says of itself. Its files are not read: `unpack` compares them.

    Raises:
        ArtefactMissing, ArtefactCorrupt.
    """
    with _reading(path), _stream(path, whole=False) as tar:
        return _document(tar)


def verify(path: Path) -> BundleDocument:
    """Read the whole bundle; every file has the size and digest that bundle.json says.

    Raises:
        ArtefactMissing, ArtefactCorrupt.
    """
    return _walk(path, lambda _: open(os.devnull, "wb"))  # noqa: PTH123 - _walk closes it


def unpack(path: Path, target: Path) -> BundleDocument:
    """Unpack into the directory `target`, which must be empty or not there.

    Nothing but plain files and their folders comes out; a file that differs from bundle.json, is
    there twice or is missing ends it.

    Raises:
        ArtefactMissing, ArtefactCorrupt.
    """
    target.mkdir(parents=True, exist_ok=True)

    def create(file: BundleFile) -> IO[bytes]:
        place = target / file.path
        place.parent.mkdir(exist_ok=True)
        mode = 0o755 if file.executable else 0o644
        return os.fdopen(
            os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb"
        )

    document = _walk(path, create)
    (target / bundle.DOCUMENT).write_bytes(bundle.encode(document))
    return document


def _walk(path: Path, create: Callable[[BundleFile], IO[bytes]]) -> BundleDocument:
    with _reading(path), _stream(path, whole=True) as tar:
        document = _document(tar)
        due = iter(document.files)
        while (member := tar.next()) is not None:
            _check_plain(member)
            file = next(due, None)
            if file is None or member.name != file.path or member.size != file.size:
                raise ManifestError(f"{shown(member.name)} is not the file that is due")
            digest = hashlib.sha256()
            data = cast(IO[bytes], tar.extractfile(member))  # as it is a plain file
            with create(file) as out:
                while piece := data.read(_PIECE):
                    digest.update(piece)
                    out.write(piece)
            if digest.hexdigest() != file.sha256:
                raise ManifestError(
                    f"{shown(file.path)} has the sha256 {digest.hexdigest()}, not {file.sha256}"
                )
        missing = next(due, None)
        if missing is not None:
            raise ManifestError(f"{shown(missing.path)} is missing")
        return document


def _document(tar: tarfile.TarFile) -> BundleDocument:
    first = tar.next()
    if first is None or first.name != bundle.DOCUMENT:
        raise ManifestError(f"it does not begin with {bundle.DOCUMENT}")
    _check_plain(first)
    if not 0 < first.size <= bundle.MAX_DOCUMENT_BYTES:
        raise ManifestError(f"{bundle.DOCUMENT} has {first.size} bytes")
    return bundle.decode(cast(IO[bytes], tar.extractfile(first)).read())


def _check_plain(member: tarfile.TarInfo) -> None:
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.pax_headers:
        raise ManifestError(f"{shown(member.name)} is no plain file")


class _PlainInfo(tarfile.TarInfo):
    """Refuses long names and extended headers before tarfile reads them, which it does whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _PlainInfo:
        """See tarfile."""
        found = super().frombuf(buf, encoding, errors)
        if found.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise ManifestError(f"{shown(found.name)} is no plain file")
        return found


@contextlib.contextmanager
def _stream(path: Path, whole: bool) -> Iterator[tarfile.TarFile]:
    """The bundle's members, one after the other; `whole`: to the end, which is looked at too."""
    with _packed(path) as packed:
        # The window is bounded, so that a hostile file cannot ask for gigabytes.
        command = ["zstd", "--decompress", "--stdout", "--quiet", "--memory=128MB"]
        with _zstd(command, packed) as reader:
            out = cast(IO[bytes], reader.stdout)
            try:
                with tarfile.open(fileobj=out, mode="r|", tarinfo=_PlainInfo) as tar:
                    yield tar
                # Padding: tar fills up to blocks of 10 KiB, others to a little more.
                if whole and (len(out.read(_PIECE)) == _PIECE or reader.wait() != 0):
                    raise ManifestError("it breaks off, or something follows its last file")
            except (tarfile.TarError, EOFError) as error:
                out.close()  # ends a zstd that would go on, by a signal
                if (status := reader.wait()) > 0:
                    raise ManifestError(
                        f"zstd ended with status {status}: it is damaged, or breaks off"
                    ) from error
                raise
            finally:
                out.close()
                reader.kill()  # it may still have something to say that nobody reads


def _packed(path: Path) -> io.FileIO:
    """The file, if it can be a bundle. Without a buffer: zstd reads on from the same place."""
    try:
        # Before it is opened: a pipe that nobody writes to would never open.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "a device or a pipe"
            raise ManifestError(f"it is {kind}, not a file")
        packed = path.open("rb", buffering=0)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        raise ArtefactMissing(
            f"There is no bundle {path}." if gone else f"The bundle {path} cannot be read.",
            why=error.strerror or str(error),
            fix="name the file that yoyo engine build made" if gone else f"ls -l {path}",
        ) from error
    try:
        begins = packed.read(len(_MAGIC))
        if not begins:
            raise ManifestError("it is empty")
        if begins != _MAGIC:
            raise ManifestError(
                f"it is no zstd file: it begins with {begins.hex(' ')}, not {_MAGIC.hex(' ')}"
            )
        packed.seek(0)
    except BaseException:
        packed.close()
        raise
    return packed


def _zstd(command: list[str], packed: io.FileIO) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise BuildFailed(
            "Bundles cannot be read here.", why="zstd is missing", fix="sudo apt-get install zstd"
        ) from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (ManifestError, tarfile.TarError, EOFError) as error:
        raise ArtefactCorrupt(
            f"{path} is no engine bundle, or a damaged one.",
            why=str(error),
            fix="build or fetch it again",
        ) from error


def _staged(stage: Path) -> tuple[BundleFile, ...]:
    files = []
    for path in stage.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            continue
        status = path.lstat()
        if path.is_symlink() or not path.is_file():
            raise BuildFailed(
                f"{path} is no plain file.",
                why="a bundle holds nothing else",
                fix=f"delete {stage.parent} and repeat the command",
            )
        with path.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
        files.append(
            BundleFile(
                path.relative_to(stage).as_posix(),
                status.st_size,
                digest,
                executable=path.parent.name == "bin",
            )
        )
    return tuple(sorted(files))


def _member(name: str, size: int, executable: bool) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = size, bundle.EPOCH
    member.mode = 0o755 if executable else 0o644
    return member
