"""The manifest's document: one form only, so that its sha256 names it and a shell can read it.

`docs/formats/store.md` is the format. What comes from the store is hostile until proven
otherwise: every limit is checked here, on the way in and on the way out, so that nothing is
written which would not be read again. No I/O.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NoReturn

from yoyo.core import manifest_facts
from yoyo.core.manifest_fields import (
    MAX_FIELD_CHARS,
    ManifestError,
    exact_keys,
    integer,
    parsed,
    shown,
    text,
)
from yoyo.model.store import (
    CHUNK_BYTES,
    ENGINE,
    KINDS,
    WEIGHTS,
    Manifest,
    Source,
    StoredFile,
)

__all__ = [
    "NAME_PATTERN", "SCHEMA", "ManifestError", "check_name", "check_path", "decode", "digest",
    "encode", "same_bytes",
]  # fmt: skip

SCHEMA: Final = 1
NAME_PATTERN: Final = "^[a-z0-9]([a-z0-9._-]{0,62})(@[a-z0-9][a-z0-9._-]{0,31})?$"
MAX_FILES: Final = 10_000
MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
# Commas. The digests of so large a document are under a million; what is parsed of a hostile one
# takes ten times its size, so that it is bounded before it is parsed.
MAX_VALUES: Final = 1 << 21
# The largest object that Cloud Storage takes (its page "Quotas and limits", 2026-11).
MAX_FILE_BYTES: Final = 5 * 2**40
MAX_PART_BYTES: Final = 255  # NAME_MAX of Linux's file systems
MAX_PATH_BYTES: Final = 1024  # the longest object name of Cloud Storage

_TOP = ("created", "created_by", "engine", "files", "kind", "licence", "model", "name", "schema",
        "source")  # fmt: skip
_FILE = ("chunks", "media_type", "path", "sha256", "size")
_EMPTY = sha256(b"").hexdigest()
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z\Z", re.ASCII)
# RFC 6838, 4.2, in lower case and without parameters.
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z")
_PARTIAL = ".part"


def encode(manifest: Manifest) -> bytes:
    """The one document of that manifest.

    Raises:
        ManifestError: it breaks a rule of the format; `decode` would refuse it.
    """
    _check(manifest)
    document = {
        "created": manifest.created.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"),
        "created_by": manifest.created_by,
        "engine": None if manifest.engine is None else manifest_facts.engine_out(manifest.engine),
        "files": [file._asdict() for file in manifest.files],
        "kind": manifest.kind,
        "licence": manifest.licence,
        "model": None if manifest.model is None else manifest_facts.model_out(manifest.model),
        "name": manifest.name,
        "schema": SCHEMA,
        "source": manifest.source._asdict(),
    }
    written = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
    data = written.encode() + b"\n"
    _check_size(data)
    return data


def decode(data: bytes) -> Manifest:
    """The manifest of a document.

    Raises:
        ManifestError: it is not one, or not in the one form that `encode` gives it.
    """
    _check_size(data)
    fields = exact_keys(parsed(data, "a manifest"), _TOP, "the manifest")
    if type(fields["schema"]) is not int or fields["schema"] != SCHEMA:
        raise ManifestError(f"schema {shown(fields['schema'])}, this version reads {SCHEMA}")
    if not isinstance(fields["files"], list) or len(fields["files"]) > MAX_FILES:
        raise ManifestError(f"files is not a list of at most {MAX_FILES}")
    source = exact_keys(fields["source"], Source._fields, "source")
    manifest = Manifest(
        kind=text(fields["kind"], "kind"),
        name=text(fields["name"], "name"),
        files=tuple(_file(entry) for entry in fields["files"]),
        source=Source(text(source["url"], "source.url"), text(source["revision"], "revision")),
        licence=text(fields["licence"], "licence"),
        created=_time(fields["created"]),
        created_by=text(fields["created_by"], "created_by"),
        model=None if fields["model"] is None else manifest_facts.model_in(fields["model"]),
        engine=None if fields["engine"] is None else manifest_facts.engine_in(fields["engine"]),
    )
    if encode(manifest) != data:
        raise ManifestError("not written in the one form that a manifest has")
    return manifest


def digest(manifest: Manifest) -> str:
    """The sha256 of its document, in lowercase hex.

    Raises:
        ManifestError.
    """
    return sha256(encode(manifest)).hexdigest()


def same_bytes(a: Manifest, b: Manifest) -> bool:
    """Whether both hold the same files with the same content, whatever else they say."""

    def held(manifest: Manifest) -> set[tuple[str, int, str]]:
        return {(file.path, file.size, file.sha256) for file in manifest.files}

    return held(a) == held(b)


def check_name(name: str) -> str:
    """Give the name back if it is NAME or NAME@VERSION.

    Raises:
        ManifestError.
    """
    if not _NAME.match(name):
        raise ManifestError(
            f"{shown(name)} is no name: lower case letters, digits, '.', '_' and '-', at most 63,"
            " then perhaps '@' and a version"
        )
    return name


def check_path(path: str) -> str:
    """Give the path back if a file may be written there, relative to its set's own directory.

    Raises:
        ManifestError.
    """

    def refuse(why: str) -> NoReturn:
        raise ManifestError(f"unsafe path {shown(path)}: {why}")

    text(path, "path")
    if '"' in path or "\\" in path:
        refuse("it holds a quotation mark or a backslash")
    if len(path.encode()) > MAX_PATH_BYTES:
        refuse(f"longer than {MAX_PATH_BYTES} bytes")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            refuse("it is not relative, or a part of it is empty, '.' or '..'")
        if part.startswith("-"):
            refuse("a part of it begins with '-' and would be read as an option")
        if len(part.encode()) > MAX_PART_BYTES:
            refuse(f"a part of it is longer than {MAX_PART_BYTES} bytes")
    return path


def _check_size(data: bytes) -> None:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ManifestError(f"a document of {len(data)} bytes, at most {MAX_DOCUMENT_BYTES}")
    if data.count(b",") > MAX_VALUES:
        raise ManifestError(f"a document with more than {MAX_VALUES} commas")


def _file(entry: object) -> StoredFile:
    fields = exact_keys(entry, _FILE, "a file")
    chunks = fields["chunks"]
    if not isinstance(chunks, list):
        raise ManifestError("chunks is not a list")
    return StoredFile(
        path=text(fields["path"], "path"),
        size=integer(fields["size"], "size", MAX_FILE_BYTES),
        sha256=text(fields["sha256"], "sha256"),
        chunks=tuple(text(chunk, "a chunk") for chunk in chunks),
        media_type=text(fields["media_type"], "media_type"),
    )


def _time(value: object) -> datetime:
    parts = _TIME.match(text(value, "created"))
    if parts is None:
        raise ManifestError("created is not a time such as 2026-11-01T12:00:00Z")
    try:
        return datetime(*map(int, parts.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError as error:
        raise ManifestError(f"created is no time: {error}") from error


def _check(manifest: Manifest) -> None:
    if manifest.kind not in KINDS:
        raise ManifestError(f"the kind {shown(manifest.kind)} is none of {', '.join(KINDS)}")
    check_name(manifest.name)
    if manifest.created.utcoffset() or manifest.created.tzinfo is None:
        raise ManifestError("created is not in UTC")
    if manifest.created.microsecond:
        raise ManifestError("created is not in whole seconds")
    for what in ("created_by", "licence"):
        text(getattr(manifest, what), what)
    text(manifest.source.url, "source.url")
    text(manifest.source.revision, "source.revision")
    _check_files(manifest.files)
    if (manifest.engine is not None) != (manifest.kind == ENGINE):
        raise ManifestError("the kind engine says what it was built from, and no other kind does")
    if manifest.engine is not None:
        manifest_facts.check_engine(manifest.engine)
    if manifest.model is not None:
        if manifest.kind != WEIGHTS:
            raise ManifestError("facts about a model belong to the kind weights")
        if all(file.path != manifest.model.path for file in manifest.files):
            raise ManifestError(f"the model's file {shown(manifest.model.path)} is not in the set")
        manifest_facts.check_model(manifest.model)


def _check_files(files: tuple[StoredFile, ...]) -> None:
    if not 0 < len(files) <= MAX_FILES:
        raise ManifestError(f"{len(files)} files, from 1 to {MAX_FILES} are allowed")
    contents: dict[str, tuple[int, tuple[str, ...]]] = {}
    for file in files:
        check_path(file.path)
        _check_content(file)
        if contents.setdefault(file.sha256, (file.size, file.chunks)) != (file.size, file.chunks):
            raise ManifestError(f"two sizes or lists of chunks for one digest {file.sha256}")
    paths = [file.path for file in files]
    if sorted(paths) != paths:
        raise ManifestError("the files are not in the order of their paths")
    taken = set(paths)
    if len(taken) != len(paths):
        raise ManifestError("a path is there twice")
    for path in paths:
        at = path.rfind("/")
        while at > 0:
            if path[:at] in taken:
                raise ManifestError(f"{shown(path[:at])} is a file and a folder")
            at = path.rfind("/", 0, at)
        # Files are fetched under that name and renamed.
        if path + _PARTIAL in taken:
            raise ManifestError(f"{shown(path + _PARTIAL)} would be overwritten by {shown(path)}")


def _check_content(file: StoredFile) -> None:
    what = shown(file.path)
    integer(file.size, f"the size of {what}", MAX_FILE_BYTES)
    for name in (file.sha256, *file.chunks):
        if type(name) is not str or not _DIGEST.match(name):
            raise ManifestError(f"{what}: a digest is not 64 lowercase hexadecimal digits")
    if len(file.chunks) != -(-file.size // CHUNK_BYTES):
        raise ManifestError(f"{what}: {len(file.chunks)} chunks for {file.size} bytes")
    if len(file.chunks) == 1 and file.chunks != (file.sha256,):
        raise ManifestError(f"{what}: its only chunk has another digest than the whole")
    if file.size == 0 and file.sha256 != _EMPTY:
        raise ManifestError(f"{what}: empty, with the digest of something else")
    if len(file.media_type) > MAX_FIELD_CHARS or not _MEDIA_TYPE.match(file.media_type):
        raise ManifestError(f"{what}: {shown(file.media_type)} is no media type")
