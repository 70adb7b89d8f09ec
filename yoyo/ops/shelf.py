"""Names in the store: reading, writing and listing the manifests they stand for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from yoyo.core import store_keys
from yoyo.core.manifest import ManifestError, check_name, decode, encode
from yoyo.errors import ArtefactMissing, ManifestInvalid, StoreConflict
from yoyo.model.cache import ADOPTED
from yoyo.model.store import Manifest
from yoyo.ports.objects import Objects


class Named(NamedTuple):
    """A manifest as its name stands for it now."""

    manifest: Manifest
    digest: str  # sha256 of its document
    generation: int  # of the name's object

    @property
    def kind(self) -> str:
        """Of the artefact."""
        return self.manifest.kind

    @property
    def name(self) -> str:
        """NAME or NAME@VERSION."""
        return self.manifest.name


class BadName(NamedTuple):
    """An object under `names/` that is no manifest: a value, so that the good ones still load."""

    key: str
    reason: str


def checked(name: str) -> str:
    """The name, if it can be one: what is none could lead elsewhere in the store.

    Raises:
        ManifestInvalid.
    """
    try:
        return check_name(name)
    except ManifestError as error:
        raise ManifestInvalid(
            "The name cannot be used.", why=str(error), fix="Choose another name."
        ) from error


def find(store: Objects, kind: str, name: str) -> Named | None:
    """None: the store has nothing of that name.

    Raises:
        ManifestInvalid: what is there is no manifest of that name, or it can be none.
        StoreUnavailable, StoreDenied.
    """
    key = store_keys.name(kind, checked(name))
    info = store.stat(key)
    if info is None:
        return None
    try:
        data = b"".join(store.read(key, generation=info.generation))
    except ArtefactMissing:
        return None  # removed between the two calls
    except StoreConflict:
        return find(store, kind, name)
    try:
        manifest = _checked(data, key)
    except ManifestError as error:
        raise ManifestInvalid(
            f"The manifest of {kind} {name} cannot be used.",
            why=f"{store.address(key)}: {error}",
            fix=f"Somebody or something changed it. `yoyo ledger tail` shows what was staged; "
            f"stage {name} again with --replace.",
        ) from error
    return Named(manifest, sha256(data).hexdigest(), info.generation)


def document(store: Objects, digest: str) -> Manifest:
    """The manifest with that digest, whatever its name stands for by now.

    Raises:
        ArtefactMissing, ManifestInvalid, StoreUnavailable, StoreDenied.
    """
    data = b"".join(store.read(store_keys.document(digest)))
    try:
        if sha256(data).hexdigest() != digest:
            raise ManifestError("its bytes have another digest than its name")
        return decode(data)
    except ManifestError as error:
        raise ManifestInvalid(
            f"The manifest {digest[:12]} cannot be used.",
            why=f"{store.address(store_keys.document(digest))}: {error}",
            fix="Somebody or something changed it: stage the name again with --replace.",
        ) from error


def need(store: Objects, kind: str, name: str) -> Named:
    """The manifest of that name.

    Raises:
        ArtefactMissing: with the names that come close.
        ManifestInvalid, StoreUnavailable, StoreDenied.
    """
    found = find(store, kind, name)
    if found is not None:
        return found
    prefix = store_keys.name(kind, "").removesuffix(".json")
    known = [each.key.removeprefix(prefix).removesuffix(".json") for each in store.list(prefix)]
    near = difflib.get_close_matches(name, known, n=3) or known[:5]
    raise ArtefactMissing(
        f"The store has no {kind} {name}.",
        why=f"{store.url} has: {', '.join(near)}." if near else f"{store.url} has none at all.",
        fix="Correct the name, or put it there: "
        + (
            "`yoyo engine publish`." if kind == "engine" else f"`yoyo weights stage {name} SOURCE`."
        ),
    )


def names(store: Objects, kind: str | None = None) -> Iterator[Named | BadName]:
    """Every name of that kind, or of all, in order.

    Raises:
        StoreUnavailable, StoreDenied.
    """
    prefix = store_keys.NAMES if kind is None else f"{store_keys.NAMES}{kind}/"
    for info in store.list(prefix):
        try:
            data = b"".join(store.read(info.key))
            yield Named(_checked(data, info.key), sha256(data).hexdigest(), info.generation)
        except ManifestError as error:
            yield BadName(info.key, str(error))
        except ArtefactMissing:
            continue  # removed while we were listing


def _checked(data: bytes, key: str) -> Manifest:
    manifest = decode(data)
    if store_keys.name(manifest.kind, manifest.name) != key:
        raise ManifestError(f"it calls itself {manifest.kind} {manifest.name}")
    return manifest


def require_bytes(store: Objects, manifest: Manifest) -> None:
    """Raise ArtefactMissing for a set that the store does not hold whole, by sizes."""
    for file in manifest.files:
        info = store.stat(store_keys.artefact(file.sha256))
        if info is None or info.size != file.size:
            raise ArtefactMissing(
                f"The store lacks bytes of {manifest.name}.",
                why=f"{file.path}: {'missing' if info is None else f'{info.size} bytes'}, "
                f"{file.size} are right.",
                fix=f"Stage {manifest.name} again: what is missing is sent.",
            )


def refuse_adopted(manifest: Manifest, fix: str) -> None:
    """Raise ArtefactMissing for a set that was adopted where it lies: the store has no bytes."""
    if manifest.source.url.startswith(ADOPTED):
        raise ArtefactMissing(
            f"The store has no bytes of {manifest.name}.",
            why=f"They were adopted where they lie: {manifest.source.url.removeprefix(ADOPTED)}.",
            fix=fix,
        )


def write(store: Objects, manifest: Manifest, generation: int) -> Named:
    """Make the name stand for that manifest; `generation` is what the name's object has now, 0 for
    none.

    The document is written under its digest first and stays for ever: the ledger names it.

    Raises:
        StoreConflict: somebody else wrote the name meanwhile.
        StoreUnavailable, StoreDenied, StoreFull.
    """
    data = encode(manifest)
    digest = sha256(data).hexdigest()
    try:
        store.put(store_keys.document(digest), data, if_generation=0)
    except StoreConflict:
        pass  # the same document: it is named by its content
    info = store.put(store_keys.name(manifest.kind, manifest.name), data, if_generation=generation)
    return Named(manifest, digest, info.generation)
