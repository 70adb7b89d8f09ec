"""Reading ModelCache documents: YAML or JSON, one or more, from a file or from stdin."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

from yoyo.config.document import MAX_BYTES, Mapping, Scalar, Sequence, Tree, decoded, parse
from yoyo.config.mistakes import MOST_MISTAKES, Mistake, Origin, Report, TooMany, printable
from yoyo.core.model_cache import CacheInvalid
from yoyo.core.model_cache import Path as KeyPath
from yoyo.core.model_cache import parse as parse_cache
from yoyo.errors import ManifestInvalid
from yoyo.model.cache import ModelCache

STDIN: Final = "-"
MAX_DOCUMENTS: Final = 64

# YAML 1.2, 9.1: at the begin of a line `---` ends a document wherever it stands, in a block
# scalar too, so that lines can be told apart without a parser.
_MARKER: Final = re.compile(r"---(?=[ \t\r]|$)")
_BLANK: Final = re.compile(r"\s*(#.*)?")

# The core schema of YAML 1.2 (10.3.2), the plain scalars that are no text.
_NULL: Final = re.compile(r"(null|Null|NULL|~|)\Z")
_BOOL: Final = re.compile(r"(true|True|TRUE|false|False|FALSE)\Z")
_NUMBER: Final = re.compile(
    r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
)

_Positions: TypeAlias = dict[KeyPath, Origin]


def load_caches(*files: str, stdin: BinaryIO | None = None) -> tuple[ModelCache, ...]:
    """The documents of these files, of stdin for `-`, in their order.

    Raises:
        ManifestInvalid: with every mistake as a line of `details`.
    """
    caches = [cache for file in files for cache in _load(file, stdin)]
    names = [cache.name for cache in caches]
    for name in names:
        if names.count(name) > 1:
            raise ManifestInvalid(
                f"Two documents are called {name}.",
                why="Nothing was applied.",
                fix="Give one of them another name.",
            )
    return tuple(caches)


def _load(file: str, stdin: BinaryIO | None) -> tuple[ModelCache, ...]:
    label = "stdin" if file == STDIN else printable(file)
    report = Report()
    caches: tuple[ModelCache, ...] = ()
    try:
        text = _text(file, label, report, stdin)
        if text is not None:
            caches = _documents(text, label, report)
    except TooMany:
        pass
    if report.mistakes:
        raise _invalid(label, report.mistakes)
    return caches


def _invalid(label: str, mistakes: list[Mistake]) -> ManifestInvalid:
    count = min(len(mistakes), MOST_MISTAKES)
    ordered = sorted(mistakes, key=lambda each: (each.line == 0, each.line, each.column))
    return ManifestInvalid(
        f"{label} has {count} mistake{'' if count == 1 else 's'}.",
        why="Nothing was applied.",
        fix="Correct the lines above; `yoyo weights schema` prints the form.",
        details=tuple(str(each) for each in ordered),
    )


def _text(file: str, label: str, report: Report, stdin: BinaryIO | None) -> str | None:
    start = Origin(label, 1, 1)
    try:
        if file == STDIN:
            data = (stdin or sys.stdin.buffer).read(MAX_BYTES + 1)
        elif not stat.S_ISREG(Path(file).stat().st_mode):
            report.add(start, "", "is not a regular file. `-f -` reads from stdin")
            return None
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path"
        report.add(start, "", f"cannot be read: {reason}")
        return None
    if len(data) > MAX_BYTES:
        report.add(start, "", f"is larger than {MAX_BYTES} bytes. Split it, or give addresses")
        return None
    return decoded(data, label, report)


def _documents(text: str, label: str, report: Report) -> tuple[ModelCache, ...]:
    caches: dict[str, ModelCache] = {}
    count = 0
    for before, piece in _pieces(text):
        count += 1
        if count > MAX_DOCUMENTS:
            at = Origin(label, before + 1, 1)
            report.add(at, "", f"has more than {MAX_DOCUMENTS} documents. Split the file")
            break
        cache = _document("\n" * before + piece, label, report)
        if cache is None:
            continue
        if cache.name in caches:
            at = Origin(label, before + 1, 1)
            report.add(at, "metadata.name", f"a document before has the name {cache.name} too")
        caches[cache.name] = cache
    if not count:
        report.add(Origin(label, 1, 1), "", "has no document in it")
    return tuple(caches.values())


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Each document that is not blank, with the number of lines before it."""
    lines = text.split("\n")
    starts = [0, *(n for n, line in enumerate(lines) if n and _MARKER.match(line)), len(lines)]
    for start, end in pairwise(starts):
        piece = lines[start:end]
        first = _MARKER.sub("", piece[0], count=1) if piece else ""
        if all(_BLANK.fullmatch(line) for line in (first, *piece[1:])):
            continue
        yield start, "\n".join(piece) + ("\n" if end < len(lines) else "")


def _document(text: str, label: str, report: Report) -> ModelCache | None:
    known = len(report.mistakes)
    tree = parse(text, label, report)
    if tree is None:
        return None
    positions: _Positions = {}
    plain = _plain(tree, (), positions, report)
    if len(report.mistakes) > known:
        return None
    try:
        return parse_cache(plain)
    except CacheInvalid as error:
        for mistake in error.mistakes:
            report.add(_nearest(positions, mistake.path), mistake.key, mistake.message)
    return None


def _nearest(positions: _Positions, path: KeyPath) -> Origin:
    """Where it is written, or the innermost thing around it."""
    while path not in positions:
        path = path[:-1]
    return positions[path]


def _plain(tree: Tree, path: KeyPath, positions: _Positions, report: Report) -> Any:
    """Plain values; what they are in YAML 1.2 decides. Depth is bounded by the parser."""
    positions[path] = tree.at
    match tree:
        case Scalar():
            return _value(tree)
        case Sequence():
            return [
                _plain(item, (*path, n), positions, report) for n, item in enumerate(tree.items)
            ]
        case Mapping():
            return _mapping(tree, path, positions, report)
    return None


def _mapping(tree: Mapping, path: KeyPath, positions: _Positions, report: Report) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in tree.pairs:
        if not isinstance(key, Scalar):
            report.add(key.at, "", "a key has to be a word")
            continue
        if key.text in made:
            report.add(key.at, printable(key.text), "stands here twice. Remove one")
            continue
        made[key.text] = _plain(value, (*path, key.text), positions, report)
    return made


def _value(scalar: Scalar) -> str | bool | float | None:
    """A number is only told from a text here: no field is one."""
    is_a: Callable[[re.Pattern[str]], bool] = lambda form: form.match(scalar.text) is not None  # noqa: E731
    if scalar.quoted:
        return scalar.text
    if is_a(_NULL):
        return None
    if is_a(_BOOL):
        return scalar.text.lower() == "true"
    return 0.0 if is_a(_NUMBER) else scalar.text
