"""`yoyo adapters push` and `pull`: a layout into a registry, an adapter out of one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from yoyo.core.adapters.artefact import read_artefact
from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.oci_manifest import parse_manifest
from yoyo.errors import AdapterInvalid, ArtefactExists, ArtefactMissing
from yoyo.model.oci import IMAGE_MANIFEST, Descriptor, Reference
from yoyo.ops.adapters.examine import artefact_at
from yoyo.ops.adapters.refs import parsed, repository

if TYPE_CHECKING:
    from yoyo.model.adapter import AdapterVersion, Artefact
    from yoyo.ops.adapters.context import AdapterContext


class Pushed(NamedTuple):
    """Where an adapter is now."""

    ref: Reference  # with tag and digest
    adapter: AdapterVersion
    already: bool  # the registry had it


def push(ctx: AdapterContext, directory: Path, to: str | None, mount: str = "") -> Pushed:
    """Push a packed adapter, blobs first; what the registry has is not sent again.

    A version is for ever: a tag that stands for something else is left as it is.

    Raises:
        AdapterInvalid, ArtefactMissing, ArtefactCorrupt, ArtefactExists, StoreFull,
        RegistryUnavailable, RegistryDenied.
    """
    described, document = ctx.layouts.read(directory)
    try:
        artefact = read_artefact(document, described.digest)
    except InvalidAdapter as error:
        raise AdapterInvalid(
            f"{directory} holds no adapter that yoyo loads.",
            why=str(error),
            fix="Make it with `yoyo adapters pack`.",
        ) from error
    adapter = artefact.adapter
    ref = parsed(to or f"{repository(ctx)}/{adapter.id}:{adapter.version}")
    if not ref.tag:
        ref = ref._replace(tag=adapter.version, digest="")
    registry = ctx.registry()
    found = _stands_for(ctx, ref)
    if found == described.digest:
        return Pushed(ref._replace(digest=described.digest), adapter, already=True)
    if found:
        raise ArtefactExists(
            f"{ref} stands for another adapter already.",
            why=f"It is {found}, and what was packed is {described.digest}.",
            fix="A version never changes: pack it under the next one.",
        )
    manifest = parse_manifest(document)
    for blob in (manifest.config, *manifest.layers):
        source = ctx.layouts.blob(directory, blob.digest)
        moved = partial(ctx.progress.bytes, f"pushing {blob.digest[7:19]}")
        registry.push(ref, blob, source, moved, mount)
    registry.put_manifest(ref, document, IMAGE_MANIFEST)
    return Pushed(ref._replace(digest=described.digest), adapter, already=False)


def _stands_for(ctx: AdapterContext, ref: Reference) -> str:
    """The digest that the tag has now; "" where there is none."""
    try:
        return ctx.registry().resolve(ref).digest
    except ArtefactMissing:
        return ""


def weights_path(directory: Path, adapter: AdapterVersion, digest: str) -> Path:
    """Where an adapter's file lies here; the engine tells adapters apart by the file's name."""
    return directory / digest.removeprefix("sha256:")[:16] / f"{adapter.name}.gguf"


def pull_weights(ctx: AdapterContext, ref: Reference, artefact: Artefact) -> Path:
    """Fetch the weights of a verified adapter; a file that is there and intact is left alone.

    Raises:
        ArtefactMissing, ArtefactCorrupt, StoreFull, StateUnwritable, RegistryUnavailable,
        RegistryDenied.
    """
    path = weights_path(ctx.workplace, artefact.adapter, artefact.weights.digest)
    moved = partial(ctx.progress.bytes, f"pulling {artefact.adapter.name}")
    ctx.registry().pull(ref, artefact.weights, path, moved)
    return path


def pull(ctx: AdapterContext, ref: Reference, to: Path | None = None) -> tuple[Path, ...]:
    """Fetch every file of the adapter at this pinned reference into a directory; without one, into
    ID-VERSION under the working directory. A file that is there and intact is left alone.

    Raises:
        ArtefactExists: something else lies where one of them would; nothing was written.
        As `artefact_at` and `pull_weights` do.
    """
    artefact = artefact_at(ctx, ref)
    adapter, registry = artefact.adapter, ctx.registry()
    to = to or Path(f"{adapter.id}-{adapter.version}")
    # Names were checked to be plain ones: nothing can lead out of the directory.
    files = ((artefact.filename, artefact.weights), *artefact.files)
    for name, blob in files:
        _refuse_other(ctx, to / name, blob)
    for name, blob in files:
        registry.pull(ref, blob, to / name, partial(ctx.progress.bytes, f"pulling {name}"))
    return tuple(to / name for name, _ in files)


def _refuse_other(ctx: AdapterContext, path: Path, blob: Descriptor) -> None:
    if not ctx.files.is_there(path):
        return
    try:
        moved = partial(ctx.progress.bytes, f"comparing {path.name}")
        if ctx.files.digest(path, moved)[0] == blob.digest:
            return
        why = "It has other bytes than the adapter's."
    except AdapterInvalid as error:  # a directory, a dangling link, a file that is not for us
        why = f"{error.what} {error.why}".strip()
    raise ArtefactExists(
        f"{path} is there already; nothing was pulled.",
        why=why,
        fix="Pull into another directory: --to DIRECTORY.",
    )
