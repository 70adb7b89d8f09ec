"""What a source holds, seen from its headers alone: read by range, before anything large moves."""

from __future__ import annotations

from typing import Final, NamedTuple

from yoyo.core.gguf import MAX_HEADER_BYTES, GgufError, GgufHeader, HeaderIncomplete, parse_header
from yoyo.core.model_set import (
    INDEX_SUFFIX,
    MAX_INDEX_BYTES,
    ModelSetError,
    check_safetensors,
    check_set,
    facts_of,
    media_type,
)
from yoyo.core.safetensors import (
    SafetensorsError,
    SafetensorsHeader,
    header_bytes,
    parse_safetensors,
)
from yoyo.errors import ModelInvalid
from yoyo.model.fetch import RemoteFile
from yoyo.model.machine import ModelFacts
from yoyo.model.store import WEIGHTS
from yoyo.ports.fetch import Sources

_FIRST_BYTES: Final = 1 << 20


class Looked(NamedTuple):
    """What the headers say."""

    model: ModelFacts | None  # None: no GGUF model
    media_types: dict[str, str]  # by path


def look_at(sources: Sources, kind: str, files: tuple[RemoteFile, ...]) -> Looked:
    """Read and check the headers of a set.

    Raises:
        ModelInvalid: a header is corrupt or hostile, a shard is missing.
        SourceFailed.
    """
    types = {file.path: media_type(file.path) for file in files}
    if kind != WEIGHTS:
        return Looked(None, types)
    try:
        check_set(tuple(file.path for file in files))
        headers = {
            file.path: (_gguf(sources, file), file.size)
            for file in files
            if file.path.endswith(".gguf")
        }
        _check_safetensors(sources, files)
        return Looked(facts_of(headers) if headers else None, types)
    except (GgufError, ModelSetError, SafetensorsError) as error:
        raise ModelInvalid(
            "The model's header is refused; nothing was fetched.",
            why=str(error),
            fix="Check that the source is the model file that you mean, whole.",
        ) from error


def _check_safetensors(sources: Sources, files: tuple[RemoteFile, ...]) -> None:
    """Every folder's safetensors files, and its index where it has one.

    A file whose source does not say its size is not looked at: the header has to fill it exactly.
    """
    folders: dict[str, dict[str, SafetensorsHeader]] = {}
    indices: dict[str, bytes] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if name.endswith(".safetensors") and file.size is not None:
            folders.setdefault(folder, {})[name] = _safetensors(sources, file)
        elif name.endswith(INDEX_SUFFIX):
            indices[folder] = _read(sources, file, MAX_INDEX_BYTES + 1)
    for folder, headers in folders.items():
        check_safetensors(indices.get(folder), headers)


def _safetensors(sources: Sources, file: RemoteFile) -> SafetensorsHeader:
    size = file.size or 0
    length = header_bytes(sources.read(file, 0, 8), size)
    return parse_safetensors(_read(sources, file, length), size)


def _read(sources: Sources, file: RemoteFile, length: int) -> bytes:
    """From its start, by reads as large as a source allows."""
    pieces: list[bytes] = []
    have = 0
    while have < length:
        piece = sources.read(file, have, min(length - have, MAX_HEADER_BYTES))
        if not piece:
            break
        pieces.append(piece)
        have += len(piece)
    return b"".join(pieces)


def _gguf(sources: Sources, file: RemoteFile) -> GgufHeader:
    want = _FIRST_BYTES
    while True:
        data = sources.read(file, 0, want)
        try:
            return parse_header(data, file.size)
        except HeaderIncomplete as short:
            if len(data) < want or want >= MAX_HEADER_BYTES:
                raise
            want = min(max(2 * want, short.needed), MAX_HEADER_BYTES)
