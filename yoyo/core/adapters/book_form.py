"""The form in which yoyo writes the registry file: one that people and other tools read too."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Final, TypeAlias

from yoyo.model.adapter import MAX_STACK, Registered

SCHEMA: Final = 2
STACK: Final = "stack"  # the only mode of selection so far

Plain: TypeAlias = "str | list[str] | list[dict[str, str]]"

EMPTY: Final = f"""\
# The LoRA adapters, and where each version of them stands. The format: docs/formats/registry.md.
# `yoyo adapters` writes here. So may you: comments, order and style stay as they are.
schema: {SCHEMA}
selection:
  mode: {STACK}
  most: {MAX_STACK}
adapters:
"""

# Text that every YAML reader takes for itself, and for text where the key says so.
_PLAIN = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._/@+-]*(?::[A-Za-z0-9._/@+-]+)*(?: [A-Za-z0-9(][A-Za-z0-9._/()-]*)*\Z"
)
_WORDS: Final = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_NUMBER_LIKE = re.compile(r"[0-9.xXobeE+:_-]+\Z")


def fields_of(registered: Registered) -> dict[str, Plain]:
    """An entry of the newest schema, in the order and form that yoyo writes; what is empty is
    left out."""
    adapter = registered.adapter
    fields: dict[str, Plain] = {
        "id": adapter.id,
        "version": adapter.version,
        "moduleId": str(adapter.module_id),
        "ref": registered.ref,
        "base": adapter.base,
        "data": adapter.data,
        "tasks": list(adapter.tasks),
        "rank": str(adapter.rank),
        "alpha": format(adapter.alpha, "f"),
        "architecture": adapter.architecture,
        "scale": format(registered.scale, "f"),
        "sign_off": registered.sign_off,
        "stage": str(registered.stage),
        "history": [
            {"stage": str(step.stage), "at": _written(step.at), "by": step.by}
            for step in registered.history
        ],
        "notes": registered.notes,
    }
    return {key: value for key, value in fields.items() if value}


def entry_text(registered: Registered, indent: int = 2) -> str:
    """An entry's lines, its dash in column `indent` (from 0)."""
    lines: list[str] = []
    for key, value in fields_of(registered).items():
        if isinstance(value, str):
            number = key in ("rank", "alpha", "scale")
            lines.append(f"{key}: {value if number else scalar_text(value)}")
        elif key == "tasks":
            tasks = ", ".join(map(scalar_text, registered.adapter.tasks))
            lines.append(f"tasks: [{tasks}]")
        else:
            lines.append("history:")
            for step in registered.history:
                lines += [f"  - stage: {step.stage}", f"    at: {_written(step.at)}"]
                lines.append(f"    by: {scalar_text(step.by)}")
    pad = " " * indent
    first, *others = lines
    return "".join([f"{pad}- {first}\n", *(f"{pad}  {line}\n" for line in others)])


def is_plain(text: str) -> bool:
    """Whether the text means itself without quotes, for readers that guess types as well."""
    return bool(_PLAIN.match(text)) and text.lower() not in _WORDS and not _NUMBER_LIKE.match(text)


def scalar_text(text: str) -> str:
    """One value as YAML: plain, or quoted as in JSON."""
    return text if is_plain(text) else json.dumps(text, ensure_ascii=False)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
