"""Writing objects: in one request, or in a resumable session that outlives the server."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gcs_conditions
from gce_errors import ApiError
from gcs_disk import Disk, Stored, check_name
from gcs_doc import Violation, wrong_body
from gcs_errors import Disconnected, bad
from gcs_hash import Sums
from gcs_objects import SUMS, said, shown
from gcs_wire import PIECE, Answer, Body, Call, as_json, document

JSON = dict[str, Any]

# Chunks but the last are multiples of this:
# https://cloud.google.com/storage/docs/performing-resumable-uploads
GRAIN = 256 * 1024
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
SESSION = re.compile(r"[0-9a-f]{32}")
HASHES = {"crc32c": "crc32c", "md5": "md5Hash"}


class Uploads:
    """The writing half of a store."""

    def __init__(self, disk: Disk, md5: bool) -> None:
        self._disk = disk
        self._md5 = md5
        self._sessions = disk.directory / "sessions"
        self._sessions.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._sums: dict[str, Sums] = {}  # of sessions; made anew from the file when lost
        self.violations: list[Violation] = []

    def media(self, call: Call) -> Answer:
        """`uploadType=media`: the body is the object."""
        fields: JSON = {"contentType": call.headers.get("Content-Type")}
        return self._at_once(call, call.asked.get("name", ""), fields, call.body.pieces())

    def multipart(self, call: Call) -> Answer:
        """`uploadType=multipart`: a resource, and then the bytes."""
        kind = call.headers.get("Content-Type", "")
        boundary = call.headers.get_boundary()
        if call.headers.get_content_type() != "multipart/related" or not boundary:
            raise ApiError(400, f"Media type '{kind}' is not supported.", "badContent")
        # gcloud puts it between single quotes, which Google takes for quotes.
        mark = b"--" + boundary.strip("'").encode()
        first = call.body.line()
        if first.rstrip() != mark:
            raise bad("Malformed multipart body.")
        _part_head(call.body)
        lines = []
        while (line := call.body.line()).rstrip() != mark:
            if not line:
                raise bad("Malformed multipart body.")
            lines.append(line)
        fields = self._said(call, b"".join(lines))
        head = _part_head(call.body)
        fields.setdefault("contentType", head.get("content-type"))
        name = call.asked.get("name") or str(fields.get("name", ""))
        end = first[len(mark) :]  # gcloud ends its lines without a carriage return
        return self._at_once(call, name, fields, _until(call.body, end + mark))

    def _at_once(self, call: Call, name: str, fields: JSON, pieces: Iterable[bytes]) -> Answer:
        check_name(name)
        self._disk.bucket(call.route.path["bucket"])
        path, sums = self._disk.scratch(), Sums(self._md5)
        try:
            with path.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                    sums.update(piece)
            call.body.check()
            stored = self._commit(call, name, path, fields, sums, call.asked)
        finally:
            path.unlink(missing_ok=True)
        return as_json(shown(stored, call.base))

    def _commit(
        self, call: Call, name: str, path: Path, fields: JSON, sums: Sums, asked: dict[str, str]
    ) -> Stored:
        wanted = {**{n: fields[n] for n in SUMS if fields.get(n)}, **_hashes(call)}
        if "md5Hash" in wanted and "md5Hash" not in sums.fields():
            sums = _read_again(path, md5=True)
        found = sums.fields()
        for kind, value in wanted.items():
            if found[kind] != value:
                what = "CRC32C" if kind == "crc32c" else "MD5 hash"
                raise bad(
                    f'Provided {what} "{value}" doesn\'t match calculated {what} "{found[kind]}".'
                )
        return self._disk.commit(
            call.route.path["bucket"],
            name,
            [(path, sums.size)],
            {**said(fields), **found},
            gcs_conditions.writing(asked),
        )

    def _said(self, call: Call, raw: bytes) -> JSON:
        fields = document(raw)
        wrong = wrong_body(call.route.kind, "Object", fields, "request")
        if wrong:
            self.violations += wrong
            raise bad(wrong[0].message)
        return fields

    # sessions

    def start(self, call: Call) -> Answer:
        """`uploadType=resumable`: a session, at the address in Location."""
        fields = self._said(call, call.body.whole())
        name = call.asked.get("name") or str(fields.get("name", ""))
        bucket = call.route.path["bucket"]
        check_name(name)
        gcs_conditions.check(self._disk.find(bucket, name), call.asked)
        fields.setdefault("contentType", call.headers.get("X-Upload-Content-Type"))
        length = call.headers.get("X-Upload-Content-Length", "")
        session = secrets.token_hex(16)
        state = {
            "bucket": bucket,
            "name": name,
            "fields": fields,
            "asked": call.asked,
            "total": int(length) if length else None,
            "done": None,
        }
        self._bytes(session).touch()
        self._keep(session, state)
        location = (
            f"{call.base}/upload/storage/v1/b/{bucket}/o?name={quote(name, safe='')}"
            f"&uploadType=resumable&upload_id={session}"
        )
        return Answer(200, {"Location": location, "X-GUploader-UploadID": session})

    def chunk(self, call: Call) -> Answer:
        """A PUT to a session: bytes, a question how far it is, or both at once."""
        session = call.asked["upload_id"]
        with self._lock:
            lock = self._locks.setdefault(session, threading.Lock())
        with lock:
            state = self._state(session)
            if state["done"]:
                call.body.drain()
                return as_json({**state["done"]})
            return self._chunk(call, session, state)

    def _chunk(self, call: Call, session: str, state: JSON) -> Answer:
        path = self._bytes(session)
        have = path.stat().st_size
        start, length, total = _content_range(call, have)
        if total is not None and state["total"] not in (None, total):
            raise bad(f"Invalid total size: {total}; the session is for {state['total']}.")
        if total is not None and total != state["total"]:
            state["total"] = total
            self._keep(session, state)
        if start > have:
            raise ApiError(
                503,
                "Invalid request. According to the Content-Range header, the upload offset is "
                f"{start} byte(s), which exceeds already uploaded size of {have} byte(s).",
            )
        last = total is not None and start + length == total
        if length and not last and (start + length) % GRAIN:
            raise bad(f"Invalid chunk: only the last one may end off a multiple of {GRAIN} bytes.")
        if length:
            have = self._append(call.body, session, have, have - start)
        if call.body.broken:
            raise Disconnected
        if total is not None and have == total:
            return self._finish(call, session, state)
        headers = {"X-GUploader-UploadID": session}
        if have:
            headers["Range"] = f"bytes=0-{have - 1}"
        return Answer(308, headers, phrase="Resume Incomplete")

    def _append(self, body: Body, session: str, have: int, known: int) -> int:
        """Keep what comes; `known` bytes of it are there already. The size after it."""
        path = self._bytes(session)
        sums = self._sums.pop(session, None)
        if sums is None or sums.size != have:
            sums = _read_again(path, self._md5)
        with path.open("ab") as file:
            for _ in body.pieces(min(known, body.remaining)):
                pass
            for piece in body.pieces():
                file.write(piece)
                sums.update(piece)
        if body.broken and sums.size % GRAIN:
            have = max(have, sums.size - sums.size % GRAIN)
            os.truncate(path, have)
            return have
        self._sums[session] = sums
        return sums.size

    def _finish(self, call: Call, session: str, state: JSON) -> Answer:
        path, sums = self._bytes(session), self._sums.pop(session, None)
        if sums is None or sums.size != path.stat().st_size:
            sums = _read_again(path, self._md5)
        try:
            stored = self._commit(call, state["name"], path, state["fields"], sums, state["asked"])
        except ApiError:
            self._forget(session)  # one that has ended in a refusal is over
            raise
        self._keep(session, {**state, "done": shown(stored, call.base)})
        return as_json(shown(stored, call.base))

    def cancel(self, call: Call) -> Answer:
        """A DELETE of a session: 499 says that it is gone."""
        self._state(call.asked["upload_id"])
        self._forget(call.asked["upload_id"])
        return Answer(499, phrase="Client Closed Request")

    def _bytes(self, session: str) -> Path:
        return self._sessions / f"{session}.bytes"

    def _state(self, session: str) -> JSON:
        path = self._sessions / f"{session}.json"
        if not SESSION.fullmatch(session) or not path.exists():
            raise ApiError(404, "Upload session not found.")
        state: JSON = json.loads(path.read_bytes())
        if not state["done"] and not self._bytes(session).exists():
            raise ApiError(404, "Upload session not found.")  # killed while it was being finished
        return state

    def _keep(self, session: str, state: JSON) -> None:
        new = self._disk.scratch()
        new.write_text(json.dumps(state))
        new.replace(self._sessions / f"{session}.json")

    def _forget(self, session: str) -> None:
        for suffix in ("json", "bytes"):
            (self._sessions / f"{session}.{suffix}").unlink(missing_ok=True)
        self._sums.pop(session, None)


def _content_range(call: Call, have: int) -> tuple[int, int, int | None]:
    """First byte, length and, where known, total that a PUT to a session speaks of."""
    text, length = call.headers.get("Content-Range"), call.body.remaining
    if text is None:
        return 0, length, length  # the whole object at once
    match = CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise bad(f"Failed to parse Content-Range header: {text}")
    first, last, total = match.groups()
    if first is None:
        if length:
            raise bad(f"Content-Range {text} goes with no bytes.")
        return have, 0, None if total == "*" else int(total)
    start, end = int(first), int(last)
    if end - start + 1 != length or (total != "*" and end >= int(total)):
        raise bad(f"Invalid Content-Range: {text} for {length} bytes.")
    return start, length, None if total == "*" else int(total)


def _hashes(call: Call) -> dict[str, str]:
    """The checksums that come as headers, named as in a resource."""
    found = {}
    for header in call.headers.get_all("X-Goog-Hash", []):
        for entry in header.split(","):
            kind, _, value = entry.strip().partition("=")
            if kind in HASHES:
                found[HASHES[kind]] = value
    if md5 := call.headers.get("Content-MD5"):
        found["md5Hash"] = md5
    for kind, value in found.items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError as error:
            raise bad(f'Invalid {kind}: "{value}"') from error
    return found


def _read_again(path: Path, md5: bool) -> Sums:
    sums = Sums(md5)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            sums.update(piece)
    return sums


def _part_head(body: Body) -> dict[str, str]:
    """The headers of a part, in lower case."""
    found = {}
    while line := body.line().rstrip().decode("latin-1"):
        name, _, value = line.partition(":")
        found[name.strip().lower()] = value.strip()
    return found


def _until(body: Body, mark: bytes) -> Iterable[bytes]:
    """The last part's bytes: all up to the closing boundary, which ends the body."""
    held, kept = b"", len(mark) + 4  # the boundary, two dashes, and a line's end
    for piece in body.pieces():
        held += piece
        if len(held) > kept:
            yield held[:-kept]
            held = held[-kept:]
    data, found, tail = held.rpartition(mark)
    if not body.broken and (not found or tail.strip() != b"--"):
        raise bad("Malformed multipart body.")
    yield data
