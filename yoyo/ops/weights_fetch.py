"""`yoyo weights pull`, and what a node on this machine runs from: artefacts out of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from yoyo.core import store_keys
from yoyo.errors import ArtefactCorrupt, StoreFull
from yoyo.model.store import CHUNK_BYTES, Manifest, StoredFile
from yoyo.ops.store_context import BytesProgress
from yoyo.ports.disk import Disk
from yoyo.ports.locks import NodeLocks
from yoyo.ports.objects import Objects

STAMPS: Final = ".yoyo-verified"
_SHOW_EVERY_S: Final = 0.1
_SPARE_BYTES: Final = 256 * 1024 * 1024
# Another pull into the same directory may take as long as it takes; after this it is stuck.
_PATIENCE_S: Final = 86_400


class Fetcher(NamedTuple):
    """The parts that fetching and checking need."""

    store: Objects
    disk: Disk
    cores: int
    progress: BytesProgress
    locks: NodeLocks
    operator: str


def pull(parts: Fetcher, manifest: Manifest, directory: Path) -> tuple[Path, ...]:
    """Bring every file of the set into the directory, checked chunk by chunk; returns their paths.

    What is there and intact is not fetched again: a file whose stamp is as it was when it was
    verified is not even read. Cut off, it goes on with the chunks that are missing or wrong.

    Raises:
        ArtefactCorrupt: the store gives other bytes than the manifest says.
        ArtefactMissing, StoreConflict, StoreUnavailable, StoreDenied, StoreFull, StateUnwritable.
    """
    # Two at once would write to one `.part`, which the faster one renames under the other's hands.
    about = f"pull-{sha256(str(directory).encode(errors='surrogateescape')).hexdigest()[:32]}"
    who = {"operator": parts.operator, "command": "weights pull"}
    with parts.locks.hold(about, wait_s=_PATIENCE_S, **who):
        _pull(parts, manifest, directory)
    return tuple(directory / file.path for file in manifest.files)


def _pull(parts: Fetcher, manifest: Manifest, directory: Path) -> None:
    stamps = _read_stamps(parts.disk.read_text(directory / STAMPS))
    todo = [
        file
        for file in manifest.files
        if not _unchanged(parts.disk, directory / file.path, file, stamps)
    ]
    _check_room(parts, todo, directory)
    for file in todo:
        final = directory / file.path
        stamps[file.path] = f"{file.sha256} {_fill(parts, file, final)}"
        lines = [f"{stamp} {path}\n" for path, stamp in sorted(stamps.items())]
        parts.disk.write_text(directory / STAMPS, "".join(lines))


def _read_stamps(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        words = line.split(" ", 2)
        if len(words) == 3:
            found[words[2]] = f"{words[0]} {words[1]}"
    return found


def _unchanged(disk: Disk, path: Path, file: StoredFile, stamps: dict[str, str]) -> bool:
    now = disk.stamp(path)
    return bool(now) and stamps.get(file.path) == f"{file.sha256} {now}"


def _check_room(parts: Fetcher, todo: list[StoredFile], directory: Path) -> None:
    need = sum(
        max(file.size - parts.disk.taken(_part(directory / file.path)), 0)
        for file in todo
        if parts.disk.size(directory / file.path) is None
    )
    free = parts.disk.room(directory)
    if need and need + _SPARE_BYTES > free:
        raise StoreFull(
            f"There is no room in {directory}.",
            why=f"{need / 1e9:.1f} GB are to be fetched, {free / 1e9:.1f} GB are free.",
            fix="Make room, or pull to another directory.",
        )


def _part(final: Path) -> Path:
    return final.with_name(final.name + ".part")


def _fill(parts: Fetcher, file: StoredFile, final: Path) -> str:
    """Under its final name only when every chunk of it is right; returns the file's stamp."""
    part, disk = _part(final), parts.disk
    before = disk.stamp(final)  # not after: it may be changed while it is looked at
    whole = disk.size(final) == file.size

    def fetch(index: int) -> None:
        start, length = _span(file, index)
        if whole and _digest(disk, final, start, length) == file.chunks[index]:
            if whole_is_right[index] is None:
                whole_is_right[index] = True
            return
        if disk.size(part) and _digest(disk, part, start, length) == file.chunks[index]:
            return
        _fetch_chunk(parts, file, index, part)

    whole_is_right: list[bool | None] = [None] * len(file.chunks)
    _in_parallel(parts, file, fetch)
    if whole and all(whole_is_right):
        return before
    for index, right in enumerate(whole_is_right):
        if right and not _copied(disk, file, index, final, part):
            _fetch_chunk(parts, file, index, part)
    disk.write_at(part, 0, b"")  # an empty file has no chunk that would make it
    disk.settle(part, final, file.size)
    return disk.stamp(final)


class _Copy:
    """Takes what a hash takes, and writes it to a file on the way."""

    def __init__(self, disk: Disk, target: Path, at: int) -> None:
        self._disk, self._target, self._at, self._hash = disk, target, at, sha256()

    def update(self, data: bytes | memoryview, /) -> None:
        self._hash.update(data)
        self._disk.write_at(self._target, self._at, bytes(data))
        self._at += len(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _copied(disk: Disk, file: StoredFile, index: int, final: Path, part: Path) -> bool:
    """A chunk that is right in the old file, which is replaced as a whole."""
    start, length = _span(file, index)
    copy = _Copy(disk, part, start)
    disk.feed(final, start, length, copy)
    return copy.hexdigest() == file.chunks[index]


def _fetch_chunk(parts: Fetcher, file: StoredFile, index: int, part: Path) -> None:
    start, length = _span(file, index)
    digest = ""
    for _ in range(2):  # a second time, since a proxy or a cable may be to blame
        one, at = sha256(), start
        for piece in parts.store.read(store_keys.artefact(file.sha256), start=start, length=length):
            one.update(piece)
            parts.disk.write_at(part, at, piece)
            at += len(piece)
        digest = one.hexdigest()
        if digest == file.chunks[index]:
            return
    raise _corrupt(file, index, digest)


def _corrupt(file: StoredFile, index: int, digest: str) -> ArtefactCorrupt:
    return ArtefactCorrupt(
        f"Chunk {index} of {file.path} in the store is damaged.",
        why=f"Its sha256 should be {file.chunks[index]} and is {digest}.",
        fix="Run `yoyo weights verify --deep`, then stage it again with --replace.",
    )


def _span(file: StoredFile, index: int) -> tuple[int, int]:
    start = index * CHUNK_BYTES
    return start, min(CHUNK_BYTES, file.size - start)


def _digest(disk: Disk, path: Path, start: int, length: int) -> str:
    one = sha256()
    return one.hexdigest() if disk.feed(path, start, length, one) == length else ""


def _in_parallel(parts: Fetcher, file: StoredFile, work: Callable[[int], None]) -> None:
    """That work for each chunk, on all cores; the first failure ends it."""
    pool = ThreadPoolExecutor(max(parts.cores, 2), "chunk")
    try:
        left: set[Future[None]] = {pool.submit(work, index) for index in range(len(file.chunks))}
        while left:
            ended, left = wait(left, _SHOW_EVERY_S, FIRST_COMPLETED)
            for each in ended:
                each.result()
            share = 1 - len(left) / len(file.chunks)
            parts.progress.bytes(file.path, int(file.size * share), file.size)
    finally:
        pool.shutdown(cancel_futures=True)


def deep_check(parts: Fetcher, file: StoredFile) -> list[str]:
    """Read the artefact's every byte from the store; what is wrong with it, a line each.

    Chunks on all cores but one, and the whole beside them, since only the whole's digest is the
    artefact's name.

    Raises:
        ArtefactMissing, StoreConflict, StoreUnavailable, StoreDenied.
    """
    key, wrong = store_keys.artefact(file.sha256), []

    def chunk(index: int) -> None:
        start, length = _span(file, index)
        digest = _of(parts.store.read(key, start=start, length=length))
        if digest != file.chunks[index]:
            wrong.append(
                f"{file.path}: chunk {index} should be {file.chunks[index]} and is {digest}"
            )

    with ThreadPoolExecutor(1, "whole") as line:
        whole = line.submit(lambda: _of(parts.store.read(key)))
        _in_parallel(parts, file, chunk)
        if whole.result() != file.sha256:
            wrong.append(f"{file.path}: should be {file.sha256} and is {whole.result()}")
    return sorted(wrong)


def _of(pieces: Iterable[bytes]) -> str:
    one = sha256()
    for piece in pieces:
        one.update(piece)
    return one.hexdigest()
