"""Adapters for a node at a distance: from their registry into the store, where the node fetches."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.core import store_keys
from yoyo.core.manifest import encode
from yoyo.errors import ArtefactCorrupt, ConfigInvalid
from yoyo.model.settings import Provided
from yoyo.model.store import ADAPTER, Manifest, Source, StoredFile
from yoyo.ops.chunk_digests import chunk_digests, chunk_ranges
from yoyo.ops.provide import tell

if TYPE_CHECKING:
    from yoyo.model.settings import LoraFile
    from yoyo.ops.context import Context
    from yoyo.ops.store_context import StoreContext


# The same adapter gives the same manifest, and so the same startup script, at every start.
_ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC)


def shelved(ctx: Context) -> Context:
    """The context with the node's adapters in the store; unchanged for a node that runs here.

    They are pinned by digest like everything that the node fetches. `ctx` is what `prepared` gave.

    Raises:
        ConfigInvalid: the store is none that the node can reach.
        ArtefactCorrupt: a file is another than the one that was verified; nothing was stored.
        StoreUnavailable, StoreDenied, StoreFull, StoreConflict.
    """
    if ctx.node.gce is None or not ctx.node.loras:
        return ctx
    store = ctx.on_store()
    ctx, books = _looked_up(ctx, store)
    tell(ctx)  # before it is looked what is there: a collection may be under way
    for lora, described in zip(ctx.node.loras, books, strict=True):
        _put(store, lora, described)
    return ctx


def described(ctx: Context) -> Context:
    """As `shelved`, and nothing is written: what the node's script would name.

    Raises:
        ConfigInvalid, ArtefactCorrupt.
    """
    if ctx.node.gce is None or not ctx.node.loras:
        return ctx
    return _looked_up(ctx, ctx.on_store())[0]


def _looked_up(ctx: Context, store: StoreContext) -> tuple[Context, tuple[_Described, ...]]:
    account = ctx.node.gce.service_account if ctx.node.gce is not None else None
    if not store.store.url.startswith("gs://") or account is None:
        raise ConfigInvalid(
            f"{ctx.node.name} cannot fetch its adapters.",
            why=f"The store is {store.store.url}; the node reads gs:// as gce.service_account.",
            fix="Set `store` and gce.service_account, or `adapters: none` for the node.",
        )
    books = tuple(_described(store, each) for each in ctx.node.loras)
    sets = tuple(each.provided for each in books)
    return ctx._replace(node=ctx.node._replace(adapters_from_store=sets)), books


class _Described(NamedTuple):
    """One adapter as a set of the store."""

    provided: Provided
    document: bytes  # its manifest
    file: StoredFile


def _described(store: StoreContext, lora: LoraFile) -> _Described:
    found = chunk_digests(store.disk, Path(lora.path), lora.size)
    there = store.disk.size(Path(lora.path))
    if (found.size, there, found.whole) != (lora.size, lora.size, lora.sha256):
        raise ArtefactCorrupt(
            f"{lora.path} is not what was verified.",
            why=f"It should be {lora.size} bytes of sha256 {lora.sha256}; "
            f"now it is {there or 0} bytes, and the first {found.size} have {found.whole}.",
            fix="Find out what writes there, and run the command again: it is fetched anew.",
        )
    file = StoredFile(f"{lora.name}.gguf", lora.size, lora.sha256, found.chunks, _MEDIA_TYPE)
    manifest = Manifest(
        ADAPTER, f"lora-{lora.sha256[:24]}", (file,), Source(lora.manifest, ""), "", _ALWAYS, "yoyo"
    )
    document = encode(manifest)
    files = ((file.path, file.size, file.sha256),)
    return _Described(Provided(lora.name, sha256(document).hexdigest(), files), document, file)


def _put(store: StoreContext, lora: LoraFile, described: _Described) -> None:
    key, objects = store_keys.artefact(lora.sha256), store.store
    there = objects.stat(key)
    if there is None or there.size != lora.size:
        upload = objects.upload(f"adapter-{lora.sha256[:32]}", lora.size)
        done, chunks = upload.done(), described.file.chunks
        for index, (start, length) in enumerate(chunk_ranges(lora.size)):
            if done.get(index) != chunks[index]:
                upload.put(index, Path(lora.path), start, length, chunks[index])
            store.progress.bytes(f"storing {lora.name}", start + length, lora.size)
        if there is not None:  # cut short: an upload leaves what is there alone
            objects.delete(key, generation=there.generation)
        upload.finish(key, chunks)
    key = store_keys.document(described.provided.manifest)
    if objects.stat(key) is None or b"".join(objects.read(key)) != described.document:
        objects.put(key, described.document)


_MEDIA_TYPE: Final = "application/octet-stream"
