"""Fields of a manifest's document: the checks that every one of them passes."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

MAX_FIELD_CHARS: Final = 4096  # a URL's usual limit; everything else is far shorter
MAX_INTEGER: Final = 2**63 - 1

# Controls, the line and paragraph separators, and what turns the direction of writing around:
# they would let one text look like another one on a terminal. Surrogates have no UTF-8.
_UNFIT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class ManifestError(ValueError):
    """The document is no manifest, or the manifest breaks a rule; the text says which."""


def shown(value: object) -> str:
    """A short, printable form of something hostile."""
    if not isinstance(value, str):
        return f"something of type {type(value).__name__}"  # it may be as deep as it likes
    return ascii(value[:100])


def parsed(data: bytes, what: str) -> object:
    """A JSON document: each key once, whole numbers alone.

    Raises:
        ManifestError.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ManifestError("a key is there twice")
        return fields

    def refused(constant: str) -> NoReturn:
        raise ManifestError(f"{constant} is no number of {what}")

    try:
        found: object = json.loads(
            data.decode("utf-8"), object_pairs_hook=once, parse_constant=refused,
            parse_float=refused,
        )  # fmt: skip
    except ManifestError:
        raise
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"not a JSON document: {type(error).__name__}") from error
    return found


def exact_keys(value: object, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    """The object with exactly those keys.

    Raises:
        ManifestError.
    """
    if not isinstance(value, dict):
        raise ManifestError(f"{what} is not an object")
    for key in keys:
        if key not in value:
            raise ManifestError(f"{what} has no {key}")
    for key in value:
        if key not in keys:
            raise ManifestError(f"{what} has the unknown key {shown(key)}")
    return value


def text(value: object, what: str) -> str:
    """A string of at most MAX_FIELD_CHARS without control characters.

    Raises:
        ManifestError.
    """
    if type(value) is not str:
        raise ManifestError(f"{what} is not text")
    if len(value) > MAX_FIELD_CHARS:
        raise ManifestError(f"{what} has {len(value)} characters, at most {MAX_FIELD_CHARS}")
    if _UNFIT.search(value):
        raise ManifestError(f"{what} holds a control character")
    return value


def cleaned(value: str) -> str:
    """The same text with U+FFFD for every character that `text` refuses."""
    return _UNFIT.sub("\ufffd", value)


def integer(value: object, what: str, limit: int = MAX_INTEGER) -> int:
    """A whole number from 0 to `limit`.

    Raises:
        ManifestError.
    """
    if type(value) is not int or not 0 <= value <= limit:
        raise ManifestError(f"{what} is not a whole number from 0 to {limit}")
    return value
