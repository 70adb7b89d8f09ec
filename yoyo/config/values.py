"""One written value into one typed value, by the kind of its key."""

from __future__ import annotations

import re
from collections.abc import Mapping as Environment
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from yoyo.config.document import Mapping, Scalar, Sequence, Tree
from yoyo.config.key import (
    DECIMAL_PATTERN,
    LABEL_PATTERN,
    NAME_PATTERN,
    SECRET_PATTERN,
    SOURCE_PATTERN,
    WORD_PATTERN,
    Key,
)
from yoyo.config.mistakes import UNSAFE, Report, nearest, quoted
from yoyo.config.schema import LIST_KINDS
from yoyo.model.ids import Secret
from yoyo.model.settings import EMBEDDED_SERVER, FROM_STORE, SMOKE_MODEL

_INTEGER = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")
_DECIMAL = re.compile(DECIMAL_PATTERN.removesuffix("$") + r"\Z")
_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,9})s)?\Z"
)
_LABEL = re.compile(LABEL_PATTERN.removesuffix("$") + r"\Z")
_WORD = re.compile(WORD_PATTERN.removesuffix("$") + r"\Z")
_SECRET = re.compile(SECRET_PATTERN.removesuffix("$") + r"\Z")

_FORMS = {"label": _LABEL, "word": _WORD, "secret": _SECRET}

_EXPECTED = {
    "text": "a text",
    "label": "1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
    "word": "a name of a-z, 0-9, '-' and '_', beginning with a letter",
    "path": "a path",
    "server": "`embedded`, a name on PATH or a path",
    "integer": "a whole number",
    "decimal": "an amount such as 0.71",
    "duration": "a duration such as 90s, 30m, 1h30m or 2d, or whole seconds",
    "flags": "a list of words such as [--threads, '4']",
    "secret": "16 to 256 of A-Z, a-z, 0-9 and . _ ~ + / = -",
}


class Wrong(Exception):
    """What is wrong with a value, ready to be reported."""


class Place(NamedTuple):
    """What relative paths and `~` stand for."""

    base: Path
    env: Environment[str, str]

    def resolve(self, text: str) -> Path:
        """An absolute path; nothing is looked up on the disk."""
        if text == "~" or text.startswith("~/"):
            home = self.env.get("HOME", "")
            if not home.startswith("/"):
                raise Wrong("begins with ~, and HOME is not set. Write the path out")
            return Path(home, text[2:])
        return self.base / text


def convert(key: Key, tree: Tree, place: Place, path: str, report: Report) -> Any:
    """The typed value, or None with the mistake reported."""
    try:
        if key.kind in LIST_KINDS:
            return _words(key, tree)
        if isinstance(tree, Mapping):
            raise Wrong(f"expected {_expected(key)}, found a mapping")
        if isinstance(tree, Sequence):
            raise Wrong(f"expected {_expected(key)}, found a list")
        if not isinstance(tree, Scalar):
            return None
        if not tree.quoted and tree.text in ("", "~", "null", "Null", "NULL"):
            raise Wrong(f"has no value: expected {_expected(key)}. Give one, or remove the key")
        return _scalar(key, tree, place)
    except Wrong as wrong:
        report.add(tree.at, path, str(wrong))
        return None


def _expected(key: Key) -> str:
    if key.kind == "choice":
        return "one of " + ", ".join(key.choices)
    if key.kind == "match":
        return key.expected
    if key.kind == "matches":
        return f"a list, each {key.expected}"
    return _EXPECTED[key.kind]


def _found(key: Key, tree: Scalar) -> Wrong:
    shown = "something else" if key.kind == "secret" else quoted(tree.text)
    return Wrong(f"expected {_expected(key)}, found {shown}")


def _scalar(key: Key, tree: Scalar, place: Place) -> Any:
    text = tree.text
    match key.kind:
        case "integer":
            if tree.quoted or not _INTEGER.match(text):
                raise _found(key, tree)
            return _bounded(key, int(text))
        case "decimal":
            if not _DECIMAL.match(text):
                raise _found(key, tree)
            return _bounded(key, Decimal(text))
        case "duration":
            return _bounded(key, _seconds(key, tree))
        case "choice":
            return _choice(key, text)
        case "label" | "word" | "secret" | "match":
            if not _fits(key, text):
                raise _found(key, tree)
            return Secret(text) if key.kind == "secret" else text
        case _:
            return _text(key, tree, place)


def _choice(key: Key, text: str) -> str:
    if text not in key.choices:
        near = nearest(text, key.choices)
        hint = f". Did you mean {near}?" if near else ""
        raise Wrong(f"expected {_expected(key)}, found {quoted(text)}{hint}")
    return text


def _fits(key: Key, text: str) -> bool:
    known = _FORMS.get(key.kind)
    if known is not None:
        return known.match(text) is not None
    # Compiled where an operator wrote a value, and not for every key at every start.
    return re.fullmatch(key.pattern.removeprefix("^").removesuffix("$"), text) is not None


def _text(key: Key, tree: Scalar, place: Place) -> Any:
    text = tree.text
    if UNSAFE.search(text):
        raise Wrong(f"{quoted(text)} holds a control character. Remove it")
    if not key.low <= len(text) <= key.high:
        raise Wrong(f"is {len(text)} characters long; {key.low} to {key.high} are allowed")
    if key.path == "engine.model":
        if text.startswith(FROM_STORE):
            return _stored(text)
        if "://" in text:
            return _address(text)
        return text if text == SMOKE_MODEL else str(place.resolve(text))
    if key.kind == "server":
        is_name = text == EMBEDDED_SERVER or "/" not in text
        return text if is_name else str(place.resolve(text))
    return place.resolve(text) if key.kind == "path" else text


def _address(text: str) -> str:
    if not re.fullmatch(SOURCE_PATTERN.strip("^$"), text):
        raise Wrong(f"expected an https://, http:// or gs:// address, found {quoted(text)}")
    return text


def _stored(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN.strip("^$"), text.removeprefix(FROM_STORE)):
        raise Wrong(f"expected store:NAME or store:NAME@VERSION, found {quoted(text)}")
    return text


def _bounded(key: Key, value: Any) -> Any:
    if key.high and not key.low <= value <= key.high:
        unit = " seconds" if key.kind == "duration" else f" {key.unit}".rstrip()
        raise Wrong(f"is {value}{unit}; {key.low} to {key.high} are allowed")
    return value


def _seconds(key: Key, tree: Scalar) -> int:
    if not tree.quoted and _INTEGER.match(tree.text):
        return int(tree.text)
    found = _DURATION.match(tree.text)
    if found is None or not any(found.groups()):
        raise _found(key, tree)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _words(key: Key, tree: Tree) -> tuple[str, ...]:
    if not isinstance(tree, Sequence):
        found = quoted(tree.text) if isinstance(tree, Scalar) else "a mapping"
        raise Wrong(f"expected {_expected(key)}, found {found}")
    words = []
    for item in tree.items:
        if not isinstance(item, Scalar) or not item.text or UNSAFE.search(item.text):
            raise Wrong("every entry is one word of the list, in quotes if need be")
        if key.pattern and not _fits(key, item.text):
            raise Wrong(f"expected {key.expected}, found {quoted(item.text)}")
        words.append(item.text)
    if len(words) > key.high:
        raise Wrong(f"has {len(words)} words; {key.high} are allowed")
    if len(words) < key.low:
        raise Wrong(f"is empty: expected {_expected(key)}")
    return tuple(words)
