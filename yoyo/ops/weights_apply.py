"""`yoyo weights apply`: ModelCache documents, and the store brought to what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from yoyo.core import store_keys
from yoyo.core.cache_record import RecordInvalid, decode, encode, wanted
from yoyo.core.cache_state import Observed, diff, drift, hydration_seconds, is_current, status_of
from yoyo.core.model_cache import request
from yoyo.errors import (
    ArtefactMissing,
    CacheNotReady,
    DriverUnavailable,
    Interrupted,
    ManifestInvalid,
    NodeBusy,
    SourceFailed,
    StoreConflict,
    YoyoError,
)
from yoyo.model.cache import (
    Action,
    CacheStatus,
    Failure,
    Hydrated,
    ModelCache,
    Phase,
    Record,
    Stamp,
    Verb,
)
from yoyo.model.fetch import Resolved
from yoyo.model.store import WEIGHTS
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_adopt import adopt, name_lock, read_again, stamp_of
from yoyo.ops.weights_stage import StageRequest
from yoyo.ops.weights_verify import NodeUse, used, users_of

_MESSAGE_CHARS: Final = 2000

# What it returns is not looked at: the store is.
Stage = Callable[[StageRequest], object]


class Applied(NamedTuple):
    """What was done for a document (with `dry_run`: would be), and how its cache is now."""

    action: Action
    status: CacheStatus


class _Seen(NamedTuple):
    observed: Observed
    generation: int  # of the record; 0: there is none


def apply(
    documents: tuple[ModelCache, ...], ctx: StoreContext, stage: Stage, *, dry_run: bool = False
) -> tuple[Applied, ...]:
    """Bring the store to what the documents say, one after the other. Twice equals once.

    A cache that fails is Failed with the reason, and the others go on; `require_all` raises for
    those. `stage` is `weights_stage.stage` with its context; its adopted files are read here.

    Raises:
        ManifestInvalid: a record is malformed; a document has another artifact.kind than before.
        StoreConflict: somebody else applies the same document.
        StoreUnavailable, StoreDenied, Interrupted, LedgerCorrupt.
    """
    nodes = used(ctx)
    seen = {cache.name: _observe(ctx, cache, nodes, ask=True) for cache in documents}
    for cache in documents:
        _refuse_other_kind(cache, seen[cache.name].observed.record)
    plan = diff(documents, {name: each.observed for name, each in seen.items()})
    done = []
    for action in plan:
        mine = seen[action.cache.name]
        if not dry_run:
            mine = _carry_out(ctx, stage, action, mine, nodes)
        done.append(Applied(action, status_of(action.cache, mine.observed, ctx.clock.now())))
    return tuple(done)


def status(
    ctx: StoreContext, names: tuple[str, ...] = (), *, ask: bool = True
) -> tuple[CacheStatus, ...]:
    """Of these caches, or of all, by name. Changes nothing. `ask`: what the sources have now.

    Raises:
        ArtefactMissing: no document of that name was applied.
        ManifestInvalid, StoreUnavailable, StoreDenied.
    """
    nodes = used(ctx)
    chosen = names or tuple(
        info.key.removeprefix(store_keys.CACHES).removesuffix(".json")
        for info in ctx.store.list(store_keys.CACHES)
    )
    found = []
    for name in sorted({shelf.checked(each) for each in chosen}):
        record, generation = _read(ctx, name)
        if record is None:
            raise ArtefactMissing(
                f"No ModelCache {name} was applied.",
                why=f"{ctx.store.url} has no document of that name.",
                fix="`yoyo weights apply -f FILE` applies one.",
            )
        seen = _looked(ctx, record.cache, record, generation, nodes, ask=ask)
        found.append(status_of(record.cache, seen.observed, ctx.clock.now()))
    return tuple(found)


def require_ready(ctx: StoreContext, name: str, kind: str = WEIGHTS) -> None:
    """Refuse to start a node whose cache is not Ready. A name without a document passes.

    The source is not asked: a start needs no hub.

    Raises:
        CacheNotReady: with phase and reason.
        ManifestInvalid, StoreUnavailable, StoreDenied.
    """
    record, generation = _read(ctx, name)
    if record is None or record.cache.kind != kind:
        return
    seen = _looked(ctx, record.cache, record, generation, used(ctx), ask=False)
    require_all((status_of(record.cache, seen.observed, ctx.clock.now()),))


def has_record(ctx: StoreContext, name: str) -> bool:
    """Whether a document of that name was applied.

    Raises:
        ManifestInvalid, StoreUnavailable, StoreDenied.
    """
    return _read(ctx, name)[0] is not None


def require_all(statuses: Iterable[CacheStatus]) -> None:
    """Raise for caches that are not Ready.

    Raises:
        CacheNotReady.
    """
    trouble = unready(statuses)
    if trouble is not None:
        raise trouble


def unready(statuses: Iterable[CacheStatus]) -> CacheNotReady | None:
    """The error for caches that are not Ready; None: all are."""
    waiting = [each for each in statuses if each.phase is not Phase.READY]
    if not waiting:
        return None
    first = waiting[0]
    others = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return CacheNotReady(
        f"The cache {first.cache.name} is {first.phase}{others}.",
        why=first.why,
        fix="`yoyo weights apply -f FILE` brings it there; `yoyo weights status` shows how far "
        "it is.",
        details=tuple(f"{each.cache.name}: {each.phase}: {each.why}" for each in waiting[1:]),
    )


def forget(ctx: StoreContext, name: str) -> None:
    """Take the document away; what was staged stays under its name. Not there: changes nothing.

    Raises:
        StoreUnavailable, StoreDenied.
    """
    ctx.store.delete(store_keys.cache(name))


def _refuse_other_kind(cache: ModelCache, record: Record | None) -> None:
    if record is not None and record.cache.kind != cache.kind:
        raise ManifestInvalid(
            f"The ModelCache {cache.name} cannot change its artifact.kind.",
            why=f"It was applied as {record.cache.kind} and is {cache.kind} now.",
            fix="Give the document another name.",
        )


def _observe(ctx: StoreContext, cache: ModelCache, nodes: list[NodeUse], *, ask: bool) -> _Seen:
    record, generation = _read(ctx, cache.name)
    return _looked(ctx, cache, record, generation, nodes, ask=ask)


def _looked(
    ctx: StoreContext,
    cache: ModelCache,
    record: Record | None,
    generation: int,
    nodes: list[NodeUse],
    *,
    ask: bool,
) -> _Seen:
    named = shelf.find(ctx.store, cache.kind, cache.name)
    if named is None:
        return _Seen(Observed(record, None, "", busy=_busy(ctx, cache)), generation)
    resolved, unasked = None, "the source was not asked"
    if ask and cache.existing is None:
        resolved, unasked = _ask(ctx, cache)
    stamps = () if record is None or record.hydrated is None else record.hydrated.stamps
    observed = Observed(
        record,
        named.manifest,
        named.digest,
        resolved,
        unasked,
        False,
        tuple(stamp_of(ctx, Path(each.path)) for each in stamps),
        tuple(sorted(users_of(named, nodes, ctx))),
        hydration_seconds(ctx.ledger.state_rows(), cache.kind, cache.name, named.digest),
    )
    # Not asked of one that is as it should be: two commands that look would see each other.
    busy = not is_current(cache, observed) and _busy(ctx, cache)
    return _Seen(observed._replace(busy=busy), generation)


def _ask(ctx: StoreContext, cache: ModelCache) -> tuple[Resolved | None, str]:
    """What the source has now, or why that is unknown: no reason to touch what is there."""
    wish = request(cache)
    try:
        return ctx.sources.resolve(wish.source, sha256=wish.sha256, mirrors=wish.mirrors), ""
    except (SourceFailed, DriverUnavailable) as error:
        return None, f"the source gave no answer: {error.what} {error.why}".rstrip(" .")


def _read(ctx: StoreContext, name: str) -> tuple[Record | None, int]:
    key = store_keys.cache(name)
    info = ctx.store.stat(key)
    if info is None:
        return None, 0
    try:
        data = b"".join(ctx.store.read(key, generation=info.generation))
        record = decode(data)
        if record.cache.name != name:
            raise RecordInvalid(f"it calls itself {record.cache.name}")
    except ArtefactMissing:
        return None, 0  # removed between the two calls
    except StoreConflict:
        return _read(ctx, name)
    except RecordInvalid as error:
        raise ManifestInvalid(
            f"The record of the ModelCache {name} cannot be used.",
            why=f"{ctx.store.address(key)}: {error}.",
            fix="Somebody or something changed it. Delete that object and apply the document "
            "again: nothing is fetched that is there.",
        ) from error
    return record, info.generation


def _busy(ctx: StoreContext, cache: ModelCache) -> bool:
    try:
        with name_lock(ctx, cache, "weights apply"):
            return False
    except NodeBusy:
        return True


def _carry_out(
    ctx: StoreContext, stage: Stage, action: Action, seen: _Seen, nodes: list[NodeUse]
) -> _Seen:
    """Do it, with the document noted before and the outcome after."""
    old, cache, now = seen.observed.record, action.cache, _now(ctx)
    same = old is not None and old.cache == cache
    record = Record(
        cache,
        old.applied if old is not None and same else now,
        old.applied_by if old is not None and same else ctx.operator,
        None if old is None else old.hydrated,
        None if old is None else old.failure,
        None if old is None else old.drifted,
    )
    if action.verb not in (Verb.NONE, Verb.WAIT):
        ctx.progress.phase(action.verb, cache.name)
        record = record._replace(failure=None)
        seen = _write(ctx, record, seen)
        record = _tried(ctx, stage, action, record, None if old is None else old.failure)
        seen = _write(ctx, record, seen)
        seen = _looked(ctx, cache, record, seen.generation, nodes, ask=True)
    is_drifted = drift(cache, seen.observed).status == "True"
    record = record._replace(drifted=(record.drifted or now) if is_drifted else None)
    return _write(ctx, record, seen)


def _write(ctx: StoreContext, record: Record, seen: _Seen) -> _Seen:
    if record == seen.observed.record:
        return seen
    info = ctx.store.put(
        store_keys.cache(record.cache.name), encode(record), if_generation=seen.generation
    )
    return _Seen(seen.observed._replace(record=record), info.generation)


def _tried(
    ctx: StoreContext, stage: Stage, action: Action, record: Record, before: Failure | None
) -> Record:
    """The record after one attempt. Only what stops everything is raised."""
    cache = action.cache
    try:
        digest, stamps = _done(ctx, stage, action, record)
    except Interrupted:
        raise
    except YoyoError as error:
        message = f"{error.what} {error.why}".strip()[:_MESSAGE_CHARS]
        at = _now(ctx)
        if before is not None and (before.reason, before.message) == (error.code, message):
            at = before.at
        return record._replace(failure=Failure(error.code, message, at))
    hydrated = Hydrated(wanted(request(cache)), digest, cache.refetch, _now(ctx), stamps)
    return record._replace(hydrated=hydrated)


def _done(
    ctx: StoreContext, stage: Stage, action: Action, record: Record
) -> tuple[str, tuple[Stamp, ...]]:
    """Digest of the manifest that the name stands for now, and stamps of adopted files."""
    cache, replace = action.cache, action.verb is Verb.REPLACE
    if action.verb is Verb.VERIFY:
        return read_again(ctx, cache, record)
    if cache.existing is not None:
        return adopt(ctx, cache, replace=replace)
    wish = request(cache)
    stage(StageRequest(wish.kind, wish.name, wish.source, wish.sha256, wish.mirrors, replace))
    return shelf.need(ctx.store, cache.kind, cache.name).digest, ()


def _now(ctx: StoreContext) -> datetime:
    return ctx.clock.now().replace(microsecond=0)
