"""Finding the templates: inside an installed wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def template_path(name: str) -> Path:
    """The template of that name, such as `yoyo.yaml` or `systemd/monitor.timer`."""
    inside = _PACKAGE / "templates" / name
    return inside if inside.exists() else _PACKAGE.parent / "templates" / name


def template_text(name: str) -> str:
    """The template's text."""
    return template_path(name).read_text(encoding="utf-8")
