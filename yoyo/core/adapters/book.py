"""The registry file's meaning: what stands in it is what may be loaded, so nothing is guessed.

The format is in docs/formats/registry.md. Files of every released schema load for ever; the
newest one is what yoyo writes.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Final, NamedTuple

from yoyo.core.adapters.book_fields import DEFAULTS, FIELDS, Wrong, shown
from yoyo.core.adapters.book_form import SCHEMA, STACK
from yoyo.core.adapters.book_quick import read_quick
from yoyo.core.adapters.book_text import MAX_BYTES, MAX_ENTRIES, BookError, Node, read_tree
from yoyo.core.adapters.names import InvalidAdapter, check_id
from yoyo.core.manifest_fields import ManifestError
from yoyo.model.adapter import MAX_STACK, AdapterBook, AdapterVersion, Registered, Stage
from yoyo.model.ids import InvalidLabel, ModuleId

__all__ = ["SCHEMA", "BookError", "Document", "migrated", "parse_book", "parse_document"]

_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")
_SIGNED_STAGES: Final = (Stage.EVAL_OK, Stage.PROMOTED)


class Document(NamedTuple):
    """A registry file, with what a writer needs to know of its text."""

    schema: int
    book: AdapterBook
    lines: tuple[int, ...]  # the line (from 1) that each entry begins in, in the book's order


def parse_book(text: str) -> AdapterBook:
    """The adapters of a registry file of any schema that was ever released.

    Raises:
        BookError: hostile, malformed, newer than this yoyo, or against a rule; with all mistakes.
    """
    return parse_document(text).book


def parse_document(text: str) -> Document:
    """The same, and where its entries begin.

    Raises:
        BookError.
    """
    return _quick(text) or _careful(text)


def _quick(text: str) -> Document | None:
    """A file in yoyo's own form and without a mistake; None: read it carefully."""
    found = read_quick(text) if len(text) <= MAX_BYTES else None
    if found is None or len(found) > MAX_ENTRIES:
        return None
    mistakes: list[str] = []
    for registered, _, line in found:
        _check_stage(registered, line, mistakes)
    _check_together([(each.registered, each.line) for each in found], mistakes)
    if mistakes:
        return None
    book = AdapterBook(tuple(each.registered for each in found))
    return Document(SCHEMA, book, tuple(each.line for each in found))


def _careful(text: str) -> Document:
    top, line = read_tree(text)
    if not isinstance(top, dict):
        raise BookError([f"line {line}: the file is not an object with `schema` and `adapters`"])
    schema = _schema(top, line)
    mistakes: list[str] = []
    known = ("schema", "adapters") if schema == 1 else ("schema", "selection", "adapters")
    for key, (_, at) in top.items():
        if key not in known:
            mistakes.append(f"line {at}: the unknown key {shown(key)}")
    if "selection" in top and schema > 1:
        _check_selection(top["selection"], mistakes)
    entries, at = top.get("adapters", ([], line))
    if "adapters" not in top or not isinstance(entries, list):
        raise BookError([*mistakes, f"line {at}: `adapters` must be a list; an empty one is []"])
    if len(entries) > MAX_ENTRIES:
        raise BookError([f"line {at}: {len(entries)} entries, at most {MAX_ENTRIES}"])
    found: list[tuple[Registered, int]] = []
    for entry in entries:
        registered = _entry(_present(entry, mistakes) if schema == 1 else entry, mistakes)
        if registered is not None:
            found.append((registered, entry[1]))
    _check_together(found, mistakes)
    if mistakes:
        raise BookError(mistakes)
    book = AdapterBook(tuple(registered for registered, _ in found))
    return Document(schema, book, tuple(number for _, number in found))


def _schema(top: dict[str, Node], line: int) -> int:
    value, at = top.get("schema", ("", line))
    if not isinstance(value, str) or not _NUMBER.match(value):
        raise BookError([f"line {at}: `schema` must be a whole number; the present one is 2"])
    if int(value) > SCHEMA:
        raise BookError(
            [f"line {at}: schema {value} is newer than this yoyo, which knows 1 to {SCHEMA}"]
        )
    return int(value)


def _check_selection(node: Node, mistakes: list[str]) -> None:
    value, line = node
    if not isinstance(value, dict):
        mistakes.append(f"line {line}: `selection` is not an object")
        return
    for key, (given, at) in value.items():
        if key == "mode" and given == "routed":
            mistakes.append(f"line {at}: mode `routed` is not in this yoyo yet; use `{STACK}`")
        elif key == "mode" and given != STACK:
            mistakes.append(f"line {at}: mode is {shown(given)}, not `{STACK}`")
        elif key == "most" and given != str(MAX_STACK):
            mistakes.append(f"line {at}: most is {shown(given)}; only {MAX_STACK} so far")
        elif key not in ("mode", "most"):
            mistakes.append(f"line {at}: the unknown key {shown(key)} of `selection`")


def migrated(entry: Node) -> Node:
    """An entry of schema 1 as one of schema 2.

    Schema 1 had no scale, and of the history only the last step: who and when.
    """
    fields, line = entry
    if not isinstance(fields, dict):
        return entry
    kept = {key: node for key, node in fields.items() if key not in ("changed_by", "changed_at")}
    for key in ("scale", "history"):
        if key in kept:  # no key of schema 1: told as unknown
            kept[f"{key} (schema 1)"] = kept.pop(key)
    step: dict[str, Node] = {
        name: fields[key]
        for name, key in (("stage", "stage"), ("at", "changed_at"), ("by", "changed_by"))
        if key in fields
    }
    kept["history"] = [(step, line)], line
    return kept, line


def _present(entry: Node, mistakes: list[str]) -> Node:
    """`migrated`, with the keys of schema 1 told by the names that they have there."""
    fields, line = entry
    if isinstance(fields, dict):
        for key in ("changed_at", "changed_by"):
            if key not in fields:
                mistakes.append(f"line {line}: the entry has no `{key}`")
        if not {"changed_at", "changed_by"} <= fields.keys():
            return {}, 0  # told
    return migrated(entry)


def _entry(node: Node, mistakes: list[str]) -> Registered | None:
    fields, line = node
    if not line:
        return None
    if not isinstance(fields, dict):
        mistakes.append(f"line {line}: an entry of `adapters` is not an object")
        return None
    before = len(mistakes)
    values: dict[str, Any] = dict(DEFAULTS)
    for key, (value, at) in fields.items():
        read = FIELDS.get(key)
        if read is None:
            mistakes.append(f"line {at}: the unknown key {shown(key)}")
            continue
        try:
            values[key] = read(value)
        except Wrong as error:
            mistakes.append(f"line {error.line or at}: {key} {error}")
        except (InvalidAdapter, InvalidLabel, ManifestError) as error:
            mistakes.append(f"line {at}: {key}: {error}")
    for key in FIELDS:
        if key not in values and key not in fields:
            mistakes.append(f"line {line}: the entry has no `{key}`")
    if len(mistakes) > before:
        return None
    try:
        check_id(values["id"], values["moduleId"])
    except InvalidAdapter as error:
        mistakes.append(f"line {fields['id'][1]}: {error}")
        return None
    registered = _registered(values)
    _check_stage(registered, fields["stage"][1], mistakes)
    return registered if len(mistakes) == before else None


def _registered(values: dict[str, Any]) -> Registered:
    version = AdapterVersion(
        values["id"], values["version"], values["moduleId"], values["base"], values["data"],
        values["tasks"], values["rank"], values["alpha"], values["architecture"],
    )  # fmt: skip
    return Registered(
        version, values["ref"], values["stage"], values["history"], values["sign_off"],
        values["scale"], values["notes"],
    )  # fmt: skip


def _check_stage(registered: Registered, line: int, mistakes: list[str]) -> None:
    stage, history = registered.stage, registered.history
    if history[-1].stage is not stage:
        mistakes.append(
            f"line {line}: stage is {stage}, and the last step of its history {history[-1].stage}"
        )
    if stage in _SIGNED_STAGES and not registered.sign_off:
        mistakes.append(f"line {line}: stage {stage} needs the evaluator's `sign_off`")
    if any(later.at < earlier.at for earlier, later in pairwise(history)):
        mistakes.append(f"line {line}: its history goes back in time")


def _check_together(found: list[tuple[Registered, int]], mistakes: list[str]) -> None:
    names: dict[str, int] = {}
    promoted: dict[str, int] = {}
    owners: dict[str, ModuleId] = {}
    for registered, line in found:
        name, id_, owner = (
            registered.adapter.name,
            registered.adapter.id,
            registered.adapter.module_id,
        )
        # `a-b-x` may be of `a` or of `a-b`; of both, a step of one would move the other's.
        if owners.setdefault(id_, owner) != owner:
            mistakes.append(f"line {line}: {id_} is of {owner}, and above of {owners[id_]}")
        if name in names:
            mistakes.append(f"line {line}: {name} stands in line {names[name]} already")
        names.setdefault(name, line)
        if registered.stage is Stage.PROMOTED:
            if id_ in promoted:
                mistakes.append(
                    f"line {line}: a second promoted version of {id_}; "
                    f"the other one stands in line {promoted[id_]}"
                )
            promoted.setdefault(id_, line)
