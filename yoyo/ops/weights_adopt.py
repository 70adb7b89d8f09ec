"""Adopting files where they lie: their digests become a manifest, and nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from yoyo.core.manifest import same_bytes
from yoyo.core.staging import REPLACED, job_id, lock_of
from yoyo.errors import ArtefactCorrupt, ArtefactExists, ManifestInvalid, SourceFailed
from yoyo.model.cache import ADOPTED, ModelCache, Record, Stamp
from yoyo.model.fetch import RemoteFile
from yoyo.model.ledger import EventType
from yoyo.model.store import Manifest, Source, StoredFile
from yoyo.ops import shelf
from yoyo.ops.chunk_digests import chunk_digests
from yoyo.ops.model_header import look_at
from yoyo.ops.store_context import StoreContext
from yoyo.ops.store_rows import book, job


def adopted_files(ctx: StoreContext, manifest: Manifest) -> tuple[Path, ...] | None:
    """Where the files of an adopted set lie on this machine, in the manifest's order.

    None: the manifest's files are in the store.
    """
    if not manifest.source.url.startswith(ADOPTED):
        return None
    place = Path(manifest.source.url.removeprefix(ADOPTED))
    folder = place if ctx.disk.size(place) is None else place.parent
    return tuple(folder / file.path for file in manifest.files)


def read_again(
    ctx: StoreContext, cache: ModelCache, record: Record
) -> tuple[str, tuple[Stamp, ...]]:
    """Adopted files that were touched, read and found to be the same: digest and new stamps.

    Raises:
        ArtefactCorrupt: one is another now.
        ArtefactMissing, ManifestInvalid, SourceFailed, StoreUnavailable, StoreDenied.
    """
    named = shelf.need(ctx.store, cache.kind, cache.name)
    old = () if record.hydrated is None else record.hydrated.stamps
    if len(old) != len(named.manifest.files):
        raise ManifestInvalid(
            f"The record of {cache.name} does not fit its manifest.",
            why="They name different numbers of files.",
            fix="Give the annotation yoyo.dev/refetch a new value, and apply again.",
        )
    stamps = []
    for held, mark in zip(named.manifest.files, old, strict=True):
        whole, _, stamp = _hashed(ctx, Path(mark.path))
        if whole != held.sha256:
            raise ArtefactCorrupt(
                f"{mark.path} is not what was adopted.",
                why=f"It should be sha256 {held.sha256} and is {whole}.",
                fix="Restore the file, or give the annotation yoyo.dev/refetch a new value.",
            )
        stamps.append(stamp)
    return named.digest, tuple(stamps)


def adopt(ctx: StoreContext, cache: ModelCache, *, replace: bool) -> tuple[str, tuple[Stamp, ...]]:
    """A manifest of files that stay where they are, booked like a staging: digest and stamps.

    Raises:
        ArtefactExists: the name stands for other bytes, and `replace` is off.
        NodeBusy, ModelInvalid, SourceFailed, ManifestInvalid, StoreConflict, StoreUnavailable,
        StoreDenied, StoreFull, LedgerCorrupt, LedgerWriteFailed.
    """
    about = job_id(cache.kind, cache.name)
    with name_lock(ctx, cache, "weights apply"):
        resolved = ctx.sources.resolve(f"file://{cache.existing}")
        looked = look_at(ctx.sources, cache.kind, resolved.files)
        before = shelf.find(ctx.store, cache.kind, cache.name)
        with job(ctx, about, "ADOPT_FAILED"):
            files, stamps = _read_files(ctx, resolved.files, looked.media_types)
            source = Source(f"{ADOPTED}{cache.existing}", "")
            now = ctx.clock.now().replace(microsecond=0)
            manifest = Manifest(
                cache.kind, cache.name, files, source, resolved.licence, now, ctx.operator,
                looked.model,
            )  # fmt: skip
            named = before
            if before is None or not same_bytes(before.manifest, manifest):
                _refuse_other_bytes(cache, before, replace=replace)
                generation = 0 if before is None else before.generation
                named = shelf.write(ctx.store, manifest, generation)
                if before is not None:
                    book(ctx, EventType.CHECKPOINT, about, code=REPLACED, digest=before.digest)
            assert named is not None  # noqa: S101 - said to mypy
            book(ctx, EventType.JOB_COMPLETE, about, digest=named.digest)
    return named.digest, stamps


def _refuse_other_bytes(cache: ModelCache, before: shelf.Named | None, *, replace: bool) -> None:
    if before is not None and not replace:
        raise ArtefactExists(
            f"{cache.name} already stands for other bytes.",
            why=f"It was staged by {before.manifest.created_by} from {before.manifest.source.url}.",
            fix="Give the document another name, or remove the one that is there: "
            f"`yoyo weights rm {cache.name}`.",
        )


def _read_files(
    ctx: StoreContext, files: tuple[RemoteFile, ...], media_types: dict[str, str]
) -> tuple[tuple[StoredFile, ...], tuple[Stamp, ...]]:
    read = []
    for file in sorted(files, key=lambda each: each.path):
        assert file.local is not None  # noqa: S101 - file:// gives nothing else
        whole, chunks, stamp = _hashed(ctx, file.local)
        stored = StoredFile(file.path, stamp.size, whole, chunks, media_types[file.path])
        read.append((stored, stamp))
    return tuple(each for each, _ in read), tuple(stamp for _, stamp in read)


def _hashed(ctx: StoreContext, path: Path) -> tuple[str, tuple[str, ...], Stamp]:
    """Digest of the whole and of each chunk, and the stamp that they belong to."""
    before = stamp_of(ctx, path)
    found = chunk_digests(ctx.disk, path, before.size, partial(ctx.progress.bytes, path.name))
    if before.size < 0 or stamp_of(ctx, path) != before:
        raise SourceFailed(
            f"{path} is gone, or changed while it was read.",
            why="What was read may be a mixture of two states.",
            fix="Apply the document again when nothing writes to it.",
        )
    return found.whole, found.chunks, before


@contextmanager
def name_lock(ctx: StoreContext, cache: ModelCache, command: str) -> Iterator[None]:
    """The lock that a staging of that name holds (ops/weights_stage.py).

    Raises:
        NodeBusy, StateUnwritable.
    """
    about = lock_of(cache.kind, cache.name)
    with ctx.locks.hold(about, operator=ctx.operator, command=command, wait_s=0):
        yield


def stamp_of(ctx: StoreContext, path: Path) -> Stamp:
    """What the file's bytes belong to; size -1: it is gone."""
    size = ctx.disk.size(path)
    return Stamp(str(path), -1 if size is None else size, ctx.disk.stamp(path))
