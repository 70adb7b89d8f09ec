"""The object `caches/NAME.json` and the status of a cache as documents. Pure, strict both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NoReturn, TypeVar

from yoyo.core.model_cache import CacheInvalid, artifact_kind, parse, render
from yoyo.model.cache import (
    CacheStatus,
    Failure,
    Hydrated,
    ModelCache,
    Record,
    Request,
    Stamp,
)

SCHEMA: Final = 1
MAX_BYTES: Final = 8 * 1024 * 1024  # a document of 1 MiB, and stamps of 10 000 files

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")


class RecordInvalid(ValueError):
    """The bytes are no record; the message says why."""


def wanted(request: Request) -> str:
    """The sha256 of what staging is asked for: changes when the document asks for other bytes.

    Mirrors are no part of it: they are other ways to the same bytes.
    """
    parts = (request.kind, request.name, request.source, request.sha256 or "")
    return sha256("\0".join(parts).encode()).hexdigest()


def encode(record: Record) -> bytes:
    """JSON in UTF-8, keys sorted, a trailing newline."""
    tree = {
        "schema": SCHEMA,
        "cache": render(record.cache),
        "applied": stamp(record.applied),
        "appliedBy": record.applied_by,
        "drifted": None if record.drifted is None else stamp(record.drifted),
        "hydrated": None,
        "failure": None,
    }
    if record.hydrated is not None:
        done = record.hydrated
        tree["hydrated"] = {
            "wanted": done.wanted,
            "manifest": done.manifest,
            "refetch": done.refetch,
            "at": stamp(done.at),
            "stamps": [list(each) for each in done.stamps],
        }
    if record.failure is not None:
        failure = record.failure
        tree["failure"] = {
            "reason": failure.reason,
            "message": failure.message,
            "at": stamp(failure.at),
        }
    return (json.dumps(tree, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def decode(data: bytes) -> Record:
    """What `encode` made.

    Raises:
        RecordInvalid.
    """
    if len(data) > MAX_BYTES:
        raise RecordInvalid(f"larger than {MAX_BYTES} bytes")
    try:
        tree = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise RecordInvalid(f"not JSON: {error}"[:200]) from error
    top = _keys(
        tree, ("schema", "cache", "applied", "appliedBy", "drifted", "hydrated", "failure"), "it"
    )
    if type(top["schema"]) is not int or top["schema"] != SCHEMA:
        raise RecordInvalid("of another schema. A newer yoyo wrote it")
    try:
        cache = parse(top["cache"])
    except CacheInvalid as error:
        raise RecordInvalid(f"its document: {error}"[:500]) from error
    return Record(
        cache,
        _time(top["applied"]),
        _text(top["appliedBy"]),
        _or_none(top["hydrated"], _hydrated),
        _or_none(top["failure"], _failure),
        _or_none(top["drifted"], _time),
    )


def status_document(status: CacheStatus) -> dict[str, Any]:
    """A status for machines, in Kubernetes' names."""
    seconds = status.hydration_seconds
    return {
        "name": status.cache.name,
        "kind": artifact_kind(status.cache.kind),
        "phase": str(status.phase),
        "resolvedDigest": status.digest or None,
        "hydrationSeconds": None if seconds is None else str(seconds),
        "references": list(status.references),
        "mountPath": status.cache.mount_path,
        "conditions": [
            {
                "type": each.type,
                "status": each.status,
                "reason": each.reason,
                "message": each.message,
                "lastTransitionTime": stamp(each.since),
            }
            for each in status.conditions
        ],
    }


def document(cache: ModelCache, status: CacheStatus) -> dict[str, Any]:
    """The document with its status under it, as Kubernetes shows one."""
    return {**render(cache), "status": status_document(status)}


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC, whole seconds: 2026-11-01T12:00:00Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands there twice")
    return made


def _constant(_text: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


_T = TypeVar("_T")


def _or_none(tree: object, read: Callable[[object], _T]) -> _T | None:
    return None if tree is None else read(tree)


def _hydrated(tree: object) -> Hydrated:
    at = _keys(tree, ("wanted", "manifest", "refetch", "at", "stamps"), "hydrated")
    stamps = at["stamps"]
    if not isinstance(stamps, list) or not all(isinstance(each, list) for each in stamps):
        raise RecordInvalid("stamps: expected a list of lists")
    return Hydrated(
        _digest(at["wanted"]),
        _digest(at["manifest"]),
        _text(at["refetch"], 4096),
        _time(at["at"]),
        tuple(_stamp(each) for each in stamps),
    )


def _stamp(each: list[object]) -> Stamp:
    if len(each) != 3 or type(each[1]) is not int or not 0 <= each[1] < 2**63:
        raise RecordInvalid("a stamp: expected path, size and mark")
    return Stamp(_text(each[0], 8192), each[1], _text(each[2]))


def _failure(tree: object) -> Failure:
    at = _keys(tree, ("reason", "message", "at"), "failure")
    return Failure(_text(at["reason"]), _text(at["message"], 8192), _time(at["at"]))


def _keys(tree: object, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(tree, dict) or set(tree) != set(keys):
        raise RecordInvalid(f"{where}: expected the keys {', '.join(keys)}")
    return tree


def _text(tree: object, high: int = 1024) -> str:
    if not isinstance(tree, str) or len(tree) > high:
        raise RecordInvalid(f"expected a text of at most {high} characters")
    return tree


def _digest(tree: object) -> str:
    if not isinstance(tree, str) or not _DIGEST.match(tree):
        raise RecordInvalid("expected a sha256 in lowercase hex")
    return tree


def _time(tree: object) -> datetime:
    if not isinstance(tree, str) or not _TIME.match(tree):
        raise RecordInvalid("expected a time such as 2026-11-01T12:00:00Z")
    try:
        return datetime.strptime(tree, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise RecordInvalid(f"no time: {tree}") from error
