"""Reading objects' bytes, as the JSON API's media and as the XML API's GET and HEAD."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from datetime import datetime
from email.utils import format_datetime

import gcs_conditions
from gce_errors import ApiError
from gcs_disk import Disk, Stored
from gcs_wire import Answer, Call, range_of


def read(disk: Disk, call: Call, *, ignore_range: bool) -> Answer:
    """The whole object or a range of it."""
    bucket, name = call.route.path["bucket"], call.route.path["object"]
    held = ExitStack()
    while True:
        stored = disk.get(bucket, name, call.asked.get("generation", ""))
        conditions = {**gcs_conditions.of_headers(call.headers), **call.asked}
        gcs_conditions.check(stored, conditions, reading=True)
        tags = {etag(stored), stored.resource["etag"]}
        gcs_conditions.check_tags(tags, call.headers)
        asked = "" if ignore_range else call.headers.get("Range", "")
        if call.headers.get("If-Range", "").strip('"') not in {"", *tags}:
            asked = ""
        try:
            part = range_of(asked, stored.size)
        except ApiError as error:
            return _unsatisfiable(error, stored)
        start, length = part or (0, stored.size)
        extents = disk.open(bucket, stored, start, length, held)
        if extents is not None:
            break
    headers = headers_of(stored)
    if part:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{stored.size}"
    return Answer(206 if part else 200, headers, extents=extents, held=held, first=start)


def _unsatisfiable(error: ApiError, stored: Stored) -> Answer:
    # The whole's size tells a client that has it all that it has.
    answer = Answer(416, {"Content-Range": f"bytes */{stored.size}"})
    answer.body = f"{error.message}\n".encode()
    return answer


def etag(stored: Stored) -> str:
    """The XML API's tag, without quotes: the MD5 in hex where there is one."""
    md5 = stored.resource.get("md5Hash")
    return base64.b64decode(md5).hex() if md5 else f"-{stored.resource['etag']}"


def headers_of(stored: Stored) -> dict[str, str]:
    resource = stored.resource
    updated = datetime.fromisoformat(resource["updated"])
    sums = f"crc32c={resource['crc32c']}"
    if "md5Hash" in resource:
        sums += f",md5={resource['md5Hash']}"
    found = {
        "Content-Type": resource.get("contentType", "application/octet-stream"),
        "ETag": f'"{etag(stored)}"',
        "Last-Modified": format_datetime(updated, usegmt=True),
        "Accept-Ranges": "bytes",
        "X-Goog-Generation": resource["generation"],
        "X-Goog-Metageneration": resource["metageneration"],
        "X-Goog-Hash": sums,
        "X-Goog-Storage-Class": resource["storageClass"],
        "X-Goog-Stored-Content-Encoding": resource.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": resource["size"],
    }
    names = {"cacheControl": "Cache-Control", "contentEncoding": "Content-Encoding"}
    found |= {header: resource[name] for name, header in names.items() if name in resource}
    if "componentCount" in resource:
        found["X-Goog-Component-Count"] = str(resource["componentCount"])
    return found
