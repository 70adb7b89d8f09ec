"""`yoyo weights pin`, `unpin`, `rm` and `gc`: what goes, and what must not."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from yoyo.core import store_keys
from yoyo.core.lives import read_book
from yoyo.core.staging import COLLECTED, REMOVED, job_id, recorded
from yoyo.errors import ArtefactInUse, ArtefactMissing, ManifestInvalid, StoreConflict
from yoyo.model.ledger import EventType
from yoyo.model.store import ObjectInfo
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.store_rows import book, is_open, job
from yoyo.ops.weights_verify import pinned, used, users_of

# What a staging has just written has no name yet; half-finished stagings may go on later.
ARTEFACT_GRACE: Final = timedelta(hours=24)
STAGING_GRACE: Final = timedelta(days=7)
_JOB: Final = "gc"


class Waste(NamedTuple):
    """One object that nothing refers to."""

    key: str
    size: int
    updated: datetime
    why: str
    generation: int


class GcResult(NamedTuple):
    """What nothing refers to; removed only when `applied`."""

    waste: tuple[Waste, ...]
    kept: int  # artefacts that something refers to
    applied: bool
    young: int = 0  # that nothing refers to, left alone for their age

    @property
    def size(self) -> int:
        """Bytes of the waste."""
        return sum(each.size for each in self.waste)


def pin(ctx: StoreContext, kind: str, name: str) -> None:
    """Keep `rm` from the name until it is unpinned. Pinned already: changes nothing.

    Raises:
        ArtefactMissing, ManifestInvalid, StoreUnavailable, StoreDenied.
    """
    shelf.need(ctx.store, kind, name)
    if (kind, name) in pinned(ctx):
        return
    text = {"operator": ctx.operator, "since": ctx.clock.now().isoformat(timespec="seconds")}
    ctx.store.put(store_keys.pin(kind, name), json.dumps(text).encode() + b"\n")


def unpin(ctx: StoreContext, kind: str, name: str) -> None:
    """Not pinned: changes nothing.

    Raises:
        ArtefactMissing, ManifestInvalid: there is no such name. StoreUnavailable, StoreDenied.
    """
    if (kind, shelf.checked(name)) not in pinned(ctx):
        shelf.need(ctx.store, kind, name)  # misspelt, perhaps
    ctx.store.delete(store_keys.pin(kind, shelf.checked(name)))


def remove(ctx: StoreContext, kind: str, name: str) -> None:
    """Take the name away, with a row. Its bytes go with the next `gc`, unless another name has
    them.

    Raises:
        ArtefactInUse: pinned, named by a node of the configuration, or a node was started with it.
        ArtefactMissing, ManifestInvalid, StoreConflict, StoreUnavailable, StoreDenied.
    """
    said = recorded(ctx.ledger.state_rows()).get((kind, name))
    try:
        named = shelf.need(ctx.store, kind, name)
    except ArtefactMissing:
        if said is None:
            raise
        # A removal that was cut off before its row.
        book(ctx, EventType.CHECKPOINT, job_id(kind, name), code=REMOVED, digest=said)
        return
    who = pinned(ctx).get((kind, name))
    if who is not None:
        raise ArtefactInUse(
            f"{name} is pinned by {who}.",
            why="A pinned name is not removed.",
            fix=f"Run `yoyo weights unpin {name}` first.",
        )
    users = sorted(users_of(named, used(ctx), ctx))
    if users:
        raise ArtefactInUse(
            f"{name} is in use by {', '.join(users)}.",
            why="A node of the configuration names it, or a node was started with it.",
            fix="Give these nodes another one and delete them (`yoyo down --delete`); for a node "
            "that is gone for good: `yoyo weights release NODE`.",
        )
    ctx.store.delete(store_keys.name(kind, name), generation=named.generation)
    book(ctx, EventType.CHECKPOINT, job_id(kind, name), code=REMOVED, digest=named.digest)


def release(ctx: StoreContext, node: str) -> None:
    """Keep nothing any more for what that node was started with. Nothing kept: changes nothing.

    Raises:
        ArtefactInUse: the ledger has the node up.
        StoreUnavailable, StoreDenied.
    """
    if read_book(ctx.ledger.state_rows()).current(node) is not None:
        raise ArtefactInUse(
            f"{node} is up.",
            why="It may start again from what the store keeps for it.",
            fix=f"Run `yoyo down --node {node}` first.",
        )
    ctx.store.delete(store_keys.node(node))


def collect(ctx: StoreContext, *, apply: bool, grace: timedelta = ARTEFACT_GRACE) -> GcResult:
    """Find what no name and no node refers to; remove it if `apply`.

    Objects younger than `grace` are left alone: a staging on another machine may be about to name
    them. What cannot be understood (a name that is no manifest) stops it: it might refer to
    anything.

    Raises:
        NodeBusy: another one collects. ManifestInvalid, StoreUnavailable, StoreDenied.
    """
    live = _live(ctx)
    now = ctx.clock.now()
    waste, kept, young = [], 0, 0
    for info in ctx.store.list(store_keys.ARTEFACTS):
        if info.key.rpartition("/")[2] in live:
            kept += 1
        elif now - info.updated > grace:
            waste.append(_waste(info, "no name and no node refers to it"))
        else:
            young += 1
    waste += [
        _waste(info, "of a staging that was given up")
        for info in ctx.store.list(store_keys.STAGING)
        if now - info.updated > max(grace, STAGING_GRACE)
    ]
    removed = tuple(waste)
    # A collection that was killed at its end has left nothing but its intent.
    if apply and (waste or is_open(ctx, _JOB)):
        hold = ctx.locks.hold(_JOB, operator=ctx.operator, command="weights gc", wait_s=0)
        with hold, job(ctx, _JOB, "GC_FAILED"):
            removed = _remove(ctx, waste)
            book(ctx, EventType.JOB_COMPLETE, _JOB, code=COLLECTED)
    return GcResult(removed, kept, apply, young)


def _remove(ctx: StoreContext, waste: list[Waste]) -> tuple[Waste, ...]:
    removed = []
    live = _live(ctx)  # again: a name may have come meanwhile
    total, gone = sum(each.size for each in waste), 0
    for each in waste:
        ctx.progress.bytes("removing", gone, total)
        gone += each.size
        is_artefact = each.key.startswith(store_keys.ARTEFACTS)
        if is_artefact and each.key.rpartition("/")[2] in live:
            continue
        try:
            ctx.store.delete(each.key, generation=each.generation)
        except StoreConflict:
            continue  # somebody wrote it anew: it is not what was looked at
        removed.append(each)
    return tuple(removed)


def _waste(info: ObjectInfo, why: str) -> Waste:
    return Waste(info.key, info.size, info.updated, why, info.generation)


def _live(ctx: StoreContext) -> set[str]:
    live: set[str] = set()
    for each in shelf.names(ctx.store):
        if isinstance(each, shelf.BadName):
            raise ManifestInvalid(
                "Nothing is collected while a name cannot be read.",
                why=f"{ctx.store.address(each.key)}: {each.reason}",
                fix="Stage that name again with --replace, or remove the object by hand.",
            )
        live.update(file.sha256 for file in each.manifest.files)
    for use in used(ctx):
        if not use.manifests or not use.artefacts:
            raise ManifestInvalid(
                f"Nothing is collected while it is unknown what {use.node} runs from.",
                why=f"{ctx.store.address(store_keys.node(use.node))} cannot be read.",
                fix=f"Run `yoyo up --node {use.node}`, which writes it anew, or remove the object.",
            )
        live.update(use.artefacts)
    return live
