"""`yoyo weights verify`, `ls`, `show`: what the store holds, and whether it is what was staged."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from yoyo.core import store_keys
from yoyo.core.staging import recorded
from yoyo.errors import ArtefactCorrupt, ArtefactMissing
from yoyo.model.store import Manifest, StoredFile
from yoyo.ops import shelf
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_adopt import adopted_files
from yoyo.ops.weights_fetch import Fetcher, deep_check

_DIGEST: Final = re.compile("[0-9a-f]{64}")
# What reading another's JSON may raise.
_NOT_OURS: Final = (ValueError, KeyError, TypeError, RecursionError)


class Listed(NamedTuple):
    """One name of the store."""

    kind: str
    name: str
    digest: str  # of the manifest's document
    manifest: Manifest
    pinned_by: str  # "" where it is not pinned
    used_by: tuple[str, ...]  # nodes: of the configuration, or started with it


class Verified(NamedTuple):
    """What was found of one name; it holds when `problems` is empty."""

    kind: str
    name: str
    digest: str
    files: int
    size: int
    deep: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def fetcher(ctx: StoreContext) -> Fetcher:
    """The parts that reading artefacts needs."""
    return Fetcher(ctx.store, ctx.disk, ctx.cores, ctx.progress, ctx.locks, ctx.operator)


def listed(ctx: StoreContext, kind: str | None = None) -> tuple[list[Listed], list[shelf.BadName]]:
    """Every name, and what is under `names/` without being one.

    Raises:
        StoreUnavailable, StoreDenied.
    """
    found, bad = [], []
    pins, users = pinned(ctx), used(ctx)
    for each in shelf.names(ctx.store, kind):
        if isinstance(each, shelf.BadName):
            bad.append(each)
            continue
        found.append(
            Listed(
                each.kind,
                each.name,
                each.digest,
                each.manifest,
                pins.get((each.kind, each.name), ""),
                tuple(sorted(users_of(each, users, ctx))),
            )
        )
    return found, bad


def pinned(ctx: StoreContext) -> dict[tuple[str, str], str]:
    """Who pinned each (kind, name)."""
    found = {}
    for info in ctx.store.list(store_keys.PINS):
        kind, _, name = info.key.removeprefix(store_keys.PINS).removesuffix(".json").partition("/")
        try:
            said = json.loads(b"".join(ctx.store.read(info.key)))["operator"]
            found[(kind, name)] = str(said) or "unknown"
        except ArtefactMissing:
            continue  # unpinned while we were listing
        except _NOT_OURS:
            found[(kind, name)] = "unknown"  # what cannot be read is pinned all the same
    return found


class NodeUse(NamedTuple):
    """What a node was started with, as `nodes/NODE.json` says."""

    node: str
    manifests: tuple[str, ...]  # digests of documents
    artefacts: tuple[str, ...]


def used(ctx: StoreContext) -> list[NodeUse]:
    """What every node that was started from this store runs from.

    Raises:
        StoreUnavailable, StoreDenied.
    """
    found = []
    for info in ctx.store.list(store_keys.NODES):
        node = info.key.removeprefix(store_keys.NODES).removesuffix(".json")
        try:
            data = json.loads(b"".join(ctx.store.read(info.key)))
            found.append(NodeUse(node, _digests(data["manifests"]), _digests(data["artefacts"])))
        except ArtefactMissing:
            continue  # deleted while we were listing
        except _NOT_OURS:
            found.append(NodeUse(node, (), ()))
    return found


def _digests(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("no list")
    if not all(isinstance(each, str) and _DIGEST.fullmatch(each) for each in value):
        raise ValueError("not only digests")
    return tuple(value)


def users_of(named: shelf.Named, users: list[NodeUse], ctx: StoreContext) -> set[str]:
    """Nodes that name it in the configuration, or were started with it."""
    wanted = {"weights": "store:" + named.name}.get(named.kind)
    by_name = {
        node.name
        for node in ctx.nodes
        if (wanted is not None and node.engine.model == wanted)
        or (named.kind == "engine" and node.bundle.name == named.name)
    }
    return by_name | {use.node for use in users if named.digest in use.manifests}


def verify(ctx: StoreContext, kind: str, name: str, *, deep: bool) -> Verified:
    """Whether the name stands for what was staged, and every artefact of it is there.

    `deep` reads every byte. Without it, sizes are compared.

    Raises:
        ArtefactMissing: there is no such name.
        ManifestInvalid, StoreUnavailable, StoreDenied.
    """
    named = shelf.need(ctx.store, kind, name)
    problems, notes = [], []
    said = recorded(ctx.ledger.state_rows()).get((kind, name))
    if said is None:
        notes.append("this ledger has no row of its staging: somebody else staged it")
    elif said != named.digest:
        problems.append(f"the ledger says manifest {said}, the store has {named.digest}")
    document = ctx.store.stat(store_keys.document(named.digest))
    if document is None:
        problems.append(f"the document {named.digest} is missing under manifests/")
    adopted = adopted_files(ctx, named.manifest)
    if adopted is not None:
        notes.append("adopted: its files lie on this machine, not in the store")
        for file, path in zip(named.manifest.files, adopted, strict=True):
            problems += _adopted(ctx, file, path, deep=deep)
    for file in named.manifest.files if adopted is None else ():
        info = ctx.store.stat(store_keys.artefact(file.sha256))
        if info is None:
            problems.append(f"{file.path}: the artefact {file.sha256} is missing")
        elif info.size != file.size:
            problems.append(f"{file.path}: {info.size} bytes, {file.size} are right")
        elif deep:
            problems += deep_check(fetcher(ctx), file)
    return Verified(
        kind,
        name,
        named.digest,
        len(named.manifest.files),
        named.manifest.size,
        deep,
        tuple(problems),
        tuple(notes),
    )


def _adopted(ctx: StoreContext, file: StoredFile, path: Path, *, deep: bool) -> list[str]:
    size = ctx.disk.size(path)
    if size != file.size:
        return [f"{path}: {'missing' if size is None else f'{size} bytes'}, {file.size} are right"]
    whole = sha256()
    if deep and ctx.disk.feed(path, 0, file.size, whole) and whole.hexdigest() != file.sha256:
        return [f"{path}: should be {file.sha256} and is {whole.hexdigest()}"]
    return []


def corruption(result: Verified) -> ArtefactCorrupt | None:
    """The error to end with where something was wrong."""
    if not result.problems:
        return None
    return ArtefactCorrupt(
        f"{result.name} is not what was staged.",
        why=result.problems[0],
        fix=f"Stage {result.name} again with --replace; nodes that verify will not load it.",
        details=(*result.notes, *result.problems),
    )
