"""What a node takes from the store, resolved to digests before it is planned or made."""

from __future__ import annotations

import json
from pathlib import Path

from yoyo.core import store_keys
from yoyo.core.model_set import ModelSetError, main_gguf
from yoyo.core.staging import recorded
from yoyo.errors import CacheNotReady, ConfigInvalid, ManifestInvalid, ModelInvalid
from yoyo.model.machine import ModelFacts
from yoyo.model.settings import FROM_STORE, NodeSettings, Provided
from yoyo.model.store import WEIGHTS, Manifest
from yoyo.ops import shelf
from yoyo.ops.context import Context
from yoyo.ops.store_context import StoreContext
from yoyo.ops.suits import choose_bundle, refuse_without_bundle, require_fit
from yoyo.ops.weights_adopt import adopted_files
from yoyo.ops.weights_apply import has_record, require_ready
from yoyo.ops.weights_fetch import pull
from yoyo.ops.weights_verify import fetcher
from yoyo.ports.machines import RunsHere


def provided(ctx: Context) -> Context:
    """The context with the node's references to the store resolved; the same where it has none.

    Changes nothing. `take` is what a start does with it.

    Raises:
        CacheNotReady, ArtefactMissing, ManifestInvalid, ModelTooLarge, EngineTooOld,
        EngineUnavailable, ConfigInvalid, StoreUnavailable, StoreDenied.
    """
    node = ctx.node
    if not node.takes_from_store:
        return ctx
    store = ctx.on_store()
    if node.gce is not None and not store.store.url.startswith("gs://"):
        if not node.takes_model and node.build.on_node:
            return ctx
        raise ConfigInvalid(
            f"{node.name} cannot fetch from {store.store.url}.",
            why="A node at a distance has no way to a directory of this machine.",
            fix="Set `store` to gs://BUCKET/PREFIX and publish an engine bundle there, give "
            "bundle.url, or let the node build its engine: `yoyo up --build`.",
        )
    named = _weights(store, node) if node.takes_model else None
    model = named.manifest.model if named is not None else None
    if model is not None:
        require_fit(model, node)
    if named is not None and node.gce is not None:
        shelf.refuse_adopted(
            named.manifest, f"Stage it, so that {node.name} can fetch it: `yoyo weights stage`."
        )
    if named is not None:
        node = node._replace(from_store=_provided(named.manifest, named.digest))
    bundle = _bundle(store, node, model) if node.takes_bundle else None
    if bundle is not None:
        node = node._replace(engine_from_store=_provided(bundle.manifest, bundle.digest))
    if node.taken and node.gce is not None and node.gce.service_account is None:
        raise ConfigInvalid(
            f"{node.name} has no identity to read the store with.",
            why="Without a service account the machine gets no token.",
            fix="Set gce.service_account to one that may read the bucket "
            "(roles/storage.objectViewer).",
        )
    if named is not None and isinstance(ctx.machines, RunsHere):
        node = _here(store, node, named, ctx.machines)
    return ctx._replace(node=node)


def take(ctx: Context) -> None:
    """Before a node is made: the store is told what it will run from, so that `gc` leaves it, and
    a node that runs here gets its files. `ctx` is what `provided` gave.

    Raises:
        What `pull` raises.
    """
    store = ctx.on_store()
    tell(ctx)
    for each in ctx.node.taken:
        manifest = shelf.document(store.store, each.manifest)
        if adopted_files(store, manifest) is not None:
            continue
        # Before a machine is paid for that could not fetch what it needs.
        shelf.require_bytes(store.store, manifest)
        if isinstance(ctx.machines, RunsHere):
            store.progress.phase("fetching", f"{each.name} from the store")
            pull(fetcher(store), manifest, _directory(ctx.machines, each.manifest))


def _weights(store: StoreContext, node: NodeSettings) -> shelf.Named:
    name = node.engine.model.removeprefix(FROM_STORE)
    require_ready(store, name)
    return _agreed(store, shelf.need(store.store, WEIGHTS, name))


def _agreed(store: StoreContext, named: shelf.Named) -> shelf.Named:
    """The same, if the ledger does not say otherwise; what others staged is not in this one."""
    said = recorded(store.ledger.state_rows()).get((named.kind, named.name))
    if said is not None and said != named.digest:
        raise ManifestInvalid(
            f"{named.name} is not what the ledger says was staged.",
            why=f"The ledger has manifest {said}, the store has {named.digest}.",
            fix=f"Find out who changed it (`yoyo ledger show --node store`). Stage {named.name} "
            "again with --replace if the change was meant.",
        )
    return named


def _provided(manifest: Manifest, digest: str) -> Provided:
    try:
        main = main_gguf([file.path for file in manifest.files])
    except ModelSetError:
        main = None  # two models under one name
    if manifest.kind == WEIGHTS and main is None:
        raise ModelInvalid(
            f"{manifest.name} has no one GGUF model that the engine could load.",
            why="It has: " + ", ".join(file.path for file in manifest.files[:5]) + ".",
            fix="Stage a GGUF file, and name that one in engine.model.",
        )
    files = sorted(manifest.files, key=lambda file: (file.path != main, file.path))
    return Provided(
        manifest.name,
        digest,
        tuple((file.path, file.size, file.sha256) for file in files),
        manifest.model,
    )


def _bundle(
    store: StoreContext, node: NodeSettings, model: ModelFacts | None
) -> shelf.Named | None:
    choice = choose_bundle(store, node, model.architecture if model is not None else "")
    if choice.chosen is None and node.build.on_node:
        return None
    refuse_without_bundle(node, choice)
    assert choice.chosen is not None  # noqa: S101 - refused above
    return _agreed(store, shelf.need(store.store, choice.chosen.kind, choice.chosen.name))


def tell(ctx: Context) -> None:
    """Write down in the store what the node runs from, so that `gc` leaves it.

    Raises:
        StoreUnavailable, StoreDenied, StoreFull.
    """
    node = ctx.node
    document = {
        "manifests": sorted(each.manifest for each in node.taken),
        "artefacts": sorted({sha256 for each in node.taken for _, _, sha256 in each.files}),
    }
    data = json.dumps(document, indent=1).encode() + b"\n"
    ctx.on_store().store.put(store_keys.node(node.name), data)


def forget(ctx: Context) -> None:
    """The node is deleted: the store need not keep anything for it.

    Raises:
        StoreUnavailable, StoreDenied.
    """
    if ctx.node.takes_from_store:
        ctx.on_store().store.delete(store_keys.node(ctx.node.name))


def _directory(machines: RunsHere, digest: str) -> Path:
    return machines.models_directory() / digest[:16]


def _here(
    store: StoreContext, node: NodeSettings, named: shelf.Named, machines: RunsHere
) -> NodeSettings:
    assert node.from_store is not None  # noqa: S101 - set by the caller
    directory = _directory(machines, named.digest)
    adopted = adopted_files(store, named.manifest)
    if adopted is not None and not has_record(store, named.name):
        raise CacheNotReady(
            f"Nobody looks after the files of {named.name}, which were adopted where they lie.",
            why="The document that adopted them is not in the store any more.",
            fix="Apply it again: `yoyo weights apply -f FILE`.",
        )
    places = adopted or tuple(directory / file.path for file in named.manifest.files)
    by_path = {file.path: place for file, place in zip(named.manifest.files, places, strict=True)}
    main = by_path[node.from_store.files[0][0]]
    return node._replace(engine=node.engine._replace(model=str(main)))
