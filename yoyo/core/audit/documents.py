"""The audit's JSON, read so strictly that no two readers can understand it differently."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final, NoReturn

from yoyo.model.audit import HASH_BYTES

_MAX_WHOLE: Final = 10**18  # as in the ledger: 18 digits


class DocumentError(ValueError):
    """The document is not of its format; the message says where."""


def load_object(data: bytes, keys: frozenset[str]) -> dict[str, object]:
    """One JSON object in UTF-8 with exactly these keys, each of them once.

    Raises:
        DocumentError.
    """
    try:
        found = json.loads(
            data.decode(),
            object_pairs_hook=_once,
            parse_constant=_refused,
            parse_float=_refused,
            parse_int=_whole,
        )
    except DocumentError:
        raise
    except (ValueError, RecursionError):
        raise DocumentError("it is not JSON in UTF-8") from None
    return fields_of(found, keys)


def fields_of(found: object, keys: frozenset[str]) -> dict[str, object]:
    """That object's fields, if it is one with exactly these keys.

    Raises:
        DocumentError.
    """
    if not isinstance(found, dict):
        raise DocumentError("it is not a JSON object")
    if found.keys() != keys:
        odd = sorted(found.keys() ^ keys)
        raise DocumentError(f"it has no {odd[0]!a}, or should have none"[:120])
    return found


def dump_object(fields: dict[str, object]) -> bytes:
    """Sorted keys, no spaces, ASCII: the bytes follow from the content."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def text_of(fields: dict[str, object], key: str) -> str:
    """A field's text, without lone surrogates.

    Raises:
        DocumentError.
    """
    value = fields[key]
    if not isinstance(value, str):
        raise DocumentError(f"{key} is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DocumentError(f"{key} is not valid Unicode") from None
    return value


def whole_of(fields: dict[str, object], key: str, low: int = 0) -> int:
    """A field's whole number, `low` or more.

    Raises:
        DocumentError.
    """
    value = fields[key]
    # True is an int to Python, and none to anybody else.
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise DocumentError(f"{key} is not a whole number from {low}")
    return value


def hashes_of(fields: dict[str, object], key: str) -> tuple[bytes, ...]:
    """A field's list of hashes, each in base64.

    Raises:
        DocumentError.
    """
    value = fields[key]
    if not isinstance(value, list) or len(value) > 64:
        raise DocumentError(f"{key} is not a list of at most 64 hashes")
    return tuple(hash_of(each, key) for each in value)


def hash_of(value: object, what: str) -> bytes:
    """A hash in base64, in its one spelling (RFC 4648, section 4).

    Raises:
        DocumentError.
    """
    try:
        found = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != HASH_BYTES or encode_hash(found) != value:
        raise DocumentError(f"{what} is not a hash in base64")
    return found


def encode_hash(value: bytes) -> str:
    """Base64, RFC 4648, section 4."""
    return base64.b64encode(value).decode()


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DocumentError("a key is there twice")
    return found


def _refused(text: str) -> NoReturn:
    raise DocumentError(f"a number is not whole: {text[:20]}")


def _whole(text: str) -> int:
    if len(text) > 19 or abs(int(text)) >= _MAX_WHOLE:
        raise DocumentError("a number has more than 18 digits")
    return int(text)
