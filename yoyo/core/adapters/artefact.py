"""An adapter as an OCI artefact: its manifest written, and read again as if by an enemy's hand.

CNCF ModelPack (modelpack/model-spec, docs/spec.md, docs/config.md) gives the media types, the
configuration and the layers' file paths; who it is for and what it was made of stand in
annotations of our own. docs/formats/adapter.md has the whole form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from yoyo.core.adapters.lora import ARCHITECTURE, MAX_ALPHA, MAX_RANK, MIN_ALPHA, plain
from yoyo.core.adapters.names import InvalidAdapter, check_id, check_task, check_version
from yoyo.core.oci_manifest import (
    CREATED,
    TITLE,
    OciError,
    OciManifest,
    build_manifest,
    digest_of,
    is_digest,
    parse_manifest,
)
from yoyo.model.adapter import (
    ARTIFACT_TYPE,
    CONFIG_TYPE,
    DOC_TYPE,
    WEIGHT_CONFIG_TYPE,
    WEIGHT_TYPE,
    AdapterVersion,
    Artefact,
    LoraFacts,
)
from yoyo.model.ids import InvalidLabel, ModuleId
from yoyo.model.oci import Descriptor

# model-spec, docs/annotations.md, "Layer Annotation Keys".
FILEPATH: Final = "org.cncf.model.filepath"
VERSION: Final = "org.opencontainers.image.version"
OURS: Final = "dev.yoyo.adapter."
KEYS: Final = (
    "id", "version", "moduleId", "base", "data", "tasks", "rank", "alpha", "architecture",
)  # fmt: skip
# The largest published adapters have some 3 GB; what goes with them is text.
MAX_WEIGHT_BYTES: Final = 16 * 1024**3
MAX_FILE_BYTES: Final = 1024 * 1024
MAX_FILES: Final = 16
MAX_TASKS: Final = 16

_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
# What goes with the weights, and nothing that could be a file of anybody else's.
_BESIDE = re.compile(r"adapter_config\.json\Z|README\.md\Z|LICENSE[A-Za-z0-9._-]{0,120}\Z")
_RANK = re.compile(r"[1-9][0-9]{0,3}\Z")
_ALPHA = re.compile(r"(?:0|[1-9][0-9]{0,6})(?:\.[0-9]{0,19}[1-9])?\Z")
_CREATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")


class Packed(NamedTuple):
    """An artefact that is ready to be written: manifest, configuration, and the files beside it."""

    manifest: bytes
    config: bytes
    artefact: Artefact  # what the manifest says, read back from it
    blobs: tuple[tuple[str, bytes], ...]  # by digest: the configuration and all but the weights


def weights_name(adapter: AdapterVersion) -> str:
    """What the weights are called in an artefact, unless their author says otherwise."""
    return f"{adapter.id}-{adapter.version}.gguf"


def pack(
    adapter: AdapterVersion,
    *,
    weights: Descriptor,
    filename: str,
    files: Sequence[tuple[str, bytes]],
    lora: LoraFacts,
    created: datetime,
    licences: Sequence[str] = (),
) -> Packed:
    """The artefact of that adapter. The same arguments give the same bytes.

    Of `weights`, digest and size count; `lora` is what their header says. `files` go with them in
    this order, by name: adapter_config.json, README.md. `created` has a time zone and counts in
    whole seconds. `licences` are SPDX expressions.

    Raises:
        InvalidAdapter: `read_artefact` would refuse it, or it says something else than its weights.
    """
    _agrees(adapter, weights, lora)
    if created.tzinfo is None:
        raise InvalidAdapter("the time at which it was made has no time zone")
    stamp = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    layers = [_layer(WEIGHT_TYPE, weights.digest, weights.size, filename)]
    for name, data in files:
        kind = WEIGHT_CONFIG_TYPE if name.endswith(".json") else DOC_TYPE
        layers.append(_layer(kind, digest_of(data), len(data), name))
    config = _config(adapter, stamp, licences, layers)
    described = Descriptor(CONFIG_TYPE, digest_of(config), len(config))
    try:
        manifest = build_manifest(
            artifact_type=ARTIFACT_TYPE,
            config=described,
            layers=tuple(layers),
            annotations=(
                (TITLE, adapter.id),
                (VERSION, adapter.version),
                (CREATED, stamp),
                *_ours(adapter),
            ),
        )
    except OciError as error:
        raise InvalidAdapter(str(error)) from error
    artefact = read_artefact(manifest, digest_of(manifest))
    blobs = ((described.digest, config), *((digest_of(data), data) for _, data in files))
    return Packed(manifest, config, artefact, blobs)


def read_artefact(document: bytes, digest: str) -> Artefact:
    """The adapter whose manifest this is; `digest` (sha256:<hex>) is what it was asked for by.

    Raises:
        InvalidAdapter: other bytes than were asked for, or not exactly such an artefact.
    """
    if digest_of(document) != digest:
        raise InvalidAdapter("the manifest has another digest than was asked for")
    try:
        manifest = parse_manifest(document)
    except OciError as error:
        raise InvalidAdapter(f"its manifest: {error}") from error
    if manifest.artifact_type != ARTIFACT_TYPE:
        raise InvalidAdapter(f"its artifactType is {manifest.artifact_type!a}, not {ARTIFACT_TYPE}")
    if manifest.config.media_type != CONFIG_TYPE:
        raise InvalidAdapter(f"its configuration is not of type {CONFIG_TYPE}")
    if manifest.config.size > MAX_FILE_BYTES:
        raise InvalidAdapter(f"its configuration has {manifest.config.size} bytes")
    if manifest.subject is not None:
        raise InvalidAdapter("it refers to another manifest, which an adapter never does")
    adapter = _adapter(manifest)
    weights, filename, files = _files(manifest.layers)
    return Artefact(digest, adapter, weights, filename, files)


def _agrees(adapter: AdapterVersion, weights: Descriptor, lora: LoraFacts) -> None:
    for what, said, found in (
        ("rank", adapter.rank, lora.rank),
        ("alpha", adapter.alpha, lora.alpha),
        ("architecture", adapter.architecture, lora.architecture),
        ("size", weights.size, lora.file_bytes),
    ):
        if said != found:
            raise InvalidAdapter(f"its {what} is given as {said}, and its weights say {found}")


def _layer(kind: str, digest: str, size: int, name: str) -> Descriptor:
    return Descriptor(kind, digest, size, ((FILEPATH, name), (TITLE, name)))


def _ours(adapter: AdapterVersion) -> tuple[tuple[str, str], ...]:
    values = (
        adapter.id,
        adapter.version,
        str(adapter.module_id),
        adapter.base,
        adapter.data,
        ",".join(adapter.tasks),
        str(adapter.rank),
        plain(adapter.alpha),
        adapter.architecture,
    )
    return tuple((OURS + key, value) for key, value in zip(KEYS, values, strict=True))


def _config(
    adapter: AdapterVersion, stamp: str, licences: Sequence[str], layers: Sequence[Descriptor]
) -> bytes:
    """The configuration (docs/config.md): what other tools show of the artefact."""
    about: dict[str, object] = {
        "createdAt": stamp,
        "name": adapter.id,
        "version": adapter.version,
        "family": adapter.architecture,
    }
    if licences:
        about["licenses"] = list(licences)
    fields = {
        "descriptor": about,
        "config": {"format": "gguf"},
        # Raw layers: what is hashed uncompressed is what is stored.
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }
    try:
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidAdapter(f"its configuration: {type(error).__name__}") from error


def _adapter(manifest: OciManifest) -> AdapterVersion:
    annotated = manifest.annotated
    wanted = {OURS + key for key in KEYS}
    for key in annotated:
        if key.startswith(OURS) and key not in wanted:
            raise InvalidAdapter(f"the annotation {key[:80]!a} is unknown")
    for key in (*sorted(wanted), TITLE, VERSION, CREATED):
        if key not in annotated:
            raise InvalidAdapter(f"the annotation {key} is missing")
    said = {key: annotated[OURS + key] for key in KEYS}
    try:
        module_id = ModuleId.parse(said["moduleId"])
    except InvalidLabel as error:
        raise InvalidAdapter(f"its moduleId {error}") from error
    adapter = AdapterVersion(
        id=check_id(said["id"], module_id),
        version=check_version(said["version"]),
        module_id=module_id,
        base=_sha256(said["base"], "base"),
        data=_sha256(said["data"], "data"),
        tasks=_tasks(said["tasks"]),
        rank=_rank(said["rank"]),
        alpha=_alpha(said["alpha"]),
        architecture=said["architecture"],
    )
    if not ARCHITECTURE.match(adapter.architecture):
        raise InvalidAdapter(f"its architecture {adapter.architecture[:80]!a} is no name")
    # Other tools show these: they must not tell another story.
    if (annotated[TITLE], annotated[VERSION]) != (adapter.id, adapter.version):
        raise InvalidAdapter("title and version are not those of the adapter")
    if not _CREATED.match(annotated[CREATED]):
        raise InvalidAdapter(f"{CREATED} is no time in UTC")
    return adapter


def _files(
    layers: Sequence[Descriptor],
) -> tuple[Descriptor, str, tuple[tuple[str, Descriptor], ...]]:
    """The weights, their name, and the other files."""
    if len(layers) > MAX_FILES + 1:
        raise InvalidAdapter(f"{len(layers)} layers, at most {MAX_FILES + 1} are allowed")
    weights: list[tuple[str, Descriptor]] = []
    others: list[tuple[str, Descriptor]] = []
    for layer in layers:
        if layer.media_type not in (WEIGHT_TYPE, WEIGHT_CONFIG_TYPE, DOC_TYPE):
            raise InvalidAdapter(f"a layer of type {layer.media_type}, which an adapter has not")
        heavy = layer.media_type == WEIGHT_TYPE
        least, most = (1, MAX_WEIGHT_BYTES) if heavy else (0, MAX_FILE_BYTES)
        name = _filename(layer)
        if not (name.endswith(".gguf") if heavy else _BESIDE.match(name)):
            allowed = "NAME.gguf" if heavy else "adapter_config.json, README.md or LICENSE"
            raise InvalidAdapter(f"{name} is the name of a layer that has to be {allowed}")
        if not least <= layer.size <= most:
            raise InvalidAdapter(f"{name} has {layer.size} bytes, not {least} to {most}")
        (weights if heavy else others).append((name, layer))
    if len(weights) != 1:
        raise InvalidAdapter(f"{len(weights)} layers of weights, and an adapter has one")
    together = weights + others
    # In lower case: on some systems that is one file.
    if len({name.lower() for name, _ in together}) != len(together):
        raise InvalidAdapter("two layers have the same name")
    if len({layer.digest for _, layer in together}) != len(together):
        raise InvalidAdapter("two layers are the same bytes")
    return weights[0][1], weights[0][0], tuple(others)


def _filename(layer: Descriptor) -> str:
    annotated = layer.annotated
    name = annotated.get(TITLE, "")
    if annotated.get(FILEPATH) != name:
        raise InvalidAdapter(f"a layer's {FILEPATH} and {TITLE} are not both there and equal")
    if not _FILENAME.match(name):
        raise InvalidAdapter(f"{name[:80]!a} is no plain name of a file")
    return name


def _sha256(value: str, what: str) -> str:
    if not is_digest(value):
        raise InvalidAdapter(f"its {what} {value[:80]!a} is not sha256:<64 hex digits>")
    return value


def _tasks(value: str) -> tuple[str, ...]:
    tasks = tuple(check_task(each) for each in value.split(",", MAX_TASKS)) if value else ()
    if len(tasks) > MAX_TASKS or list(tasks) != sorted(set(tasks)):
        raise InvalidAdapter(f"its tasks are not at most {MAX_TASKS}, each once, in order")
    return tasks


def _rank(value: str) -> int:
    if not _RANK.match(value) or int(value) > MAX_RANK:
        raise InvalidAdapter(f"its rank {value[:80]!a} is not a whole number from 1 to {MAX_RANK}")
    return int(value)


def _alpha(value: str) -> Decimal:
    if not _ALPHA.match(value) or not MIN_ALPHA <= Decimal(value) <= MAX_ALPHA:
        raise InvalidAdapter(
            f"its alpha {value[:80]!a} is not a plain number from {MIN_ALPHA} to {MAX_ALPHA}"
        )
    return Decimal(value)
