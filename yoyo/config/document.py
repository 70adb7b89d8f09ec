"""YAML text into a tree that knows the position of everything in it.

Built from the parser's events, not from `yaml.load` or `yaml.compose`: anchors and tags
are still visible there, scalars are still the text that was written, and nothing recurses.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from yoyo.config.mistakes import Origin, Report, quoted

MAX_BYTES = 1 << 20
MAX_DEPTH = 16  # yoyo.yaml needs 5

# What YAML 1.1 section 5.1 does not allow, and the three exotic line breaks (NEL, LS, PS,
# lone CR) by which YAML's count of lines would differ from an editor's.
_REFUSED = (
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    "|\r(?!\n)"
)

_REFUSED_ASCII = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)"

_WHY_NO_ALIAS = (
    "anchors, aliases and merge keys are refused: a value must be visible where it stands, "
    "and they can blow up a small file. Write the value out"
)


class Scalar(NamedTuple):
    """One value as written; `quoted` includes block scalars."""

    text: str
    quoted: bool
    at: Origin


class Sequence(NamedTuple):
    """A list."""

    items: list[Tree]
    at: Origin


class Mapping(NamedTuple):
    """Keys and values in file order, duplicates included."""

    pairs: list[tuple[Tree, Tree]]
    at: Origin


class Refused(NamedTuple):
    """Something that was already reported as a mistake."""

    at: Origin


Tree: TypeAlias = Scalar | Sequence | Mapping | Refused


class _Stop(Exception):
    """The rest of the text cannot be read any more; the reason is in the report."""


def read_text(path: str, label: str, report: Report) -> tuple[str | None, int]:
    """Read a file of at most MAX_BYTES as UTF-8. Returns (text, mode); None: reported."""
    start = Origin(label, 1, 1)
    try:
        # O_NONBLOCK: a FIFO without a writer must not hang the command.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        remedy = f". Make it readable: chmod u+r {label}" if error.errno == 13 else ""
        report.add(start, "", f"cannot be opened: {error.strerror}{remedy}")
        return None, 0
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            report.add(start, "", f"is a directory. Name the file in it: {label}/yoyo.yaml")
            return None, mode
        if not stat.S_ISREG(mode):
            report.add(start, "", "is not a regular file. Write the configuration into one")
            return None, mode
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        report.add(start, "", f"cannot be read: {error.strerror}")
        return None, 0
    finally:
        os.close(fd)
    return decoded(data, label, report), mode


def decoded(data: bytes, label: str, report: Report) -> str | None:
    """The text of a file's bytes; None where it is none, which is reported."""
    if len(data) > MAX_BYTES:
        report.add(Origin(label, 1, 1), "", f"is larger than {MAX_BYTES} bytes: no yoyo.yaml is")
        return None
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        at = _position(before, label)
        report.add(at, "", f"byte 0x{data[error.start]:02x} is not UTF-8. Save the file as UTF-8")
        return None
    # Compiling the whole pattern takes longer than reading a plain file.
    refused = re.search(_REFUSED_ASCII if text.isascii() else _REFUSED, text)
    if refused:
        at = _position(text[: refused.start()], label)
        char = ord(refused[0])
        report.add(at, "", f"the character U+{char:04X} is not allowed here. Remove it")
        return None
    return text


def _position(before: str, label: str) -> Origin:
    return Origin(label, before.count("\n") + 1, len(before) - before.rfind("\n"))


def parse(text: str, label: str, report: Report, *, in_file: bool = True) -> Tree | None:
    """The tree of the one document in `text`; None: unreadable or empty, and reported.

    With `in_file` off, `text` is a value from elsewhere and every position is `label` alone.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()

    def origin(mark: Any) -> Origin:
        if not in_file or mark is None:
            return Origin(label, *((1, 1) if in_file else ()))
        line = min(mark.line, len(lines) - 1)  # the end of the text is one line further
        column = mark.column if line == mark.line else len(lines[line])
        return Origin(label, line + 1, min(column, len(lines[line])) + 1)

    try:
        return _build(yaml.parse(text, Loader=loader), yaml, origin, report)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        # Only the parser's own words: its snippet of the text could hold a secret.
        problem = getattr(error, "problem", None) or "unreadable"
        at = origin(mark)
        tab = in_file and "\t" in lines[at.line - 1][: at.column]
        hint = ". YAML indents with spaces, never with tabs" if tab else ""
        report.add(at, "", f"is not YAML from here on: {quoted(str(problem))[1:-1]}{hint}")
    except _Stop:
        pass
    return None


def _build(  # noqa: PLR0912 - one branch an event, read best in one place
    events: Iterator[Any], yaml: Any, origin: Any, report: Report
) -> Tree | None:
    root: Tree | None = None
    documents = 0
    open_nodes: list[tuple[Any, list[Tree], Origin]] = []
    for event in events:
        at = origin(event.start_mark)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                report.add(at, "", "a second document begins here; only one is read. Remove it")
                raise _Stop
            continue
        tree: Tree
        if isinstance(event, yaml.AliasEvent):
            report.add(at, "", _WHY_NO_ALIAS)
            tree = Refused(at)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            _check_properties(event, at, report)
            if len(open_nodes) >= MAX_DEPTH:
                report.add(at, "", f"is nested deeper than {MAX_DEPTH} levels")
                raise _Stop
            open_nodes.append((event, [], at))
            continue
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            opened, children, at = open_nodes.pop()
            if isinstance(opened, yaml.SequenceStartEvent):
                tree = Sequence(children, at)
            else:
                tree = Mapping(list(zip(children[::2], children[1::2], strict=True)), at)
        elif isinstance(event, yaml.ScalarEvent):
            fine = _check_properties(event, at, report)
            tree = Scalar(event.value, event.style not in (None, ""), at) if fine else Refused(at)
        else:
            continue
        if open_nodes:
            open_nodes[-1][1].append(tree)
        else:
            root = tree
    if root is None:
        report.add(origin(None), "", "is empty. `yoyo init` in an empty directory writes a start")
    return root


def _check_properties(event: Any, at: Origin, report: Report) -> bool:
    if event.anchor is not None:
        report.add(at, "", _WHY_NO_ALIAS)
    if event.tag is not None:
        report.add(at, "", f"the tag {quoted(event.tag)} is refused: types come from the key alone")
    return event.anchor is None and event.tag is None
