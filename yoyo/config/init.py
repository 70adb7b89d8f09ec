"""`yoyo init`: the commented file to begin with."""

from __future__ import annotations

import os
from pathlib import Path

from yoyo.config.mistakes import printable
from yoyo.config.sources import FILE_NAME
from yoyo.config.templates import template_text
from yoyo.errors import ConfigExists, StateUnwritable


def init_text() -> str:
    """The file, which is valid as it stands."""
    return template_text(FILE_NAME)


def write_init(directory: Path) -> Path:
    """Write the file; never over another one.

    Raises:
        ConfigExists, StateUnwritable.
    """
    path = directory / FILE_NAME
    shown = printable(str(path))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise ConfigExists(
            f"{shown} exists and is left as it is.",
            why="`init` never overwrites.",
            fix="Edit it, move it away, or run `yoyo init` in another directory.",
        ) from None
    except OSError as error:
        raise _unwritable(shown, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(init_text())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _unwritable(shown, error) from None
    return path


def _unwritable(shown: str, error: OSError) -> StateUnwritable:
    return StateUnwritable(
        f"{shown} cannot be written.",
        why=error.strerror or str(error),
        fix="Choose a directory that exists, is writable and has room: `yoyo init DIR`.",
    )
