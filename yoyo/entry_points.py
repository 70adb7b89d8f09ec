"""Finding an entry point without importing importlib.metadata.

That import takes 10 ms, which every `yoyo status` would pay, to read a file of a few lines:
`*.dist-info/entry_points.txt` on the path (the format is packaging.python.org's "Entry
points specification"). Anything unusual is left to importlib.metadata.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any


def _declared(group: str) -> dict[str, str]:
    """Name to `module:object` of every entry point of that group on sys.path."""
    found: dict[str, str] = {}
    for place in sys.path:
        try:
            names = os.listdir(place or ".")  # noqa: PTH208 - pathlib is slower, and not needed
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                for key, value in _read(f"{place}/{name}/entry_points.txt", group).items():
                    found.setdefault(key, value)
    return found


def _read(path: str, group: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            lines = file.read().splitlines()
    except (OSError, ValueError):
        return {}
    found, inside = {}, False
    for line in lines:
        text = line.strip()
        if text.startswith("["):
            inside = text == f"[{group}]"
        elif inside and "=" in text and not text.startswith(("#", ";")):
            name, _, value = text.partition("=")
            found[name.strip()] = value.partition("[")[0].strip()
    return found


def names(group: str) -> list[str]:
    """The names declared in that group, sorted."""
    from importlib.metadata import entry_points

    return sorted({*_declared(group), *(entry.name for entry in entry_points(group=group))})


def load(group: str, name: str) -> Any:
    """The object that the entry point names.

    Raises:
        LookupError: there is none of that name.
        ModuleNotFoundError: its module, or one that it needs, is not installed.
    """
    value = _declared(group).get(name)
    if value is None:
        from importlib.metadata import entry_points

        for entry in entry_points(group=group, name=name):
            return entry.load()
        raise LookupError(name)
    module, _, attribute = value.partition(":")
    found = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
