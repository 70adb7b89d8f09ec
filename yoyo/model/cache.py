"""A ModelCache: what should lie in the store, as documents say it, and how far that has come."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from yoyo.model.store import BYTES, TOKENIZER, WEIGHTS

API_VERSION: Final = "yoyo.dev/v1alpha1"
KIND: Final = "ModelCache"
REFETCH: Final = "yoyo.dev/refetch"  # the annotation that asks for one more fetch

# artifact.kind of a document -> kind of the store.
ARTIFACT_KINDS: Final = {"Weights": WEIGHTS, "Tokenizer": TOKENIZER, "Bytes": BYTES}

# How the source of a manifest begins whose files were adopted where they lie: not in the store.
ADOPTED: Final = "existing://"


class HuggingFace(NamedTuple):
    """A file of a model on the hub, all shards of its set, or without `file` the folder."""

    repo: str
    file: str | None
    revision: str  # branch, tag or commit
    sha256: str | None


class S3(NamedTuple):
    """An object, s3://BUCKET/KEY."""

    uri: str
    sha256: str | None


class Gcs(NamedTuple):
    """An object, gs://BUCKET/OBJECT."""

    uri: str
    sha256: str | None


class Http(NamedTuple):
    """A file on a web server; the digest is what is trusted."""

    url: str
    sha256: str
    mirrors: tuple[str, ...]


class Inline(NamedTuple):
    """Bytes that stand in the document, as they are there: exactly one of the two is given."""

    text: str | None
    base64: str | None


class ConfigMap(NamedTuple):
    """A directory with one file a key; `key` None: all of them."""

    path: str
    key: str | None


CacheSource: TypeAlias = HuggingFace | S3 | Gcs | Http | Inline | ConfigMap


class ModelCache(NamedTuple):
    """One document. Exactly one of `source` and `existing` is given."""

    name: str  # also the name in the store
    kind: str  # of the store: weights, tokenizer, bytes
    source: CacheSource | None
    existing: str | None  # an absolute path that is adopted without a copy
    mount_path: str | None = None  # where consumers look for the files
    labels: tuple[tuple[str, str], ...] = ()  # by key
    annotations: tuple[tuple[str, str], ...] = ()  # by key

    @property
    def refetch(self) -> str:
        """The value that asks for one more fetch where it is new; "" none."""
        return dict(self.annotations).get(REFETCH, "")


class Request(NamedTuple):
    """What staging is asked for: the source in one string, as `weights stage` takes it."""

    kind: str
    name: str
    source: str
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()


class Stamp(NamedTuple):
    """What tells without reading a file that it is not the one that was hashed."""

    path: str  # absolute
    size: int  # bytes
    mark: str  # changes whenever the bytes may have


class Hydrated(NamedTuple):
    """The last time that the store was brought to what a document said."""

    wanted: str  # sha256 of the request
    manifest: str  # sha256 of the manifest's document
    refetch: str  # value of the annotation then
    at: datetime
    stamps: tuple[Stamp, ...] = ()  # of adopted files


class Failure(NamedTuple):
    """Why the last attempt failed; gone after the next good one."""

    reason: str  # an error's code
    message: str
    at: datetime


class Record(NamedTuple):
    """A ModelCache as it was applied: the object `caches/NAME.json` of the store."""

    cache: ModelCache
    applied: datetime  # when this document was first applied
    applied_by: str
    hydrated: Hydrated | None = None
    failure: Failure | None = None
    drifted: datetime | None = None  # when a drift was first seen


class Phase(StrEnum):
    """How far a cache is."""

    PENDING = "Pending"
    POPULATING = "Populating"
    READY = "Ready"
    FAILED = "Failed"


class Condition(NamedTuple):
    """One aspect of the status, in Kubernetes' form."""

    type: str  # Ready, Drifted, Stalled
    status: str  # True, False, Unknown
    reason: str
    message: str
    since: datetime


class CacheStatus(NamedTuple):
    """What is true of a cache now."""

    cache: ModelCache
    phase: Phase
    digest: str  # of the manifest's document, "sha256:" and hex; "" none
    hydration_seconds: Decimal | None  # that staging took, by the ledger; None unknown
    references: tuple[str, ...]  # nodes that use it
    conditions: tuple[Condition, ...]

    @property
    def why(self) -> str:
        """The reason and message of the condition Ready."""
        ready = next(each for each in self.conditions if each.type == "Ready")
        return f"{ready.reason}: {ready.message}"


class Verb(StrEnum):
    """What applying does for one document."""

    NONE = "none"
    WAIT = "wait"  # somebody is at it
    RECORD = "record"  # the bytes are there; only what was applied is noted
    STAGE = "stage"
    REPLACE = "replace"  # the name stands for other bytes of ours
    ADOPT = "adopt"
    VERIFY = "verify"  # adopted files were touched: hash them again


class Action(NamedTuple):
    """One step of a plan."""

    verb: Verb
    cache: ModelCache
    why: str
