"""`yoyo weights stage`: bytes from a source into the store, under a name, booked at both ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from yoyo.core import store_keys
from yoyo.core.manifest import ManifestError, check_path, encode, same_bytes
from yoyo.core.staging import REPLACED, job_id, lock_of, recorded, session_of
from yoyo.errors import (
    ArtefactExists,
    ArtefactInUse,
    ManifestInvalid,
    NodeBusy,
    SourceFailed,
    StoreConflict,
    StoreFull,
)
from yoyo.model.cache import ADOPTED
from yoyo.model.fetch import RemoteFile, Resolved
from yoyo.model.ledger import EventType
from yoyo.model.machine import ModelFacts
from yoyo.model.store import CHUNK_BYTES, EngineBuild, Manifest, Source, StoredFile
from yoyo.ops import shelf
from yoyo.ops.carry import carry
from yoyo.ops.model_header import Looked, look_at
from yoyo.ops.store_context import StoreContext
from yoyo.ops.store_rows import book, is_open, job
from yoyo.ops.weights_fetch import deep_check
from yoyo.ops.weights_verify import fetcher, pinned

# Another staging of the same bytes may take as long as it takes; after this it is stuck.
_PATIENCE_S: Final = 86_400
_SPARE_BYTES: Final = 256 * 1024 * 1024  # for logs and the ledger beside what is fetched


class StageRequest(NamedTuple):
    """What is to be staged. `sha256` is of a single file."""

    kind: str
    name: str
    source: str
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    replace: bool = False
    licence: str = ""  # "": what the source says
    engine: EngineBuild | None = None  # of an engine bundle


class Staged(NamedTuple):
    """What the name stands for now. `already`: it did before, and nothing was fetched."""

    manifest: Manifest
    digest: str
    already: bool
    seconds: float
    notes: tuple[str, ...] = ()


def stage(
    ctx: StoreContext,
    request: StageRequest,
    suits: Callable[[ModelFacts], tuple[str, ...]] | None = None,
) -> Staged:
    """Bring the source into the store under the name. Run twice equals run once.

    `suits` looks at the model before its first byte moves: it raises for one that could not be
    served, and returns remarks. A staging that was killed goes on where it was, here and in the
    store. Two of the same bytes at once are one transfer: the second waits and finds it done.

    Raises:
        ArtefactExists: the name stands for other bytes, and `replace` was not said.
        SourceFailed, ArtefactCorrupt, ManifestInvalid, EngineTooOld, ModelTooLarge, StoreFull,
        StoreConflict, StoreUnavailable, StoreDenied, DriverUnavailable, NodeBusy, Interrupted,
        LedgerCorrupt, LedgerWriteFailed.
    """
    begun = ctx.clock.monotonic()
    shelf.checked(request.name)
    ctx.progress.phase("asking", "the source")
    resolved = ctx.sources.resolve(request.source, sha256=request.sha256, mirrors=request.mirrors)
    _check_paths(resolved)
    with _alone(ctx, request, resolved):
        held = _held(ctx, request, resolved)
        before = held.named
        if before is not None and _is_that(before.manifest, resolved) and _intact(ctx, held):
            _book_again(ctx, request, before)
            ctx.disk.remove(ctx.workplace / session_of(resolved))
            return Staged(before.manifest, before.digest, True, ctx.clock.monotonic() - begun)
        _refuse_other(ctx, request, before, resolved)
        ctx.progress.phase("looking", "at headers, sizes and room")
        looked = look_at(ctx.sources, request.kind, resolved.files)
        _check_describable(ctx, request, resolved, looked)
        remarks = suits(looked.model) if suits is not None and looked.model is not None else ()
        _check_room(ctx, resolved, session_of(resolved))
        named = _booked(ctx, request, resolved, looked, held)
        ctx.disk.remove(ctx.workplace / session_of(resolved))
        already = before is not None and named.digest == before.digest
        seconds = ctx.clock.monotonic() - begun
        return Staged(named.manifest, named.digest, already, seconds, remarks)


def _check_paths(resolved: Resolved) -> None:
    seen: set[str] = set()
    for file in resolved.files:
        try:
            check_path(file.path)
        except ManifestError as error:
            raise SourceFailed(
                "The source names a file that is not safe to write.",
                why=str(error),
                fix="Do not use that source.",
            ) from error
        if file.path in seen:
            raise SourceFailed(f"The source has {file.path} twice.", fix="Do not use that source.")
        seen.add(file.path)
    if not resolved.files:
        raise SourceFailed("The source has no files.", fix="Check its address.")


@contextmanager
def _alone(ctx: StoreContext, request: StageRequest, resolved: Resolved) -> Iterator[None]:
    """Nobody else on this machine fetches these bytes or writes this name meanwhile."""
    with ExitStack() as held:
        for lock in (lock_of(request.kind, request.name), f"bytes-{session_of(resolved)}"):
            take = {"operator": ctx.operator, "command": f"weights stage {request.name}"}
            try:
                held.enter_context(ctx.locks.hold(lock, wait_s=0, **take))
            except NodeBusy as busy:
                ctx.progress.phase("waiting", f"for another staging of the same: {busy.why}")
                held.enter_context(ctx.locks.hold(lock, wait_s=_PATIENCE_S, **take))
        yield


class _Held(NamedTuple):
    """What the name stands for before the staging."""

    named: shelf.Named | None  # None: nothing, or nothing that can be read
    generation: int  # of the name's object; 0: there is none
    damaged: tuple[str, ...]  # artefacts of it that hold other bytes than they should


def _held(ctx: StoreContext, request: StageRequest, resolved: Resolved) -> _Held:
    """With --replace a name that cannot be read is written anew, and bytes are looked at too."""
    try:
        named = shelf.find(ctx.store, request.kind, request.name)
    except ManifestInvalid:
        info = ctx.store.stat(store_keys.name(request.kind, request.name))
        if not request.replace or info is None:
            raise
        return _Held(None, info.generation, ())
    if named is None:
        return _Held(None, 0, ())
    damaged = _damaged(ctx, named, resolved) if request.replace else ()
    return _Held(named, named.generation, damaged)


def _damaged(ctx: StoreContext, named: shelf.Named, resolved: Resolved) -> tuple[str, ...]:
    """Only of files that may be the same as the source's: others are replaced anyway."""
    ctx.progress.phase("looking", "at what the name stands for")
    coming = {file.path: file for file in resolved.files}
    return tuple(
        file.sha256
        for file in named.manifest.files
        if file.path in coming
        and _says_same(coming[file.path], file)
        and _same_is_there(ctx, file)
        and deep_check(fetcher(ctx), file)
    )


def _intact(ctx: StoreContext, held: _Held) -> bool:
    return held.named is not None and not held.damaged and _all_there(ctx, held.named)


def _book_again(ctx: StoreContext, request: StageRequest, named: shelf.Named) -> None:
    """Rows that are missing: the staging was cut off after the name, or --replace accepts it."""
    about = job_id(request.kind, request.name)
    said = recorded(ctx.ledger.state_rows()).get((request.kind, request.name))
    if not is_open(ctx, about) and (said == named.digest or not request.replace):
        return
    with job(ctx, about, "STAGE_FAILED"):
        if said not in (None, named.digest):
            book(ctx, EventType.CHECKPOINT, about, code=REPLACED, digest=said or "")
        book(ctx, EventType.JOB_COMPLETE, about, digest=named.digest)


def _is_that(manifest: Manifest, resolved: Resolved) -> bool:
    """Whether the manifest was made from exactly what the source has now, as far as it says."""
    held = {file.path: file for file in manifest.files}
    if set(held) != {file.path for file in resolved.files}:
        return False
    known = all(_says_same(file, held[file.path]) for file in resolved.files)
    pinned = bool(resolved.revision) and manifest.source == Source(resolved.url, resolved.revision)
    return known and (pinned or all(file.sha256 for file in resolved.files))


def _says_same(file: RemoteFile, stored: StoredFile) -> bool:
    return (file.size is None or file.size == stored.size) and (
        file.sha256 is None or file.sha256 == stored.sha256
    )


def _all_there(ctx: StoreContext, named: shelf.Named) -> bool:
    for file in named.manifest.files:
        info = ctx.store.stat(store_keys.artefact(file.sha256))
        if info is None or info.size != file.size:
            return False
    return True


def _refuse_other(
    ctx: StoreContext, request: StageRequest, before: shelf.Named | None, resolved: Resolved
) -> None:
    """Say before the long transfer what would be refused after it, where that is known."""
    if before is None:
        return
    held = {file.path: file for file in before.manifest.files}
    differs = set(held) != {file.path for file in resolved.files} or not all(
        _says_same(file, held[file.path]) for file in resolved.files
    )
    if differs and not request.replace:
        raise _exists(request, before.manifest)
    if differs:
        _refuse_pinned(ctx, request)


def _exists(request: StageRequest, held: Manifest) -> ArtefactExists:
    base = request.name.partition("@")[0]
    return ArtefactExists(
        f"{request.name} already stands for other bytes.",
        why=f"It was staged by {held.created_by} at {held.created:%Y-%m-%d %H:%M} UTC from "
        f"{held.source.url} {held.source.revision}".rstrip()
        + ".",
        fix=f"Stage it under a new version ({base}@2), or say --replace, which the ledger records.",
    )


def _refuse_pinned(ctx: StoreContext, request: StageRequest) -> None:
    who = pinned(ctx).get((request.kind, request.name))
    if who is not None:
        raise ArtefactInUse(
            f"{request.name} is pinned by {who}.",
            why="A pinned name keeps its bytes.",
            fix=f"Stage the new ones as {request.name.partition('@')[0]}@2, or run "
            f"`yoyo weights unpin {request.name}` first.",
        )


def _check_room(ctx: StoreContext, resolved: Resolved, session: str) -> None:
    place = ctx.workplace / session
    need = sum(
        max((file.size or 0) - ctx.disk.taken(_part(place, number)), 0)
        for number, file in enumerate(resolved.files)
        if file.addresses
    )
    free = ctx.disk.room(ctx.workplace)
    if need and need + _SPARE_BYTES > free:
        raise StoreFull(
            f"There is no room for the transfer in {ctx.workplace}.",
            why=f"{need / 1e9:.1f} GB are to be fetched, {free / 1e9:.1f} GB are free.",
            fix="Make room, or set `state_dir` to a place on a larger disk.",
        )


def _part(place: Path, number: int) -> Path:
    return place / f"{number}.part"


def _booked(
    ctx: StoreContext,
    request: StageRequest,
    resolved: Resolved,
    looked: Looked,
    held: _Held,
) -> shelf.Named:
    """The transfer, with its intent before it and its outcome after it."""
    about = job_id(request.kind, request.name)
    said = recorded(ctx.ledger.state_rows()).get((request.kind, request.name))
    was = held.named.digest if held.named is not None else said or ""
    with job(ctx, about, "STAGE_FAILED"):
        manifest = _transfer(ctx, request, resolved, looked, held)
        named = _name(ctx, request, manifest, held)
        if held.generation and named.digest != was:
            book(ctx, EventType.CHECKPOINT, about, code=REPLACED, digest=was)
        book(ctx, EventType.JOB_COMPLETE, about, digest=named.digest)
    return named


def _transfer(
    ctx: StoreContext, request: StageRequest, resolved: Resolved, looked: Looked, held: _Held
) -> Manifest:
    session = session_of(resolved)
    known = _known_files(ctx)
    was = {file.path: file for file in held.named.manifest.files} if held.named else {}
    files = []
    for number, file in enumerate(resolved.files):
        ctx.progress.phase("staging", file.path)
        old = known.get(file.sha256 or "")
        media_type = looked.media_types[file.path]
        if old is not None and file.size not in (None, old.size):
            raise SourceFailed(
                f"{file.path} has {file.size} bytes; its sha256 belongs to {old.size} others.",
                fix="Check the digest and the address.",
            )
        if old is not None and old.sha256 not in held.damaged and _same_is_there(ctx, old):
            files.append(old._replace(path=file.path, media_type=media_type))
            continue
        target = _part(ctx.workplace / session, number)
        guess = was[file.path].sha256 if file.path in was else ""
        files.append(
            carry(ctx, file, target, f"{session}-{number}", media_type, guess, held.damaged)
        )
    return _manifest(ctx, request, resolved, looked, files)


def _check_describable(
    ctx: StoreContext, request: StageRequest, resolved: Resolved, looked: Looked
) -> None:
    """Say before the long transfer what no manifest could hold, with digests that stand in."""
    files = []
    for number, file in enumerate(resolved.files):
        digest = f"{number:064x}"
        size = file.size or 1  # an empty one could have no digest but its own
        count = -(-size // CHUNK_BYTES)
        files.append(
            StoredFile(file.path, size, digest, (digest,) * count, looked.media_types[file.path])
        )
    try:
        encode(_manifest(ctx, request, resolved, looked, files))
    except ManifestError as error:
        raise SourceFailed(
            "The source has files that cannot be kept under one name; nothing was fetched.",
            why=str(error),
            fix="Take another source, or name one file of it.",
        ) from error


def _manifest(
    ctx: StoreContext,
    request: StageRequest,
    resolved: Resolved,
    looked: Looked,
    files: list[StoredFile],
) -> Manifest:
    return Manifest(
        kind=request.kind,
        name=request.name,
        files=tuple(sorted(files)),
        source=Source(resolved.url, resolved.revision),
        licence=request.licence or resolved.licence,
        created=ctx.clock.now().replace(microsecond=0),
        created_by=ctx.operator,
        model=looked.model,
        engine=request.engine,
    )


def _known_files(ctx: StoreContext) -> dict[str, StoredFile]:
    """Files by sha256 that a name of the store stands for: their chunks need no computing."""
    return {
        file.sha256: file
        for each in shelf.names(ctx.store)
        if isinstance(each, shelf.Named)
        for file in each.manifest.files
    }


def _same_is_there(ctx: StoreContext, file: StoredFile) -> bool:
    info = ctx.store.stat(store_keys.artefact(file.sha256))
    return info is not None and info.size == file.size


def _name(ctx: StoreContext, request: StageRequest, manifest: Manifest, held: _Held) -> shelf.Named:
    before = held.named
    adopted = before is not None and before.manifest.source.url.startswith(ADOPTED)
    if before is not None and same_bytes(before.manifest, manifest) and not adopted:
        return before  # the name stands for them already, and keeps saying since when
    if before is not None and not same_bytes(before.manifest, manifest):
        if not request.replace:
            raise _exists(request, before.manifest)
        _refuse_pinned(ctx, request)
    try:
        named = shelf.write(ctx.store, manifest, held.generation)
    except StoreConflict:
        # Another controller was faster: the same bytes are as good, others are not overwritten.
        now = shelf.find(ctx.store, request.kind, request.name)
        if now is None or not same_bytes(now.manifest, manifest):
            raise
        named = now
    if not _all_there(ctx, named):
        raise StoreConflict(
            f"Bytes of {request.name} were removed from the store while it was named.",
            why="`yoyo weights gc` ran at the same time.",
            fix="Stage it again: what is missing is fetched.",
        )
    return named
