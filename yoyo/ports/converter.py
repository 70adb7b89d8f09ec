"""The converter port: a PEFT adapter becomes a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Converter(Protocol):
    """llama.cpp's own converter, where it is at hand."""

    def convert(self, peft: Path, base: Path, target: Path) -> None:
        """Convert the PEFT directory `peft`; `base` is the base model's configuration directory.

        Raises:
            AdapterInvalid: the converter refuses it, or is not there.
        """
        ...
