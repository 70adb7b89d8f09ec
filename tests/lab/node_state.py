"""What a node says of itself, as the one guest attribute that carries it (docs/formats/node.md)."""

from __future__ import annotations

import base64
from collections.abc import Mapping


def _is_base64(name: str) -> bool:
    return name in ("seal-key", "cert") or name.startswith("tail-")


def encode(values: Mapping[str, str]) -> str:
    """The attribute's value: a line a value."""
    lines = []
    for name, value in values.items():
        text = base64.b64encode(value.encode()).decode() if _is_base64(name) else value
        lines.append(f"{name} {text}\n")
    return "".join(lines)


def decode(text: str) -> dict[str, str]:
    """The values of an attribute."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        found[name] = base64.b64decode(value).decode() if _is_base64(name) else value
    return found
