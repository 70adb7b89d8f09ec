"""Adapters for a node at a distance: from their registry into the store, where the node fetches."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yoyo.core import store_keys
from yoyo.core.manifest import encode
from yoyo.errors import ConfigInvalid
from yoyo.model.settings import Provided
from yoyo.model.store import ADAPTER, CHUNK_BYTES, Manifest, Source, StoredFile
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
        StoreUnavailable, StoreDenied, StoreFull, StoreConflict.
    """
    if ctx.node.gce is None or not ctx.node.loras:
        return ctx
    store = ctx.on_store()
    if not store.store.url.startswith("gs://") or ctx.node.gce.service_account is None:
        raise ConfigInvalid(
            f"{ctx.node.name} cannot fetch its adapters.",
            why=f"The store is {store.store.url}; the node reads gs:// as gce.service_account.",
            fix="Set `store` and gce.service_account, or `adapters: none` for the node.",
        )
    sets = tuple(_shelve(store, each) for each in ctx.node.loras)
    ctx = ctx._replace(node=ctx.node._replace(adapters_from_store=sets))
    tell(ctx)
    return ctx


def _shelve(store: StoreContext, lora: LoraFile) -> Provided:
    path = Path(lora.path)
    starts = range(0, lora.size, CHUNK_BYTES)
    lengths = [min(CHUNK_BYTES, lora.size - start) for start in starts]
    chunks = []
    for start, length in zip(starts, lengths, strict=True):
        piece = sha256()
        store.disk.feed(path, start, length, piece)
        chunks.append(piece.hexdigest())
    file = StoredFile(f"{lora.name}.gguf", lora.size, lora.sha256, tuple(chunks), _MEDIA_TYPE)
    manifest = Manifest(
        ADAPTER, f"lora-{lora.sha256[:24]}", (file,), Source(lora.manifest, ""), "", _ALWAYS, "yoyo"
    )
    document = encode(manifest)
    key = store_keys.artefact(lora.sha256)
    if store.store.stat(key) is None:
        upload = store.store.upload(f"adapter-{lora.sha256[:32]}", lora.size)
        for index, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            upload.put(index, path, start, length, chunks[index])
            store.progress.bytes(f"storing {lora.name}", start + length, lora.size)
        upload.finish(key, tuple(chunks))
    digest = sha256(document).hexdigest()
    if store.store.stat(store_keys.document(digest)) is None:
        store.store.put(store_keys.document(digest), document)
    return Provided(lora.name, digest, ((file.path, file.size, file.sha256),))


_MEDIA_TYPE: Final = "application/octet-stream"
