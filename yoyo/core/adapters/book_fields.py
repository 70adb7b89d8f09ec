"""One value of a registry entry each: a registry file is edited by hand, so each has its rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeVar

from yoyo.core.adapters.names import check_task, check_version
from yoyo.core.manifest_fields import ManifestError
from yoyo.core.manifest_fields import text as checked_text
from yoyo.core.oci_names import InvalidReference, parse_reference
from yoyo.model.adapter import Change, Stage
from yoyo.model.ids import ModuleId

_T = TypeVar("_T")

# Far beyond any scale that still gives sense; below 0, the adapter is taken off the base.
MAX_SCALE: Final = Decimal(10)
_MAX_RANK: Final = 512  # MAX_RANK of core/adapters/lora.py, whose import would slow each command
MAX_STEPS: Final = 1000
_MAX_TASKS: Final = 64
_MAX_BY: Final = 128

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_WHOLE = re.compile(r"[1-9][0-9]{0,8}\Z")
# As far as the shortest form of a 32-bit float goes.
_SIGNED = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,20})?\Z")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,20})?\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z\Z")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
STAGES: Final = {str(stage): stage for stage in Stage}


class Wrong(ValueError):
    """A field's value breaks its rule; `line` where it is not the field's own."""

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.line = line


def shown(value: object) -> str:
    """A short, printable form of what stands there."""
    return ascii(value[:100]) if isinstance(value, str) else "a list or an object"


def _scalar(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong("is a list or an object, not one value")
    return value


def _remembered(read: Callable[[object], _T]) -> Callable[[object], _T]:
    """The same, with the work done once for text that comes again and again."""
    known = lru_cache(maxsize=256)(read)

    def again(value: object) -> _T:
        return known(value) if type(value) is str else read(value)

    return again


def _matching(pattern: re.Pattern[str], what: str, most: int = 128) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = _scalar(value)
        if len(text) > most or not pattern.match(text):
            raise Wrong(f"is {shown(text)}, not {what}")
        return text

    return read


@lru_cache(maxsize=1024)  # a registry has few repositories, and a digest for each version
def _check_place(place: str) -> None:
    if parse_reference(place).tag:
        raise Wrong("has a tag, which can move: name the digest alone")


def _ref(value: object) -> str:
    place, _, digest = _scalar(value).partition("@")
    if not _DIGEST.match(digest):
        raise Wrong(f"is {shown(value)}, not HOST/REPOSITORY@sha256:<64 hex digits>")
    try:
        _check_place(place)
    except InvalidReference as error:
        raise Wrong(f"is none: {error}") from error
    return f"{place}@{digest}"


_digest = _matching(_DIGEST, "sha256:<64 hex digits>")
_decimal = _matching(_DECIMAL, "a decimal number such as 0.5")
_signed = _matching(_SIGNED, "a decimal number such as 0.5")
_moment = _matching(_TIME, "a time such as 2026-11-02T08:15:00Z")
_whole = _matching(_WHOLE, f"a whole number from 1 to {_MAX_RANK}")


def _rank(value: object) -> int:
    found = int(_whole(value))
    if found > _MAX_RANK:
        raise Wrong(f"is {found}, not a whole number from 1 to {_MAX_RANK}")
    return found


def _alpha(value: object) -> Decimal:
    found = Decimal(_decimal(value))
    if not found:
        raise Wrong("is 0: the adapter would change nothing")
    return found


def read_scale(value: object) -> Decimal:
    """How strongly an adapter weighs in.

    Raises:
        Wrong.
    """
    found = Decimal(_signed(value))
    if not found:
        raise Wrong("is 0: the adapter would never weigh in")
    if abs(found) > MAX_SCALE:
        raise Wrong(f"is {found}, not from -{MAX_SCALE} to {MAX_SCALE}")
    return found


def _sign_off(value: object) -> str:
    return "" if value == "" else _digest(value)


def _tasks(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Wrong("is not a list; for every task leave it out")
    tasks = sorted({check_task(_scalar(task)) for task, _ in value})
    if len(tasks) != len(value):
        raise Wrong("names one task twice")
    if len(tasks) > _MAX_TASKS:
        raise Wrong(f"names {len(tasks)} tasks, at most {_MAX_TASKS}")
    return tuple(tasks)


def _stage(value: object) -> Stage:
    found = STAGES.get(_scalar(value))
    if found is None:
        raise Wrong(f"is {shown(value)}, not one of {', '.join(STAGES)}")
    return found


def _time(value: object) -> datetime:
    text = _moment(value)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Wrong(f"is {shown(text)}, which no calendar has") from None


@_remembered
def read_by(value: object) -> str:
    """Who took a step.

    Raises:
        Wrong, ManifestError.
    """
    text = checked_text(_scalar(value), "by")
    if not 0 < len(text) <= _MAX_BY:
        raise Wrong(f"is not a name of 1 to {_MAX_BY} characters")
    return text


def _notes(value: object) -> str:
    text = _scalar(value)
    checked_text(text.replace("\n", " "), "the text")
    return text


_STEP: Final[dict[str, Callable[[Any], Any]]] = {"stage": _stage, "at": _time, "by": read_by}


def _history(value: object) -> tuple[Change, ...]:
    if not isinstance(value, list) or not value:
        raise Wrong("is not a list of at least one step")
    if len(value) > MAX_STEPS:
        raise Wrong(f"has {len(value)} steps, at most {MAX_STEPS}")
    return tuple(_change(step, line) for step, line in value)


def _change(step: object, line: int) -> Change:
    if not isinstance(step, dict):
        raise Wrong("has a step that is not an object", line)
    for key in step.keys() ^ _STEP.keys():
        raise Wrong(f"has a step {'with the unknown key' if key in step else 'without'} "
                     f"{shown(key)}", line)  # fmt: skip
    try:
        return Change(_stage(step["stage"][0]), _time(step["at"][0]), read_by(step["by"][0]))
    except (Wrong, ManifestError) as error:
        raise Wrong(f"has a step whose value {error}", line) from error


FIELDS: Final[dict[str, Callable[[Any], Any]]] = {
    "id": _scalar,
    "version": _remembered(lambda value: check_version(_scalar(value))),
    "moduleId": _remembered(lambda value: ModuleId.parse(_scalar(value))),
    "ref": _ref,
    "base": _remembered(_digest),
    "data": _digest,
    "tasks": _tasks,
    "rank": _remembered(_rank),
    "alpha": _remembered(_alpha),
    "architecture": _remembered(_matching(_WORD, "an architecture's name")),
    "scale": _remembered(read_scale),
    "sign_off": _sign_off,
    "stage": _stage,
    "history": _history,
    "notes": _notes,
}
DEFAULTS: Final[dict[str, Any]] = {
    "tasks": (), "scale": Decimal(1), "sign_off": "", "notes": "",
}  # fmt: skip
