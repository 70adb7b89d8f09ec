"""Changing a registry file's text without touching what people wrote around it.

An entry that changes is cut out, changed by ruamel.yaml's round trip (comments, quotes and order
stay) and put back: every other line stays the very same bytes, and a file of a thousand versions
is not parsed in Python for one of them. A file in another style (in braces, or of an older
schema) goes through the round trip as a whole.
"""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Sequence
from typing import Any, Final

from yoyo.core.adapters.book import Document
from yoyo.core.adapters.book_form import EMPTY, SCHEMA, STACK, entry_text, fields_of, is_plain
from yoyo.model.adapter import MAX_STACK, Registered

__all__ = ["SCHEMA", "CannotEdit", "fresh", "rewritten", "spliced"]

_ITEM = re.compile(r"( *)- +(?=\S)")
_STEP = re.compile(r"^( *)history:[^\n]*\n(?: *(?:#[^\n]*)?\n)*( *)- +", re.MULTILINE)
_NOTHING = re.compile(r"\s*(?:#.*)?\Z")
_WIDE: Final = 1 << 20  # no line is folded


class CannotEdit(ValueError):
    """The text has a form that this way of changing it does not know."""


def fresh(changed: Sequence[Registered]) -> str:
    """A new file with those entries."""
    return EMPTY + "".join(entry_text(each) for each in changed)


def spliced(text: str, before: Document, changed: Sequence[Registered]) -> str:
    """The text with only the lines of the changed entries changed.

    Raises:
        CannotEdit: the entries are no list of one item below the other.
    """
    lines = text.split("\n")
    starts = [number - 1 for number in before.lines]
    if not starts or starts != sorted(set(starts)) or "\r" in text:
        raise CannotEdit("the entries do not stand one below the other")
    column = _column(lines[starts[0]])
    by_name = {each.adapter.name: each for each in changed}
    added = [each for name, each in by_name.items() if before.book.find(name) is None]
    ends = [_end(lines, at, column) for at in starts]
    new = "".join(entry_text(each, column) for each in added).rstrip("\n")
    if new:
        lines.insert(ends[-1], new)
    places = list(zip(before.book.adapters, starts, ends, strict=True))
    for entry, start, end in reversed(places):
        wanted = by_name.get(entry.adapter.name)
        if wanted is not None:
            lines[start:end] = _block(lines[start:end], wanted)
    result = "\n".join(lines)
    return result if result.endswith("\n") else result + "\n"


def _column(line: str) -> int:
    found = _ITEM.match(line)
    if found is None:
        raise CannotEdit("the entries do not begin with a dash each")
    return len(found[1])


def _end(lines: list[str], start: int, column: int) -> int:
    """Behind the last line of an entry; blank lines and comments after it are not its own."""
    if _column(lines[start]) != column:
        raise CannotEdit("the entries are not indented alike")
    end = start + 1
    for at in range(start + 1, len(lines)):
        line = lines[at]
        if _NOTHING.match(line):
            continue
        if len(line) - len(line.lstrip(" ")) <= column:
            break
        end = at + 1
    return end


def _block(lines: list[str], wanted: Registered) -> list[str]:
    """An entry's lines after its change; its fields go through the round trip by themselves."""
    found = _ITEM.match(lines[0])
    if found is None:
        raise CannotEdit("an entry does not begin with a dash")
    head = found[0]
    width = len(head)
    inner = [lines[0][width:]]
    for line in lines[1:]:
        if line[:width].strip(" ") and not _NOTHING.match(line):
            raise CannotEdit("an entry's lines are not indented alike")
        inner.append(line[width:] if not line[:width].strip(" ") else line.lstrip(" "))
    text = "\n".join(inner) + "\n"
    yaml = _round_trip(text)
    entry = _loaded(yaml, text)
    if not isinstance(entry, dict):
        raise CannotEdit("an entry does not stand for itself")
    _update(entry, wanted)
    first, *others = _dumped(yaml, entry).rstrip("\n").split("\n")
    return [head + first, *(f"{' ' * width}{line}" if line else "" for line in others)]


def rewritten(text: str, wanted: Sequence[Registered]) -> str:
    """The whole text by the round trip, as the newest schema, with all of the wanted entries.

    Raises:
        CannotEdit: the round trip cannot read it.
    """
    yaml = _round_trip(text)
    document: Any = _loaded(yaml, text)
    if not hasattr(document, "insert") or not isinstance(document.get("adapters"), list):
        raise CannotEdit("there is no list of adapters")
    if document.get("schema") != str(SCHEMA):
        document["schema"] = str(SCHEMA)
        document.insert(1, "selection", _map({"mode": STACK, "most": str(MAX_STACK)}))
    entries = document["adapters"]
    if not entries:
        entries.fa.set_block_style()  # `[]` becomes one item below the other
    there = {f"{each.get('id')}@{each.get('version')}": each for each in entries}
    for each in wanted:
        entry = there.get(each.adapter.name)
        if entry is None:
            entries.append(_map(_plain(each)))
        else:
            _update(entry, each)
    return _dumped(yaml, document)


def _update(entry: Any, wanted: Registered) -> None:
    """Set what differs; whatever says the same already stays as it was written."""
    fields = _plain(wanted)
    if "changed_at" in entry or "changed_by" in entry:
        _migrate(entry, fields["history"][0])
    for key in [key for key in entry if key not in fields and entry[key]]:
        entry[key] = [] if key == "tasks" else _text("")
    for key, value in fields.items():
        if key == "history" and isinstance(entry.get(key), list):
            _grow(entry[key], value)
        elif not _same(key, entry.get(key), value):
            entry[key] = value


def _same(key: str, there: Any, value: Any) -> bool:
    if there is None:
        return key == "scale" and value == "1"  # what an entry without a scale has
    return bool(sorted(there) == sorted(value)) if key == "tasks" else bool(there == value)


def _migrate(entry: Any, step: Any) -> None:
    """Schema 1's last step becomes the history, with the comments that stood at it."""
    old = [key for key in entry if key in ("changed_at", "changed_by")]
    place = list(entry).index(old[0])
    moved = _map({"stage": step["stage"]})
    for key in old:
        moved[key.removeprefix("changed_")] = entry[key]
        if key in entry.ca.items:
            moved.ca.items[key.removeprefix("changed_")] = entry.ca.items[key]
        del entry[key]
    entry.insert(place, "history", _list([moved]))


def _grow(history: Any, wanted: list[Any]) -> None:
    """Append the steps that are new; a comment behind the list stays behind the list."""
    for step in wanted[len(history) :]:
        last = history[-1]
        # In braces after braces: a block after them, and a comment, would lose its line break.
        braces = hasattr(last, "fa") and bool(last.fa.flow_style())
        tail = _take_tail(history.ca, len(history) - 1) if braces else _take_tail(
            last.ca, list(last)[-1])  # fmt: skip
        new = _map(dict(step))
        history.append(new)
        if braces:
            new.fa.set_flow_style()
        if tail is not None and braces:
            history.ca.items[len(history) - 1] = [tail, None, None, None]
        elif tail is not None:
            new.ca.items[list(new)[-1]] = [None, None, tail, None]


def _take_tail(comments: Any, key: Any) -> Any:
    """Cut the comment lines below a value off it; ruamel.yaml keeps them at the value."""
    tokens = comments.items.get(key) or []
    token: Any = next((each for each in tokens if each is not None), None)
    if not isinstance(getattr(token, "value", None), str):
        return None
    own, newline, below = token.value.partition("\n")
    if not below.strip():
        return None
    tail = copy.copy(token)
    tail.value = newline + below
    if own:
        token.value = own + newline
    else:
        del comments.items[key]
    return tail


def _plain(wanted: Registered) -> dict[str, Any]:
    """An entry's fields, as the round trip writes them."""
    fields: dict[str, Any] = {}
    for key, value in fields_of(wanted).items():
        if isinstance(value, str):
            fields[key] = value if key in ("rank", "alpha", "scale") else _text(value)
        elif key == "tasks":
            fields[key] = _list([_text(str(task)) for task in value])
            fields[key].fa.set_flow_style()
        else:
            fields[key] = _list(
                [
                    _map({**step, "by": _text(step["by"])})
                    for step in value
                    if isinstance(step, dict)
                ]
            )
    return fields


def _text(value: str) -> Any:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    return value if is_plain(value) else DoubleQuotedScalarString(value)


def _map(fields: dict[str, Any]) -> Any:
    from ruamel.yaml.comments import CommentedMap

    return CommentedMap(fields)


def _list(items: list[Any]) -> Any:
    from ruamel.yaml.comments import CommentedSeq

    return CommentedSeq(items)


def _round_trip(text: str) -> Any:
    """ruamel.yaml as it has to be for this text: types are the key's, never guessed."""
    from ruamel.yaml import YAML
    from ruamel.yaml.resolver import VersionedResolver

    class Untyped(VersionedResolver):
        @property
        def versioned_resolver(self) -> dict[str, Any]:
            """No text means a number, a time or nothing."""
            return {}

    yaml = YAML()
    yaml.Resolver = Untyped
    yaml.preserve_quotes = True
    yaml.width = _WIDE
    step = _STEP.search(text)
    offset = max(0, len(step[2]) - len(step[1])) if step else 2
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    return yaml


def _loaded(yaml: Any, text: str) -> Any:
    from ruamel.yaml.error import YAMLError

    try:
        return yaml.load(text)
    except (YAMLError, ValueError) as error:
        raise CannotEdit(f"ruamel.yaml cannot read it: {type(error).__name__}") from error


def _dumped(yaml: Any, document: Any) -> str:
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()
