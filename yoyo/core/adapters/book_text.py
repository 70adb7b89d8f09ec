"""The registry file's text as a tree with lines: people edit it, and mistakes need a place.

Two readers give the same tree. The plain one knows the form in which yoyo writes the file, and
gives up at the first line that it does not know; a listing of a thousand versions then takes
hardly longer than the start of the interpreter. The other one is a YAML parser's events, where
anchors and tags are still visible and nothing recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_ENTRIES: Final = 20_000
MAX_DEPTH: Final = 8  # the format itself needs 5
# 20,000 entries with three steps of history each have 1,000,000 keys, values, lists and objects.
_MAX_NODES: Final = 2_000_000
_MAX_MISTAKES: Final = 20

# A value and the line (from 1) that it begins in. Scalars stay the text that was written: what
# type they have, the key says.
Node: TypeAlias = "tuple[str | list[Node] | dict[str, Node], int]"

_WHY_NO_ALIAS: Final = (
    "anchors, aliases and merge keys are refused: they can blow up a small file; write it out"
)


class BookError(ValueError):
    """The text is no registry file; `mistakes` has one line of text for each mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = tuple(mistakes[:_MAX_MISTAKES])
        left_out = len(mistakes) - _MAX_MISTAKES
        if left_out > 0:
            self.mistakes += (f"... and {left_out} more",)
        super().__init__("; ".join(self.mistakes))


def read_tree(text: str) -> Node:
    """The one document in `text`.

    Raises:
        BookError: not YAML; aliases, anchors, tags, a key twice; too large or too deep.
    """
    # A character has at most four bytes in UTF-8: most files need no encoding to be measured.
    if len(text) * 4 > MAX_BYTES and len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BookError([f"line 1: the file is larger than {MAX_BYTES} bytes"])
    return read_plain(text) or read_yaml(text)


# One word of a plain scalar: a colon only between other characters, and no character with a
# meaning of its own in YAML. Quoted: without escapes.
_WORD = r"[\w(][\w./@+,()-]*(?::[\w./@+,()-]+)*"
_SCALAR = re.compile(rf'(?=\w){_WORD}(?: {_WORD})*\Z|"[ !#-\[\]-~]*"\Z')
_TASKS = re.compile(r"\[[A-Za-z0-9][A-Za-z0-9-]*(?:, [A-Za-z0-9][A-Za-z0-9-]*)*\]\Z")
_COMMENT = re.compile(r" *(?:#[ -~]*)?\Z")

_TOP, _SELECTION, _ENTRY, _FIELD, _STEP, _STEP_FIELD = range(6)
_PLACES: Final = {
    **{key: (_TOP, key) for key in ("schema", "selection", "adapters")},
    **{f"  {key}": (_SELECTION, key) for key in ("mode", "most")},
    "  - id": (_ENTRY, "id"),
    **{
        f"    {key}": (_FIELD, key)
        for key in (
            "version", "moduleId", "ref", "base", "data", "tasks", "rank", "alpha",
            "architecture", "scale", "sign_off", "stage", "history", "notes",
        )
    },
    "      - stage": (_STEP, "stage"),
    **{f"        {key}": (_STEP_FIELD, key) for key in ("at", "by")},
}  # fmt: skip
_BLOCKS: Final = {(_TOP, "selection"), (_TOP, "adapters"), (_FIELD, "history")}


def read_plain(  # noqa: PLR0911, PLR0912 - one state machine, read best in one place
    text: str,
) -> Node | None:
    """The tree of a file in yoyo's own form; None: some line has another one."""
    top: dict[str, Node] = {}
    # Where a line of each place puts its value; None: there is no such place yet.
    open_maps: list[dict[str, Node] | None] = [top, None, None, None, None, None]
    open_lists: list[list[Node] | None] = [None] * 6
    waiting: tuple[dict[str, Node], int, str] | None = None  # a block without its first line
    places, scalar = _PLACES.get, _SCALAR.match
    seen: set[str] = set()  # values that were found good: most of them come again and again
    number = first = 0
    for line in text.split("\n"):
        number += 1
        head, _, value = line.partition(":")
        place = places(head)
        if place is None:
            if not _COMMENT.match(line):
                return None
            continue
        level, key = place
        if waiting is not None:
            if not _open(waiting, level, number, open_maps, open_lists):
                return None
            waiting = None
        first = first or number
        if level in (_ENTRY, _STEP):
            items = open_lists[level]
            if items is None:
                return None
            fields: dict[str, Node] = {}
            items.append((fields, number))
            open_maps[level + 1] = fields
            if level == _ENTRY:
                open_lists[_STEP] = open_maps[_STEP_FIELD] = None
        else:
            found = open_maps[level]
            if found is None or key in found:
                return None
            fields = found
            if level <= _FIELD:
                open_lists[_STEP] = open_maps[_STEP_FIELD] = None
            if level == _TOP:
                open_maps[_SELECTION] = open_lists[_ENTRY] = open_maps[_FIELD] = None
        if not value:
            if place not in _BLOCKS:
                return None
            waiting = fields, level, key
        elif key == "tasks" and _TASKS.match(value, 1) and value[0] == " ":
            fields[key] = [(task, number) for task in value[2:-1].split(", ")], number
        elif place in _BLOCKS:
            return None
        else:
            if value not in seen:
                if value[0] != " " or not scalar(value, 1):
                    return None
                seen.add(value)
            fields[key] = (value[2:-1] if value[1] == '"' else value[1:]), number
    return (top, first) if top and waiting is None else None


def _open(
    waiting: tuple[dict[str, Node], int, str], level: int, number: int,
    open_maps: list[dict[str, Node] | None], open_lists: list[list[Node] | None],
) -> bool:  # fmt: skip
    """Begin the block that the line before announced, if this line is its first one."""
    fields, _, key = waiting
    wanted = {"selection": _SELECTION, "adapters": _ENTRY, "history": _STEP}[key]
    if level != wanted:
        return False
    if wanted == _SELECTION:
        inner: dict[str, Node] = {}
        open_maps[wanted] = inner
        fields[key] = inner, number
    else:
        items: list[Node] = []
        open_lists[wanted] = items
        fields[key] = items, number
    return True


def read_yaml(text: str) -> Node:
    """The tree of any YAML text within the limits.

    Raises:
        BookError.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = _build(yaml.parse(text, Loader=loader), yaml)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or "some character is none of YAML's"
        raise _refused(mark, f"not YAML from here on: {ascii(problem)[1:-1]}") from None
    except UnicodeEncodeError:
        raise BookError(["line 1: the text holds half a character"]) from None
    if root is None:
        raise BookError(["line 1: the file is empty: it needs `schema: 2` and `adapters: []`"])
    return root


def _refused(mark: Any, why: str) -> BookError:
    line = 1 if mark is None else mark.line + 1
    return BookError([f"line {line}: {why}"])


def _build(events: Iterator[Any], yaml: Any) -> Node | None:
    root: Node | None = None
    documents = nodes = 0
    scalar, alias = yaml.ScalarEvent, yaml.AliasEvent
    begins = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
    ends = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
    open_nodes: list[tuple[Any, list[Node]]] = []
    for event in events:
        if isinstance(event, scalar):
            _check_properties(event)
            node: Node = (event.value, event.start_mark.line + 1)
        elif isinstance(event, begins):
            _check_properties(event)
            if len(open_nodes) >= MAX_DEPTH:
                raise _refused(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
            open_nodes.append((event, []))
            continue
        elif isinstance(event, ends):
            opened, children = open_nodes.pop()
            line = opened.start_mark.line + 1
            node = (children, line) if isinstance(opened, begins[0]) else _mapping(children, line)
        elif isinstance(event, alias):
            raise _refused(event.start_mark, _WHY_NO_ALIAS)
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _refused(event.start_mark, "a second document begins; only one is read")
            continue
        else:
            continue
        nodes += 1
        if nodes > _MAX_NODES:
            raise _refused(event.start_mark, f"more than {_MAX_NODES} values")
        if not open_nodes:
            root = node
            continue
        siblings = open_nodes[-1][1]
        siblings.append(node)
        if len(siblings) > MAX_ENTRIES and isinstance(open_nodes[-1][0], begins[0]):
            raise _refused(event.start_mark, f"a list of more than {MAX_ENTRIES} entries")
    return root


def _mapping(children: list[Node], line: int) -> Node:
    found: dict[str, Node] = {}
    pairs = iter(children)
    for (key, at), value in zip(pairs, pairs, strict=True):
        if not isinstance(key, str):
            raise BookError([f"line {at}: a key is a list or an object"])
        if key == "<<":
            raise BookError([f"line {at}: {_WHY_NO_ALIAS}"])
        if key in found:
            raise BookError([f"line {at}: the key {key[:100]!a} is there twice"])
        found[key] = value
    return found, line


def _check_properties(event: Any) -> None:
    if event.anchor is not None:
        raise _refused(event.start_mark, _WHY_NO_ALIAS)
    if event.tag is not None:
        raise _refused(
            event.start_mark,
            f"the tag {event.tag[:100]!a} is refused: types come from the key alone",
        )
