"""The one form of an in-toto statement, and the strict reading of its fields. Pure.

Sources: in-toto/attestation spec/v1/statement.md, resource_descriptor.md, digest_set.md and
field_types.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from yoyo.core.manifest_fields import ManifestError, parsed, shown, text
from yoyo.model.signing import MAX_BUNDLE_BYTES, STATEMENT_TYPE

MAX_STATEMENT_BYTES: Final = MAX_BUNDLE_BYTES // 2  # a bundle holds it in base64, and more
MAX_DEPTH: Final = 16  # ours have 6
MAX_ENTRIES: Final = 1024  # of one list or object
DESCRIPTOR_KEYS: Final = (
    "name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations",
)  # fmt: skip

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
# field_types.md, "Timestamp": RFC 3339 in UTC, with Z.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z\Z")

_P = ParamSpec("_P")
_R = TypeVar("_R")


class StatementError(ValueError):
    """No statement, or one that breaks a rule; the text says which."""


class Statement(NamedTuple):
    """An in-toto Statement v1."""

    predicate_type: str
    subjects: tuple[tuple[str, str], ...]  # name ("": none), sha256:<hex>
    predicate: dict[str, object]


def strict(read: Callable[_P, _R]) -> Callable[_P, _R]:
    """The shared field checks raise ManifestError; here it is a statement that is wrong."""

    @wraps(read)
    def told(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return read(*args, **kwargs)
        except ManifestError as error:
            raise StatementError(str(error)) from error

    return told


@strict
def read_statement(payload: bytes) -> Statement:
    """A statement of any predicate type; the predicate itself is read by the others.

    Raises:
        StatementError: too large or deep, a key twice, a key that the specification has not,
            another `_type`, no subject, or one without a sha256.
    """
    if len(payload) > MAX_STATEMENT_BYTES:
        raise StatementError(f"it has {len(payload)} bytes, at most {MAX_STATEMENT_BYTES}")
    document = parsed(payload, "a statement")
    _check_depth(document)
    fields = an_object(document, ("_type", "subject", "predicateType"), ("predicate",), "it")
    if fields["_type"] != STATEMENT_TYPE:
        raise StatementError(f"its _type is {shown(fields['_type'])}, not {STATEMENT_TYPE}")
    subjects = a_list(fields["subject"], "subject")
    if not subjects:
        raise StatementError("it has no subject")
    return Statement(
        predicate_type=filled(fields["predicateType"], "predicateType"),
        subjects=tuple(_subject(each) for each in subjects),
        predicate=a_mapping(fields.get("predicate", {}), "predicate"),
    )


def statement_bytes(
    predicate_type: str,
    subjects: Sequence[tuple[str, str]],  # name, sha256:<hex>
    predicate: Mapping[str, object],
) -> bytes:
    """The statement in its one form: UTF-8, keys sorted, no spaces.

    Raises:
        StatementError: one that `read_statement` would refuse.
    """
    document = {
        "_type": STATEMENT_TYPE,
        "predicate": predicate,
        "predicateType": predicate_type,
        "subject": [descriptor(name, "", digest) for name, digest in subjects],
    }
    try:
        payload = json.dumps(
            document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        ).encode()
    except ValueError as error:
        raise StatementError("a text in it has no UTF-8") from error
    read_statement(payload)
    return payload


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC, to the second.

    Raises:
        StatementError: a time without its zone.
    """
    if at.tzinfo is None:
        raise StatementError("a time has no zone")
    try:
        found = at.astimezone(UTC)
    except OverflowError as error:
        raise StatementError("a time is out of all range") from error
    return found.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def digest_set(digest: str) -> dict[str, str]:
    """sha256:<hex> as a DigestSet.

    Raises:
        StatementError: it is none.
    """
    if not _DIGEST.match(digest):
        raise StatementError(f"{shown(digest)} is not sha256: and 64 hexadecimal digits")
    return {"sha256": digest.partition(":")[2]}


def descriptor(name: str, uri: str, digest: str) -> dict[str, object]:
    """A ResourceDescriptor of what is not empty; `digest` is sha256:<hex>.

    Raises:
        StatementError: `digest` is no sha256.
    """
    found: dict[str, object] = {"digest": digest_set(digest)} if digest else {}
    if name:
        found["name"] = name
    if uri:
        found["uri"] = uri
    return found


def a_time(value: object, what: str) -> datetime:
    """A time in UTC.

    Raises:
        StatementError.
    """
    if isinstance(value, str) and _TIME.match(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass  # the 31st of February
    raise StatementError(f"{what} is {shown(value)}, not a time in UTC")


def sha256_of(value: object, *, needed: bool = True) -> str:
    """sha256:<hex> of a DigestSet; other algorithms are ignored. "": there is none, nor needed.

    Raises:
        StatementError.
    """
    digests = a_mapping(value, "digest")
    if "sha256" not in digests and not needed:
        return ""
    found = digests.get("sha256")
    if not (isinstance(found, str) and _HEX.match(found)):
        raise StatementError(f"a digest's sha256 is {shown(found)}, not 64 hexadecimal digits")
    return f"sha256:{found}"


def an_object(
    value: object, required: tuple[str, ...], optional: tuple[str, ...], what: str
) -> dict[str, Any]:
    """The object with those keys and no others.

    Raises:
        StatementError.
    """
    found = a_mapping(value, what)
    for key in required:
        if key not in found:
            raise StatementError(f"{what} has no {key}")
    for key in found:
        if key not in required and key not in optional:
            raise StatementError(f"{what} has the unknown key {shown(key)}")
    return found


def a_mapping(value: object, what: str) -> dict[str, Any]:
    """An object of at most MAX_ENTRIES.

    Raises:
        StatementError.
    """
    if not isinstance(value, dict):
        raise StatementError(f"{what} is not an object")
    if len(value) > MAX_ENTRIES:
        raise StatementError(f"{what} has {len(value)} entries, at most {MAX_ENTRIES}")
    return value


def a_list(value: object, what: str) -> list[Any]:
    """A list of at most MAX_ENTRIES.

    Raises:
        StatementError.
    """
    if not isinstance(value, list):
        raise StatementError(f"{what} is not a list")
    if len(value) > MAX_ENTRIES:
        raise StatementError(f"{what} has {len(value)} entries, at most {MAX_ENTRIES}")
    return value


def filled(value: object, what: str) -> str:
    """Text that is not empty.

    Raises:
        StatementError.
    """
    found = text(value, what)
    if not found:
        raise StatementError(f"{what} is empty")
    return found


def _subject(value: object) -> tuple[str, str]:
    fields = an_object(value, ("digest",), DESCRIPTOR_KEYS, "a subject")
    return text(fields.get("name", ""), "a subject's name"), sha256_of(fields["digest"])


def _check_depth(document: object) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise StatementError(f"it is more than {MAX_DEPTH} levels deep")
