"""`yoyo adapters pack`: a LoRA file, checked against its base, becomes an OCI image layout."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from yoyo.core.adapters.artefact import MAX_FILE_BYTES, weights_name
from yoyo.core.adapters.artefact import pack as pack_artefact
from yoyo.core.adapters.lora import check_fit
from yoyo.core.adapters.names import InvalidAdapter, check_id, check_task, check_version
from yoyo.core.adapters.peft import read_peft
from yoyo.core.safetensors import SafetensorsError
from yoyo.errors import AdapterInvalid
from yoyo.model.adapter import WEIGHT_TYPE, AdapterVersion
from yoyo.model.ids import ModuleId
from yoyo.model.oci import Descriptor

if TYPE_CHECKING:
    from yoyo.model.adapter import LoraFacts
    from yoyo.ops.adapters.base import BaseModel
    from yoyo.ops.adapters.context import AdapterContext

PEFT_CONFIG: Final = "adapter_config.json"
README: Final = "README.md"


class PackRequest(NamedTuple):
    """What to pack. Digests are sha256:<hex>."""

    source: Path  # a LoRA in GGUF, or a PEFT directory
    id: str
    version: str
    module_id: ModuleId
    data: str  # of the training data
    tasks: tuple[str, ...]
    target: Path  # the layout's directory
    base_config: Path | None = None  # the base's configuration directory, for the converter
    readme: Path | None = None
    licence: str = ""


class PackResult(NamedTuple):
    """What was packed."""

    digest: str  # of the manifest
    adapter: AdapterVersion
    weights: Descriptor
    directory: Path


def pack(ctx: AdapterContext, request: PackRequest, base: BaseModel) -> PackResult:
    """Check the adapter against its base and write the layout; the same input, the same bytes.

    Raises:
        AdapterInvalid: the file is malformed, does not fit, or a name is off.
        ArtefactExists, StateUnwritable, StoreFull.
    """
    try:
        check_id(request.id, request.module_id)
        check_version(request.version)
        for task in request.tasks:
            check_task(task)
    except InvalidAdapter as error:
        raise _refused("The adapter cannot be named so.", error) from error
    weights_file, config = _weights(ctx, request)
    lora = ctx.files.lora(weights_file)
    try:
        check_fit(lora, base.architecture, base.shapes)
    except InvalidAdapter as error:
        raise _refused("The adapter does not fit its base model.", error) from error
    digest, size = ctx.files.digest(
        weights_file, partial(ctx.progress.bytes, f"hashing {weights_file.name}")
    )
    adapter = AdapterVersion(
        request.id,
        request.version,
        request.module_id,
        base.digest,
        request.data,
        tuple(sorted(set(request.tasks))),
        lora.rank,
        lora.alpha,
        lora.architecture,
    )
    files = _files(ctx, request, config, lora)
    try:
        packed = pack_artefact(
            adapter,
            weights=Descriptor(WEIGHT_TYPE, digest, size),
            filename=weights_name(adapter),
            files=files,
            lora=lora,
            created=_ALWAYS,
            licences=(request.licence,) if request.licence else (),
        )
    except InvalidAdapter as error:
        raise _refused("The adapter cannot be packed.", error) from error
    blobs: dict[str, Path | bytes] = {digest: weights_file, **dict(packed.blobs)}
    made = ctx.layouts.write(request.target, packed.manifest, blobs)
    return PackResult(made.digest, adapter, packed.artefact.weights, request.target)


def data_digest(ctx: AdapterContext, text: str) -> str:
    """sha256:<hex> of the training data: given, or of the file of that name.

    Raises:
        AdapterInvalid.
    """
    if _DIGEST.match(text):
        return text
    if text.startswith("sha256:"):
        raise AdapterInvalid(
            "That is no digest of training data.",
            why=f"{text[:100]!a} is not sha256: and 64 hex digits.",
            fix="Give sha256: and 64 hex digits (0-9, a-f), or the data's file: --data FILE.",
        )
    path = Path(text)
    return ctx.files.digest(path, partial(ctx.progress.bytes, f"hashing {path.name}"))[0]


_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
# Packing the same adapter twice gives the same digest, whenever it is done.
_ALWAYS: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _weights(ctx: AdapterContext, request: PackRequest) -> tuple[Path, bytes | None]:
    """The GGUF file, converted if need be, and PEFT's own configuration where there is one."""
    if not ctx.files.is_directory(request.source):
        return request.source, None
    config = ctx.files.read(request.source / PEFT_CONFIG, MAX_FILE_BYTES)
    names = [name for name in ctx.files.names(request.source) if name.endswith(".safetensors")]
    if len(names) != 1:
        raise AdapterInvalid(
            f"{request.source} is no PEFT adapter.",
            why=f"It has {len(names)} safetensors files; one is expected beside {PEFT_CONFIG}.",
            fix="Give the directory that PEFT's save_pretrained wrote.",
        )
    try:
        read_peft(config, *ctx.files.safetensors_header(request.source / names[0]))
    except (InvalidAdapter, SafetensorsError) as error:
        raise _refused("The PEFT adapter is refused.", error) from error
    if request.base_config is None:
        raise AdapterInvalid(
            "A PEFT adapter needs its base model's configuration to be converted.",
            why="llama.cpp's converter reads the base's config.json and tokenizer files.",
            fix="Give the directory that has them: --base-config DIR.",
        )
    name = sha256(f"{request.source}".encode(errors="surrogateescape")).hexdigest()[:16]
    target = ctx.workplace / "converted" / f"{name}.gguf"
    ctx.progress.phase("converting", f"{request.source.name} to GGUF")
    ctx.converter.convert(request.source, request.base_config, target)
    return target, config


def _files(
    ctx: AdapterContext, request: PackRequest, config: bytes | None, lora: LoraFacts
) -> tuple[tuple[str, bytes], ...]:
    if config is None:
        written = {
            "peft_type": "LORA",
            "r": lora.rank,
            "lora_alpha": float(lora.alpha),
            "target_modules": sorted({tensor.name for tensor in lora.tensors}),
        }
        config = json.dumps(written, indent=1, sort_keys=True).encode() + b"\n"
    if request.readme is not None:
        readme = ctx.files.read(request.readme, MAX_FILE_BYTES)
    else:
        readme = f"# {request.id}@{request.version}\n\nA LoRA adapter.\n".encode()
    return ((PEFT_CONFIG, config), (README, readme))


def _refused(what: str, error: ValueError) -> AdapterInvalid:
    return AdapterInvalid(
        what, why=str(error), fix="See docs/formats/adapter.md for what an adapter is."
    )
