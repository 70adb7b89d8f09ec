"""Sets of files that make one model: shards of a GGUF, folders of safetensors.

Titles inside an index are hostile until proven otherwise: they are checked as paths, and stand for
nothing but files of the set. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from yoyo.core.gguf import GgufHeader, model_facts
from yoyo.core.gguf_types import quantisation
from yoyo.core.manifest import check_path
from yoyo.core.manifest_fields import ManifestError
from yoyo.core.safetensors import SafetensorsError, SafetensorsHeader, json_object
from yoyo.model.machine import ModelFacts

INDEX_SUFFIX: Final = ".safetensors.index.json"
MAX_INDEX_BYTES: Final = 100_000_000  # as a safetensors header
MAX_SHARDS: Final = 65_535  # split.count is a uint16

_SHARD = re.compile(r"(?P<stem>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf\Z", re.ASCII)
# IANA's registry where it has the format (2026-11: none for GGUF, safetensors and pickles).
_MEDIA_TYPES: Final = {
    ".json": "application/json",
    ".jinja": "text/plain",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".zst": "application/zstd",
    ".gz": "application/gzip",
    ".tar": "application/x-tar",
    ".zip": "application/zip",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
OCTETS: Final = "application/octet-stream"


class ModelSetError(ValueError):
    """The files do not make one model; the text says why."""


def media_type(path: str) -> str:
    """The media type that the name stands for."""
    name = path.rsplit("/", 1)[-1].lower()
    return _MEDIA_TYPES.get("." + name.rsplit(".", 1)[-1], OCTETS) if "." in name else OCTETS


def gguf_shards(path: str) -> tuple[str, ...] | None:
    """The paths of all shards of the set that the shard at `path` belongs to, first to last.

    None: its name is not that of a shard.

    Raises:
        ModelSetError: the name's number is not from 1 to the count.
    """
    found = _SHARD.match(path)
    if found is None:
        return None
    number, count = int(found["no"]), int(found["count"])
    if not 1 <= number <= count <= MAX_SHARDS:
        raise ModelSetError(f"{_shown(path)}: shard {number} of {count}")
    return tuple(f"{found['stem']}-{no:05}-of-{count:05}.gguf" for no in range(1, count + 1))


def check_set(paths: Iterable[str]) -> None:
    """No path is there twice, and every shard that one of them speaks of is among them.

    Raises:
        ModelSetError.
    """
    given = list(paths)
    there = set(given)
    if len(there) != len(given):
        raise ModelSetError("a file is there twice")
    sets: set[tuple[str, str]] = set()
    for path in given:
        found = _SHARD.match(path)
        # Each set once: the name of every shard says the same.
        if found is None or (found["stem"], found["count"]) in sets:
            continue
        sets.add((found["stem"], found["count"]))
        if int(found["count"]) > len(given):
            raise ModelSetError(f"{_shown(path)} is one of more shards than there are files")
        missing = [shard for shard in gguf_shards(path) or () if shard not in there]
        if missing:
            raise ModelSetError(f"{len(missing)} shards are missing, {_shown(missing[0])} first")


def main_gguf(paths: Iterable[str]) -> str | None:
    """The file that the engine is given: the first shard, or the only GGUF file.

    None: there is no GGUF file. A projector beside the model (`mmproj`) does not count.

    Raises:
        ModelSetError: several models, or shards are missing.
    """
    files = [path for path in paths if path.lower().endswith(".gguf")]
    check_set(files)
    firsts = {_first_of(path) for path in files}
    models = sorted(path for path in firsts if not _is_projector(path)) or sorted(firsts)
    if len(models) > 1:
        raise ModelSetError(f"{len(models)} models, {_shown(models[0])} and {_shown(models[1])}")
    return models[0] if models else None


def facts_of(headers: Mapping[str, tuple[GgufHeader, int | None]]) -> ModelFacts:
    """Facts about the model that a set's GGUF files make together.

    `headers` has each file's header and size, by its path; a size that is None is unknown, and the
    least that the header speaks of is taken for it. Sizes in the result are sums over all parts
    of the model (a projector beside it is no part), everything else is what the first part says.

    Raises:
        ModelSetError: they are not the parts of one model, each once.
        GgufError: one of them is cut short, or no model.
    """
    main = main_gguf(headers)
    if main is None:
        raise ModelSetError("no GGUF file")
    parts = gguf_shards(main) or (main,)
    first, first_bytes = headers[main]
    if first.split_count != len(parts):
        # The engine looks for as many files, by names that it makes from the first one's.
        raise ModelSetError(
            f"{_shown(main)} is the first of {first.split_count} parts by its header and of"
            f" {len(parts)} by its name"
        )
    type_bytes: dict[int, int] = {}
    file_bytes = tensors = 0
    for number, path in enumerate(parts):
        header, size = headers[path]
        if (header.split_no, header.split_count) != (number, len(parts)):
            raise ModelSetError(
                f"{_shown(path)} is part {header.split_no + 1} of {header.split_count}"
                f" by its header and {number + 1} of {len(parts)} by its name"
            )
        if size is not None and size < header.data_end:
            raise ModelSetError(f"{_shown(path)} is truncated: {size} of {header.data_end} bytes")
        file_bytes += header.data_end if size is None else size
        tensors += header.tensors
        for kind, held in header.type_bytes:
            type_bytes[kind] = type_bytes.get(kind, 0) + held
    if len(parts) > 1 and first.split_tensors != tensors:
        raise ModelSetError(f"{first.split_tensors} tensors expected, there are {tensors}")
    facts = model_facts(first, path=main, file_bytes=first_bytes or first.data_end)
    return facts._replace(
        file_bytes=file_bytes,
        weight_bytes=sum(type_bytes.values()),
        quantisation=quantisation(first.file_type, type_bytes),
    )


def indexed_files(index: bytes) -> dict[str, tuple[str, ...]]:
    """The files that a `*.safetensors.index.json` speaks of, and the tensors in each.

    Paths are relative to the index's own folder.

    Raises:
        ModelSetError: it is not one, or a title leads out of the set.
    """
    if len(index) > MAX_INDEX_BYTES:
        raise ModelSetError(f"an index of {len(index)} bytes, at most {MAX_INDEX_BYTES}")
    try:
        weight_map = json_object(index, "the index").get("weight_map")
    except SafetensorsError as error:
        raise ModelSetError(str(error)) from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelSetError("the index has no weight_map")
    files: dict[str, list[str]] = {}
    for tensor, path in weight_map.items():
        if not isinstance(path, str) or not path.endswith(".safetensors"):
            raise ModelSetError(f"the index puts {_shown(tensor)} into no safetensors file")
        if path not in files:
            try:
                check_path(path)
            except ManifestError as error:
                raise ModelSetError(f"the index: {error}") from error
        files.setdefault(path, []).append(tensor)
    return {path: tuple(tensors) for path, tensors in files.items()}


def check_safetensors(index: bytes | None, headers: Mapping[str, SafetensorsHeader]) -> int:
    """Bytes of all tensors in a folder's files; `headers` has each one's, by its path there.

    Raises:
        ModelSetError: the index and the files do not say the same; a tensor is there twice.
    """
    if index is not None:
        listed = indexed_files(index)
        for path, tensors in listed.items():
            if path not in headers:
                raise ModelSetError(f"the index speaks of {_shown(path)}, which is not there")
            missing = set(tensors) - set(headers[path].tensors)
            if missing:
                raise ModelSetError(f"{_shown(path)} has no tensor {_shown(min(missing))}")
    seen: dict[str, str] = {}
    for path, header in headers.items():
        if index is not None and path not in listed:
            continue  # a copy of the model in one file, say, which no index speaks of
        for tensor in header.tensors:
            if seen.setdefault(tensor, path) != path:
                raise ModelSetError(
                    f"tensor {_shown(tensor)} is in {_shown(seen[tensor])} and {_shown(path)}"
                )
    return sum(header.weight_bytes for header in headers.values())


def _first_of(path: str) -> str:
    found = _SHARD.match(path)
    return path if found is None else f"{found['stem']}-00001-of-{found['count']}.gguf"


def _is_projector(path: str) -> bool:
    return "mmproj" in path.rsplit("/", 1)[-1].lower()


def _shown(text: str) -> str:
    return ascii(text[:100])
