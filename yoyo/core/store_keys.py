"""Where things lie in the store. `docs/formats/store.md` is the format."""

from __future__ import annotations

from typing import Final

ARTEFACTS: Final = "artefacts/sha256/"
DOCUMENTS: Final = "manifests/sha256/"
NAMES: Final = "names/"
PINS: Final = "pins/"
NODES: Final = "nodes/"
CACHES: Final = "caches/"
STAGING: Final = "staging/"


def artefact(sha256: str) -> str:
    """The bytes with that digest."""
    return f"{ARTEFACTS}{sha256[:2]}/{sha256}"


def document(sha256: str) -> str:
    """The manifest with that digest, for as long as the store lives: the ledger names it."""
    return f"{DOCUMENTS}{sha256}.json"


def name(kind: str, artefact_name: str) -> str:
    """The manifest that the name stands for now."""
    return f"{NAMES}{kind}/{artefact_name}.json"


def pin(kind: str, artefact_name: str) -> str:
    """There while the name is pinned; says who pinned it."""
    return f"{PINS}{kind}/{artefact_name}.json"


def node(node_id: str) -> str:
    """What that node was started with."""
    return f"{NODES}{node_id}.json"


def cache(cache_name: str) -> str:
    """A ModelCache as it was applied."""
    return f"{CACHES}{cache_name}.json"
