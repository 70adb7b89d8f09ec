"""The base model that an adapter has to fit: its digest, and the tensors that its headers name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.core import store_keys
from yoyo.core.adapters.base import base_digest
from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.gguf import MAX_HEADER_BYTES, GgufError, HeaderIncomplete
from yoyo.core.gguf_tensors import GgufTensors, read_tensors
from yoyo.core.model_set import ModelSetError, gguf_shards
from yoyo.errors import AdapterInvalid, ModelInvalid
from yoyo.model.settings import SMOKE_MODEL, NodeSettings, Provided

if TYPE_CHECKING:
    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.ops.store_context import StoreContext

_FIRST_BYTES: Final = 1 << 20


class BaseModel(NamedTuple):
    """What an adapter is compared with."""

    digest: str  # sha256:<hex>, core.adapters.base
    architecture: str
    shapes: Mapping[str, tuple[int, ...]]  # by tensor, in GGUF's order: the row's length first


def of_file(ctx: AdapterContext, path: Path) -> BaseModel:
    """The model in a GGUF file; with a shard of a split one, of all its shards.

    Raises:
        ModelInvalid.
    """
    shards = _shards(path)
    return _made(_hashed(ctx, shards), (ctx.files.tensors(each) for each in shards))


def digest_of_node(ctx: AdapterContext, node: NodeSettings) -> str:
    """The digest of a node's model alone: what a selection needs.

    Raises:
        ModelInvalid.
        AdapterInvalid: the node's model is an address without a digest.
    """
    if node.from_store is not None:
        return _digest(_ggufs(node.from_store))
    if node.engine.model == SMOKE_MODEL:
        return f"sha256:{ctx.smoke_digest()}"
    if "://" in node.engine.model:
        if node.weights.sha256 is None:
            raise _not_known(node)
        return f"sha256:{node.weights.sha256}"
    return _digest(_hashed(ctx, _shards(_path(ctx, node))))


def of_node(
    ctx: AdapterContext, node: NodeSettings, store: Callable[[], StoreContext]
) -> BaseModel:
    """A node's model, whose references to the store are resolved.

    Raises:
        ModelInvalid: unreadable, or other bytes than the node's settings pin.
        StoreUnavailable, StoreDenied, ArtefactMissing.
        AdapterInvalid: the model is an address, whose tensors nobody has looked at.
    """
    if node.from_store is not None and (node.gce is not None or not _is_here(node)):
        opened = store().store
        files = _ggufs(node.from_store)
        sizes = {path: size for path, size, _ in node.from_store.files}
        return _made(
            files,
            (
                _by_range(
                    lambda n, sha=sha256: b"".join(  # type: ignore[misc]
                        opened.read(store_keys.artefact(sha), length=n)
                    ),
                    sizes[path],
                )
                for path, sha256 in files
            ),
        )
    if node.engine.model != SMOKE_MODEL and "://" in node.engine.model:
        raise _not_known(node)
    base, declared = of_file(ctx, _path(ctx, node)), digest_of_node(ctx, node)
    if base.digest != declared:
        raise ModelInvalid(
            "The model here is not what the store says.",
            why=f"It should be {declared} and is {base.digest}.",
            fix="Fetch it anew: remove the file and run `yoyo up`, or `yoyo weights verify`.",
        )
    return base


def _is_here(node: NodeSettings) -> bool:
    return node.engine.model.startswith("/")


def _path(ctx: AdapterContext, node: NodeSettings) -> Path:
    return ctx.smoke_model() if node.engine.model == SMOKE_MODEL else Path(node.engine.model)


def _hashed(ctx: AdapterContext, shards: list[Path]) -> list[tuple[str, str]]:
    """Name and sha256 in hex of each."""
    return [
        (
            each.name,
            ctx.files.model_digest(each, partial(ctx.progress.bytes, f"hashing {each.name}")),
        )
        for each in shards
    ]


def _shards(path: Path) -> list[Path]:
    try:
        names = gguf_shards(path.name)
    except ModelSetError as error:
        raise _invalid(str(error)) from error
    return [path.with_name(name) for name in names] if names else [path]


def _ggufs(provided: Provided) -> list[tuple[str, str]]:
    """The main file, with its other shards: what the engine loads."""
    main = provided.files[0][0]
    shards = gguf_shards(main) or (main,)
    return [(path, sha256) for path, _, sha256 in provided.files if path in shards]


def _digest(files: Iterable[tuple[str, str]]) -> str:
    try:
        return base_digest(list(files))
    except InvalidAdapter as error:
        raise _invalid(str(error)) from error


def _made(files: list[tuple[str, str]], headers: Iterable[GgufTensors]) -> BaseModel:
    architecture, shapes = "", dict[str, tuple[int, ...]]()
    for header in headers:
        architecture = architecture or header.architecture
        shapes.update(header.shapes)
    return BaseModel(_digest(files), architecture, shapes)


def _by_range(read: Callable[[int], bytes], size: int) -> GgufTensors:
    want = min(_FIRST_BYTES, size)
    while True:
        data = read(want)
        try:
            return read_tensors(data, size)
        except HeaderIncomplete as short:
            if len(data) < want or want >= min(MAX_HEADER_BYTES, size):
                raise _invalid(str(short)) from short
            want = min(max(2 * want, short.needed), MAX_HEADER_BYTES, size)
        except GgufError as error:
            raise _invalid(str(error)) from error


def _invalid(why: str) -> ModelInvalid:
    return ModelInvalid(
        "The base model's files cannot be read.",
        why=why,
        fix="Check `engine.model`; `yoyo plan` says what is wrong with it.",
    )


def _not_known(node: NodeSettings) -> AdapterInvalid:
    return AdapterInvalid(
        f"It is not known whether adapters fit the model of {node.name}.",
        why="`engine.model` is an address: nobody has looked at its tensors.",
        fix="Stage it (`yoyo weights stage`) and set engine.model to store:NAME, or set "
        "`adapters: none` for the node.",
    )
