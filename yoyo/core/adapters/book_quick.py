"""The registry file exactly as yoyo writes it, in one pass: listing a thousand versions is common.

Each entry is one match of one pattern, so that no tree is built of 20,000 lines. Whatever looks
otherwise, and whatever is wrong, is left to the careful reader, which says what and where.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

from yoyo.core.adapters.book_fields import FIELDS, MAX_STEPS, STAGES, Wrong, read_by
from yoyo.core.adapters.book_form import SCHEMA, STACK
from yoyo.core.adapters.names import InvalidAdapter, check_id
from yoyo.core.manifest_fields import ManifestError
from yoyo.model.adapter import MAX_STACK, AdapterVersion, Change, Registered
from yoyo.model.ids import InvalidLabel

_ASIDE = r"(?: *(?:#[ -~]*)?\n)*"  # comments and empty lines
_DIGEST = r"sha256:[0-9a-f]{64}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z"
# A plain scalar of ASCII words, or a quoted one without escapes: a part of what YAML allows, with
# the meaning that YAML gives it.
_WORD = r"[0-9A-Za-z_(][0-9A-Za-z_./@+,()-]*(?::[0-9A-Za-z_./@+,()-]+)*"
_TEXT = rf'(?:{_WORD}(?: {_WORD})*|"[ !#-\[\]-~]*")'
_HEAD = re.compile(
    rf"{_ASIDE}schema: {SCHEMA}\n(?:selection:\n  mode: {STACK}\n  most: {MAX_STACK}\n)?adapters:\n"
)
_ENTRY = re.compile(
    rf"""{_ASIDE}(  - id: )([a-z0-9-]+)
    version: ([0-9A-Za-z.-]+|"[0-9A-Za-z.-]+")
    moduleId: ([a-z0-9-]+)
    ref: ([0-9A-Za-z_./:-]+@{_DIGEST})
    base: ({_DIGEST})
    data: ({_DIGEST})
(?:    tasks: \[([0-9A-Za-z-]+(?:, [0-9A-Za-z-]+)*)\]
)?    rank: ([0-9]+)
    alpha: ([0-9.]+)
    architecture: ([0-9A-Za-z._-]+)
(?:    scale: ([0-9.-]+)
)?(?:    sign_off: ({_DIGEST})
)?    stage: ([a-z_]+)
    history:
((?:      - stage: [a-z_]+
        at: {_TIME}
        by: {_TEXT}
)+)(?:    notes: ({_TEXT})
)?"""
)
_REST = re.compile(rf"{_ASIDE}\Z")
_STEP = re.compile(r"stage: (.+)\n +at: (.+)\n +by: (.+)\n")

# Values by the text that they were read from: most come again and again.
_Known = dict[tuple[str, ...], Any]


class Quick(NamedTuple):
    """An entry that keeps every rule of its own, and the line (from 1) that it begins in."""

    registered: Registered
    line: int
    stage_line: int


def read_quick(text: str) -> list[Quick] | None:
    """The entries of a file in yoyo's own form; None: something in it is otherwise, or wrong.

    What entries have to keep together, or stage and history, is not looked at.
    """
    head = _HEAD.match(text)
    if head is None:
        return None
    at, line = head.end(), text.count("\n", 0, head.end()) + 1
    found: list[Quick] = []
    known: _Known = {}
    try:
        while entry := _ENTRY.match(text, at):
            begin, stage, at = entry.start(1), entry.start(14), entry.end()
            line += text.count("\n", entry.start(), begin)
            staged = line + text.count("\n", begin, stage)
            found.append(Quick(_registered(entry, known), line, staged))
            line = staged + text.count("\n", stage, at)
    except (Wrong, InvalidAdapter, InvalidLabel, ManifestError, ValueError, KeyError):
        return None
    return found if found and _REST.match(text, at) else None


def _registered(entry: re.Match[str], known: _Known) -> Registered:
    (
        _, id_, version, module, ref, base, data, tasks, rank, alpha, architecture, scale, sign_off,
        stage, history, notes,
    ) = entry.groups("")  # fmt: skip
    whose = id_, module
    owner = known.get(whose)
    if owner is None:
        owner = FIELDS["moduleId"](module)
        check_id(id_, owner)
        known[whose] = owner
    form = base, tasks, rank, alpha, architecture, scale
    values = known.get(form)
    if values is None:
        listed = [(task, 0) for task in tasks.split(", ")] if tasks else []
        nodes = base, listed, rank, alpha, architecture, scale or "1"
        names = "base", "tasks", "rank", "alpha", "architecture", "scale"
        values = tuple(FIELDS[name](node) for name, node in zip(names, nodes, strict=True))
        known[form] = values
    steps = tuple(
        Change(STAGES[reached], datetime.fromisoformat(moment), _by(by, known))
        for reached, moment, by in _STEP.findall(history)
    )
    if len(steps) > MAX_STEPS:
        raise Wrong("has too many steps")
    adapter = AdapterVersion(
        id_, FIELDS["version"](_bare(version)), owner, values[0], data, *values[1:5]
    )
    noted = FIELDS["notes"](_bare(notes)) if notes else ""
    return Registered(
        adapter, FIELDS["ref"](ref), STAGES[stage], steps, sign_off, values[5], noted
    )  # fmt: skip


def _by(text: str, known: _Known) -> str:
    found: str | None = known.get((text,))
    if found is None:
        found = known[(text,)] = read_by(_bare(text))
    return found


def _bare(text: str) -> str:
    return text[1:-1] if text[0] == '"' else text
