"""The port of adapter and model files on this machine: their headers, digests and bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from yoyo.core.gguf_tensors import GgufTensors
from yoyo.model.adapter import LoraFacts


class AdapterFiles(Protocol):
    """Files here; foreign errors leave as YoyoErrors."""

    def is_directory(self, path: Path) -> bool:
        """Whether it is one."""
        ...

    def is_there(self, path: Path) -> bool:
        """Whether anything lies there, be it a link to nothing."""
        ...

    def names(self, directory: Path) -> tuple[str, ...]:
        """The regular files in a directory, sorted; () where there is none."""
        ...

    def digest(self, path: Path, moved: Callable[[int, int], None]) -> tuple[str, int]:
        """sha256:<hex> and bytes of a regular file. Constant memory.

        Raises:
            AdapterInvalid: it is not there, or cannot be read.
        """
        ...

    def model_digest(self, path: Path, moved: Callable[[int, int], None]) -> str:
        """The sha256 of a model file in hex, remembered for as long as size, times and inode are
        those that it had when it was computed.

        Raises:
            ModelInvalid: it is not there, or cannot be read.
        """
        ...

    def read(self, path: Path, limit: int) -> bytes:
        """A small regular file whole.

        Raises:
            AdapterInvalid: not there, not readable, or larger than `limit` bytes.
        """
        ...

    def lora(self, path: Path) -> LoraFacts:
        """What the header of a LoRA file says; a file that is cut short is refused.

        Raises:
            AdapterInvalid.
        """
        ...

    def safetensors_header(self, path: Path) -> tuple[bytes, int]:
        """The header of a safetensors file, and the bytes of the whole file.

        Raises:
            AdapterInvalid.
        """
        ...

    def tensors(self, path: Path) -> GgufTensors:
        """The tensors in the header of a model in GGUF.

        Raises:
            ModelInvalid.
        """
        ...
