"""ModelCache documents as values: strict, and with all mistakes at once. Pure.

What is read here has been taken out of YAML or JSON already: dict, list, str, int, float, bool
and None. Where a mistake stands is said by its path; who knows lines adds them.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from yoyo.core.model_cache_form import (
    DOCUMENT,
    EXISTING_PATH,
    STORE,
    Choice,
    Node,
    Object,
    Table,
    Text,
    Texts,
)
from yoyo.model.cache import (
    ADOPTED,
    API_VERSION,
    ARTIFACT_KINDS,
    KIND,
    S3,
    CacheSource,
    ConfigMap,
    Gcs,
    Http,
    HuggingFace,
    Inline,
    ModelCache,
    Request,
)

Path = tuple[str | int, ...]

MAX_MISTAKES: Final = 100

# The hub's, GitHub's, Google's and Amazon's tokens by how they begin. Documents are kept in the
# store, so that none may stand in one.
_TOKEN: Final = re.compile(
    r"hf_[A-Za-z0-9]{20}|gh[pousr]_[A-Za-z0-9]{30}|github_pat_[A-Za-z0-9_]{30}|ya29\.[\w-]{20}"
    r"|AKIA[0-9A-Z]{16}|(?i:bearer\s+[A-Za-z0-9._~+/-]{16})|-----BEGIN [A-Z ]{0,20}PRIVATE KEY"
)
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

# What people write who know similar documents.
_HINTS: Final = {
    "status": "the status is derived. Remove it",
    "namespace": "a store has no namespaces. Remove it",
    "artifacts": "a ModelCache has one artifact. Write a document for each",
    "token": "no token may stand in a document. Set HF_TOKEN where yoyo runs",
    "tokenSecret": "there are no Secrets here. Set HF_TOKEN where yoyo runs",
    "secretRef": "there are no Secrets here. Credentials come from the usual places",
    "authSecret": "there are no Secrets here. Credentials come from the usual places",
    "mount": "the key is mountPath",
    "existingPVC": "there are no volumes here. The key is existingPath",
    "pvc": "there are no volumes here. Remove it",
    "sizeGiB": "the size is known from the source. Remove it",
}


class Mistake(NamedTuple):
    """What is wrong, and where."""

    path: Path
    message: str

    @property
    def key(self) -> str:
        """The path as text: spec.artifact.source.http.mirrors[0]."""
        text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path)
        return _TOKEN.sub("****", text.removeprefix("."))


class CacheInvalid(ValueError):
    """A document with mistakes; all of them are in `mistakes`, in the document's order."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("; ".join(f"{each.key}: {each.message}" for each in mistakes[:5]))
        self.mistakes = mistakes


def parse(tree: object) -> ModelCache:
    """One document.

    Raises:
        CacheInvalid: with every mistake.
    """
    mistakes: list[Mistake] = []
    _check(DOCUMENT, tree, (), mistakes)
    _check_backend(tree, mistakes)
    if mistakes:
        raise CacheInvalid(tuple(mistakes[:MAX_MISTAKES]))
    assert isinstance(tree, Mapping)  # noqa: S101 - checked by the table, said to mypy
    meta, spec = tree["metadata"], tree["spec"]
    storage = spec.get("storage", {})
    adopted = storage.get("backend") == EXISTING_PATH
    return ModelCache(
        meta["name"],
        ARTIFACT_KINDS[spec["artifact"]["kind"]],
        None if adopted else _source(spec["artifact"]["source"]),
        storage["existingPath"]["path"] if adopted else None,
        spec.get("mountPath"),
        tuple(sorted(meta.get("labels", {}).items())),
        tuple(sorted(meta.get("annotations", {}).items())),
    )


def render(cache: ModelCache) -> dict[str, Any]:
    """The document of a cache, with its defaults written out: `parse` gives it back."""
    meta: dict[str, Any] = {"name": cache.name}
    meta |= {"labels": dict(cache.labels)} if cache.labels else {}
    meta |= {"annotations": dict(cache.annotations)} if cache.annotations else {}
    artifact: dict[str, Any] = {"kind": artifact_kind(cache.kind)}
    if cache.source is not None:
        artifact["source"] = _source_tree(cache.source)
    storage: dict[str, Any] = {"backend": STORE}
    if cache.existing is not None:
        storage = {"backend": EXISTING_PATH, "existingPath": {"path": cache.existing}}
    spec: dict[str, Any] = {"artifact": artifact, "storage": storage}
    spec |= {"mountPath": cache.mount_path} if cache.mount_path is not None else {}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": spec}


def artifact_kind(kind: str) -> str:
    """A kind of the store as documents name it."""
    return next(name for name, each in ARTIFACT_KINDS.items() if each == kind)


def request(cache: ModelCache) -> Request:
    """What staging is asked for. An adopted path has an address of its own."""
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    match cache.source:
        case HuggingFace():
            file = "" if cache.source.file is None else f"/{cache.source.file}"
            text = f"hf://{cache.source.repo}{file}@{cache.source.revision}"
            sha256 = cache.source.sha256
        case S3() | Gcs():
            text, sha256 = cache.source.uri, cache.source.sha256
        case Http():
            text, sha256, mirrors = cache.source.url, cache.source.sha256, cache.source.mirrors
        case Inline():
            text = _inline(cache.source)
        case ConfigMap():
            key = "" if cache.source.key is None else f"/{cache.source.key}"
            text = f"file://{cache.source.path}{key}"
        case None:
            text = f"{ADOPTED}{cache.existing}"
    return Request(cache.kind, cache.name, text, sha256, mirrors)


def _inline(source: Inline) -> str:
    """As `weights stage` takes it: text after `inline:`, other bytes in base64."""
    if source.base64 is None:
        return f"inline:{source.text}"
    try:
        return f"inline:{b64decode(source.base64).decode('utf-8')}"
    except UnicodeDecodeError:
        return f"inline;base64:{source.base64}"


def _source(tree: Mapping[str, Any]) -> CacheSource:
    ((key, at),) = tree.items()
    match key:
        case "huggingFace":
            revision = at.get("revision", "main")
            return HuggingFace(at["repo"], at.get("file"), revision, at.get("sha256"))
        case "s3":
            return S3(at["uri"], at.get("sha256"))
        case "gcs":
            return Gcs(at["uri"], at.get("sha256"))
        case "http":
            return Http(at["url"], at["sha256"], tuple(at.get("mirrors", ())))
        case "inline":
            return Inline(at.get("text"), at.get("base64"))
        case _:
            return ConfigMap(at["path"], at.get("key"))


_SOURCE_KEYS: Final[dict[type[Any], str]] = {
    HuggingFace: "huggingFace", S3: "s3", Gcs: "gcs", Http: "http", Inline: "inline",
    ConfigMap: "configMap",
}  # fmt: skip


def _source_tree(source: CacheSource) -> dict[str, Any]:
    values = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in source._asdict().items()
        if value not in (None, ())
    }
    return {_SOURCE_KEYS[type(source)]: values}


def _check(node: Node, tree: object, path: Path, mistakes: list[Mistake]) -> None:
    if len(mistakes) >= MAX_MISTAKES:
        return
    match node:
        case Text():
            _check_text(node, tree, path, mistakes)
        case Choice():
            if not isinstance(tree, str) or tree not in node.choices:
                mistakes.append(Mistake(path, _not_chosen(node, tree)))
        case Texts():
            _check_list(node, tree, path, mistakes)
        case Table():
            _check_table(node, tree, path, mistakes)
        case Object():
            _check_object(node, tree, path, mistakes)


def _check_text(node: Text, tree: object, path: Path, mistakes: list[Mistake]) -> None:
    if not isinstance(tree, str):
        hint = ". Put it into quotes" if isinstance(tree, (bool, int, float)) else ""
        mistakes.append(Mistake(path, f"expected {node.expected}, found {_kind(tree)}{hint}"))
    elif _TOKEN.search(tree):
        mistakes.append(
            Mistake(path, "holds what looks like a token or a key. Documents are kept: remove it")
        )
    elif not node.fits(tree) or _SURROGATE.search(tree):
        found = f"{len(tree)} characters that are not that"
        if node.shown and tree:
            found = _shown(tree)
        mistakes.append(Mistake(path, f"expected {node.expected}, found {found}"))


def _check_list(node: Texts, tree: object, path: Path, mistakes: list[Mistake]) -> None:
    if not isinstance(tree, list):
        mistakes.append(Mistake(path, f"expected a list, found {_kind(tree)}"))
        return
    if len(tree) > node.high:
        mistakes.append(Mistake(path, f"has {len(tree)} entries; at most {node.high} are allowed"))
        return
    for index, item in enumerate(tree):
        if isinstance(item, str) and item in tree[:index]:
            mistakes.append(Mistake((*path, index), "stands here twice"))
        _check(node.item, item, (*path, index), mistakes)


def _check_table(node: Table, tree: object, path: Path, mistakes: list[Mistake]) -> None:
    if not isinstance(tree, Mapping):
        mistakes.append(Mistake(path, f"expected a mapping, found {_kind(tree)}"))
        return
    if len(tree) > node.high:
        mistakes.append(Mistake(path, f"has {len(tree)} entries; at most {node.high} are allowed"))
        return
    for key, value in tree.items():
        _check_text(node.key, key, path, mistakes)
        _check_text(node.value, value, (*path, key if isinstance(key, str) else "?"), mistakes)


def _check_object(node: Object, tree: object, path: Path, mistakes: list[Mistake]) -> None:
    if not isinstance(tree, Mapping):
        mistakes.append(Mistake(path, f"expected a mapping, found {_kind(tree)}"))
        return
    for key in tree:
        if key not in node.fields:
            shown = key if isinstance(key, str) else "?"
            mistakes.append(Mistake((*path, shown), _unknown(key, node)))
    present = [key for key in node.fields if key in tree]
    if node.one_of and len(present) != 1:
        names = ", ".join(node.fields)
        mistakes.append(Mistake(path, f"expected exactly one of {names}, found {len(present)}"))
    for key in node.required:
        if key not in tree:
            mistakes.append(Mistake(path, f"the key {key} is missing"))
    for key, other in node.needs:
        if key in tree and other not in tree:
            mistakes.append(Mistake((*path, key), f"is for one file: give {other} too"))
    for key in present:
        _check(node.fields[key], tree[key], (*path, key), mistakes)


def _check_backend(tree: object, mistakes: list[Mistake]) -> None:
    """What one key asks of another, far from it."""
    spec = tree.get("spec") if isinstance(tree, Mapping) else None
    artifact = spec.get("artifact") if isinstance(spec, Mapping) else None
    storage = spec.get("storage", {}) if isinstance(spec, Mapping) else None
    if not isinstance(artifact, Mapping) or not isinstance(storage, Mapping):
        return
    where = ("spec", "storage")
    if storage.get("backend", STORE) == EXISTING_PATH:
        if "source" in artifact:
            mistakes.append(Mistake(
                ("spec", "artifact", "source"),
                f"with the backend {EXISTING_PATH} the bytes are at existingPath. Remove it",
            ))  # fmt: skip
        if "existingPath" not in storage:
            mistakes.append(Mistake(where, f"{EXISTING_PATH} needs existingPath: {{path: ...}}"))
    else:
        if "existingPath" in storage:
            message = f"is for the backend {EXISTING_PATH}. Set backend, or remove it"
            mistakes.append(Mistake((*where, "existingPath"), message))
        if "source" not in artifact:
            mistakes.append(Mistake(("spec", "artifact"), "the key source is missing"))


def _unknown(key: object, node: Object) -> str:
    if not isinstance(key, str):
        return f"a key has to be a text, found {_kind(key)}"
    if key in _HINTS:
        return f"is not known here: {_HINTS[key]}"
    near = _nearest(key, tuple(node.fields))
    return "is not known here" + (f". Did you mean {near}?" if near else "")


def _not_chosen(node: Choice, tree: object) -> str:
    names = " or ".join(node.choices)
    if not isinstance(tree, str):
        return f"expected {names}, found {_kind(tree)}"
    near = _nearest(tree, node.choices) if len(node.choices) > 1 else ""
    found = "what looks like a token" if _TOKEN.search(tree) else _shown(tree)
    return f"expected {names}, found {found}" + (f". Did you mean {near}?" if near else "")


def _nearest(word: str, known: tuple[str, ...]) -> str:
    import difflib

    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word[:100].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def _shown(text: str) -> str:
    return repr(_UNSAFE.sub("?", text[:60])) + ("..." if len(text) > 60 else "")


def _kind(tree: object) -> str:
    match tree:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"
