"""LoRA adapters as values: what an artefact says of itself, and what the registry file says."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from yoyo.model.ids import ModuleId
from yoyo.model.oci import Descriptor

# The moduleId whose adapters (dka-*) every tenant may use.
SHARED_MODULE: Final = ModuleId("dka")
# More adapters than this in one stack drown each other out, and cost time for every token.
MAX_STACK: Final = 3

# CNCF ModelPack: docs/spec.md of modelpack/model-spec.
ARTIFACT_TYPE: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.cncf.model.config.v1+json"
WEIGHT_TYPE: Final = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG_TYPE: Final = "application/vnd.cncf.model.weight.config.v1.raw"
DOC_TYPE: Final = "application/vnd.cncf.model.doc.v1.raw"


class LoraTensor(NamedTuple):
    """One adapted tensor of the base: the change is B x A, (output x rank) x (rank x input)."""

    name: str  # the base tensor's name, such as blk.0.attn_q.weight
    inputs: int
    outputs: int
    rank: int


class LoraFacts(NamedTuple):
    """What the header of a LoRA file in GGUF says."""

    architecture: str  # of the base that it was trained for
    rank: int  # the largest of its tensors'
    alpha: Decimal  # the change is scaled by alpha / rank
    tensors: tuple[LoraTensor, ...]  # by name
    file_bytes: int


class AdapterVersion(NamedTuple):
    """What one version of an adapter is; all of it stands in the artefact's annotations, and again
    in the signed provenance."""

    id: str  # an RFC 1123 label that begins with `{module_id}-`
    version: str  # semver 2.0
    module_id: ModuleId  # whose it is; SHARED_MODULE: everybody's
    base: str  # sha256:<hex> of the base model (core.adapters.base)
    data: str  # sha256:<hex> of the training data
    tasks: tuple[str, ...]  # RFC 1123 labels, sorted; (): for any task
    rank: int
    alpha: Decimal
    architecture: str

    @property
    def name(self) -> str:
        """As the ledger names it: id@version."""
        return f"{self.id}@{self.version}"

    @property
    def shared(self) -> bool:
        """Whether every tenant may use it."""
        return self.module_id == SHARED_MODULE


class Artefact(NamedTuple):
    """One adapter in a registry, read from its manifest."""

    digest: str  # sha256:<hex> of the manifest
    adapter: AdapterVersion
    weights: Descriptor  # the GGUF file
    filename: str  # of the weights, as the artefact calls it; checked, yet never used as a path
    files: tuple[tuple[str, Descriptor], ...]  # the others, by name: adapter_config.json, README.md


class Stage(StrEnum):
    """Where a version stands."""

    EVAL_PENDING = "eval_pending"
    EVAL_OK = "eval_ok"
    PROMOTED = "promoted"
    RETIRED = "retired"
    REJECTED = "rejected"


class Change(NamedTuple):
    """One step of a version's history."""

    stage: Stage
    at: datetime  # UTC
    by: str  # operator


class Registered(NamedTuple):
    """One version in the registry file."""

    adapter: AdapterVersion
    ref: str  # HOST/REPOSITORY@sha256:<hex>
    stage: Stage
    history: tuple[Change, ...]  # oldest first; the last one's stage is `stage`
    sign_off: str = ""  # sha256:<hex> of the evaluator's statement; "" while there is none
    scale: Decimal = Decimal(1)
    notes: str = ""

    @property
    def digest(self) -> str:
        """Of the artefact's manifest: sha256:<hex>."""
        return self.ref.partition("@")[2]


class AdapterBook(NamedTuple):
    """The registry file, read."""

    adapters: tuple[Registered, ...] = ()  # in the file's order

    def find(self, name: str) -> Registered | None:
        """By id@version."""
        return next((each for each in self.adapters if each.adapter.name == name), None)


class Chosen(NamedTuple):
    """One adapter of a stack."""

    registered: Registered
    scale: Decimal
    reason: str


class Selection(NamedTuple):
    """What a tenant and a task get, and why the others are not in it."""

    stack: tuple[Chosen, ...]  # at most MAX_STACK, in the order they are loaded
    refused: tuple[tuple[str, str], ...]  # id@version, reason; another tenant's are not named


class Loaded(NamedTuple):
    """One adapter as an engine has it."""

    number: int  # the engine's own, from 0
    name: str  # id@version; the file's name where it is none of yoyo's
    scale: float
    directory: str = ""  # the last part of where the file lies: it tells which bytes they are


class Signed(NamedTuple):
    """Who vouches for an adapter, for the record of a load."""

    name: str  # id@version
    digest: str  # of the manifest
    weights: str  # sha256:<hex> of the file that the engine loads
    signers: tuple[tuple[str, str], ...]  # role (signature, provenance, sign-off), identity
    attestations: tuple[str, ...]  # sha256:<hex> of each bundle that was accepted
