"""What lies in the store: artefacts named by their sha256, and the manifests that name them."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from yoyo.model.machine import ModelFacts

# What is fetched, checked and resumed as one piece.
CHUNK_BYTES: Final = 64 * 1024 * 1024

WEIGHTS, TOKENIZER, BYTES, ENGINE = "weights", "tokenizer", "bytes", "engine"
ADAPTER: Final = "adapter"  # on its way to a node; its home is an OCI registry
STAGED_KINDS: Final = (WEIGHTS, TOKENIZER, BYTES)
KINDS: Final = (*STAGED_KINDS, ENGINE, ADAPTER)


class StoredFile(NamedTuple):
    """One artefact, and where it belongs inside its set."""

    path: str  # relative, with `/`; checked by core.manifest
    size: int  # bytes
    sha256: str  # lowercase hex, of the whole
    chunks: tuple[str, ...]  # of each CHUNK_BYTES in order, the last one shorter; () when empty
    media_type: str


class Source(NamedTuple):
    """Where an artefact came from, without anything secret."""

    url: str
    revision: str  # as resolved: a commit, a generation, an ETag; "" where there is none


class EngineBuild(NamedTuple):
    """What an engine bundle was made from and runs on."""

    commit: str  # of the source; "" for a tarball or a path that does not say
    source_sha256: str  # of the source tree (docs/formats/bundle.md)
    flags: tuple[str, ...]  # cmake's
    compiler: str
    cuda: str  # version, such as 12.9; "" for a CPU bundle
    sm: tuple[str, ...]  # CUDA architectures, such as 89; () for a CPU bundle
    glibc: str  # the oldest glibc that it runs with, such as 2.34
    machine: str  # as uname -m says it
    architectures: tuple[str, ...]  # of models that it loads, sorted
    licences: tuple[str, ...]  # SPDX, or a name, of each part


class Manifest(NamedTuple):
    """A name for a set of artefacts. Immutable: other bytes need another name, or a row."""

    kind: str  # one of KINDS
    name: str  # NAME or NAME@VERSION
    files: tuple[StoredFile, ...]  # by path
    source: Source
    licence: str  # SPDX where the source says so; "" unknown
    created: datetime  # UTC, whole seconds
    created_by: str  # operator
    model: ModelFacts | None = None  # of weights that are GGUF
    engine: EngineBuild | None = None  # of kind engine

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class ObjectInfo(NamedTuple):
    """One object of the store."""

    key: str
    size: int
    generation: int  # changes with every write of the key; never 0
    updated: datetime
