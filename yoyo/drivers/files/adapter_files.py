"""Implements the port of adapter and model files: headers mapped, digests remembered."""

from __future__ import annotations

import json
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from yoyo.core.adapters.lora import read_lora
from yoyo.core.adapters.names import InvalidAdapter
from yoyo.core.gguf import GgufError
from yoyo.core.gguf_tensors import GgufTensors, read_tensors
from yoyo.core.safetensors import LENGTH_BYTES, SafetensorsError, header_bytes
from yoyo.drivers.files.state import private_dir, write_atomically
from yoyo.errors import AdapterInvalid, ModelInvalid, YoyoError
from yoyo.model.adapter import LoraFacts

_PIECE: Final = 1 << 20
_REMEMBERED: Final = 256


class LocalAdapterFiles:
    """`cache` is where digests of model files are remembered; it may be deleted at will."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def is_directory(self, path: Path) -> bool:
        """See the port."""
        return path.is_dir()

    def is_there(self, path: Path) -> bool:
        """See the port."""
        return os.path.lexists(path)

    def names(self, directory: Path) -> tuple[str, ...]:
        """See the port."""
        try:
            return tuple(sorted(each.name for each in directory.iterdir() if each.is_file()))
        except OSError:
            return ()

    def digest(self, path: Path, moved: Callable[[int, int], None]) -> tuple[str, int]:
        """See the port."""
        with _opened(path, AdapterInvalid) as file:
            total = os.fstat(file.fileno()).st_size
            return f"sha256:{_hashed(file, total, moved)}", total

    def model_digest(self, path: Path, moved: Callable[[int, int], None]) -> str:
        """See the port."""
        with _opened(path, ModelInvalid) as file:
            status = os.fstat(file.fileno())
            key = str(path.absolute())
            stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
            known = self._remembered()
            if known.get(key, {}).get("stamp") == stamp:
                return known[key]["sha256"]
            digest = _hashed(file, status.st_size, moved)
            self._remember({**known, key: {"stamp": stamp, "sha256": digest}})
            return digest

    def read(self, path: Path, limit: int) -> bytes:
        """See the port."""
        with _opened(path, AdapterInvalid) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise AdapterInvalid(
                f"{path} is too large.", why=f"At most {limit} bytes.", fix="Make it shorter."
            )
        return data

    def lora(self, path: Path) -> LoraFacts:
        """See the port."""
        try:
            with _mapped(path, AdapterInvalid) as (view, size):
                return read_lora(view, size)
        except (GgufError, InvalidAdapter) as error:
            raise AdapterInvalid(
                f"{path} is no LoRA adapter.",
                why=str(error),
                fix="Give a LoRA in GGUF, as llama.cpp's convert_lora_to_gguf.py writes it.",
            ) from error

    def safetensors_header(self, path: Path) -> tuple[bytes, int]:
        """See the port."""
        try:
            with _opened(path, AdapterInvalid) as file:
                size = os.fstat(file.fileno()).st_size
                first = file.read(LENGTH_BYTES)
                return first + file.read(header_bytes(first, size) - len(first)), size
        except SafetensorsError as error:
            raise AdapterInvalid(
                f"{path} is no safetensors file.",
                why=str(error),
                fix="Save the adapter again with PEFT's save_pretrained.",
            ) from error

    def tensors(self, path: Path) -> GgufTensors:
        """See the port."""
        try:
            with _mapped(path, ModelInvalid) as (view, size):
                return read_tensors(view, size)
        except GgufError as error:
            raise ModelInvalid(
                f"{path} is no model in GGUF.", why=str(error), fix="Check the file, or fetch anew."
            ) from error

    def _remembered(self) -> dict[str, dict[str, str]]:
        try:
            found = json.loads(self._cache.read_bytes())
            return {
                str(key): {"stamp": str(value["stamp"]), "sha256": str(value["sha256"])}
                for key, value in found.items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}

    def _remember(self, known: dict[str, dict[str, str]]) -> None:
        newest = dict(list(known.items())[-_REMEMBERED:])
        try:
            private_dir(self._cache.parent)
            write_atomically(self._cache, json.dumps(newest).encode(), durable=False)
        except OSError:
            return  # it is a cache: hashing again takes longer, and nothing else


def _hashed(file: BinaryIO, total: int, moved: Callable[[int, int], None]) -> str:
    digest, buffer, done = sha256(), memoryview(bytearray(_PIECE)), 0
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
        done += count
        moved(done, total)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path, kind: type[YoyoError]) -> Iterator[BinaryIO]:
    try:
        # Without waiting: opening a pipe of that name would block until somebody writes.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise kind(f"{path} is not a regular file.", fix="Name the file itself.")
            yield file
    except OSError as error:
        raise kind(
            f"{path} cannot be read.",
            why=f"{error.strerror or error}.",
            fix="Correct the path, or make the file readable for you.",
        ) from error


@contextmanager
def _mapped(path: Path, kind: type[YoyoError]) -> Iterator[tuple[mmap.mmap, int]]:
    with _opened(path, kind) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise kind(f"{path} is empty.", fix="Fetch or write it again.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            yield view, size
