"""Buckets and objects as files in a directory, so that they are there after a restart."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from gce_errors import ApiError
from gcs_errors import bad, no_bucket, no_object

JSON = dict[str, Any]
Check = Callable[["Stored | None"], None]  # raises when a precondition does not hold

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
NAME_BYTES = 1024  # https://cloud.google.com/storage/docs/objects#naming


class Part(NamedTuple):
    """One file of an object. Composed objects share theirs, by hard links."""

    file: str  # in the bucket's `data`
    size: int


class Stored(NamedTuple):
    """One object as it is."""

    resource: JSON  # without its links
    parts: tuple[Part, ...]

    @property
    def generation(self) -> int:
        return int(self.resource["generation"])

    @property
    def size(self) -> int:
        return int(self.resource["size"])


class Extent(NamedTuple):
    """A piece of an open file."""

    file: BinaryIO
    start: int
    length: int


class Disk:
    """Everything that the store holds. Writes are atomic; who has a file open keeps its bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self._objects: dict[str, dict[str, Stored]] = {}
        self._buckets: dict[str, JSON] = {}
        self._last = 0
        self._incoming = directory / "incoming"
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)
        (directory / "buckets").mkdir(exist_ok=True)
        for place in sorted((directory / "buckets").iterdir()):
            if (place / "bucket.json").exists():
                self._load(place)

    def _load(self, place: Path) -> None:
        self._buckets[place.name] = json.loads((place / "bucket.json").read_bytes())
        found: dict[str, Stored] = {}
        for file in (place / "meta").glob("*.json"):
            raw = json.loads(file.read_bytes())
            stored = Stored(raw["resource"], tuple(Part(*part) for part in raw["parts"]))
            found[stored.resource["name"]] = stored
            self._last = max(self._last, stored.generation)
        self._objects[place.name] = found
        used = {part.file for stored in found.values() for part in stored.parts}
        for file in (place / "data").iterdir():
            if file.name not in used:  # of a write that was killed
                file.unlink()

    # buckets

    def bucket(self, name: str) -> JSON:
        """A bucket's resource.

        Raises:
            ApiError: 404.
        """
        with self.lock:
            if name not in self._buckets:
                raise no_bucket()
            return self._buckets[name]

    def buckets(self) -> list[JSON]:
        with self.lock:
            return [self._buckets[name] for name in sorted(self._buckets)]

    def add_bucket(self, name: str, **fields: object) -> JSON:
        """Make a bucket; 409 where there is one."""
        if not BUCKET.fullmatch(name):
            raise bad(f"Invalid bucket name: '{name}'")
        with self.lock:
            if name in self._buckets:
                raise ApiError(
                    409,
                    "Your previous request to create the named bucket succeeded and you already "
                    "own it.",
                    "conflict",
                )
            now = stamp()
            made: JSON = {
                "kind": "storage#bucket",
                "id": name,
                "name": name,
                "projectNumber": "123456789012",
                "generation": str(self._next()),
                "metageneration": "1",
                "location": "US-CENTRAL1",
                "locationType": "region",
                "storageClass": "STANDARD",
                "etag": "CAE=",
                "timeCreated": now,
                "updated": now,
                **fields,
            }
            place = self._place(name)
            for folder in ("meta", "data"):
                (place / folder).mkdir(parents=True, exist_ok=True)
            self._write(place / "bucket.json", made)
            self._buckets[name], self._objects[name] = made, {}
            return made

    def remove_bucket(self, name: str) -> None:
        """Remove an empty bucket; 409 where there are objects in it."""
        with self.lock:
            self.bucket(name)
            if self._objects[name]:
                raise ApiError(409, "The bucket you tried to delete is not empty.", "conflict")
            shutil.rmtree(self._place(name))
            del self._buckets[name], self._objects[name]

    # objects

    def find(self, bucket: str, name: str) -> Stored | None:
        """The object, None where there is none.

        Raises:
            ApiError: 404, there is no such bucket.
        """
        with self.lock:
            self.bucket(bucket)
            return self._objects[bucket].get(name)

    def get(self, bucket: str, name: str, generation: str = "") -> Stored:
        """The object; only the live generation is kept, as in a bucket without versioning."""
        found = self.find(bucket, name)
        if found is None or (generation and found.resource["generation"] != generation):
            raise no_object(bucket, name)
        return found

    def names(self, bucket: str) -> list[str]:
        with self.lock:
            self.bucket(bucket)
            return sorted(self._objects[bucket], key=str.encode)

    def scratch(self) -> Path:
        """A file's path for bytes that are on their way; see `commit`."""
        return self._incoming / secrets.token_hex(12)

    def linked(self, bucket: str, stored: Stored) -> list[tuple[Path, int]]:
        """The object's files, once more, as parts for `commit`. Call it with the lock held."""
        links = []
        for part in stored.parts:
            path = self.scratch()
            path.hardlink_to(self._place(bucket) / "data" / part.file)
            links.append((path, part.size))
        return links

    def commit(
        self, bucket: str, name: str, parts: Iterable[tuple[Path, int]], fields: JSON, check: Check
    ) -> Stored:
        """Make an object of scratch files, which are gone afterwards, also when it is refused."""
        paths = list(parts)
        try:
            check_name(name)
            with self.lock:
                before = self.find(bucket, name)
                check(before)
                generation = self._next()
                place = self._place(bucket)
                kept = []
                for index, (path, size) in enumerate(paths):
                    kept.append(Part(f"{generation}.{index}", size))
                    path.rename(place / "data" / kept[-1].file)
                size = sum(part.size for part in kept)
                stored = Stored(resource(bucket, name, generation, size, fields), tuple(kept))
                self._write(place / "meta" / key(name), stored._asdict())
                self._objects[bucket][name] = stored
                self._unlink(bucket, before)
                return stored
        finally:
            for path, _ in paths:
                path.unlink(missing_ok=True)

    def remove(self, bucket: str, name: str, check: Check, generation: str = "") -> None:
        with self.lock:
            stored = self.get(bucket, name, generation)
            check(stored)
            (self._place(bucket) / "meta" / key(name)).unlink()
            del self._objects[bucket][name]
            self._unlink(bucket, stored)

    def open(
        self, bucket: str, stored: Stored, start: int, length: int, held: ExitStack
    ) -> list[Extent] | None:
        """The files of a range, opened into `held`; None when the object is another one by now."""
        extents = []
        with self.lock:
            if self.find(bucket, stored.resource["name"]) is not stored:
                return None
            at = 0
            for part in stored.parts:
                low, high = max(start, at), min(start + length, at + part.size)
                if low < high:
                    path = self._place(bucket) / "data" / part.file
                    file = held.enter_context(path.open("rb"))
                    extents.append(Extent(file, low - at, high - low))
                at += part.size
        return extents

    def _place(self, bucket: str) -> Path:
        return self.directory / "buckets" / bucket

    def _next(self) -> int:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last

    def _write(self, path: Path, value: JSON) -> None:
        new = self.scratch()
        new.write_text(json.dumps(value))
        new.replace(path)

    def _unlink(self, bucket: str, stored: Stored | None) -> None:
        for part in stored.parts if stored else ():
            (self._place(bucket) / "data" / part.file).unlink()


def stamp(generation: int | None = None) -> str:
    """A time as resources have it; now, or that of a generation (microseconds since 1970)."""
    seconds = time.time() if generation is None else generation / 1_000_000
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def key(name: str) -> str:
    """The file of an object's resource: names may be longer than a file's may."""
    return hashlib.sha256(name.encode()).hexdigest() + ".json"


def check_name(name: str) -> None:
    """Raise a 400 for what no object may be called."""
    if not 0 < len(name.encode()) <= NAME_BYTES or set("\r\n") & set(name) or name in (".", ".."):
        raise bad(f"Invalid object name: '{name[:100]}'")


def resource(bucket: str, name: str, generation: int, size: int, fields: JSON) -> JSON:
    """What is kept of an object; `fields` are its checksums and what the writer says of it."""
    now = stamp(generation)
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "name": name,
        "bucket": bucket,
        "generation": str(generation),
        "metageneration": "1",
        "storageClass": "STANDARD",
        "size": str(size),
        "etag": f"C{generation:x}EAE=",
        "timeCreated": now,
        "updated": now,
        "timeStorageClassUpdated": now,
        "timeFinalized": now,
        **fields,
    }
